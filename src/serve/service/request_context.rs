use http::{Method, Request, StatusCode, Version};
use http_body::Body;
use hyper::upgrade::OnUpgrade;

use super::framing::Framed;
use super::target::{self, Hosts};
use crate::reply::{RefusalReason, ReplyFormat};

/// The facts of a request that its response depends on.
pub(crate) struct RequestContext {
    pub format: ReplyFormat,
    pub version: Version,
    method: Kind,
    /// `true` if it asks for an upgrade that a 101 grants.
    may_upgrade: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Head,
    Connect,
    Other,
}

impl RequestContext {
    /// Reads the facts, and the reason to refuse the request, if any.
    pub(crate) fn of<B: Body>(
        request: &Request<B>,
        has_body: bool,
    ) -> (Self, Option<RefusalReason>) {
        let (method, version) = (request.method(), request.version());
        let mut hosts = Hosts::default();
        let headers = request.headers();
        let format = ReplyFormat::visiting_hosts(method, version, headers, |host| hosts.note(host));
        let context = RequestContext {
            format,
            version,
            method: match *method {
                Method::HEAD => Kind::Head,
                Method::CONNECT => Kind::Connect,
                _ => Kind::Other,
            },
            // This is hyper's upgrade, whatever an HTTP/1.0 client asks for.
            may_upgrade: version == Version::HTTP_11
                && request.extensions().get::<OnUpgrade>().is_some(),
        };
        (context, target::refusal(request, &hosts, has_body))
    }

    /// Returns `true` if the request may get this status. A response is final: hyper ends the connection over an
    /// interim one (RFC 9110, 15.2).
    pub(crate) fn may_get(&self, status: StatusCode) -> bool {
        !status.is_informational() || self.upgrades(status)
    }

    /// Returns `true` if the connection ends with this response, below HTTP/2.
    pub(crate) fn ends_with(&self, framed: &Framed) -> bool {
        let ends_with_body =
            self.version == Version::HTTP_10 && !framed.bodiless && framed.length.is_none();
        // Input behind a CONNECT was meant for the tunnel: it is not a request.
        framed.close || self.method == Kind::Connect || ends_with_body
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method == Kind::Head
    }

    pub(crate) fn upgrades(&self, status: StatusCode) -> bool {
        (status == StatusCode::SWITCHING_PROTOCOLS && self.may_upgrade)
            || (self.method == Kind::Connect && status.is_success())
    }
}
