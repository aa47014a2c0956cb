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
        // One pass instead of a look-up each: a request has few headers, and comparing two standard names is comparing
        // two small numbers.
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

    /// Returns `true` for a gRPC request other than gRPC-Web.
    #[cfg(feature = "serve")]
    pub(crate) fn is_native_grpc(&self) -> bool {
        match &self.form {
            Form::Grpc { content_type } => is_native_grpc(content_type.as_bytes()),
            Form::Text | Form::Problem => false,
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

/// A cheap test that decides most requests: without such a range there are no weights to compare.
fn may_want_json(accept: &HeaderValue) -> bool {
    let bytes = accept.as_bytes();
    let named = |name: &[u8]| {
        bytes
            .windows(name.len())
            .any(|at| at.eq_ignore_ascii_case(name))
    };
    bytes != b"*/*" && (named(b"json") || named(b"application/*"))
}
