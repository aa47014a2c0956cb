//! Bytes behind a body that did not end exactly are no request.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use lameduck::Timeouts;
use lameduck::serve::RequestBody;

use super::differential::compare;
use crate::support::*;

const POST: &str = "POST /one HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";

/// Ends of a chunked body that hyper reads as trailers, with bytes behind them that are no request.
const TAILS: &[&str] = &[
    "0\r\n\n",
    "5\r\nhello\r\n0\r\n\n",
    "0\r\nx: y\r\n\n",
    "0\r\nx: y\n\n",
    "0\r\nx: y\n\r\n",
    "0\r\n\n\r\n",
    "0\r\n\n\n",
    "0\r\n \r\n\r\n",
    "0\r\nx\r\n\r\n",
    "0\r\nx: y\r\n\r\n",
    "0;a=b\r\n\n",
    "0\n\n",
    "0\r\r\n",
    "0\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5;\nx\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "6\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5 5\r\nhello\r\n0\r\n\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "-0\r\n\r\n",
    "\r\n0\r\n\r\n",
];

const BEHIND: &str = "POST /two HTTP/1.1\r\nhost: a\r\ncontent-length: 39\r\n\r\nGET /hidden HTTP/1.1\r\nhost: a\r\nx: yyyyy\r\n\r\nGET /three HTTP/1.1\r\nhost: a\r\n\r\n";

/// The ways in which a service treats the body of its request.
const WAYS: &[&str] = &[
    "read",
    "ignore",
    "half",
    "read-later",
    "drop-later",
    "read-after",
];

async fn ask(server: &Server, way: &str, pieces: &[&[u8]]) -> Ending {
    let mut client = server.connect().await;
    for piece in pieces {
        let piece = String::from_utf8_lossy(piece).replace("/one", &format!("/{way}"));
        let _ = client.try_send(piece).await;
        tokio::time::sleep(ms(3)).await;
    }
    client.finish_sending().await;
    client.read_until_close().await
}

async fn server() -> Server {
    let service = app(|request: Request<RequestBody>| async move {
        let path = request.uri().path().to_owned();
        let mut body = request.into_body();
        let (later, read) = match path.as_str() {
            "/ignore" => (None, false),
            "/half" => {
                let _ = body.frame().await;
                (None, false)
            }
            "/read-later" => (Some(Duration::ZERO), true),
            "/drop-later" => (Some(ms(2)), false),
            "/read-after" => (Some(ms(20)), true),
            _ => {
                let _ = body.collect().await;
                return reply(200, path);
            }
        };
        if let Some(later) = later {
            tokio::spawn(async move {
                tokio::time::sleep(later).await;
                if read {
                    let _ = body.collect().await;
                }
            });
        }
        reply(200, path)
    });
    Server::start(Timeouts::default(), service).await
}

