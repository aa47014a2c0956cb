use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use http::{Extensions, HeaderValue};

/// The maximum length of an incoming id, in bytes.
const MAX_LEN: usize = 128;

/// The id of a request: 1 to 128 letters, digits and `- . _ ~ + / = :`. Clones share it.
///
/// With feature `axum` it is an extractor. Elsewhere [`RequestId::of`] reads it from the request's extensions.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId {
    value: HeaderValue,
}

impl RequestId {
    /// Creates a random id: 128 bits in 32 hexadecimal digits; see the [module](crate::request_id).
    pub fn random() -> Self {
        let digits = Bytes::from_owner(hex(random_bits()));
        RequestId {
            value: HeaderValue::from_maybe_shared(digits)
                .unwrap_or_else(|_| HeaderValue::from_static("0")), // infallible: digits are a valid header value
        }
    }

    /// Returns the id that [`RequestIdLayer`](crate::RequestIdLayer) stored in these extensions; `None` if the request
    /// did not pass through that layer.
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Parses the id in this header; `None` if it is not acceptable.
    pub(crate) fn kept(value: &HeaderValue) -> Option<Self> {
        let bytes = value.as_bytes();
        let fits =
            (1..=MAX_LEN).contains(&bytes.len()) && bytes.iter().all(|&byte| is_allowed(byte));
        fits.then(|| RequestId {
            value: value.clone(),
        })
    }

    /// Returns the id.
    pub fn as_str(&self) -> &str {
        // The alphabet of ids is ASCII.
        self.value.to_str().unwrap_or_default()
    }

    /// Returns the id as a header value, for requests made on behalf of this one.
    pub fn header_value(&self) -> HeaderValue {
        self.value.clone()
    }
}

const fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=' | b':')
}

/// Returns SipHash values under two keys of this thread. The standard library asks the operating system for a thread's
/// keys, so threads (and processes) do not repeat each other and need not share a counter.
fn random_bits() -> u128 {
    thread_local! {
        static KEYS: [RandomState; 2] = [RandomState::new(), RandomState::new()];
        static COUNTER: Cell<u64> = const { Cell::new(0) };
    }
    let count = COUNTER.with(|counter| {
        counter.set(counter.get().wrapping_add(1));
        counter.get()
    });
    KEYS.with(|[high, low]| {
        u128::from(high.hash_one(count)) << 64 | u128::from(low.hash_one(count))
    })
}

fn hex(bits: u128) -> [u8; 32] {
    let mut digits = [0; 32];
    for (at, digit) in digits.iter_mut().enumerate() {
        let nibble = bits >> (124 - 4 * at) & 0xf;
        *digit = b"0123456789abcdef"[nibble as usize];
    }
    digits
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestId").field(&self.as_str()).finish()
    }
}
