//! What handlers read from a request. Everything invalid is refused with a [`Problem`].

use std::convert::Infallible;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{
        HeaderMap, HeaderName, Uri,
        header::{CONTENT_ENCODING, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH},
        request::Parts,
    },
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    fields::{Errors, Object, parse_id},
    json::Unique,
    problem::{FieldError, Kind, Problem},
};
use crate::store;

const DEFAULT_LIMIT: u32 = 20;
const HIGHEST_LIMIT: u32 = 100;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LONGEST_KEY: usize = 255;

/// A body that can be read from a JSON object.
pub trait FromObject: Sized {
    fn from_object(object: &mut Object<'_>) -> Option<Self>;
}

/// A valid body, and the bytes that it was read from.
pub struct Valid<T> {
    pub value: T,
    pub bytes: Bytes,
}

/// The id in the path.
pub struct Id(pub Uuid);

/// The versions that the client wants to change (RFC 9110, 13.1.1). `None` is any version.
pub struct IfMatch(Option<Vec<i64>>);

/// The versions that the client has (RFC 9110, 13.1.2).
pub enum IfNoneMatch {
    Any,
    Versions(Vec<i64>),
}

/// The key by which a client's retries are one request.
pub struct OptionalKey(Option<String>);

/// A page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// The last entity of the page before.
    pub after: Option<Uuid>,
    pub limit: u32,
}

/// The query of a request that is being read. Every parameter that it has must be read, else it is unknown.
pub struct Parameters {
    pairs: Vec<(String, String)>,
    errors: Errors,
}

// === impl Valid ===

impl<T: FromObject, S: Send + Sync> FromRequest<S> for Valid<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let detail = "the body must have the content type application/json";
            return Err(Problem::new(Kind::NOT_JSON_TYPE, detail));
        }
        if let Some(encoding) = request.headers().get(CONTENT_ENCODING)
            && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
        {
            let detail = "the body must have no content encoding";
            return Err(Problem::new(Kind::ENCODED, detail));
        }
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|refused| Problem::refusal(refused.status(), None))?;
        let Unique(json) = serde_json::from_slice(&bytes)
            .map_err(|error| Problem::new(Kind::NOT_JSON, error.to_string()))?;

        let mut errors = Errors::default();
        let value = Object::read(&json, String::new(), &mut errors, T::from_object);
        errors.finish()?;
        // Without a value there is an error.
        let value = value.ok_or_else(|| Problem::new(Kind::INVALID, Kind::INVALID.title))?;
        Ok(Self { value, bytes })
    }
}

/// Returns true for `application/json` and `application/…+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next());
    let kind = kind.map(|kind| kind.trim().to_ascii_lowercase());
    kind.and_then(|kind| {
        let subtype = kind.strip_prefix("application/")?;
        Some(subtype == "json" || subtype.ends_with("+json"))
    })
    .unwrap_or(false)
}

// === impl Id ===

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        // What is no id is the id of nothing.
        let id = text.ok().and_then(|Path(text)| parse_id(&text));
        id.map(Self).ok_or_else(Problem::not_found)
    }
}

// === impl IfMatch, impl IfNoneMatch ===

impl IfMatch {
    /// Returns the version to pass to the store, of which the resource has `current`. `None` is any version.
    ///
    /// # Errors
    ///
    /// Fails if the client names several versions, none of which is the current one.
    pub async fn expected<F>(&self, current: impl FnOnce() -> F) -> Result<Option<i64>, Problem>
    where
        F: Future<Output = Result<Option<i64>, Problem>>,
    {
        match self.0.as_deref() {
            None => Ok(None),
            // No resource has this version.
            Some([]) => Ok(Some(0)),
            Some([version]) => Ok(Some(*version)),
            Some(versions) => {
                let current = current().await?.ok_or_else(Problem::not_found)?;
                match versions.contains(&current) {
                    true => Ok(Some(current)),
                    false => Err(Problem::stale()),
                }
            }
        }
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let tags: Vec<&str> = tags(&parts.headers, &IF_MATCH).collect();
        Ok(Self(match tags.is_empty() || tags == ["*"] {
            true => None,
            // The comparison is strong: a weak tag matches nothing.
            false => Some(tags.into_iter().filter_map(version).collect()),
        }))
    }
}

impl IfNoneMatch {
    pub fn matches(&self, version: i64) -> bool {
        match self {
            Self::Any => true,
            Self::Versions(versions) => versions.contains(&version),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let tags: Vec<&str> = tags(&parts.headers, &IF_NONE_MATCH).collect();
        Ok(match tags == ["*"] {
            true => Self::Any,
            // The comparison is weak.
            false => {
                let strong = |tag| version(str::strip_prefix(tag, "W/").unwrap_or(tag));
                Self::Versions(tags.into_iter().filter_map(strong).collect())
            }
        })
    }
}

/// Returns the tags of a list header. One that is not text is a tag that matches nothing.
fn tags<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|value| value.to_str().unwrap_or("?").split(',').map(str::trim))
}