#[tokio::test]
async fn bytes_behind_an_inexact_body_are_not_served() {
    let server = server().await;
    for tail in TAILS {
        for way in WAYS {
            let whole = [POST, tail, BEHIND].concat();
            let head_first = [POST.as_bytes(), &whole.as_bytes()[POST.len()..]];
            let end = POST.len() + tail.len();
            let apart = [&whole.as_bytes()[..end], &whole.as_bytes()[end..]];
            for pieces in [&[whole.as_bytes()][..], &head_first, &apart] {
                let ending = ask(&server, way, pieces).await;
                let answers = ending.answers();
                let bodies: Vec<_> = answers.iter().map(Answer::text).collect();
                let of_one = bodies
                    .iter()
                    .all(|body| *body == format!("/{way}") || body.contains("bad"));
                let what = format!("{way} {tail:?} in {}: {bodies:?}", pieces.len());
                assert!(of_one && bodies.len() <= 1, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn request_behind_an_exact_body_is_served() {
    let server = server().await;
    for body in [
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "5;x=\"y\"\r\nhello\r\n1 \r\n!\r\n000\r\n\r\n",
    ] {
        let whole = [
            POST,
            body,
            "GET /two HTTP/1.1\r\nhost: a\r\n\r\nGET /three HTTP/1.1\r\nhost: a\r\n\r\n",
        ]
        .concat();
        let whole = whole.as_bytes();
        for way in WAYS {
            for cut in [
                0,
                POST.len(),
                POST.len() + body.len(),
                POST.len() + body.len() - 1,
            ] {
                let ending = ask(&server, way, &[&whole[..cut], &whole[cut..]]).await;
                let answers = ending.answers();
                let bodies: Vec<_> = answers.iter().map(Answer::text).collect();
                // A service that has not read the body may have closed: then its answer announces it.
                let closed = answers.len() == 1 && answers[0].closes();
                let all = bodies == [format!("/{way}"), "/two".into(), "/three".into()];
                assert!(
                    all || closed && !way.starts_with("read"),
                    "{way} {body:?} {cut}: {bodies:?}"
                );
            }
        }
    }
}

/// Trailers are read and passed on, but bytes that arrived as trailers may have been a request.
#[tokio::test]
async fn request_with_trailers_is_the_last_of_its_connection() {
    let service = app(|request: Request<RequestBody>| async move {
        let body = request.into_body().collect().await.unwrap();
        let trailer = body.trailers().and_then(|all| all.get("x")).cloned();
        reply(200, Bytes::from(trailer.unwrap().as_bytes().to_vec()))
    });
    let server = Server::start(Timeouts::default(), service).await;
    let mut client = server.connect().await;
    client
        .send([POST, "5\r\nhello\r\n0\r\nx: y\r\n\r\n", BEHIND].concat())
        .await;
    let ending = client.read_until_close().await;
    assert_eq!((ending.answer().text(), ending.how), ("y".into(), How::Fin));
    assert!(ending.answer().closes());
}

/// A generator of the same numbers in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }
}

/// Returns requests, and pieces that mutate them.
fn pieces() -> Vec<String> {
    let heads = [
        "GET /a HTTP/1.1\r\nhost: a\r\n\r\n",
        "HEAD /h HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /o HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        "POST /l HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
        "POST /e HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello",
        "POST /s HTTP/1.1\r\nhost: a\r\ncontent-length: 31\r\n\r\nGET /hidden HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /g HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n",
        "GET http://a/abs HTTP/1.1\r\nhost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\nhost: a\n\n",
        "\r\n\r\n",
    ];
    let chunked = TAILS.iter().map(|tail| [POST, tail].concat());
    let good = ["3\r\nabc\r\n0\r\n\r\n", "1;x\r\na\r\n2\r\nbc\r\n0\r\n\r\n"];
    let good = good
        .iter()
        .cycle()
        .take(20)
        .map(|body| [POST, body].concat());
    heads
        .map(String::from)
        .into_iter()
        .cycle()
        .take(48)
        .chain(chunked)
        .chain(good)
        .collect()
}

fn mutate(input: &mut Vec<u8>, dice: &mut Dice) {
    let tokens: [&[u8]; 12] = [
        b"\n",
        b"\r",
        b"\r\n",
        b"0\r\n\r\n",
        b" ",
        b"\t",
        b":",
        b"chunked",
        b"\0",
        b"\xff",
        b"content-length: 1\r\n",
        b"#",
    ];
    let at = dice.roll(input.len());
    match dice.roll(3) {
        0 => drop(input.drain(at..(at + 1 + dice.roll(3)).min(input.len()))),
        1 => drop(input.splice(at..at, tokens[dice.roll(tokens.len())].iter().copied())),
        _ => input[at] = input[dice.roll(input.len())],
    }
}

/// Runs a short round of the fuzz target, with the same inputs each time.
#[test]
fn server_reads_what_the_reference_reads() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let pieces = pieces();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for round in 0..1500 {
        let count = 1 + dice.roll(4);
        let mut input = Vec::new();
        for _ in 0..count {
            input.extend_from_slice(pieces[dice.roll(pieces.len())].as_bytes());
        }
        for _ in 0..dice.roll(3) {
            if !input.is_empty() {
                mutate(&mut input, &mut dice);
            }
        }
        let mut cuts: Vec<_> = (0..dice.roll(4)).map(|_| dice.roll(input.len())).collect();
        cuts.sort_unstable();
        let mode = dice.roll(6);
        let case = format!(
            "round {round}, mode {mode}, cuts {cuts:?}: {:?}",
            String::from_utf8_lossy(&input)
        );
        let compared =
            std::panic::AssertUnwindSafe(|| runtime.block_on(compare(&input, &cuts, mode)));
        assert!(std::panic::catch_unwind(compared).is_ok(), "{case}");
    }
}
