use std::fmt;
use std::str::FromStr;

use http::HeaderName;
use http::header::{FORWARDED, InvalidHeaderName};

/// The one header in which the proxies tell the client's address. No other is read: what the proxies do
/// not write, a client can.
///
/// Parsed from the header's name in any case; a name other than the two lists is a header
/// [`Named`](Self::Named).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientIpHeader {
    /// `X-Forwarded-For`: a list of addresses to which each proxy appends its peer's.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239): a list of elements to which each proxy appends one, with its peer in `for`.
    Forwarded,
    /// A header that holds one address and that the proxy overwrites, such as `X-Real-IP` or
    /// `CF-Connecting-IP`. Two lines, or two addresses in one, cannot be read.
    Named(HeaderName),
}

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl ClientIpHeader {
    /// The header's name.
    pub fn name(&self) -> &HeaderName {
        // A reference to a constant would not outlive the call: names are not promoted to statics.
        static XFF: HeaderName = X_FORWARDED_FOR;
        static RFC7239: HeaderName = FORWARDED;
        match self {
            ClientIpHeader::XForwardedFor => &XFF,
            ClientIpHeader::Forwarded => &RFC7239,
            ClientIpHeader::Named(name) => name,
        }
    }
}

impl From<HeaderName> for ClientIpHeader {
    fn from(name: HeaderName) -> Self {
        if name == X_FORWARDED_FOR {
            ClientIpHeader::XForwardedFor
        } else if name == FORWARDED {
            ClientIpHeader::Forwarded
        } else {
            ClientIpHeader::Named(name)
        }
    }
}

impl FromStr for ClientIpHeader {
    type Err = InvalidHeaderName;

    fn from_str(name: &str) -> Result<Self, InvalidHeaderName> {
        Ok(HeaderName::from_bytes(name.trim().as_bytes())?.into())
    }
}

/// The header's name, in lower case.
impl fmt::Display for ClientIpHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().as_str())
    }
}
