use http::{HeaderMap, HeaderName};

use super::RequestId;

#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub header: HeaderName,
    pub trust: bool,
}

impl Shared {
    /// Returns the incoming id or a new one, and removes every other id from the headers.
    pub(crate) fn id(&self, headers: &mut HeaderMap) -> RequestId {
        let mut lines = headers.get_all(&self.header).iter();
        let (first, second) = (lines.next(), lines.next());
        let kept = match (first, second) {
            (Some(only), None) if self.trust => RequestId::kept(only),
            _ => None,
        };
        let came = first.is_some();
        kept.unwrap_or_else(|| {
            let made = RequestId::random();
            if came {
                headers.insert(self.header.clone(), made.header_value());
            }
            made
        })
    }
}
