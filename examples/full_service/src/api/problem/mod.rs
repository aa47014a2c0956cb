//! Errors as problem details (RFC 9457).

mod kind;

use std::{
    borrow::Cow,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody, to_bytes},
    extract::Request,
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Uri,
        header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use futures_util::future::Either;
use serde::Serialize;
use tower::Service;
use tracing::{error, warn};
use utoipa::ToSchema;

pub use self::kind::Kind;
use crate::store::StoreError;

/// The media type of all errors.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The longest refusal of another layer whose sentence is kept, in bytes.
const LONGEST_SENTENCE: usize = 4 * 1024;
/// The longest refusal that is read to its end: more than that of any [`Problem`].
const LONGEST_REFUSAL: u64 = 64 * 1024;

/// An error of the API. It becomes a whole response; [`Translate`] adds what only the outermost layer knows.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    /// Seconds.
    retry_after: Option<u32>,
}

/// An error in one part of a request: in its body, its query or its header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The place in the body, as a JSON Pointer (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "/items/0/quantity")]
    pointer: Option<String>,
    /// The name of the query parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    parameter: Option<String>,
    /// The name of the header.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    header: Option<String>,
    /// The rule that is broken, for a program.
    #[schema(value_type = String, example = "out-of-range")]
    code: &'static str,
    /// The rule that is broken, for a person.
    detail: Cow<'static, str>,
}

/// The body of every error.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Details {
    /// The kind of the error, for a program: `/problems/` and its code.
    #[serde(rename = "type")]
    #[schema(example = "/problems/not-found")]
    kind: String,
    /// The kind of the error, for a person.
    #[schema(value_type = String)]
    title: &'static str,
    /// The status of the response.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What happened to this request.
    detail: Cow<'static, str>,
    /// The path of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    instance: Option<String>,
    /// The id of the request, as in `X-Request-Id` and in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    request_id: Option<String>,
    /// All that is wrong with the request, at most 50 of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 50)]
    errors: Vec<FieldError>,
}

// === impl FieldError ===

impl FieldError {
    const fn new(code: &'static str, detail: Cow<'static, str>) -> Self {
        Self {
            pointer: None,
            parameter: None,
            header: None,
            code,
            detail,
        }
    }

    pub fn in_body(
        pointer: impl Into<String>,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let pointer = Some(pointer.into());
        Self {
            pointer,
            ..Self::new(code, detail.into())
        }
    }

    pub fn in_query(
        name: impl Into<String>,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let parameter = Some(name.into());
        Self {
            parameter,
            ..Self::new(code, detail.into())
        }
    }

    pub fn in_header(name: &str, code: &'static str, detail: &'static str) -> Self {
        let header = Some(name.to_owned());
        Self {
            header,
            ..Self::new(code, detail.into())
        }
    }
}

// === impl Problem ===

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    pub fn not_found() -> Self {
        Self::new(Kind::NOT_FOUND, "there is nothing at this path")
    }

    pub fn stale() -> Self {
        let detail = "If-Match does not name the current version: read the resource again";
        Self::new(Kind::STALE, detail)
    }

    /// A conflict with the state of the data, by the code that the store has for it.
    pub fn conflict(code: &'static str) -> Self {
        let kind = Kind::conflict(code);
        let problem = Self::new(kind, kind.title);
        match code {
            "unknown-user" => problem.errors([FieldError::in_body(
                "/user_id",
                code,
                "there is no such user",
            )]),
            _ => problem,
        }
    }

    /// A refusal of another layer or of axum.
    pub fn refusal(status: StatusCode, sentence: Option<String>) -> Self {
        let kind = Kind::refusal(status);
        match sentence {
            Some(sentence) => Self::new(kind, sentence),
            None => Self::new(kind, kind.title),
        }
    }

    pub fn errors(mut self, errors: impl IntoIterator<Item = FieldError>) -> Self {
        self.errors.extend(errors);
        self
    }

    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    fn body(&self, instance: Option<String>, request_id: Option<String>) -> Body {
        let details = Details {
            kind: format!("/problems/{}", self.kind.code),
            title: self.kind.title,
            status: self.kind.status.as_u16(),
            detail: self.detail.clone(),
            instance,
            request_id,
            errors: self.errors.clone(),
        };
        // Strings and numbers: there is nothing that could fail.
        Body::from(serde_json::to_vec(&details).unwrap_or_default())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(self.body(None, None));
        *response.status_mut() = self.kind.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        // The form of the store's own error has no credentials.
        let shown = error.to_string();
        match error {
            StoreError::Away(_) => {
                warn!(error = shown, "the database does not answer");
                Self::new(Kind::AWAY, "please try again").retry_after(1)
            }
            StoreError::Conflict(code) => Self::conflict(code),
            StoreError::Internal(_) => {
                error!(error = shown, "the database failed");
                Self::new(Kind::INTERNAL, "please report the request_id")
            }
        }
    }
}

