use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

use super::RequestId;
use crate::control::Fact;
use crate::served;

#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub header: HeaderName,
    pub trust: bool,
}

/// The id of a request as its response's header shows it.
pub(crate) type ResponseId = (HeaderName, HeaderValue);

impl Shared {
    /// Gives the request its id.
    pub(super) fn identify<B>(&self, request: &mut Request<B>) -> ResponseId {
        let id = self.id(request.headers_mut());
        let response_id = (self.header.clone(), id.header_value());
        served::learn(request.extensions(), Fact::Id(&id));
        request.extensions_mut().insert(id);
        response_id
    }

    /// Returns the incoming id or a new one, and removes every other id from the headers.
    fn id(&self, headers: &mut HeaderMap) -> RequestId {
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

/// Adds the id to the response's header.
pub(crate) fn show<B>(response: &mut Response<B>, (name, id): ResponseId) {
    // Not `append`: a second id would leave the client to guess.
    response.headers_mut().insert(name, id);
}
