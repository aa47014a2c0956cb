use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::text;

/// A check of the default deadline (2 s) can end in this time.
const DEADLINE: Duration = Duration::from_secs(5);
/// The status line and the head of the answer are looked for in so many bytes.
const MOST: usize = 16 * 1024;
/// How long the rest of an answer is waited for when its status is known.
const REST: Duration = Duration::from_millis(250);
/// How much of the answer's body an error quotes.
const QUOTED: usize = 1024;

/// Asks a health route over HTTP/1.1 and says whether it answered with a 2xx: for a program that is its
/// own `HEALTHCHECK`, in an image that has no curl.
///
/// It blocks, for at most 5 s in all ([`probe_within`] takes another deadline), and needs no runtime. An
/// unspecified address (`0.0.0.0`, `::`), as servers bind it, is asked on the loopback.
///
/// ```no_run
/// let addr = "127.0.0.1:8080".parse().unwrap();
/// if let Err(error) = lameduck::health::probe(addr, "/readyz") {
///     eprintln!("{error}");
///     std::process::exit(1);
/// }
/// ```
///
/// # Errors
///
/// [`ProbeError`]: the path is none, nobody listens, nothing whole came in time, what came is not HTTP, or
/// the status is not a 2xx.
pub fn probe(addr: SocketAddr, path: &str) -> Result<(), ProbeError> {
    probe_within(addr, path, DEADLINE)
}

/// [`probe`] with its own deadline, from the connection's first packet to the answer's status.
///
/// # Errors
///
/// As [`probe`].
pub fn probe_within(addr: SocketAddr, path: &str, deadline: Duration) -> Result<(), ProbeError> {
    // What is sent is what was meant: no second line, no second request.
    if !path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(ProbeError::Path(path.to_owned()));
    }
    let mut probe = Asked {
        since: Instant::now(),
        deadline,
    };
    probe.ask(reachable(addr), path)
}

/// Why a probe failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProbeError {
    /// This is no path: it starts with `/` and has no spaces, controls or letters beyond ASCII.
    Path(String),
    /// No connection; most often nobody listens.
    Connect(io::Error),
    /// The connection broke.
    Io(io::Error),
    /// No status within this time.
    Timeout(Duration),
    /// What came is not HTTP/1.
    NotHttp,
    /// The status was not a 2xx.
    #[non_exhaustive]
    Status {
        /// The status.
        status: u16,
        /// What the body said, at most 1 KiB, as far as it had come, and as it was sent: escape it before it reaches a
        /// terminal. (`Display` gives it in one line without controls.)
        body: String,
    },
}

/// One probe, and its time.
struct Asked {
    since: Instant,
    deadline: Duration,
}

impl Asked {
    fn ask(&mut self, addr: SocketAddr, path: &str) -> Result<(), ProbeError> {
        let mut stream =
            TcpStream::connect_timeout(&addr, self.left()?).map_err(|error| {
                match late(&error) {
                    true => ProbeError::Timeout(self.deadline),
                    false => ProbeError::Connect(error),
                }
            })?;
        let host = SocketAddr::new(addr.ip(), addr.port()); // without an IPv6 scope
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: lameduck-probe\r\n\
             accept: application/json\r\nconnection: close\r\n\r\n"
        );
        stream
            .set_write_timeout(Some(self.left()?))
            .map_err(ProbeError::Io)?;
        // A server may answer, and close, before it has taken the request: what it says counts.
        let written = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let status = loop {
            match status(&answer)? {
                // Interim answers come unasked, too (RFC 9110, 15.2); 101 is no such thing.
                Some(100 | 102..=199) if pass_over(&mut answer) => continue,
                Some(100 | 102..=199) if answer.len() < MOST => {}
                Some(status) => break status,
                None => {}
            }
            if self.read(&mut stream, &mut answer)? == 0 {
                return Err(match written {
                    Err(error) => ProbeError::Io(error),
                    Ok(()) if answer.is_empty() => ProbeError::Io(ErrorKind::UnexpectedEof.into()),
                    Ok(()) => ProbeError::NotHttp,
                });
            }
        };
        // To the end, if it comes soon: a socket that is closed with unread bytes in it resets. Who keeps the
        // connection, though asked to close it, does not keep the probe.
        self.deadline = self.deadline.min(self.since.elapsed() + REST);
        while answer.len() < MOST && matches!(self.read(&mut stream, &mut answer), Ok(1..)) {}
        match status {
            200..=299 => Ok(()),
            status => Err(ProbeError::Status {
                status,
                body: body(&answer),
            }),
        }
    }

    /// What is left of the deadline. Never zero, which sockets take for "no timeout".
    fn left(&self) -> Result<Duration, ProbeError> {
        match self.deadline.checked_sub(self.since.elapsed()) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => Err(ProbeError::Timeout(self.deadline)),
        }
    }

    fn read(&mut self, stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<usize, ProbeError> {
        let mut chunk = [0; 2048];
        loop {
            stream
                .set_read_timeout(Some(self.left()?))
                .map_err(ProbeError::Io)?;
            match stream.read(&mut chunk) {
                Ok(read) => {
                    answer.extend_from_slice(&chunk[..read]);
                    return Ok(read);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if late(&error) => return Err(ProbeError::Timeout(self.deadline)),
                Err(error) => return Err(ProbeError::Io(error)),
            }
        }
    }
}

/// The loopback for an address that means all of them.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => return addr,
    };
    SocketAddr::new(ip, addr.port())
}