/// Gives every error under `/api` the same form, with the request's path and id. Other layers answer in text; their
/// status and their headers stay. It belongs outside of all layers that refuse.
///
/// A service of its own: `middleware::from_fn` clones all that is within for every request.
#[derive(Clone)]
pub struct Translate<S>(S);

impl<S> Translate<S> {
    pub fn new(within: S) -> Self {
        Self(within)
    }
}

impl<S> Service<Request> for Translate<S>
where
    S: Service<Request, Response = Response>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future =
        Either<S::Future, Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let path = request.uri().path();
        let is_api = path == "/api" || path.starts_with("/api/");
        if !is_api || is_grpc(&request) {
            return Either::Left(self.0.call(request));
        }
        let uri = request.uri().clone();
        let response = self.0.call(request);
        Either::Right(Box::pin(async move {
            let response = response.await?;
            let status = response.status();
            match status.is_client_error() || status.is_server_error() {
                true => Ok(translated(&uri, response).await),
                false => Ok(response),
            }
        }))
    }
}

/// Returns an error in the form of problem details.
async fn translated(uri: &Uri, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let refusal = read(body).await;
    let problem = parts.extensions.remove::<Problem>().unwrap_or_else(|| {
        let sentence = refusal.and_then(|refusal| sentence(&parts.headers, &refusal));
        Problem::refusal(parts.status, sentence)
    });
    let request_id = parts.headers.get("x-request-id");
    let request_id = request_id.and_then(|id| id.to_str().ok());
    let body = problem.body(Some(uri.path().to_owned()), request_id.map(str::to_owned));
    parts.headers.remove(CONTENT_LENGTH);
    parts
        .headers
        .insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    Response::from_parts(parts, body)
}

/// gRPC has its own form for errors.
fn is_grpc(request: &Request) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    *request.method() == Method::POST
        && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Reads a refusal to its end: one that is dropped before is `cancelled` in the access log and in the metrics, as one of
/// unknown length or of more than 64 KiB is.
async fn read(body: Body) -> Option<Bytes> {
    let length = body.size_hint().exact()?;
    if length > LONGEST_REFUSAL {
        return None;
    }
    to_bytes(body, LONGEST_REFUSAL as usize).await.ok()
}

/// Returns the sentence of a short refusal in text or in JSON.
fn sentence(headers: &HeaderMap, refusal: &[u8]) -> Option<String> {
    if refusal.len() > LONGEST_SENTENCE {
        return None;
    }
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let is_text = kind.starts_with("text/plain");
    if !is_text && kind != PROBLEM_JSON {
        return None;
    }
    let sentence = match is_text {
        true => std::str::from_utf8(refusal).ok()?.trim().to_owned(),
        false => {
            let problem: serde_json::Value = serde_json::from_slice(refusal).ok()?;
            problem["detail"].as_str()?.to_owned()
        }
    };
    (!sentence.is_empty()).then_some(sentence)
}
