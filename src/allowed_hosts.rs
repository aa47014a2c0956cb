//! Protection of operator pages against requests that a browser is tricked into sending.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

#[cfg(any(
    all(feature = "axum", feature = "serve"),
    feature = "metrics",
    feature = "status"
))]
use http::StatusCode;
use http::{HeaderMap, Method, Request, header};

/// The host names under which operator pages respond: the [status page](crate::StatusPage),
/// [metrics](crate::metrics::MetricsEndpoint), and the details of [health](crate::health::Details).
///
/// A web page can make its own name resolve to an address in its visitor's network (DNS rebinding), 127.0.0.1 included,
/// and then read what is served there: the browser takes it for the same origin. The `Host` header carries the name
/// that was meant. By default these pages therefore respond only to
///
/// * addresses: `10.0.3.17:8081`, `[::1]:8081`, whatever address the server is bound to;
/// * names without a dot, which no web page can have: `localhost`, a service name in Compose or Kubernetes;
/// * names under `.localhost`, `.internal`, `.svc` and `.cluster.local`, which are not publicly registrable;
/// * requests without a host, which no browser sends.
///
/// Other hosts get 421 (Misdirected Request). Allow them by name: a public name behind which metrics are scraped, or
/// `service.namespace` in Kubernetes.
///
/// For any host, a request that another site made a browser send (`Sec-Fetch-Site: cross-site`, or an `Origin` other
/// than the page's own) gets 403, unless it opens the page itself: links to the page work.
///
/// ```
/// use lameduck::{AllowedHosts, health::Details};
///
/// let hosts = AllowedHosts::private().and("admin.example.com").and("*.prod");
/// let details = Details::loopback().allowed_hosts(hosts); // and so on a StatusPage and a MetricsEndpoint
/// ```
#[derive(Clone)]
pub struct AllowedHosts {
    any: bool,
    /// The allowed names, in lower case; `None` if there are none.
    named: Option<Arc<[Box<str>]>>,
}

/// The reason for which a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// The request is for a host that is not allowed.
    Host,
    /// Another site made a browser send the request.
    Site,
}

impl AllowedHosts {
    /// Allows addresses and names that are not publicly registrable. This is the default.
    pub fn private() -> Self {
        AllowedHosts {
            any: false,
            named: None,
        }
    }

    /// Allows every host, for use behind a proxy that checks the host.
    pub fn any() -> Self {
        AllowedHosts {
            any: true,
            ..AllowedHosts::private()
        }
    }

    /// Allows `host` too, in any case and with any port. `*.example.com` matches all names under `example.com`, but not
    /// that name itself.
    #[must_use]
    pub fn and(self, host: &str) -> Self {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let named = self.named().iter().cloned();
        AllowedHosts {
            any: self.any,
            named: Some(named.chain([host.into_boxed_str()]).collect()),
        }
    }

    fn named(&self) -> &[Box<str>] {
        self.named.as_deref().unwrap_or_default()
    }

    /// Checks the request's host and its origin.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), Foreign> {
        if !self.any {
            let authority = request.uri().authority();
            let in_target = authority.map(|authority| authority.as_str().as_bytes());
            let in_headers = request.headers().get_all(header::HOST);
            let mut hosts = in_target
                .into_iter()
                .chain(in_headers.iter().map(|host| host.as_bytes()));
            if !hosts.all(|host| self.allows(host)) {
                return Err(Foreign::Host);
            }
        }
        match of_another_site(request) {
            true => Err(Foreign::Site),
            false => Ok(()),
        }
    }

    fn allows(&self, authority: &[u8]) -> bool {
        let Ok(authority) = std::str::from_utf8(authority) else {
            return false;
        };
        if let Some(address) = authority.strip_prefix('[') {
            let address = address.split_once(']');
            return address.is_some_and(|(address, port)| {
                // A zone is meaningful only to the client itself.
                let (address, _) = address.split_once('%').unwrap_or((address, ""));
                let nothing_more = port.is_empty() || port.starts_with(':');
                nothing_more && address.parse::<Ipv6Addr>().is_ok()
            });
        }
        let (host, _port) = authority.split_once(':').unwrap_or((authority, ""));
        let host = host.strip_suffix('.').unwrap_or(host);
        if !host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        {
            return false;
        }
        const NOT_GIVEN_OUT: [&str; 4] = [".localhost", ".internal", ".svc", ".cluster.local"];
        !host.contains('.')
            || host.parse::<Ipv4Addr>().is_ok()
            || NOT_GIVEN_OUT.iter().any(|suffix| ends_with(host, suffix))
            || self
                .named()
                .iter()
                .any(|named| match named.strip_prefix('*') {
                    Some(suffix) => ends_with(host, suffix) && host.len() > suffix.len(),
                    None => named.eq_ignore_ascii_case(host),
                })
    }
}

/// Compares the suffix case-insensitively.
fn ends_with(host: &str, suffix: &str) -> bool {
    let start = host.len().checked_sub(suffix.len());
    let end = start.and_then(|start| host.get(start..));
    end.is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

/// Returns [`AllowedHosts::private`].
impl Default for AllowedHosts {
    fn default() -> Self {
        AllowedHosts::private()
    }
}

impl fmt::Debug for AllowedHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.any {
            true => f.write_str("AllowedHosts::any"),
            false => f.debug_tuple("AllowedHosts").field(&self.named).finish(),
        }
    }
}

