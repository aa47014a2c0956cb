use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};

use sha2::{Digest, Sha256};

/// The identity under which requests are counted together: an address, the bytes of a header, or any function of the
/// request.
///
/// A key has a fixed size, so that the number of keys bounds a limiter's memory. Up to 31 bytes are kept verbatim;
/// longer input is kept as its SHA-256. The same input gives the same key on every instance.
///
/// ```
/// use lameduck::rate_limit::Key;
///
/// assert_eq!(Key::from("tenant-7"), Key::bytes(b"tenant-7"));
/// let one = Key::ip("2001:db8::1".parse().unwrap(), 64);
/// let other = Key::ip("2001:db8::2".parse().unwrap(), 64);
/// assert_eq!(one, other, "a /64 is one customer");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The kind, which decides how many of the bytes behind it count; the rest is 0.
    bytes: [u8; Key::LARGEST + 1],
}

const UNKNOWN: u8 = 0x80;
const V4: u8 = 0x84;
const V6: u8 = 0x86;
const HASHED: u8 = 0xff;

impl Key {
    /// The maximum length that is kept verbatim, in bytes.
    pub const LARGEST: usize = 31;

    /// The key of all unidentified clients, which are counted together.
    pub const UNKNOWN: Key = {
        let mut bytes = [0; Key::LARGEST + 1];
        bytes[0] = UNKNOWN;
        Key { bytes }
    };

    /// Creates a key from an address. Only the first `prefix` bits of an IPv6 address count, since a client with one
    /// address has a network of them. IPv4-mapped IPv6 is IPv4. A `prefix` over 128 is 128.
    pub fn ip(address: IpAddr, prefix: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::inline(V4, &address.octets()),
            IpAddr::V6(address) => {
                let host_bits = 128_u32.saturating_sub(u32::from(prefix));
                let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
                let network = Ipv6Addr::from_bits(address.to_bits() & mask);
                Self::inline(V6, &network.octets())
            }
        }
    }

    /// Creates a key from these bytes.
    pub fn bytes(bytes: &[u8]) -> Self {
        match u8::try_from(bytes.len()) {
            Ok(length) if bytes.len() <= Self::LARGEST => Self::inline(length, bytes),
            _ => Self::inline(HASHED, &Sha256::digest(bytes)[..Self::LARGEST]),
        }
    }

    fn inline(kind: u8, from: &[u8]) -> Self {
        let mut bytes = [0; Self::LARGEST + 1];
        bytes[0] = kind;
        bytes[1..=from.len()].copy_from_slice(from);
        Key { bytes }
    }

    /// Returns the number of bytes that count behind the kind.
    fn length(&self) -> usize {
        match self.bytes[0] {
            UNKNOWN => 0,
            V4 => 4,
            V6 => 16,
            length => usize::from(length).min(Self::LARGEST),
        }
    }
}

/// Writes what counts in one piece: a hash of an IPv4 address is that of five bytes.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.bytes[..=self.length()]);
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::bytes(text.as_bytes())
    }
}

impl From<u64> for Key {
    fn from(number: u64) -> Self {
        Self::bytes(&number.to_be_bytes())
    }
}

/// Writes the key as it appears in Redis and in logs: text as text, an address as an address, other bytes in
/// hexadecimal.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, a, b, c, d, ..] = self.bytes;
        let bytes = &self.bytes[1..=self.length()];
        match kind {
            UNKNOWN => f.write_str("unknown"),
            V4 => write!(f, "ip:{}", std::net::Ipv4Addr::new(a, b, c, d)),
            V6 => {
                let octets: [u8; 16] = std::array::from_fn(|at| self.bytes[1 + at]);
                write!(f, "ip:{}", Ipv6Addr::from(octets))
            }
            HASHED => hex(f, "sha256:", bytes),
            _ => match std::str::from_utf8(bytes) {
                Ok(text) if text.bytes().all(|b| b.is_ascii_graphic()) => write!(f, "text:{text}"),
                _ => hex(f, "hex:", bytes),
            },
        }
    }
}

fn hex(f: &mut fmt::Formatter<'_>, kind: &str, bytes: &[u8]) -> fmt::Result {
    f.write_str(kind)?;
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str, prefix: u8) -> Key {
        Key::ip(text.parse().unwrap(), prefix)
    }

    #[test]
    fn an_address_is_counted_by_its_network() {
        assert_eq!(ip("2001:db8:1:2:3::4", 64), ip("2001:db8:1:2::", 64));
        assert_ne!(ip("2001:db8:1:2::", 64), ip("2001:db8:1:3::", 64));
        assert_eq!(ip("2001:db8::", 0), ip("fe80::1", 0));
        assert_ne!(ip("2001:db8::1", 200), ip("2001:db8::2", 200));
        assert_eq!(ip("::ffff:192.0.2.1", 64), ip("192.0.2.1", 64));
        assert_ne!(ip("192.0.2.1", 64), ip("192.0.2.2", 64));
    }

    #[test]
    fn different_things_are_different_keys() {
        let long = "x".repeat(32);
        let keys = [
            Key::UNKNOWN,
            Key::bytes(b""),
            Key::bytes(b"\0"),
            Key::bytes(&[192, 0, 2, 1]),
            ip("192.0.2.1", 64),
            ip("::", 64),
            Key::from(&long[..31]),
            Key::from(&*long),
            Key::from(7),
        ];
        let texts: std::collections::HashSet<String> = keys.iter().map(Key::to_string).collect();
        let set: std::collections::HashSet<Key> = keys.into_iter().collect();
        assert_eq!(
            (set.len(), texts.len()),
            (keys.len(), keys.len()),
            "{texts:?}"
        );
    }
}
