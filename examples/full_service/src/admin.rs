//! The service's own part of the admin port, and who may change something there.

use axum::{
    Router,
    extract::{Request, State},
    http::{
        StatusCode,
        header::{AUTHORIZATION, WWW_AUTHENTICATE},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use lameduck::ConnInfo;
use sha2::{Digest, Sha256};

use crate::{config::Config, flags, flags::Flags, jobs, secret::Secret, store::Store};

/// Returns the routes beside the library's pages: the jobs and the flags.
pub fn routes(store: &Store, flags: Flags, config: &Config) -> Router {
    let token = config.admin_token.clone();
    let own = jobs::admin::router(store.clone())
        .merge(flags::admin::router(flags))
        .layer(middleware::from_fn_with_state(token, allow_changes));
    Router::new().nest("/admin", own)
}

/// Lets those change something who run on this machine, or have the token.
async fn allow_changes(
    State(token): State<Option<Secret<String>>>,
    request: Request,
    next: Next,
) -> Response {
    let peer = request
        .extensions()
        .get::<ConnInfo>()
        .and_then(|info| info.peer);
    let here = peer.is_some_and(|peer| peer.ip().is_loopback());
    let shown = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"))
        .map(|(_, token)| token.trim_start_matches(' '));
    let known = match (&token, shown) {
        (Some(token), Some(shown)) => same(token.expose(), shown),
        _ => false,
    };
    match known || (here && token.is_none()) {
        true => next.run(request).await,
        false => (
            StatusCode::UNAUTHORIZED,
            [(WWW_AUTHENTICATE, "Bearer")],
            "needs the token of ADMIN_TOKEN\n",
        )
            .into_response(),
    }
}

/// Compares two secrets in a time that does not depend on where they differ.
fn same(one: &str, other: &str) -> bool {
    let digest = |text: &str| Sha256::digest(text.as_bytes());
    digest(one) == digest(other)
}