/// Returns the version that a tag names: `"v3"`.
fn version(tag: &str) -> Option<i64> {
    let digits = tag.strip_prefix("\"v")?.strip_suffix('"')?;
    // `parse` would take a sign too.
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten()
}

// === impl OptionalKey ===

impl OptionalKey {
    /// Returns the key of a request with this body.
    pub fn of(self, method: &str, path: &str, body: &[u8]) -> Option<store::IdempotencyKey> {
        let key = self.0?;
        let mut hash = Sha256::new();
        for part in [method.as_bytes(), b"\0", path.as_bytes(), b"\0", body] {
            hash.update(part);
        }
        let fingerprint = hash.finalize().into();
        Some(store::IdempotencyKey { key, fingerprint })
    }
}

impl<S: Sync> FromRequestParts<S> for OptionalKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut keys = parts.headers.get_all(IDEMPOTENCY_KEY).into_iter();
        let Some(key) = keys.next() else {
            return Ok(Self(None));
        };
        let visible = key.as_bytes().iter().all(u8::is_ascii_graphic);
        let fits = visible && (1..=LONGEST_KEY).contains(&key.len()) && keys.next().is_none();
        match (fits, key.to_str()) {
            (true, Ok(key)) => Ok(Self(Some(key.to_owned()))),
            _ => {
                let detail = "must be one key of 1 to 255 visible ASCII characters";
                let error = FieldError::in_header("Idempotency-Key", "invalid", detail);
                let mut errors = Errors::default();
                errors.add(error);
                errors.finish()?;
                Ok(Self(None))
            }
        }
    }
}

// === impl Paging ===

impl Paging {
    /// Returns the cursor of the page after this entity.
    pub fn cursor(last: Uuid) -> String {
        last.simple().to_string()
    }
}

impl<S: Sync> FromRequestParts<S> for Paging {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut parameters = Parameters::of(&parts.uri)?;
        let paging = parameters.paging();
        parameters.finish()?;
        Ok(paging)
    }
}

// === impl Parameters ===

impl Parameters {
    pub fn of(uri: &Uri) -> Result<Self, Problem> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(uri);
        let Query(pairs) = query.map_err(|refused| {
            Problem::refusal(refused.status(), Some("the query is malformed".to_owned()))
        })?;
        Ok(Self {
            pairs,
            errors: Errors::default(),
        })
    }

    pub fn paging(&mut self) -> Paging {
        let limit = self.take("limit").and_then(|text| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let limit = digits.then(|| text.parse().ok()).flatten();
            let limit = limit.filter(|limit| (1..=HIGHEST_LIMIT).contains(limit));
            limit.or_else(|| self.refuse("limit", "out-of-range", "must be 1 to 100"))
        });
        let after = self.take("cursor").and_then(|text| {
            let lower = text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            let hex = lower && text.len() == 32;
            let id = hex.then(|| Uuid::try_parse(&text).ok()).flatten();
            id.or_else(|| self.refuse("cursor", "invalid", "must be a cursor of this list"))
        });
        Paging {
            after,
            limit: limit.unwrap_or(DEFAULT_LIMIT),
        }
    }

    pub fn id(&mut self, name: &'static str) -> Option<Uuid> {
        let text = self.take(name)?;
        parse_id(&text).or_else(|| self.refuse(name, "not-a-uuid", "must be a UUID"))
    }

    /// Takes the value of a parameter, if it is there.
    pub fn take(&mut self, name: &'static str) -> Option<String> {
        let at = self.pairs.iter().position(|(pair, _)| pair == name)?;
        let (_, value) = self.pairs.remove(at);
        let before = self.pairs.len();
        self.pairs.retain(|(pair, _)| pair != name);
        if self.pairs.len() < before {
            return self.refuse(name, "repeated", "must be given once");
        }
        Some(value)
    }

    /// Adds an error; returns `None`.
    pub fn refuse<T>(
        &mut self,
        name: &'static str,
        code: &'static str,
        detail: &'static str,
    ) -> Option<T> {
        self.errors.add(FieldError::in_query(name, code, detail));
        None
    }

    pub fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in self.pairs {
            let name: String = name.chars().take(100).collect();
            let error = FieldError::in_query(name, "unknown-parameter", "is not a known parameter");
            self.errors.add(error);
        }
        self.errors.finish()
    }
}
