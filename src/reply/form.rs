use crate::accept::{Accept, Specific};
use crate::grpc::is_grpc;
#[cfg(feature = "serve")]
use crate::grpc::is_native_grpc;
use http::{HeaderMap, HeaderValue, Method, Request, Version, header};

/// The format of a refusal, as the request negotiates it: text, problem details (RFC 9457), or gRPC.
#[derive(Clone, Debug)]
pub struct ReplyFormat {
    pub(super) form: Form,
    pub(super) below_http2: bool,
}

/// The kind of a gRPC request.
#[cfg(feature = "serve")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum GrpcKind {
    /// Plain messages.
    Native,
    /// Messages that may be in base64.
    Web,
}

#[derive(Clone, Debug)]
pub(super) enum Form {
    Text,
    Problem,
    Grpc { content_type: HeaderValue },
}

impl ReplyFormat {
    /// Inspects the method, the version, `Content-Type` and `Accept`.
    pub fn of<B>(request: &Request<B>) -> Self {
        Self::head(request.method(), request.version(), request.headers())
    }

    /// Works like [`of`](Self::of) on the parts of a head.
    pub fn head(method: &Method, version: Version, headers: &HeaderMap) -> Self {
        Self::visiting_hosts(method, version, headers, |_| {})
    }

    /// Works like [`head`](Self::head), and visits each `Host` header in the same pass.
    pub(crate) fn visiting_hosts<'a>(
        method: &Method,
        version: Version,
        headers: &'a HeaderMap,
        mut host: impl FnMut(&'a HeaderValue),
    ) -> Self {
        // Every gRPC call is a POST. No other method may be refused with 200, whatever type it claims: a cache would
        // keep the response to a GET, and in response to a CONNECT it is an open tunnel.
        let may_be_grpc = *method == Method::POST;
        let mut format = ReplyFormat {
            form: Form::Text,
            below_http2: version < Version::HTTP_2,
        };
        // One pass instead of a look-up each: comparing two standard names is comparing two small numbers, and a
        // look-up costs as much as five of them.
        for (name, value) in headers {
            if name == header::HOST {
                host(value);
            } else if may_be_grpc && name == header::CONTENT_TYPE && is_grpc(value.as_bytes()) {
                // The response has the request's type: grpc, grpc-web and their codecs do not differ otherwise in a
                // Trailers-Only response. The clone shares the bytes.
                let content_type = value.clone();
                format.form = Form::Grpc { content_type };
            } else if name == header::ACCEPT
                && matches!(format.form, Form::Text)
                && may_want_json(value)
                && prefers_json(headers)
            {
                format.form = Form::Problem;
            }
        }
        format
    }

    /// Returns `true` for a gRPC request, by its method and content type (gRPC-Web too).
    pub(crate) fn is_grpc(&self) -> bool {
        matches!(self.form, Form::Grpc { .. })
    }

    /// Returns the kind of a gRPC request.
    #[cfg(feature = "serve")]
    pub(crate) fn grpc(&self) -> Option<GrpcKind> {
        match &self.form {
            Form::Grpc { content_type } if is_native_grpc(content_type.as_bytes()) => {
                Some(GrpcKind::Native)
            }
            Form::Grpc { .. } => Some(GrpcKind::Web),
            Form::Text | Form::Problem => None,
        }
    }
}

/// Returns `true` if a range names JSON or problem details and does not prefer text. `*/*` alone does not ask for JSON.
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

/// A cheap test that decides most requests: without such a range there are no weights to compare. A browser's header is
/// long, so each byte is looked at once.
fn may_want_json(accept: &HeaderValue) -> bool {
    const ANY: &[u8] = b"application/*";
    let bytes = accept.as_bytes();
    let is_range = |(at, byte): (usize, &u8)| match byte {
        b'j' | b'J' => bytes[at..]
            .get(..4)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"json")),
        b'*' => bytes[..=at]
            .last_chunk::<{ ANY.len() }>()
            .is_some_and(|range| range.eq_ignore_ascii_case(ANY)),
        _ => false,
    };
    bytes.len() >= ANY.len() && bytes.iter().enumerate().any(is_range)
}
