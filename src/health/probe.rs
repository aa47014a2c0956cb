use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::text;

/// The default timeout: a check with the default deadline (2 s) can end within it.
const DEADLINE: Duration = Duration::from_secs(5);
/// The maximum size of a response's head, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// The time for which the rest of a response is awaited once its status is known.
const BODY_TIMEOUT: Duration = Duration::from_millis(250);
/// The maximum size of the body quoted in an error, in bytes.
const MAX_QUOTED: usize = 1024;

/// Requests a health route over HTTP/1.1 and checks for a 2xx: for a program that is its own `HEALTHCHECK`, in an image
/// without curl.
///
/// It blocks for at most 5 s in all ([`probe_within`] takes another deadline) and needs no runtime. An unspecified
/// address (`0.0.0.0`, `::`), as servers bind it, is replaced by the loopback.
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
/// Returns [`ProbeError`] if the path is invalid, the connection fails, no complete status arrives in time, the
/// response is not HTTP, or the status is not a 2xx.
pub fn probe(addr: SocketAddr, path: &str) -> Result<(), ProbeError> {
    probe_within(addr, path, DEADLINE)
}

/// Works like [`probe`] with its own deadline, from the connection's first packet to the response's status.
///
/// # Errors
///
/// The same as those of [`probe`].
pub fn probe_within(addr: SocketAddr, path: &str, deadline: Duration) -> Result<(), ProbeError> {
    // Rejects paths that would add a second header line or a second request.
    if !path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(ProbeError::Path(path.to_owned()));
    }
    let mut probe = Attempt {
        since: Instant::now(),
        deadline,
    };
    probe.ask(reachable(addr), path)
}

/// The error returned when a probe fails.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProbeError {
    /// The path is invalid: it must start with `/` and contain no spaces, controls or letters beyond ASCII.
    Path(String),
    /// The connection failed; most often no process listens.
    Connect(io::Error),
    /// The connection broke.
    Io(io::Error),
    /// No status arrived within this time.
    Timeout(Duration),
    /// The response is not HTTP/1.
    NotHttp,
    /// The status was not a 2xx.
    #[non_exhaustive]
    Status {
        /// The status.
        status: u16,
        /// The part of the body that had arrived, at most 1 KiB, unescaped: escape it before it reaches a terminal.
        /// (`Display` writes it in one line without controls.)
        body: String,
    },
}

/// A probe with its deadline.
struct Attempt {
    since: Instant,
    deadline: Duration,
}

impl Attempt {
    fn ask(&mut self, addr: SocketAddr, path: &str) -> Result<(), ProbeError> {
        let mut stream =
            TcpStream::connect_timeout(&addr, self.left()?).map_err(|error| {
                match late(&error) {
                    true => ProbeError::Timeout(self.deadline),
                    false => ProbeError::Connect(error),
                }
            })?;
        let host = SocketAddr::new(addr.ip(), addr.port()); // drops the IPv6 scope
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: lameduck-probe\r\n\
             accept: application/json\r\nconnection: close\r\n\r\n"
        );
        stream
            .set_write_timeout(Some(self.left()?))
            .map_err(ProbeError::Io)?;
        // A server may respond and close before it has read the request: its response counts.
        let written = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let status = loop {
            match status(&answer)? {
                // Interim responses may come unrequested (RFC 9110, 15.2); 101 is not one of them.
                Some(100 | 102..=199) if pass_over(&mut answer) => continue,
                Some(100 | 102..=199) if answer.len() < MAX_HEAD => {}
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
        // Reads to the end if it comes soon: closing a socket with unread bytes resets the connection. A server that
        // keeps the connection open in spite of `Connection: close` does not delay the probe.
        self.deadline = self.deadline.min(self.since.elapsed() + BODY_TIMEOUT);
        while answer.len() < MAX_HEAD && matches!(self.read(&mut stream, &mut answer), Ok(1..)) {}
        match status {
            200..=299 => Ok(()),
            status => Err(ProbeError::Status {
                status,
                body: body(&answer),
            }),
        }
    }

    /// Returns the rest of the deadline. Never zero, which sockets take for "no timeout".
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

/// Replaces an unspecified address by the loopback.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => return addr,
    };
    SocketAddr::new(ip, addr.port())
}

/// Returns `true` for a socket's timeout, whose error kind depends on the platform.
fn late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

/// Parses the status of a response received so far, `HTTP/1.x NNN`; `None` if it is incomplete.
fn status(answer: &[u8]) -> Result<Option<u16>, ProbeError> {
    const VERSION: &[u8] = b"HTTP/1.";
    const WHOLE: usize = "HTTP/1.1 200".len();
    let common = answer.len().min(VERSION.len());
    if answer[..common] != VERSION[..common] {
        return Err(ProbeError::NotHttp);
    }
    // One byte more shows that the number ends there.
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

/// Removes an interim response; returns `false` if it is incomplete.
fn pass_over(answer: &mut Vec<u8>) -> bool {
    let end = head_end(answer);
    if let Some(end) = end {
        answer.drain(..end);
    }
    end.is_some()
}

/// Returns the end of the head, after its empty line.
fn head_end(answer: &[u8]) -> Option<usize> {
    let empty = answer.windows(4).position(|four| four == b"\r\n\r\n");
    empty.map(|at| at + 4)
}

/// Returns the beginning of the body, after the head.
fn body(answer: &[u8]) -> String {
    let body = head_end(answer).map_or(&[][..], |end| &answer[end..]);
    let quoted = &body[..body.len().min(MAX_QUOTED)];
    String::from_utf8_lossy(quoted).trim_end().to_owned()
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeError::Path(path) => write!(f, "invalid probe path {path:?}"),
            ProbeError::Connect(error) => write!(f, "connection failed: {error}"),
            ProbeError::Io(error) => write!(f, "connection broken: {error}"),
            ProbeError::Timeout(deadline) => write!(f, "no response within {deadline:?}"),
            ProbeError::NotHttp => f.write_str("the response is not HTTP/1"),
            ProbeError::Status { status, body } if body.is_empty() => write!(f, "status {status}"),
            ProbeError::Status { status, body } => {
                // Foreign text, bound for a terminal or a container's log.
                write!(f, "status {status}: {}", text::line(body, MAX_QUOTED))
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
