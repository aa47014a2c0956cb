//! The route of a request, of which there are few, whatever clients send: the router's, or a gRPC call's method.

use http::uri::PathAndQuery;
use http::{Extensions, Request, Uri};

use crate::grpc;

/// A route. Cheap to clone: it is shared with the request.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// The pattern matched by the router, `/users/{id}`.
    #[cfg(feature = "axum")]
    Matched(axum::extract::MatchedPath),
    /// The method of a gRPC call, `/package.Service/Method`. Whether there is such a method, the response shows.
    Method(PathAndQuery),
}

impl Route {
    /// Returns the route of a request. `grpc`: it is a [call](grpc::is_call).
    pub(crate) fn of<B>(request: &Request<B>, grpc: bool) -> Option<Self> {
        if let Some(path) = method_of(grpc, request.uri()) {
            return Some(Route::Method(path.clone()));
        }
        #[cfg(feature = "axum")]
        return request.extensions().get().cloned().map(Route::Matched);
        #[cfg(not(feature = "axum"))]
        None
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            #[cfg(feature = "axum")]
            Route::Matched(path) => path.as_str(),
            Route::Method(path) => path.path(),
        }
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn is_grpc(&self) -> bool {
        matches!(self, Route::Method(_))
    }
}

/// Returns the route of a request with this head. `grpc`: it is a [call](grpc::is_call).
pub(crate) fn name<'a>(grpc: bool, uri: &'a Uri, extensions: &'a Extensions) -> Option<&'a str> {
    match method_of(grpc, uri) {
        Some(path) => Some(path.path()),
        None => matched(extensions),
    }
}

/// Returns the pattern matched by the router, if it exposes it (feature `axum`).
pub(crate) fn matched(extensions: &Extensions) -> Option<&str> {
    #[cfg(feature = "axum")]
    return extensions
        .get::<axum::extract::MatchedPath>()
        .map(|path| path.as_str());
    #[cfg(not(feature = "axum"))]
    {
        let _ = extensions;
        None
    }
}

/// Returns the path of a gRPC call that names a method.
pub(crate) fn method_of(grpc: bool, uri: &Uri) -> Option<&PathAndQuery> {
    let path = uri.path_and_query().filter(|_| grpc);
    path.filter(|path| grpc::is_method(path.path()))
}
