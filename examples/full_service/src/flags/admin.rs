//! The flags on the admin port: their values with the reasons, and changes.

use std::{convert::Infallible, net::SocketAddr};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts, Path, Query, State},
    http::{
        HeaderMap, StatusCode,
        header::{ETAG, FROM, IF_MATCH},
        request::Parts,
    },
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::{Instrument, error, info, warn};

use super::{
    Flags, Redis, bucket,
    flag::{Flag, check_key},
    redis::{Changed, Expected, Refused},
};

/// Two lists of 10,000 tenants with names of 256 bytes.
const LARGEST_BODY: usize = 6 * 1024 * 1024;
const LONGEST_BY: usize = 200;

/// Returns the routes `GET /flags`, and `GET`, `PUT` and `DELETE /flags/{key}`. Who may use them is for the caller to
/// check.
pub fn router(flags: Flags) -> Router {
    Router::new()
        .route("/flags", get(list))
        .route("/flags/{key}", get(show).put(put).delete(remove))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(flags)
}

/// A flag in the list, without its tenants.
#[derive(Serialize)]
struct Listed {
    enabled: bool,
    rollout: f64,
    tenants: usize,
    denied: usize,
    version: u64,
}

/// Lists the flags in force in this process.
async fn list(State(flags): State<Flags>) -> Response {
    let table = flags.table();
    let mut listed: Vec<_> = table.flags.iter().collect();
    listed.sort_unstable_by_key(|(key, _)| *key);
    let listed = listed.into_iter().map(|(key, flag)| {
        let listed = Listed {
            enabled: flag.enabled,
            rollout: flag.rollout.into(),
            tenants: flag.tenants.len(),
            denied: flag.denied.len(),
            version: flag.version,
        };
        Ok((key.to_string(), serde_json::to_value(listed)?))
    });
    let listed: Result<serde_json::Map<_, _>, serde_json::Error> = listed.collect();
    let Ok(listed) = listed else {
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, "a flag has no form");
    };
    let state = flags.0.state.load();
    let has_age = flags.settings().redis.is_some();
    Json(json!({
        "source": state.source.as_str(),
        "version": table.version,
        "age_seconds": has_age.then(|| state.age().as_secs_f64()),
        "error": state.error,
        "invalid": table.invalid,
        "flags": listed,
    }))
    .into_response()
}

#[derive(Deserialize)]
struct Asked {
    tenant: Option<String>,
}

/// Shows a flag, and its value in this process.
async fn show(
    State(flags): State<Flags>,
    Path(key): Path<String>,
    Query(Asked { tenant }): Query<Asked>,
) -> Response {
    let table = flags.table();
    let Some(flag) = table.get(&key) else {
        return missing();
    };
    let decision = flag.decide(&key, tenant.as_deref());
    let bucket = tenant.map(|tenant| bucket::of(flag.seed(&key), &tenant));
    let shown = json!({
        "key": key,
        "value": decision.value,
        "reason": decision.reason,
        "bucket": bucket,
        "flag": flag,
    });
    ([etag(flag.version)], Json(shown)).into_response()
}

/// Creates or replaces a flag.
async fn put(
    State(flags): State<Flags>,
    Path(key): Path<String>,
    who: Who,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err(wrong) = check_key(&key) {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, wrong);
    }
    let flag = match Flag::parse(&body) {
        Ok(flag) => Flag {
            updated_by: Some(who.by.clone().into_boxed_str()),
            ..flag
        },
        Err(wrong) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, &wrong),
    };
    match change(flags, &key, Some(flag), &headers, who).await {
        Ok(Changed {
            before,
            after: Some(flag),
            ..
        }) => {
            let status = match before {
                None => StatusCode::CREATED,
                Some(_) => StatusCode::OK,
            };
            let shown = json!({ "key": key, "flag": flag });
            (status, [etag(flag.version)], Json(shown)).into_response()
        }
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => refusal,
    }
}

/// Removes a flag: its callers have their defaults.
async fn remove(
    State(flags): State<Flags>,
    Path(key): Path<String>,
    who: Who,
    headers: HeaderMap,
) -> Response {
    match change(flags, &key, None, &headers, who).await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => refusal,
    }
}

