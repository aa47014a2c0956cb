//! The client's input, frame by frame.

/// The length of a frame's head (RFC 9113, 4.1).
const HEAD: usize = 9;

mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// A parser that follows the client's bytes from the preface on: it knows where a frame ends, and if a header block is
/// open. It keeps no payload but a PING's.
#[derive(Default)]
pub(crate) struct Inbound {
    /// The number of preface bytes that have come.
    preface: u8,
    /// The number of bytes of the frame's head that have come.
    filled: u8,
    head: [u8; HEAD],
    /// The number of payload bytes that the frame still lacks.
    left: u32,
    payload: [u8; 8],
    in_block: bool,
    /// The stream of the last header block.
    block_of: u32,
    newest: u32,
    /// The number of streams that the client has opened since the last query, and the first of them.
    opened: u32,
    ids: [u32; Inbound::IDS],
    /// `true` if the client's header table for the server is smaller than HPACK's default.
    small_table: bool,
    /// The number of frames that have ended outside of an open header block.
    ended: u32,
    settings: bool,
    settings_acked: bool,
    window_updates: u32,
    /// The payload of the last PING that the client acknowledged.
    pong: Option<[u8; 8]>,
}

impl Inbound {
    const PREFACE: u8 = 24;
    const IDS: usize = 8;

    /// Parses bytes that came.
    pub(crate) fn saw(&mut self, mut bytes: &[u8]) {
        if self.preface < Self::PREFACE {
            let most = usize::from(Self::PREFACE - self.preface);
            let (said, rest) = bytes.split_at(most.min(bytes.len()));
            self.preface += u8::try_from(said.len()).unwrap_or(Self::PREFACE);
            bytes = rest;
        }
        while !bytes.is_empty() {
            if usize::from(self.filled) < HEAD {
                let at = usize::from(self.filled);
                let length = bytes.len().min(HEAD - at);
                let (head, rest) = bytes.split_at(length);
                self.head[at..at + length].copy_from_slice(head);
                bytes = rest;
                self.filled += u8::try_from(length).unwrap_or_default();
                if usize::from(self.filled) < HEAD {
                    return;
                }
                let [a, b, c, ..] = self.head;
                self.left = u32::from_be_bytes([0, a, b, c]);
            } else {
                let length = bytes.len().min(self.left as usize);
                let (payload, rest) = bytes.split_at(length);
                self.keep(payload);
                bytes = rest;
                // No frame is longer than 24 bits can express.
                self.left -= u32::try_from(length).unwrap_or(self.left);
            }
            if self.left == 0 {
                self.end_frame();
            }
        }
    }

    /// Keeps a PING's payload, or a setting, which may come in pieces.
    fn keep(&mut self, payload: &[u8]) {
        const HEADER_TABLE_SIZE: [u8; 2] = [0, 1];
        let (from, left) = (self.length(), self.left as usize);
        if self.head[3] == kind::SETTINGS {
            for (at, byte) in (from - left..).zip(payload) {
                self.payload[at % 6] = *byte;
                let [a, b, c, d, e, f, ..] = self.payload;
                if at % 6 == 5 && [a, b] == HEADER_TABLE_SIZE {
                    self.small_table |= u32::from_be_bytes([c, d, e, f]) < 4096;
                }
            }
        }
        if self.head[3] == kind::PING && from == self.payload.len() {
            let at = from - left;
            self.payload[at..at + payload.len()].copy_from_slice(payload);
        }
    }

    fn length(&self) -> usize {
        let [a, b, c, ..] = self.head;
        u32::from_be_bytes([0, a, b, c]) as usize
    }

    fn end_frame(&mut self) {
        let (kind, flags) = (self.head[3], self.head[4]);
        match kind {
            kind::HEADERS | kind::CONTINUATION | kind::PUSH_PROMISE => {
                if kind == kind::HEADERS {
                    let [.., a, b, c, d] = self.head;
                    self.block_of = u32::from_be_bytes([a & 0x7f, b, c, d]);
                }
                self.in_block = flags & END_HEADERS == 0;
                if !self.in_block && self.block_of > self.newest {
                    self.newest = self.block_of;
                    if let Some(id) = self.ids.get_mut(self.opened as usize) {
                        *id = self.newest;
                    }
                    self.opened = self.opened.saturating_add(1);
                }
            }
            kind::SETTINGS if flags & ACK == 0 => self.settings = true,
            kind::SETTINGS => self.settings_acked = true,
            kind::PING if flags & ACK != 0 && self.length() == self.payload.len() => {
                self.pong = Some(self.payload);
            }
            kind::WINDOW_UPDATE => self.window_updates = self.window_updates.wrapping_add(1),
            _ => {}
        }
        self.filled = 0;
        self.ended = self.ended.wrapping_add(u32::from(!self.in_block));
    }

    /// Returns the number of streams that the client has opened since [`forget_opened`](Self::forget_opened), and the
    /// first of them.
    pub(crate) fn opened(&self) -> (u32, &[u32]) {
        let known = self.ids.len().min(self.opened as usize);
        (self.opened, &self.ids[..known])
    }

    pub(crate) fn forget_opened(&mut self) {
        self.opened = 0;
    }

    /// Returns `true` if the client's header table for the server is smaller than HPACK's default, so that a header
    /// block must first announce the new size.
    pub(crate) fn has_small_table(&self) -> bool {
        self.small_table
    }

