use crate::accept::{Accept, Specific};
use http::{HeaderMap, HeaderValue, Method, Request, Version, header};

/// What is to be known of a request in order to refuse it in its own form.
#[derive(Clone, Debug)]
pub struct Asked {
    pub(super) form: Form,
    pub(super) below_http2: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Form {
    Text,
    Problem,
    Grpc { content_type: HeaderValue },
}

impl Asked {
    /// Looks at the method, the version, `Content-Type` and `Accept`.
    pub fn of<B>(request: &Request<B>) -> Self {
        Self::head(request.method(), request.version(), request.headers())
    }

    /// As [`of`](Self::of), from a head in parts.
    pub fn head(method: &Method, version: Version, headers: &HeaderMap) -> Self {
        Self::visiting_hosts(method, version, headers, |_| {})
    }

    /// As [`head`](Self::head), with a visit to each `Host` header in the same pass.
    pub(crate) fn visiting_hosts<'a>(
        method: &Method,
        version: Version,
        headers: &'a HeaderMap,
        mut host: impl FnMut(&'a HeaderValue),
    ) -> Self {
        // Every call is a POST. A refusal with 200 is for nobody else, whatever type is claimed: as the answer
        // to a GET a cache would keep it, and to a CONNECT it is an open tunnel.
        let may_be_grpc = *method == Method::POST;
        let mut asked = Asked {
            form: Form::Text,
            below_http2: version < Version::HTTP_2,
        };
        // One pass instead of a look-up each: a request has few headers, and to compare two names that are
        // in the standard is to compare two small numbers.
        for (name, value) in headers {
            if name == header::HOST {
                host(value);
            } else if may_be_grpc && name == header::CONTENT_TYPE && is_grpc(value.as_bytes()) {
                // The same kind that was sent: grpc, grpc-web and their codecs differ in nothing else that
                // a Trailers-Only answer shows. The clone shares the bytes.
                let content_type = value.clone();
                asked.form = Form::Grpc { content_type };
            } else if name == header::ACCEPT
                && matches!(asked.form, Form::Text)
                && may_want_json(value)
                && prefers_json(headers)
            {
                asked.form = Form::Problem;
            }
        }
        asked
    }

    /// Whether it is a gRPC request, by its method and content type (gRPC-Web too).
    pub(crate) fn is_grpc(&self) -> bool {
        matches!(self.form, Form::Grpc { .. })
    }

    /// Whether it is a gRPC request, and not gRPC-Web.
    #[cfg(feature = "serve")]
    pub(crate) fn is_native_grpc(&self) -> bool {
        match &self.form {
            Form::Grpc { content_type } => is_native_grpc(content_type.as_bytes()),
            Form::Text | Form::Problem => false,
        }
    }
}

/// gRPC, or what is like it (gRPC-Web).
fn is_grpc(content_type: &[u8]) -> bool {
    matches!(
        after_grpc(content_type),
        Some(None | Some(b'+' | b';' | b'-'))
    )
}

/// gRPC itself, with whatever codec.
pub(crate) fn is_native_grpc(content_type: &[u8]) -> bool {
    matches!(after_grpc(content_type), Some(None | Some(b'+' | b';')))
}

/// What stands right behind `application/grpc`, where it does stand.
fn after_grpc(content_type: &[u8]) -> Option<Option<u8>> {
    const GRPC: &[u8] = b"application/grpc";
    let start = content_type.get(..GRPC.len())?;
    start
        .eq_ignore_ascii_case(GRPC)
        .then(|| content_type.get(GRPC.len()).copied())
}

/// Whether problem details are asked for, by a range that names JSON or its type, and not liked less than text. `*/*`
/// alone is no wish for JSON.
fn prefers_json(headers: &HeaderMap) -> bool {
    let accept = Accept::of(headers);
    let json = ["problem+json", "json"]
        .into_iter()
        .filter_map(|subtype| accept.weight("application", subtype))
        .filter(|(specific, _)| *specific > Specific::Any)
        .map(|(_, weight)| weight)
        .max()
        .unwrap_or(0);
    let text = accept
        .weight("text", "plain")
        .map_or(0, |(_, weight)| weight);
    json > 0 && json >= text
}

/// Cheap, and for most requests the end of it: without such a range there is nothing to weigh.
fn may_want_json(accept: &HeaderValue) -> bool {
    let bytes = accept.as_bytes();
    let named = |name: &[u8]| {
        bytes
            .windows(name.len())
            .any(|at| at.eq_ignore_ascii_case(name))
    };
    bytes != b"*/*" && (named(b"json") || named(b"application/*"))
}
