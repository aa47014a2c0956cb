use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::events::RequestInfo;
use crate::text;

/// A request that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CutRequest {
    /// The method; empty if the head was not complete.
    pub method: String,
    /// The path, without the query; empty if the head was not complete.
    pub path: String,
    /// The age of the request.
    pub age: Duration,
    /// The peer that sent it.
    pub peer: Option<SocketAddr>,
    /// The state: `in the handler`, `sending the response`, `upgraded`.
    pub state: &'static str,
    /// The matched route (feature `axum`).
    pub route: Option<String>,
    /// The client's address, if [`real_ip`](crate::real_ip) found one.
    pub client: Option<IpAddr>,
    /// The id from [`RequestIdLayer`](crate::RequestIdLayer).
    pub request_id: Option<String>,
}

impl CutRequest {
    pub(crate) fn new(request: RequestInfo<'_>, age: Duration, state: &'static str) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        CutRequest {
            method: owned(request.method).unwrap_or_default(),
            path: owned(request.path).unwrap_or_default(),
            age,
            peer: request.peer,
            state,
            route: owned(request.route),
            client: request.client,
            request_id: owned(request.request_id),
        }
    }

    /// Returns the request's fields of an event.
    pub(super) fn info(&self) -> RequestInfo<'_> {
        let mut info = RequestInfo::from_peer(self.peer);
        if !self.method.is_empty() {
            info.method = Some(&self.method);
            info.path = Some(&self.path);
        }
        info.route = self.route.as_deref();
        info.client = self.client;
        info.request_id = self.request_id.as_deref();
        info
    }

    /// Returns `GET /path`, or the known part if the head was not complete.
    fn what(&self) -> Cow<'static, str> {
        if self.method.is_empty() {
            Cow::Borrowed("(no complete head)")
        } else {
            let (method, path) = (text::path(&self.method, 32), text::path(&self.path, 256));
            Cow::Owned(format!("{method} {path}"))
        }
    }
}

impl fmt::Display for CutRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} old, {}",
            self.what(),
            Seconds(self.age),
            self.state
        )?;
        // The client's own address, and the proxy between.
        match (self.client, self.peer) {
            (Some(client), Some(peer)) if client != peer.ip() => {
                write!(f, ", from {client} via {peer}")?;
            }
            (_, Some(peer)) => write!(f, ", from {peer}")?,
            (Some(client), None) => write!(f, ", from {client}")?,
            (None, None) => {}
        }
        match &self.request_id {
            Some(id) => write!(f, ", id {}", text::path(id, 128)),
            None => Ok(()),
        }
    }
}

/// A duration, displayed for a person: in milliseconds, and in seconds from one on.
pub(super) struct Seconds(pub Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(1) {
            write!(f, "{} ms", self.0.as_millis())
        } else {
            write!(f, "{:.1} s", self.0.as_secs_f64())
        }
    }
}
