//! Who may ask a page that is meant for operators: the part of it that a browser can be tricked into.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

#[cfg(any(feature = "metrics", feature = "status"))]
use http::StatusCode;
use http::{HeaderMap, Method, Request, header};

/// The host names for which the pages for operators answer: the [status page](crate::StatusPage),
/// [metrics](crate::metrics::MetricsService), and the details of [health](crate::health::Details).
///
/// A web page can have its own name resolved to an address of the network that its visitor is in (DNS
/// rebinding), 127.0.0.1 among them, and then read what is served there: it is of the same origin. The
/// request says in `Host` which name was meant. So these pages answer, with the default, for
///
/// * addresses: `10.0.3.17:8081`, `[::1]:8081`, whatever the server is bound to;
/// * names without a dot, which no web page can have: `localhost`, a service's name in Compose or Kubernetes;
/// * names under `.localhost`, `.internal`, `.svc` and `.cluster.local`, which are not given out;
/// * requests without a host, which no browser sends.
///
/// Others get a 421 (Misdirected Request): name them, as for a public name behind which metrics are scraped,
/// or for `service.namespace` in Kubernetes.
///
/// Whatever the host, a request that another site has made a browser send (`Sec-Fetch-Site: cross-site`, or an
/// `Origin` that is not the page's own) gets a 403, unless it opens the page itself: a link may lead to it.
///
/// ```
/// use lameduck::{AllowedHosts, health::Details};
///
/// let hosts = AllowedHosts::private().and("admin.example.com").and("*.prod");
/// let details = Details::loopback().allowed_hosts(hosts); // and so on a StatusPage and a MetricsService
/// ```
#[derive(Clone)]
pub struct AllowedHosts {
    any: bool,
    /// `None`: no name. In lower case.
    named: Option<Arc<[Box<str>]>>,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// It is for a host that is not allowed.
    Host,
    /// Another site has made a browser send it.
    Site,
}

impl AllowedHosts {
    /// Allows addresses and names that are not given out on the internet: the default.
    pub fn private() -> Self {
        AllowedHosts {
            any: false,
            named: None,
        }
    }

    /// Allows every host: where something in front has looked at it.
    pub fn any() -> Self {
        AllowedHosts {
            any: true,
            ..AllowedHosts::private()
        }
    }

    /// Allows `host` too, in any case and with any port; `*.example.com` stands for all names under
    /// `example.com`, but not for that name itself.
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

    /// Looks at everything that a request says about its host and about who sends it.
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
                // A zone is the client's own business.
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

/// In any case.
fn ends_with(host: &str, suffix: &str) -> bool {
    let start = host.len().checked_sub(suffix.len());
    let end = start.and_then(|start| host.get(start..));
    end.is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

/// [`AllowedHosts::private`].
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

#[cfg(any(feature = "metrics", feature = "status"))]
impl Foreign {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Foreign::Host => StatusCode::MISDIRECTED_REQUEST,
            Foreign::Site => StatusCode::FORBIDDEN,
        }
    }

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Foreign::Host => "not served for this host: ask by address, or allow it\n",
            Foreign::Site => "not served for another site\n",
        }
    }
}

/// Whether a browser was made to send it by another site (Fetch Metadata, and `Origin` for browsers or
/// addresses without it).
fn of_another_site<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let is = |name: &str, value: &str| {
        let mut values = headers.get_all(name).iter();
        values.any(|sent| sent.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
    };
    if is("sec-fetch-site", "cross-site") {
        // A person has followed a link, and sees the page in a tab of its own.
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
            // `null`: a page in a sandbox, or a file.
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
    fn each_place_that_names_a_host_counts() {
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
    fn more_can_be_allowed() {
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
    fn another_site_may_lead_here_and_not_more() {
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
