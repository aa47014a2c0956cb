//! HTTP/1 by hand, so that the tests see the wire itself.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
};

use serde_json::Value;

use super::PATIENCE;

/// A connection, kept open between requests.
pub struct Client {
    io: BufReader<TcpStream>,
}

/// The head of a response. The body is still on the connection.
#[derive(Debug)]
pub struct Head {
    pub status: u16,
    headers: Vec<(String, String)>,
}

#[derive(Debug)]
pub struct Response {
    pub head: Head,
    pub body: Vec<u8>,
}

/// Sends one request on a connection of its own.
pub fn get(address: SocketAddr, target: &str) -> io::Result<Response> {
    Client::connect(address)?.get(target)
}

// === impl Client ===

impl Client {
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let io = TcpStream::connect(address)?;
        io.set_read_timeout(Some(PATIENCE))?;
        io.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            io: BufReader::new(io),
        })
    }

    pub fn get(&mut self, target: &str) -> io::Result<Response> {
        self.send_get(target)?;
        self.response()
    }

    pub fn send_get(&mut self, target: &str) -> io::Result<()> {
        self.send(format!("GET {target} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes())
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.get_mut().write_all(bytes)
    }

    pub fn response(&mut self) -> io::Result<Response> {
        let head = self.head()?;
        let body = match head.header("content-length") {
            // There is none (RFC 9110, 6.4.1).
            _ if matches!(head.status, 204 | 304) => Vec::new(),
            Some(length) => {
                let mut body = vec![0; length.parse().map_err(io::Error::other)?];
                self.io.read_exact(&mut body)?;
                body
            }
            None => {
                let mut body = Vec::new();
                while let Some(chunk) = self.chunk()? {
                    body.extend(chunk);
                }
                body
            }
        };
        Ok(Response { head, body })
    }

    pub fn head(&mut self) -> io::Result<Head> {
        let status_line = self.line()?;
        let status = status_line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| io::Error::other(format!("no status in {status_line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Head { status, headers });
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| io::Error::other(format!("no header in {line:?}")))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads the next chunk of a chunked body; `None` after the last.
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let size_line = self.line()?;
        let size = usize::from_str_radix(&size_line, 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; size];
        self.io.read_exact(&mut chunk)?;
        match self.line()?.as_str() {
            "" if size == 0 => Ok(None),
            "" => Ok(Some(chunk)),
            other => Err(io::Error::other(format!("{other:?} after a chunk"))),
        }
    }

    /// Returns true while the server has neither closed the connection nor sent something.
    pub fn is_open(&self) -> bool {
        let socket = self.io.get_ref();
        let looked = socket
            .set_nonblocking(true)
            .and_then(|()| socket.peek(&mut [0; 1]));
        let is_open = looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        is_open && socket.set_nonblocking(false).is_ok()
    }

    /// Waits for the server to close the connection.
    pub fn closed(&mut self) -> io::Result<()> {
        match self.io.read(&mut [0; 1]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(io::Error::other("bytes where an end was awaited")),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.io.read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the connection ended after {line:?}"),
            )),
        }
    }
}

// === impl Head, impl Response ===

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        Some(value)
    }
}

impl Response {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a body of JSON")
    }
}
