/// A response, as it was on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The version, such as `HTTP/1.1`.
    pub version: String,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// True if the body ended by its own framing.
    pub complete: bool,
}

impl Answer {
    /// Returns the first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        all.find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Returns true if it says `Connection: close`.
    pub fn closes(&self) -> bool {
        self.header("connection") == Some("close")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Parses the first answer in `bytes` and its length; `None` while its head is incomplete. `ended`: no more bytes
    /// will come.
    pub fn parse(bytes: &[u8], ended: bool) -> Option<(Answer, usize)> {
        let head_length = find(bytes, b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&bytes[..head_length]).into_owned();
        let mut lines = head.split("\r\n");
        let mut status_line = lines.next()?.splitn(3, ' ');
        let version = status_line.next()?.to_owned();
        assert!(version.starts_with("HTTP/"), "no status line: {head:?}");
        let status = status_line
            .next()
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("no status: {head:?}"));
        let headers = lines
            .filter(|line| !line.is_empty())
            .map(|line| match line.split_once(':') {
                Some((name, value)) => (name.to_owned(), value.trim().to_owned()),
                None => panic!("no header: {line:?} in {head:?}"),
            })
            .collect();
        let mut answer = Answer {
            version,
            status,
            headers,
            body: Vec::new(),
            complete: true,
        };
        let rest = &bytes[head_length..];
        let body_length = answer.take_body(rest, ended)?;
        Some((answer, head_length + body_length))
    }

    /// Returns how many bytes of `rest` are the body; `None` when more is to come.
    fn take_body(&mut self, rest: &[u8], ended: bool) -> Option<usize> {
        if self.status < 200 || matches!(self.status, 204 | 304) {
            return Some(0);
        }
        let chunked = self.header("transfer-encoding") == Some("chunked");
        let length = self
            .header("content-length")
            .map(|length| length.parse().expect("a Content-Length"));
        let taken = match (chunked, length) {
            (true, _) => self.take_chunks(rest),
            (false, Some(length)) if rest.len() >= length => {
                self.body = rest[..length].to_vec();
                Some(length)
            }
            (false, Some(_)) => {
                self.body = rest.to_vec();
                None
            }
            (false, None) => {
                self.body = rest.to_vec();
                ended.then_some(rest.len())
            }
        };
        if taken.is_none() && ended {
            self.complete = false;
            return Some(rest.len());
        }
        taken
    }

    fn take_chunks(&mut self, rest: &[u8]) -> Option<usize> {
        self.body.clear();
        let mut at = 0;
        loop {
            let line = find(&rest[at..], b"\r\n")?;
            let size = std::str::from_utf8(&rest[at..at + line]).expect("a chunk's size");
            let size = usize::from_str_radix(size, 16)
                .unwrap_or_else(|_| panic!("no chunk size: {size:?}"));
            at += line + 2;
            if size == 0 {
                // No test's answer has trailers.
                return rest[at..].starts_with(b"\r\n").then_some(at + 2);
            }
            if rest.len() < at + size + 2 {
                self.body.extend_from_slice(&rest[at..]);
                return None;
            }
            self.body.extend_from_slice(&rest[at..at + size]);
            at += size + 2;
        }
    }
}

/// Parses all answers of a connection that has ended. Invalid bytes are a panic.
pub fn answers(bytes: &[u8]) -> Vec<Answer> {
    let mut rest = bytes;
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let Some((answer, length)) = Answer::parse(rest, true) else {
            panic!("half an answer: {:?}", String::from_utf8_lossy(rest));
        };
        answers.push(answer);
        rest = &rest[length..];
    }
    answers
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
