use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{FORWARDED, HeaderMap, HeaderName, VIA};
use http::{Extensions, Request};

use crate::allowed_hosts::AllowedHosts;
use crate::conn_info::peer_of;

/// A policy for showing details: names of dependencies, their errors, the version. Everyone else sees only the status
/// and the phase.
///
/// It decides by the socket's peer ([`ConnInfo`](crate::ConnInfo), with feature `axum` also axum's `ConnectInfo`),
/// never by an address in a header. A request forwarded by a proxy (`Forwarded`, `X-Forwarded-For`, `X-Real-IP` or
/// `Via`) comes from someone other than the peer, so it never gets details; neither does a request with an unknown
/// peer.
///
/// A local proxy that adds none of these headers (nginx by default) is indistinguishable from a local client. In that
/// case use [`never`](Self::never), and [`always`](Self::always) on an admin port.
#[derive(Clone)]
pub struct Details {
    policy: Policy,
    /// `None` stands for the default, [`AllowedHosts::private`].
    hosts: Option<AllowedHosts>,
}

#[derive(Clone)]
enum Policy {
    Never,
    Always,
    Loopback,
    To(Arc<dyn Fn(IpAddr) -> bool + Send + Sync>),
}

impl Details {
    /// Shows details to no one.
    pub const fn never() -> Details {
        Details::by(Policy::Never)
    }

    /// Shows details to everyone, for a port that only trusted clients can reach.
    pub const fn always() -> Details {
        Details::by(Policy::Always)
    }

    /// Shows details to clients on this host. This is the default. Private addresses do not suffice, because the nodes
    /// and load balancers of a cluster use such addresses on behalf of the whole internet.
    pub const fn loopback() -> Details {
        Details::by(Policy::Loopback)
    }

    /// Shows details to peers for which `trusted` returns `true`; IPv4-mapped IPv6 addresses are folded to IPv4.
    ///
    /// ```
    /// use lameduck::{health::Details, real_ip::TrustedProxies};
    ///
    /// let probes: TrustedProxies = "loopback, 10.20.0.0/16".parse().unwrap();
    /// let details = Details::to(move |peer| probes.contains(peer));
    /// ```
    pub fn to(trusted: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Details {
        Details::by(Policy::To(Arc::new(trusted)))
    }

    const fn by(policy: Policy) -> Details {
        Details {
            policy,
            hosts: None,
        }
    }

    /// Sets the host names for which details are shown; see [`AllowedHosts`]. Requests for other hosts get only the
    /// status: a web page loaded by a browser on this host must not read more. Default: [`AllowedHosts::private`].
    #[must_use]
    pub fn allowed_hosts(mut self, hosts: AllowedHosts) -> Details {
        self.hosts = Some(hosts);
        self
    }

    pub(super) fn shown_to<B>(&self, request: &Request<B>) -> bool {
        let trusted = match &self.policy {
            Policy::Never => false,
            Policy::Always => true,
            Policy::Loopback => self.trusts(request, &|peer| peer.is_loopback()),
            Policy::To(trusted) => self.trusts(request, &**trusted),
        };
        trusted
            && match &self.hosts {
                Some(hosts) => hosts.check(request).is_ok(),
                None => AllowedHosts::private().check(request).is_ok(),
            }
    }

    fn trusts<B>(&self, request: &Request<B>, trusted: &dyn Fn(IpAddr) -> bool) -> bool {
        peer(request.extensions()).is_some_and(trusted) && !forwarded(request.headers())
    }
}

fn peer(extensions: &Extensions) -> Option<IpAddr> {
    peer_of(extensions).map(|peer| peer.ip().to_canonical())
}

fn forwarded(headers: &HeaderMap) -> bool {
    const BY_PROXIES: [HeaderName; 4] = [
        FORWARDED,
        VIA,
        HeaderName::from_static("x-forwarded-for"),
        HeaderName::from_static("x-real-ip"),
    ];
    BY_PROXIES.iter().any(|name| headers.contains_key(name))
}

/// Returns [`Details::loopback`].
impl Default for Details {
    fn default() -> Self {
        Details::loopback()
    }
}

impl fmt::Debug for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.policy {
            Policy::Never => "Details::never",
            Policy::Always => "Details::always",
            Policy::Loopback => "Details::loopback",
            Policy::To(_) => "Details::to",
        })
    }
}
