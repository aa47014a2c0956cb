use std::fmt;
use std::str::FromStr;

use http::HeaderName;
use http::header::{FORWARDED, InvalidHeaderName};

/// The one header that carries the client's address. No other is read: a header that the proxies do not write can be
/// written by a client.
///
/// Parsed from the header's name in any case. A name other than the two lists is a header [`Named`](Self::Named), or
/// with `:port` appended [`NamedWithPort`](Self::NamedWithPort), which `CloudFront-Viewer-Address` is by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientIpHeader {
    /// `X-Forwarded-For`: a list of addresses to which each proxy appends its peer's.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239): a list of elements to which each proxy appends one, with its peer in `for`.
    Forwarded,
    /// A header with a single address that the proxy overwrites, such as `X-Real-IP` or `CF-Connecting-IP`. Two lines,
    /// or two addresses in one line, are unreadable.
    Named(HeaderName),
    /// The same, but the address always has a port after its last colon, IPv6 without brackets:
    /// `CloudFront-Viewer-Address: 2600:300:f:abcd::9:9985`. An address without a port is unreadable.
    NamedWithPort(HeaderName),
}

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const CLOUDFRONT: HeaderName = HeaderName::from_static("cloudfront-viewer-address");

/// The suffix of a header name whose address has a port.
const WITH_PORT: &str = ":port";

impl ClientIpHeader {
    /// Returns the header's name.
    pub fn name(&self) -> &HeaderName {
        // A reference to a constant would not outlive the call: names are not promoted to statics.
        static XFF: HeaderName = X_FORWARDED_FOR;
        static RFC7239: HeaderName = FORWARDED;
        match self {
            ClientIpHeader::XForwardedFor => &XFF,
            ClientIpHeader::Forwarded => &RFC7239,
            ClientIpHeader::Named(name) | ClientIpHeader::NamedWithPort(name) => name,
        }
    }
}

impl From<HeaderName> for ClientIpHeader {
    fn from(name: HeaderName) -> Self {
        if name == X_FORWARDED_FOR {
            ClientIpHeader::XForwardedFor
        } else if name == FORWARDED {
            ClientIpHeader::Forwarded
        } else if name == CLOUDFRONT {
            ClientIpHeader::NamedWithPort(name)
        } else {
            ClientIpHeader::Named(name)
        }
    }
}

impl FromStr for ClientIpHeader {
    type Err = InvalidHeaderName;

    fn from_str(name: &str) -> Result<Self, InvalidHeaderName> {
        let name = name.trim();
        match name.strip_suffix(WITH_PORT) {
            Some(name) => HeaderName::from_bytes(name.as_bytes()).map(Self::NamedWithPort),
            None => Ok(HeaderName::from_bytes(name.as_bytes())?.into()),
        }
    }
}

/// Writes the form that is parsed, in lower case.
impl fmt::Display for ClientIpHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().as_str())?;
        match self {
            ClientIpHeader::NamedWithPort(name) if *name != CLOUDFRONT => f.write_str(WITH_PORT),
            _ => Ok(()),
        }
    }
}
