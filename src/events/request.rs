use std::fmt::{self, Display, Write};
use std::net::{IpAddr, SocketAddr};

use http::{Extensions, HeaderMap, Method, Uri};

use crate::conn_info::{ConnInfo, peer_of};
use crate::grpc;
use crate::id::RequestId;
use crate::route;
use crate::text;

/// The maximum length of a shown path and method, in bytes.
const MAX_LEN: usize = 256;

/// The request that an [`Event`](super::Event) refers to, as far as it is known where the event is emitted.
///
/// Unknown fields are `None`: before a head is parsed only the peer is known; route, client and request id become known
/// once the router, [`RealIpLayer`](crate::RealIpLayer) and [`RequestIdLayer`](crate::RequestIdLayer) have seen the
/// request.
///
/// Method and path are those that the client sent: escape them before they reach a terminal or a page. The `Display` of
/// this type does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestInfo<'a> {
    /// The remote end of the connection, with IPv4-mapped IPv6 folded to IPv4; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The method.
    pub method: Option<&'a str>,
    /// The path without the query; for a CONNECT, the authority. A long one is truncated and ends in `…`.
    pub path: Option<&'a str>,
    /// The matched route, `/users/{id}` (feature `axum`), or the method of a gRPC call, `/package.Service/Method`.
    pub route: Option<&'a str>,
    /// The client's address, as determined by [`real_ip`](crate::real_ip).
    pub client: Option<IpAddr>,
    /// The id assigned by [`RequestIdLayer`](crate::RequestIdLayer).
    pub request_id: Option<&'a str>,
    /// `true` for a gRPC call, by its method and content type: what the client got is a gRPC status.
    pub grpc: bool,
}

impl<'a> RequestInfo<'a> {
    /// Creates the info of a request of which only the peer is known.
    pub const fn from_peer(peer: Option<SocketAddr>) -> Self {
        RequestInfo {
            peer,
            method: None,
            path: None,
            route: None,
            client: None,
            request_id: None,
            grpc: false,
        }
    }

    /// Collects the info that a layer finds in a request's head.
    pub(crate) fn from_head(
        method: &'a Method,
        uri: &'a Uri,
        headers: &HeaderMap,
        extensions: &'a Extensions,
    ) -> Self {
        let client = extensions.get::<ConnInfo>().and_then(|info| info.client);
        let grpc = grpc::is_call(method, headers);
        RequestInfo {
            peer: peer_of(extensions),
            method: Some(method.as_str()),
            path: Some(target(uri)),
            route: route::name(grpc, uri, extensions),
            grpc,
            client: client.and_then(|client| client.ip),
            request_id: RequestId::of(extensions).map(RequestId::as_str),
        }
    }
}

/// Returns the path; for a CONNECT, which has none, the authority.
pub(crate) fn target(uri: &Uri) -> &str {
    match uri.path() {
        "" => uri.authority().map_or("", |to| to.as_str()),
        path => path,
    }
}

/// Writes `GET /users/7 (192.0.2.1:4711, route /users/{id}, client 203.0.113.9, id 4bf9)`, in visible ASCII.
impl Display for RequestInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for part in [self.method, self.path].into_iter().flatten() {
            f.write_str(separator)?;
            f.write_str(&text::path(part, MAX_LEN))?;
            separator = " ";
        }
        let mut open = false;
        let mut detail = |name: &str, value: Option<&dyn Display>| {
            let Some(value) = value else {
                return Ok(());
            };
            f.write_str(if open { ", " } else { separator })?;
            if !open {
                f.write_char('(')?;
            }
            open = true;
            write!(f, "{name}{value}")
        };
        let route = self.route.filter(|route| self.path != Some(*route));
        let route = route.map(|route| text::path(route, MAX_LEN));
        let id = self.request_id.map(|id| text::path(id, MAX_LEN));
        detail("", self.peer.as_ref().map(|it| it as &dyn Display))?;
        detail("route ", route.as_ref().map(|it| it as &dyn Display))?;
        detail("client ", self.client.as_ref().map(|it| it as &dyn Display))?;
        detail("id ", id.as_ref().map(|it| it as &dyn Display))?;
        if open {
            f.write_char(')')?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_shows_known_fields_without_terminal_sequences() {
        let mut request = RequestInfo::default();
        assert_eq!(request.to_string(), "");
        request.peer = Some("192.0.2.1:4711".parse().unwrap());
        assert_eq!(request.to_string(), "(192.0.2.1:4711)");
        request.method = Some("GET");
        request.path = Some("/a\u{1b}[2J\u{9b}\u{202e}\u{200b}");
        request.client = Some("203.0.113.9".parse().unwrap());
        request.request_id = Some("4bf9");
        request.route = Some("/{a}");
        let shown = request.to_string();
        assert_eq!(
            shown,
            "GET /a%1B[2J%C2%9B%E2%80%AE%E2%80%8B (192.0.2.1:4711, route /{a}, client 203.0.113.9, id 4bf9)"
        );
    }
}
