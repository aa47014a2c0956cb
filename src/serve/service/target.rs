//! Checks that a request has one meaning only: one end of its body, one purpose, one host.
//!
//! Two servers on the path that read a request differently allow a client to bypass the first one's rules. So a request
//! that can be read in two ways is refused before the service sees it, on HTTP/1 and on HTTP/2.

use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use http_body::Body;
use hyper::ext::Protocol;

use super::host::HostPort;
use crate::reply::RefusalReason;

/// The `Host` headers of a request.
#[derive(Default)]
pub(crate) struct Hosts<'a> {
    count: usize,
    last: Option<&'a HeaderValue>,
}

impl<'a> Hosts<'a> {
    pub(crate) fn note(&mut self, value: &'a HeaderValue) {
        self.count += 1;
        self.last = Some(value);
    }
}

/// Returns the reason to keep this request from the service, if there is one.
pub(crate) fn refusal<B: Body>(
    request: &Request<B>,
    hosts: &Hosts<'_>,
    has_body: bool,
) -> Option<RefusalReason> {
    let check = || {
        if has_body && request.version() < Version::HTTP_2 {
            check_framing(request)?;
        }
        let authority = check_target(request)?;
        check_host(request, hosts, authority)
    };
    check().err()
}

/// Checks the codings: hyper takes a body for chunked when the last of its transfer codings is `chunked`, and leaves
/// the others encoded.
fn check_framing<B: Body>(request: &Request<B>) -> Result<(), RefusalReason> {
    if request.method() == Method::CONNECT {
        // RFC 9110, 9.3.6: where would the tunnel begin?
        return Err(RefusalReason::BadFraming);
    }
    if request.body().size_hint().exact().is_some() {
        return Ok(());
    }
    check_codings(request.headers())
}

/// Checks for the only supported transfer coding: `chunked`, once, in one line (RFC 9112, 6.1).
fn check_codings(headers: &HeaderMap) -> Result<(), RefusalReason> {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    let (first, second) = (lines.next(), lines.next());
    if let (Some(only), None) = (first, second) {
        if only.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Ok(());
        }
    }
    let codings = headers.get_all(TRANSFER_ENCODING).into_iter();
    let codings = codings.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let (mut chunked, mut tokens) = (0, true);
    for coding in codings.map(<[u8]>::trim_ascii) {
        chunked += usize::from(coding.eq_ignore_ascii_case(b"chunked"));
        tokens &= !coding.is_empty() && coding.iter().all(u8::is_ascii_graphic);
        tokens &= !coding.contains(&b'"');
    }
    // Chunked twice, or a list that can be read in two ways, is malformed; the rest is only unknown.
    if chunked == 1 && tokens && second.is_none() {
        Err(RefusalReason::UnknownTransferCoding)
    } else {
        Err(RefusalReason::BadFraming)
    }
}

/// Checks that the form of the request target fits the method (RFC 9112, 3.2; RFC 9113, 8.3.1). Returns the authority
/// that it names.
///
/// A fragment cannot be seen here: `http::Uri` drops it.
fn check_target<B>(request: &Request<B>) -> Result<Option<HostPort<'_>>, RefusalReason> {
    let uri = request.uri();
    let tunnel = request.method() == Method::CONNECT && !is_extended_connect(request);
    let authority = match uri.authority() {
        Some(authority) => {
            let host = HostPort::parse(authority.as_str().as_bytes());
            Some(
                host.filter(|host| !host.is_empty())
                    .ok_or(RefusalReason::BadHost)?,
            )
        }
        None => None,
    };
    if tunnel {
        // RFC 9110, 9.3.6: there is no default port.
        let to = authority.and_then(|to| to.port()).unwrap_or(0);
        let only = uri.scheme().is_none() && uri.path().is_empty();
        return if to > 0 && only {
            Ok(authority)
        } else {
            Err(RefusalReason::BadTarget)
        };
    }
    let fits = has_http_scheme(uri, authority.is_some(), request.version())
        && uri.path_and_query().is_some_and(|path| {
            let path = path.as_str();
            let whole_server = path == "*" && request.method() == Method::OPTIONS;
            // `http://a?x` has an empty path.
            let no_path = uri.authority().is_some()
                && request.version() < Version::HTTP_2
                && path.starts_with('?');
            (path.starts_with('/') || whole_server || no_path) && path.is_ascii()
        });
    if fits {
        Ok(authority)
    } else {
        Err(RefusalReason::BadTarget)
    }
}

/// Returns `true` for an extended CONNECT (RFC 8441, 4).
fn is_extended_connect<B>(request: &Request<B>) -> bool {
    request.extensions().get::<Protocol>().is_some()
}

/// Returns `true` for an HTTP scheme. `a:443`, and `read`, are authorities without a scheme, which only a CONNECT may
/// name.
fn has_http_scheme(uri: &Uri, has_authority: bool, version: Version) -> bool {
    match uri.scheme_str() {
        Some(scheme) => scheme == "http" || scheme == "https",
        None => !has_authority || version >= Version::HTTP_2,
    }
}

/// Checks for one valid host, however it is named (RFC 9112, 3.2; RFC 9113, 8.3.1): the target and `Host` must agree.
/// RFC 9112, 3.2.2 has a server ignore a `Host` beside an absolute target; but the service, or a proxy before this
/// server, may have used it.
fn check_host<B>(
    request: &Request<B>,
    hosts: &Hosts<'_>,
    authority: Option<HostPort<'_>>,
) -> Result<(), RefusalReason> {
    let needed = match request.version() {
        Version::HTTP_09 | Version::HTTP_10 => 0,
        Version::HTTP_11 => 1,
        _ => usize::from(authority.is_none()),
    };
    if hosts.count > 1 || hosts.count < needed {
        return Err(RefusalReason::NoHost);
    }
    let Some(value) = hosts.last else {
        return Ok(());
    };
    let host = HostPort::parse(value.as_bytes()).ok_or(RefusalReason::BadHost)?;
    let Some(authority) = authority else {
        return Ok(());
    };
    let default_port = match request.uri().scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    };
    if authority.same_as(&host, default_port) {
        Ok(())
    } else {
        Err(RefusalReason::BadHost)
    }
}