#[cfg(any(
    all(feature = "axum", feature = "serve"),
    feature = "metrics",
    feature = "status"
))]
impl Foreign {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Foreign::Host => StatusCode::MISDIRECTED_REQUEST,
            Foreign::Site => StatusCode::FORBIDDEN,
        }
    }

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Foreign::Host => {
                "not served for this host: use an address, or allow it (`Server::admin_hosts`, or `allowed_hosts` of the page)\n"
            }
            Foreign::Site => "not served for another site\n",
        }
    }
}

/// Returns `true` if another site made a browser send the request, by Fetch Metadata, or by `Origin` for browsers or
/// addresses without it.
fn of_another_site<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let is = |name: &str, value: &str| {
        let mut values = headers.get_all(name).iter();
        values.any(|sent| sent.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
    };
    if is("sec-fetch-site", "cross-site") {
        // A person has followed a link and sees the page in its own tab.
        let opened = is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document");
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if !(opened && reads) {
            return true;
        }
    }
    let own = own_authority(request, headers);
    let mut origins = headers.get_all(header::ORIGIN).iter();
    origins.any(|origin| {
        let origin = origin.to_str().ok().and_then(|text| text.split_once("://"));
        match (origin, own) {
            (Some((_, origin)), Some(own)) => !origin.as_bytes().eq_ignore_ascii_case(own),
            // `null` is the origin of a sandboxed page or of a file.
            _ => true,
        }
    })
}

fn own_authority<'a, B>(request: &'a Request<B>, headers: &'a HeaderMap) -> Option<&'a [u8]> {
    let authority = request.uri().authority();
    authority
        .map(|authority| authority.as_str().as_bytes())
        .or_else(|| Some(headers.get(header::HOST)?.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hosts: &AllowedHosts, target: &str, headers: &[(&str, &str)]) -> Result<(), Foreign> {
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        hosts.check(&request.body(()).unwrap())
    }

    #[test]
    fn names_that_a_web_page_can_have_are_not_served() {
        let hosts = AllowedHosts::private();
        for host in [
            "",
            "localhost",
            "LocalHost:8081",
            "localhost.:8081",
            "a.localhost",
            "127.0.0.1",
            "10.0.3.17:8081",
            "[::1]",
            "[fe80::1%25eth0]:8081",
            "shop",
            "shop_admin:8081",
            "shop.prod.svc:8081",
            "shop.prod.svc.cluster.local:8081",
            "host.docker.internal",
        ] {
            assert_eq!(check(&hosts, "/", &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8081",
            "EVIL.example.",
            "127.0.0.1.evil.example",
            "127.0.0.1.nip.io",
            "localhost.evil.example",
            "evillocalhost.example",
            "shop.prod",
            "x.local",
            "a@b",
            "localhost@evil.example",
            "evil.example/localhost",
            "[::1].evil.example:80]",
            "[evil.example]",
            "ev il",
        ] {
            let checked = check(&hosts, "/", &[("host", host)]);
            assert_eq!(checked, Err(Foreign::Host), "{host}");
        }
        assert_eq!(check(&hosts, "/", &[]), Ok(()), "HTTP/1.0");
    }

    #[test]
    fn every_source_of_the_host_counts() {
        let hosts = AllowedHosts::private();
        let evil = Err(Foreign::Host);
        assert_eq!(check(&hosts, "http://evil.example/", &[]), evil);
        let both = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(check(&hosts, "/", &both), evil);
        let local = [("host", "localhost")];
        assert_eq!(check(&hosts, "http://evil.example/", &local), evil);
        assert_eq!(check(&hosts, "http://localhost/", &local), Ok(()));
    }

    #[test]
    fn further_hosts_can_be_allowed() {
        let hosts = AllowedHosts::private()
            .and("Metrics.Example.com.")
            .and("*.prod");
        for host in [
            "metrics.example.com",
            "metrics.example.com:443",
            "shop.prod",
            "a.b.prod",
        ] {
            assert_eq!(check(&hosts, "/", &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "example.com",
            "x.metrics.example.com",
            "shop.prod.evil.example",
            ".prod",
        ] {
            let checked = check(&hosts, "/", &[("host", host)]);
            assert_eq!(checked, Err(Foreign::Host), "{host}");
        }
        let any = AllowedHosts::any();
        assert_eq!(check(&any, "/", &[("host", "evil.example")]), Ok(()));
    }

    #[test]
    fn another_site_may_link_here_but_not_read() {
        let hosts = AllowedHosts::any();
        let with = |more: &[(&str, &str)]| {
            let headers = [&[("host", "10.0.0.1:8081")], more].concat();
            check(&hosts, "/", &headers)
        };
        let site = |value| ("sec-fetch-site", value);
        for allowed in [site("none"), site("same-origin"), site("same-site")] {
            assert_eq!(with(&[allowed]), Ok(()), "{allowed:?}");
        }
        let navigate = ("sec-fetch-mode", "navigate");
        for (dest, right) in [
            ("document", Ok(())),
            ("iframe", Err(Foreign::Site)),
            ("empty", Err(Foreign::Site)),
        ] {
            let dest = ("sec-fetch-dest", dest);
            assert_eq!(
                with(&[site("cross-site"), navigate, dest]),
                right,
                "{dest:?}"
            );
        }
        assert_eq!(with(&[site("Cross-Site")]), Err(Foreign::Site));
        assert_eq!(with(&[("origin", "http://10.0.0.1:8081")]), Ok(()));
        for origin in ["null", "http://evil.example", "http://10.0.0.1:3000"] {
            assert_eq!(with(&[("origin", origin)]), Err(Foreign::Site), "{origin}");
        }
    }
}
