//! HTTP/2 by hand, for clients that no library would let one write: frames, and headers without compression. The
//! benchmarks' clients speak by it too.

/// The first words of a client (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113, 6).
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
}

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// SETTINGS_INITIAL_WINDOW_SIZE.
pub const INITIAL_WINDOW: u16 = 4;

/// An HTTP/2 frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Frame {
        Frame {
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("a short frame");
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
        let head = bytes.get(..9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = bytes.get(9..9 + length)?;
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Some((Frame::new(head[3], head[4], stream, payload), 9 + length))
    }

    /// Returns the error code of a RST_STREAM or a GOAWAY.
    pub fn code(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        let code = self.payload.get(at..at + 4)?;
        Some(u32::from_be_bytes(code.try_into().ok()?))
    }

    /// Returns the acknowledgement of SETTINGS or PING that a client owes for this frame.
    pub fn acknowledgement(&self) -> Option<Vec<u8>> {
        let payload = match self.kind {
            _ if self.flags & ACK != 0 => return None,
            kind::SETTINGS => &[],
            kind::PING => self.payload.as_slice(),
            _ => return None,
        };
        Some(Frame::new(self.kind, ACK, 0, payload).bytes())
    }

    /// Returns whether it ends its stream.
    pub fn ends_stream(&self) -> bool {
        self.kind == kind::RST_STREAM
            || matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & END_STREAM != 0
    }
}

/// Returns the complete frames in `bytes`.
pub fn frames(bytes: &[u8]) -> Vec<Frame> {
    Frames::default().take(bytes)
}

/// A parser of frames from bytes that arrive in pieces, each of which is read once.
#[derive(Default)]
pub struct Frames {
    partial: Vec<u8>,
}

impl Frames {
    /// Returns the frames that these bytes complete.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Frame> {
        self.partial.extend_from_slice(bytes);
        let mut rest = self.partial.as_slice();
        let mut frames = Vec::new();
        while let Some((frame, length)) = Frame::parse(rest) {
            frames.push(frame);
            rest = &rest[length..];
        }
        let taken = self.partial.len() - rest.len();
        self.partial.drain(..taken);
        frames
    }
}

pub fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in settings {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    Frame::new(kind::SETTINGS, 0, 0, payload).bytes()
}

pub fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    Frame::new(kind::WINDOW_UPDATE, 0, stream, bytes.to_be_bytes()).bytes()
}

/// Builds a header block: literal fields without indexing (RFC 7541, 6.2.2).
pub fn block(method: &str, path: &str) -> Vec<u8> {
    let fields = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", path),
    ];
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "a length of one byte");
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// Builds HEADERS that are complete; `end` says that there is no body.
pub fn request(stream: u32, method: &str, path: &str, end: bool) -> Vec<u8> {
    let flags = END_HEADERS | if end { END_STREAM } else { 0 };
    Frame::new(kind::HEADERS, flags, stream, block(method, path)).bytes()
}
