//! The route matched by the router, if the router exposes it (feature `axum`).

use http::Extensions;

#[cfg(feature = "axum")]
pub(crate) type Route = axum::extract::MatchedPath;
#[cfg(not(feature = "axum"))]
pub(crate) type Route = std::convert::Infallible;

/// Returns the matched route. Cheap to clone: it is shared with the request.
pub(crate) fn matched(extensions: &Extensions) -> Option<&Route> {
    extensions.get()
}

/// Returns the route's pattern, `/users/{id}`.
#[cfg(feature = "axum")]
pub(crate) fn name(route: &Route) -> &str {
    route.as_str()
}
#[cfg(not(feature = "axum"))]
pub(crate) fn name(route: &Route) -> &str {
    match *route {}
}
