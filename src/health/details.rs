use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{FORWARDED, HeaderMap, HeaderName, VIA};
use http::{Extensions, Request};

use crate::allowed_hosts::AllowedHosts;
use crate::conn_info::peer_of;

/// Who is shown more than the status and the phase: names of dependencies, their errors, the version.
///
/// It goes by the socket's peer ([`ConnInfo`](crate::ConnInfo), with feature `axum` also axum's
/// `ConnectInfo`), never by an address in a header. A request that a proxy forwarded (`Forwarded`,
/// `X-Forwarded-For`, `X-Real-IP` or `Via`) asks for somebody else than the peer, so it is not shown the
/// details, whoever the peer is; nor is one whose peer is not known. A proxy on the same host that adds none
/// of these (nginx does not, unless told to) cannot be told from this host: there, use
/// [`never`](Self::never), and [`always`](Self::always) on an admin port.
#[derive(Clone)]
pub struct Details {
    policy: Policy,
    /// `None`: not set, [`AllowedHosts::private`].
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
    /// To nobody.
    pub const fn never() -> Details {
        Details::by(Policy::Never)
    }

    /// To everybody: for a port that only friends can reach.
    pub const fn always() -> Details {
        Details::by(Policy::Always)
    }

    /// To who asks from this host: the default. Private addresses are not enough for it, since the
    /// nodes and load balancers of a cluster ask from such addresses on behalf of the whole internet.
    pub const fn loopback() -> Details {
        Details::by(Policy::Loopback)
    }

    /// To peers for which `trusted` says `true`; IPv4-mapped IPv6 addresses are folded to IPv4.
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

    /// Sets the host names for which details are shown; see [`AllowedHosts`]. Others get the
    /// status alone: a web page that a browser on this host has loaded must not read more. Default:
    /// [`AllowedHosts::private`].
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

/// [`Details::loopback`].
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
