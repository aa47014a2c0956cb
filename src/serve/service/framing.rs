//! The framing of a response belongs to the server: the service's own is corrected.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body;

use crate::serve::exchange::ServiceFault;

/// The request's part in the framing of its response.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    pub to_head: bool,
    /// `true` if the response is the last of HTTP here: a 101, or a 2xx to a CONNECT.
    pub upgrades: bool,
}

/// The framing of a response.
#[derive(Default)]
pub(crate) struct Framed {
    /// The first fault found.
    pub fault: Option<ServiceFault>,
    /// `true` if the response has no body by definition.
    pub bodiless: bool,
    /// The required length of the body; without a body, the length that a 304 declares for another response.
    pub length: Option<u64>,
    /// `true` if the service declares that length, rather than its body.
    pub declared: bool,
    /// `true` if the service asks for `Connection: close`.
    pub close: bool,
}

impl Framed {
    fn fault(&mut self, fault: ServiceFault) {
        self.fault.get_or_insert(fault);
    }
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Makes a response's head agree with its body.
pub(crate) fn correct<B: Body<Data = Bytes>>(response: &mut Response<B>, frame: Frame) -> Framed {
    let mut framed = Framed::default();
    let status = response.status();
    let exact = if response.body().is_end_stream() {
        Some(0)
    } else {
        response.body().size_hint().exact()
    };
    // One pass: most responses have none of these.
    let (mut length, mut hops) = (false, false);
    for name in response.headers().keys() {
        if *name == CONTENT_LENGTH {
            length = true;
        } else if is_hop_by_hop(name) {
            hops = true;
        }
    }
    if hops {
        remove_hops(response.headers_mut(), status, frame.upgrades, &mut framed);
    }
    let no_content = matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    );
    framed.bodiless = frame.to_head || frame.upgrades || no_content;
    if !length && !framed.bodiless {
        framed.length = exact;
        return framed;
    }
    if framed.bodiless && !frame.to_head && exact != Some(0) {
        framed.fault(ServiceFault::Body);
    }
    let headers = response.headers_mut();
    if frame.upgrades || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
        if length {
            headers.remove(CONTENT_LENGTH);
        }
        return framed;
    }
    let declared = if length { declared(headers) } else { None };
    if length && declared.is_none() {
        headers.remove(CONTENT_LENGTH);
        framed.fault(ServiceFault::ContentLength);
    }
    if framed.bodiless {
        // The length that a GET would have had, if it is known: the body's length, unless the body was left out
        // already.
        let body = exact.filter(|exact| *exact > 0 && frame.to_head);
        if let Some(exact) = body.filter(|exact| declared != Some(*exact)) {
            if declared.is_some() {
                framed.fault(ServiceFault::ContentLength);
            }
            headers.insert(CONTENT_LENGTH, HeaderValue::from(exact));
        }
        if !frame.to_head {
            framed.length = declared;
        }
        return framed;
    }
    let declared = match (declared, exact) {
        (Some(declared), Some(exact)) if declared != exact => {
            framed.fault(ServiceFault::ContentLength);
            headers.insert(CONTENT_LENGTH, HeaderValue::from(exact));
            Some(exact)
        }
        // A stream with data to send would never be polled.
        (Some(0), None) => {
            headers.remove(CONTENT_LENGTH);
            None
        }
        _ => declared,
    };
    framed.length = exact.or(declared);
    framed.declared = exact.is_none() && declared.is_some();
    framed
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
}

/// Removes headers that belong to one connection only (RFC 9110, 7.6.1), and those that `Connection` names.
fn remove_hops(headers: &mut HeaderMap, status: StatusCode, upgrades: bool, framed: &mut Framed) {
    if headers.remove(TRANSFER_ENCODING).is_some() {
        framed.fault(ServiceFault::TransferEncoding);
    }
    // A 101 names the new protocol, and a 426 the accepted ones (RFC 9110, 7.8).
    let names_protocols =
        status == StatusCode::SWITCHING_PROTOCOLS || status == StatusCode::UPGRADE_REQUIRED;
    let mut named = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for option in value.as_bytes().split(|byte| *byte == b',') {
            let option = option.trim_ascii();
            if option.eq_ignore_ascii_case(b"close") {
                framed.close = !upgrades;
            } else if !option.is_empty() && !option.eq_ignore_ascii_case(b"keep-alive") {
                named.extend(HeaderName::from_bytes(option));
            }
        }
    }
    let alive = headers.remove(KEEP_ALIVE).is_some();
    let proxy = headers.remove(PROXY_CONNECTION).is_some();
    let upgrade = !names_protocols && headers.remove(UPGRADE).is_some();
    let mut foreign = alive || proxy || upgrade;
    if names_protocols {
        named.retain(|name| *name != UPGRADE);
    }
    for name in &named {
        // An option that names no header here belongs to another server's connection all the same.
        foreign = true;
        if *name != CONTENT_LENGTH {
            headers.remove(name);
        }
    }
    if names_protocols {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    } else {
        headers.remove(CONNECTION);
    }
    if foreign {
        framed.fault(ServiceFault::HopByHop);
    }
}

/// Returns the length that `Content-Length` declares, if it declares exactly one number.
fn declared(headers: &HeaderMap) -> Option<u64> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter().map(parse);
    let first = values.next()??;
    values.all(|other| other == Some(first)).then_some(first)
}

fn parse(value: &HeaderValue) -> Option<u64> {
    let digits = value.as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    value.to_str().ok()?.parse().ok()
}
