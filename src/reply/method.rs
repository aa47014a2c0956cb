use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

/// Returns the response of the library's own pages to other methods.
#[cfg(any(feature = "metrics", feature = "status"))]
pub(crate) fn get_or_head_only() -> Response<Bytes> {
    only("GET, HEAD")
}

/// Returns the response to methods other than these.
pub(crate) fn only(methods: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(b"GET or HEAD\n"));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    let headers = [
        (header::ALLOW, methods),
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}
