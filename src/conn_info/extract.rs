//! Extractors for axum.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::StatusCode;
use http::request::Parts;

use super::{ClientIp, ConnInfo};

type Rejection = (StatusCode, &'static str);

fn missing(what: &'static str) -> Rejection {
    (StatusCode::INTERNAL_SERVER_ERROR, what)
}

impl<S: Sync> FromRequestParts<S> for ClientIp {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Self::of(&parts.extensions).ok_or_else(|| missing("the service has no RealIpLayer\n"))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for ClientIp {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(Self::of(&parts.extensions))
    }
}

impl<S: Sync> FromRequestParts<S> for ConnInfo {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let info = parts.extensions.get::<Self>().copied();
        info.ok_or_else(|| missing("the server provides no connection info\n"))
    }
}
