//! What a head says of a gRPC call, as in the gRPC over HTTP/2 specification.

#[cfg(any(feature = "metrics", feature = "tracing"))]
mod code;

#[cfg(any(feature = "metrics", feature = "tracing"))]
pub(crate) use code::Code;

use http::{HeaderMap, Method, header};

/// The longest path that is a method's name, in bytes.
const MAX_PATH: usize = 256;

/// Returns whether a request with this head is a gRPC call (gRPC-Web too).
pub(crate) fn is_call(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::POST && has_grpc_type(headers)
}

/// Returns `true` if the content type is gRPC's, or that of a variant of it.
pub(crate) fn has_grpc_type(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| is_grpc(kind.as_bytes()))
}

/// Returns `true` for gRPC and its variants (gRPC-Web).
pub(crate) fn is_grpc(content_type: &[u8]) -> bool {
    matches!(
        after_grpc(content_type),
        Some(None | Some(b'+' | b';' | b'-'))
    )
}

/// Returns `true` for gRPC itself, with any codec.
pub(crate) fn is_native_grpc(content_type: &[u8]) -> bool {
    matches!(after_grpc(content_type), Some(None | Some(b'+' | b';')))
}

/// Returns the byte after `application/grpc`, if the content type begins with it.
fn after_grpc(content_type: &[u8]) -> Option<Option<u8>> {
    const GRPC: &[u8] = b"application/grpc";
    let start = content_type.get(..GRPC.len())?;
    start
        .eq_ignore_ascii_case(GRPC)
        .then(|| content_type.get(GRPC.len()).copied())
}

/// Returns whether a path names a method: `/package.Service/Method`.
pub(crate) fn is_method(path: &str) -> bool {
    let name = |part: &str| {
        let mut bytes = part.bytes();
        !part.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || b"._".contains(&b))
    };
    let parts = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    path.len() <= MAX_PATH && parts.is_some_and(|(service, method)| name(service) && name(method))
}

#[cfg(test)]
mod tests {
    use super::is_method;

    #[test]
    fn a_method_is_a_service_and_a_name() {
        for path in ["/a.b.C/D", "/C/D_1", "/grpc.health.v1.Health/Check"] {
            assert!(is_method(path), "{path}");
        }
        let long = format!("/a.B/{}", "c".repeat(300));
        for path in [
            "", "/", "/a", "/a/", "//b", "/a/b/c", "/a/b c", "/a/%62", &long,
        ] {
            assert!(!is_method(path), "{path}");
        }
    }
}
