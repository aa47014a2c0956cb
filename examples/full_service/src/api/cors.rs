//! Pages of other origins that may call the API. There are none unless they are named.

use std::{str::FromStr, time::Duration};

use axum::http::{
    HeaderName, HeaderValue, Method,
    header::{CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION, RETRY_AFTER},
};
use tower_http::cors::CorsLayer;

/// The time that a browser keeps the answer to a preflight.
const MAX_AGE: Duration = Duration::from_secs(600);

/// Exact origins. There are no patterns and no `*`: either would let in pages that were not thought of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins(Vec<HeaderValue>);

impl Origins {
    /// The layer belongs outside of the rate limit: a preflight costs the client nothing, and a page may read its 429.
    pub fn layer(&self) -> CorsLayer {
        let request = [
            CONTENT_TYPE,
            IF_MATCH,
            IF_NONE_MATCH,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("x-request-id"),
        ];
        let response = [
            ETAG,
            LOCATION,
            RETRY_AFTER,
            HeaderName::from_static("idempotency-replayed"),
            HeaderName::from_static("x-request-id"),
        ];
        CorsLayer::new()
            .allow_origin(self.0.clone())
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
            .allow_headers(request)
            .expose_headers(response)
            .max_age(MAX_AGE)
    }
}

/// Parses `https://app.example.com, http://localhost:3000`, as browsers send them: without a path.
impl FromStr for Origins {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let origins = text.split(',').map(str::trim).map(origin);
        origins.collect::<Result<_, _>>().map(Self)
    }
}

fn origin(text: &str) -> Result<HeaderValue, &'static str> {
    const FORM: &str = "must be origins as browsers send them: https://app.example.com, …";
    if text.contains('*') {
        return Err("must be exact origins: there is no *");
    }
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let host = host.ok_or(FORM)?;
    let (name, port) = match host.rsplit_once(':') {
        // The colons of an IPv6 address are in brackets.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let in_name =
        |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'[' | b']' | b':');
    let valid_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if name.is_empty() || !name.bytes().all(in_name) || !valid_port {
        return Err(FORM);
    }
    HeaderValue::from_str(text).map_err(|_| FORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_origins_are_taken() {
        for valid in [
            "https://app.example.com",
            "http://localhost:3000",
            "http://[::1]:3000",
            "http://[::1]",
            "https://a.example, https://b.example",
        ] {
            assert!(valid.parse::<Origins>().is_ok(), "{valid}");
        }
        for invalid in [
            "",
            "*",
            "https://*.example.com",
            "null",
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "https://app.example.com/path",
            "https://App.example.com",
            "https://user@app.example.com",
            "https://app.example.com:0",
            "https://app.example.com:http",
            "https://a.example,",
            "ftp://a.example",
        ] {
            assert!(invalid.parse::<Origins>().is_err(), "{invalid}");
        }
    }
}
