//! The head of a request in parts, as a user's function takes it.

use http::Request;
use http::request::Parts;

/// Shows `look` the head of a request, which is taken apart for that time: `http` shows parts only without the body.
pub(crate) fn with_parts<B, T>(request: &mut Request<B>, look: impl FnOnce(&Parts) -> T) -> T {
    let (mut parts, ()) = Request::new(()).into_parts();
    swap(&mut parts, request);
    let seen = look(&parts);
    swap(&mut parts, request);
    seen
}

fn swap<B>(parts: &mut Parts, request: &mut Request<B>) {
    use std::mem::swap;
    swap(&mut parts.method, request.method_mut());
    swap(&mut parts.uri, request.uri_mut());
    swap(&mut parts.version, request.version_mut());
    swap(&mut parts.headers, request.headers_mut());
    swap(&mut parts.extensions, request.extensions_mut());
}