/// A socket that ran into its timeout says one or the other, by platform.
fn late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

/// The status of an answer that has come so far: `HTTP/1.x NNN`; `None`: not enough yet.
fn status(answer: &[u8]) -> Result<Option<u16>, ProbeError> {
    const VERSION: &[u8] = b"HTTP/1.";
    const WHOLE: usize = "HTTP/1.1 200".len();
    let common = answer.len().min(VERSION.len());
    if answer[..common] != VERSION[..common] {
        return Err(ProbeError::NotHttp);
    }
    // One byte more, to see that the number ends there.
    if answer.len() <= WHOLE {
        return Ok(None);
    }
    let digits = &answer[WHOLE - 3..WHOLE];
    let plain = answer[7].is_ascii_digit()
        && answer[8] == b' '
        && digits.iter().all(u8::is_ascii_digit)
        && matches!(answer[WHOLE], b' ' | b'\r' | b'\n');
    if !plain {
        return Err(ProbeError::NotHttp);
    }
    let number = digits.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0'));
    Ok(Some(number))
}

/// Takes away an interim answer; `false`: it has not come whole.
fn pass_over(answer: &mut Vec<u8>) -> bool {
    let end = head_end(answer);
    if let Some(end) = end {
        answer.drain(..end);
    }
    end.is_some()
}

/// Where the head ends, behind its empty line.
fn head_end(answer: &[u8]) -> Option<usize> {
    let empty = answer.windows(4).position(|four| four == b"\r\n\r\n");
    empty.map(|at| at + 4)
}

/// The beginning of what came behind the head.
fn body(answer: &[u8]) -> String {
    let body = head_end(answer).map_or(&[][..], |end| &answer[end..]);
    let quoted = &body[..body.len().min(QUOTED)];
    String::from_utf8_lossy(quoted).trim_end().to_owned()
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeError::Path(path) => write!(f, "{path:?} is no path to probe"),
            ProbeError::Connect(error) => write!(f, "no connection: {error}"),
            ProbeError::Io(error) => write!(f, "the connection broke: {error}"),
            ProbeError::Timeout(deadline) => write!(f, "no answer within {deadline:?}"),
            ProbeError::NotHttp => f.write_str("the answer is not HTTP/1"),
            ProbeError::Status { status, body } if body.is_empty() => write!(f, "status {status}"),
            ProbeError::Status { status, body } => {
                // Whoever answered wrote it, and it goes to a terminal, or to a container's log.
                write!(f, "status {status}: {}", text::line(body, QUOTED))
            }
        }
    }
}

impl std::error::Error for ProbeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ProbeError::Connect(error) | ProbeError::Io(error) => Some(error),
            _ => None,
        }
    }
}