    /// Returns `true` if the preface is complete and no frame or header block is under way.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.preface == Self::PREFACE && self.filled == 0 && !self.in_block
    }

    /// Returns `true` if the client owes the end of input that has a head's deadline: its SETTINGS, a header block, or
    /// a frame that has begun. DATA belongs to a body, with deadlines of its own.
    pub(crate) fn owes_head(&self) -> bool {
        let is_data = self.filled > 3 && self.head[3] == kind::DATA;
        !self.settings || self.in_block || (self.filled > 0 && !is_data)
    }

    /// Returns a number that changes with each of these.
    pub(crate) fn heads(&self) -> u32 {
        match self.settings {
            true => self.ended,
            false => 0,
        }
    }

    /// Returns the number of bytes that may be read without passing the end of the frame; at least one.
    pub(crate) fn to_the_end(&self) -> usize {
        if self.preface < Self::PREFACE {
            usize::from(Self::PREFACE - self.preface)
        } else if usize::from(self.filled) < HEAD {
            HEAD - usize::from(self.filled)
        } else {
            self.left as usize
        }
    }

    /// Returns `true` once the client has acknowledged the server's SETTINGS.
    pub(crate) fn acknowledged_settings(&self) -> bool {
        self.settings_acked
    }

    /// Returns the number of WINDOW_UPDATEs that have come.
    pub(crate) fn window_updates(&self) -> u32 {
        self.window_updates
    }

    /// Returns the payload of the last PING that the client acknowledged.
    pub(crate) fn pong(&self) -> Option<[u8; 8]> {
        self.pong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([kind, flags, 0, 0, 0, 1]);
        bytes.extend(payload);
        bytes
    }

    /// Returns the preface and frames, each with a flag for the end of a message.
    fn script() -> Vec<(Vec<u8>, bool)> {
        vec![
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), true),
            (frame(kind::SETTINGS, 0, &[0; 12]), true),
            (frame(kind::SETTINGS, ACK, &[]), true),
            (frame(kind::HEADERS, 0, &[0x82; 20]), false),
            (frame(kind::CONTINUATION, 0, &[]), false),
            (frame(kind::CONTINUATION, END_HEADERS, &[0x86]), true),
            (frame(0, 0, &[7; 300]), true),
            (frame(kind::WINDOW_UPDATE, 0, &[0, 0, 1, 0]), true),
            (frame(kind::PING, 0, b"question"), true),
            (frame(kind::PING, ACK, b"answered"), true),
            (frame(0, 1, &[]), true),
        ]
    }

    #[test]
    fn every_split_is_followed_alike() {
        let script = script();
        let bytes: Vec<u8> = script.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let mut ends = Vec::new();
        let mut at = 0;
        for (bytes, between) in &script {
            at += bytes.len();
            ends.push((at, *between));
        }
        for size in 1..=bytes.len() {
            let mut inbound = Inbound::default();
            let mut at = 0;
            for chunk in bytes.chunks(size) {
                inbound.saw(chunk);
                at += chunk.len();
                let between = ends.contains(&(at, true));
                assert_eq!(inbound.is_between_messages(), between, "{at} by {size}");
            }
            assert!(inbound.acknowledged_settings() && !inbound.owes_head());
            assert_eq!(inbound.window_updates(), 1);
            assert_eq!(inbound.pong(), Some(*b"answered"));
        }
    }

    #[test]
    fn header_blocks_settings_and_half_frames_are_owed_and_data_is_not() {
        for (bytes, between) in script() {
            let mut inbound = Inbound::default();
            if !bytes.starts_with(b"PRI") {
                inbound.saw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            }
            assert!(inbound.owes_head());
            // Before SETTINGS no other frame counts.
            inbound.saw(&bytes);
            let is_settings = bytes[3] == kind::SETTINGS && bytes[4] & ACK == 0;
            assert_eq!(inbound.owes_head(), !is_settings || !between);
            if bytes.starts_with(b"PRI") {
                continue;
            }
            let mut inbound = Inbound::default();
            inbound.saw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            inbound.saw(&frame(kind::SETTINGS, 0, &[]));
            assert!(!inbound.owes_head());
            let before = inbound.heads();
            for (at, byte) in bytes.iter().enumerate() {
                inbound.saw(&[*byte]);
                let ends = at + 1 == bytes.len();
                let is_data = bytes[3] == kind::DATA && at >= 3;
                let owes = if ends { !between } else { !is_data };
                assert_eq!(inbound.owes_head(), owes, "{bytes:?} at {at}");
                assert_eq!(inbound.heads() == before, !(ends && between));
            }
        }
    }

    #[test]
    fn bounded_reads_stop_at_each_end() {
        let script = script();
        let bytes: Vec<u8> = script.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let (mut inbound, mut at, mut stops) = (Inbound::default(), 0, Vec::new());
        while at < bytes.len() {
            let length = inbound.to_the_end().min(bytes.len() - at);
            assert!(length > 0);
            inbound.saw(&bytes[at..at + length]);
            at += length;
            if inbound.is_between_messages() {
                stops.push(at);
            }
        }
        let mut end = 0;
        let mut right = Vec::new();
        for (bytes, between) in script {
            end += bytes.len();
            if between {
                right.push(end);
            }
        }
        assert_eq!(stops, right);
    }

    #[test]
    fn a_question_is_no_answer_and_a_wrong_length_no_ping() {
        let mut inbound = Inbound::default();
        inbound.saw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        inbound.saw(&frame(kind::PING, 0, b"question"));
        inbound.saw(&frame(kind::PING, ACK, b"short"));
        inbound.saw(&frame(kind::PING, ACK, b"longer than eight"));
        assert_eq!(inbound.pong(), None);
        assert!(inbound.is_between_messages());
    }
}