/// Makes a change in Redis, logs it, and waits until this process has it.
async fn change(
    flags: Flags,
    key: &str,
    flag: Option<Flag>,
    headers: &HeaderMap,
    who: Who,
) -> Result<Changed, Response> {
    let (key, expected) = (key.to_owned(), expected(headers));
    let change = async move {
        let Some(redis) = &flags.settings().redis else {
            let error = "there is no Redis to keep the change in";
            return Err(refuse(StatusCode::NOT_IMPLEMENTED, error));
        };
        let made = made(redis, &flags, &key, flag.as_ref(), &expected).await?;
        let shown = |flag: &Option<Flag>| flag.as_ref().map_or("none".to_owned(), Flag::to_string);
        info!(
            flag = key,
            by = who.by,
            peer = who.peer.map(tracing::field::display),
            before = shown(&made.before),
            after = shown(&made.after),
            "a flag was changed"
        );
        flags.refreshed(made.version).await;
        Ok(made)
    };
    // A task of its own: a client that leaves drops the handler, and a change that is made has its line in the log.
    match tokio::spawn(change.in_current_span()).await {
        Ok(changed) => changed,
        Err(error) => {
            error!(%error, "a change of a flag came to no end");
            let error = "look whether the change is made";
            Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, error))
        }
    }
}

async fn made(
    redis: &Redis,
    flags: &Flags,
    key: &str,
    flag: Option<&Flag>,
    expected: &Expected,
) -> Result<Changed, Response> {
    let made = redis.change(key, flag, expected, &flags.table()).await;
    made.map_err(|refused| match refused {
        Refused::Missing if flag.is_some() => {
            refuse(StatusCode::PRECONDITION_FAILED, "there is no such flag")
        }
        Refused::Missing => missing(),
        Refused::Stale(version) => {
            let error = format!("the flag has version {version}");
            let mut refusal = refuse(StatusCode::PRECONDITION_FAILED, &error);
            let headers = refusal.headers_mut();
            headers.extend(tag(version).parse().map(|tag| (ETAG, tag)));
            refusal
        }
        Refused::Full => refuse(StatusCode::CONFLICT, "there are too many flags"),
        Refused::Away(error) => {
            warn!(flag = key, %error, "a change of a flag has no answer");
            let error = "Redis does not answer as it should; look whether the change is made";
            refuse(StatusCode::SERVICE_UNAVAILABLE, error)
        }
    })
}

/// The author of a change.
struct Who {
    /// The `From` header (RFC 9110, 10.1.2), which is what the client says; else its address.
    by: String,
    peer: Option<SocketAddr>,
}

impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map(|ConnectInfo(peer)| *peer);
        let from = parts.headers.get(FROM).and_then(|from| from.to_str().ok());
        let from = from.map(str::trim).filter(|from| !from.is_empty());
        let by = match (from, peer) {
            (Some(from), _) => from.chars().take(LONGEST_BY).collect(),
            (None, Some(peer)) => peer.ip().to_string(),
            (None, None) => "unknown".to_owned(),
        };
        Ok(Self { by, peer })
    }
}

/// Reads `If-Match`. A tag that is not one of ours matches nothing.
fn expected(headers: &HeaderMap) -> Expected {
    let tags: Vec<&str> = headers
        .get_all(IF_MATCH)
        .into_iter()
        .flat_map(|value| value.to_str().unwrap_or("?").split(',').map(str::trim))
        .collect();
    match tags.as_slice() {
        [] => Expected::Whatever,
        ["*"] => Expected::Exists,
        tags => Expected::Versions(tags.iter().filter_map(|tag| version(tag)).collect()),
    }
}

fn version(tag: &str) -> Option<u64> {
    let digits = tag.strip_prefix("\"v")?.strip_suffix('"')?;
    digits.parse().ok()
}

fn tag(version: u64) -> String {
    format!("\"v{version}\"")
}

fn etag(version: u64) -> (axum::http::HeaderName, String) {
    (ETAG, tag(version))
}

fn missing() -> Response {
    refuse(StatusCode::NOT_FOUND, "there is no such flag")
}

fn refuse(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
