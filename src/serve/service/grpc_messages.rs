/// The message boundaries of a gRPC request, followed as its body is read: each message has five bytes in front, a flag
/// and its length (the gRPC over HTTP/2 specification).
///
/// Between two messages the client owes nothing: in a stream of them it may pause for as long as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GrpcMessages {
    /// The number of the five bytes that have come.
    prefix: u8,
    /// Their value so far; then the length of the message's rest.
    left: u32,
}

const PREFIX: u8 = 5;

impl GrpcMessages {
    /// Reads bytes that have come.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.prefix < PREFIX {
                // The flag comes first and is shifted out by the four that follow.
                self.left = self.left << 8 | u32::from(*first);
                self.prefix += 1;
                bytes = rest;
            } else {
                let taken = bytes.len().min(self.left as usize);
                bytes = &bytes[taken..];
                self.left -= u32::try_from(taken).unwrap_or(self.left);
            }
            if self.prefix == PREFIX && self.left == 0 {
                self.prefix = 0;
            }
        }
    }

    /// Returns `true` if the last message that began is complete.
    pub(crate) fn is_between(self) -> bool {
        self.prefix == 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::grpc_messages::GrpcMessages;

    /// Two messages, of 3 and of 0 bytes.
    const BYTES: [u8; 13] = [1, 0, 0, 0, 3, 7, 7, 7, 0, 0, 0, 0, 0];

    #[test]
    fn a_message_ends_where_its_length_says_however_it_is_split() {
        for first in 0..=BYTES.len() {
            for second in first..=BYTES.len() {
                let mut messages = GrpcMessages::default();
                for (from, to) in [(0, first), (first, second), (second, BYTES.len())] {
                    messages.read(&BYTES[from..to]);
                    let between = matches!(to, 0 | 8 | 13);
                    assert_eq!(messages.is_between(), between, "{first} {second} {to}");
                }
            }
        }
    }

    #[test]
    fn a_large_message_is_owed_to_its_last_byte() {
        let mut messages = GrpcMessages::default();
        messages.read(&[0, 0, 1, 0, 0]);
        messages.read(&[0; 65_535]);
        assert!(!messages.is_between());
        messages.read(&[0]);
        assert!(messages.is_between());
    }
}
