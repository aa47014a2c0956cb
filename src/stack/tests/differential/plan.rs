use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version};
use http_body::Frame;
use http_body_util::StreamBody;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::ConnInfo;

pub type Frames = StreamBody<tokio_stream::Iter<std::vec::IntoIter<Piece>>>;
pub type Piece = Result<Frame<Bytes>, &'static str>;

/// A request, the service's part and the client's.
#[derive(Clone, Debug)]
pub struct Plan {
    pub method: &'static str,
    pub path: &'static str,
    pub version: Version,
    pub headers: Vec<(&'static str, &'static str)>,
    pub sent: Vec<&'static str>,
    /// Whether the server knows the peer.
    pub peer: bool,
    pub drains: bool,
    pub panics: Panics,
    pub answer: Answer,
    pub client: Client,
}

/// The function that panics. Also an extension of the request: some see nothing else of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Panics(pub Option<&'static str>);

impl Panics {
    pub fn at(self, place: &str) {
        assert_ne!(self.0, Some(place), "a user's function");
    }
}

pub const PLACES: [&str; 9] = [
    "route",
    "peer",
    "log peer",
    "log client",
    "drain",
    "rate",
    "key",
    "body",
    "timeout",
];

/// The response of the service.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, &'static str)>,
    pub frames: Vec<Part>,
    pub wait: Duration,
    pub reads: bool,
    pub fails: Fails,
}

#[derive(Clone, Copy, Debug)]
pub enum Part {
    Data(&'static str),
    Trailers,
    Error,
    Panic,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fails {
    Never,
    PanicInCall,
    PanicInPoll,
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Client {
    NeverPolls,
    /// Leaves if there is no response after this time.
    Waits(Duration),
}

const METHODS: [&str; 5] = ["GET", "POST", "HEAD", "OPTIONS", "PUT"];
const PATHS: [&str; 6] = [
    "/",
    "/a?b=c",
    "/readyz",
    "/healthz",
    "/shop.Orders/Get",
    "/quota",
];
const HEADERS: [(&str, &str); 10] = [
    ("content-type", "application/grpc"),
    ("content-type", "application/json"),
    ("accept", "application/json"),
    ("accept", "text/html, */*"),
    ("content-length", "3"),
    ("content-length", "3000000"),
    ("x-forwarded-for", "203.0.113.9, 127.0.0.1"),
    ("x-request-id", "an-id"),
    ("x-request-id", "another"),
    ("grpc-timeout", "1S"),
];
const ANSWER_HEADERS: [(&str, &str); 6] = [
    ("content-length", "5"),
    ("content-type", "application/grpc"),
    ("grpc-status", "7"),
    ("x-request-id", "the service's"),
    ("retry-after", "9"),
    ("set-cookie", "a=b"),
];

impl Default for Plan {
    fn default() -> Self {
        Plan {
            method: "GET",
            path: "/",
            version: Version::HTTP_11,
            headers: Vec::new(),
            sent: Vec::new(),
            peer: true,
            drains: false,
            panics: Panics(None),
            answer: Answer {
                status: 200,
                headers: Vec::new(),
                frames: vec![Part::Data("hello")],
                wait: Duration::ZERO,
                reads: true,
                fails: Fails::Never,
            },
            client: Client::Waits(Duration::from_secs(60)),
        }
    }
}

impl Plan {
    pub fn panicking(place: &'static str, drains: bool) -> Self {
        Plan {
            method: "POST",
            sent: vec!["abc"],
            panics: Panics(Some(place)),
            drains,
            ..Plan::default()
        }
    }

    pub fn answering(headers: Vec<(&'static str, &'static str)>, frames: Vec<Part>) -> Self {
        let mut plan = Plan::default();
        plan.answer.headers = headers;
        plan.answer.frames = frames;
        plan
    }

    pub fn request(&self) -> Request<Frames> {
        let pieces: Vec<_> = self.sent.iter().map(|text| data(text)).collect();
        let mut request = Request::builder()
            .method(self.method)
            .uri(self.path)
            .version(self.version)
            .extension(self.panics)
            .extension(self.answer.clone());
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        if self.peer {
            request = request.extension(ConnInfo::new(Some(([127, 0, 0, 1], 80).into()), None));
        }
        if self.panics == Panics(Some("log client")) {
            request = request.header("x-panics", "yes"); // all that it sees
        }
        let pieces = tokio_stream::iter(pieces);
        request.body(StreamBody::new(pieces)).unwrap()
    }
}

pub fn data(text: &'static str) -> Piece {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

pub fn any() -> impl Strategy<Value = Plan> {
    let seconds = |seconds: &'static [u64]| select(seconds).prop_map(Duration::from_secs);
    let part = prop_oneof![
        6 => select(vec!["he", "llo", "hello", ""]).prop_map(Part::Data),
        2 => Just(Part::Trailers),
        1 => Just(Part::Error),
        1 => Just(Part::Panic),
    ];
    let fails = prop_oneof![
        5 => Just(Fails::Never),
        1 => Just(Fails::PanicInCall),
        1 => Just(Fails::PanicInPoll),
        1 => Just(Fails::Error),
    ];
    let status = select(vec![200, 200, 200, 204, 304, 404, 413, 500]);
    let fields = subsequence(&ANSWER_HEADERS[..], 0..3);
    let parts = prop::collection::vec(part, 0..4);
    let answer = (
        status,
        fields,
        parts,
        seconds(&[0, 0, 3, 30]),
        any_bool(),
        fails,
    )
        .prop_map(|(status, headers, frames, wait, reads, fails)| Answer {
            status,
            headers,
            frames,
            wait,
            reads,
            fails,
        });
    let client = prop_oneof![
        1 => Just(Client::NeverPolls),
        4 => seconds(&[0, 2, 60, 60]).prop_map(Client::Waits),
    ];
    let panics = prop_oneof![5 => Just(None), 1 => select(&PLACES[..]).prop_map(Some)];
    let line = (
        select(&METHODS[..]),
        select(&PATHS[..]),
        select(vec![Version::HTTP_10, Version::HTTP_11, Version::HTTP_2]),
        subsequence(&HEADERS[..], 0..4),
        prop::collection::vec(select(vec!["abc", "abcdefgh"]), 0..3),
    );
    let rest = (
        any_bool(),
        prop::bool::weighted(0.2),
        panics,
        answer,
        client,
    );
    (line, rest).prop_map(|(line, rest)| {
        let (method, path, version, headers, sent) = line;
        let (peer, drains, panics, answer, client) = rest;
        Plan {
            method,
            path,
            version,
            headers,
            sent,
            peer,
            drains,
            panics: Panics(panics),
            answer,
            client,
        }
    })
}

fn any_bool() -> impl Strategy<Value = bool> {
    prop::bool::ANY
}
