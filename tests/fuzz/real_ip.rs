//! Headers of any bytes: no panic, the same answer twice, and no header of a client chooses its address.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use lameduck::real_ip::{ClientIpHeader, Resolver, TrustedProxies};
use lameduck::{ClientIp, ClientIpSource};
use libfuzzer_sys::fuzz_target;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// One header, and how a proxy writes the client into it.
struct Case {
    header: ClientIpHeader,
    trusting: Resolver,
    everybody: Resolver,
    counting: Resolver,
    written: &'static [&'static [u8]],
}

static CASES: LazyLock<[Case; 3]> = LazyLock::new(|| {
    let case = |name: &str, written| {
        let header: ClientIpHeader = name.parse().unwrap();
        Case {
            trusting: Resolver::new("private".parse().unwrap()).header(header.clone()),
            everybody: Resolver::new("0.0.0.0/0, ::/0".parse().unwrap()).header(header.clone()),
            counting: Resolver::hops(1).header(header.clone()),
            written,
            header,
        }
    };
    [
        case(
            "x-forwarded-for",
            &[b"203.0.113.9", b"[::ffff:203.0.113.9]:80"],
        ),
        case(
            "forwarded",
            &[
                b"for=203.0.113.9",
                br#"for="203.0.113.9:80";by="[::1]:_x""#,
                br#"host="\\\", a";For="[::ffff:2\03.0.113.9]";e="\"""#,
            ],
        ),
        case("x-real-ip", &[]),
    ]
});

fuzz_target!(|data: &[u8]| {
    let Some((choice, sent)) = data.split_first() else {
        return;
    };
    if let Ok(list) = std::str::from_utf8(sent) {
        if let Ok(trusted) = list.parse::<TrustedProxies>() {
            assert_eq!(trusted.to_string().parse().as_ref(), Ok(&trusted));
        }
    }
    let case = &CASES[usize::from(choice & 3) % CASES.len()];
    let name = case.header.name();
    let mut lines = Vec::new();
    for line in sent.split(|b| *b == b'\n') {
        let allowed = line
            .iter()
            .copied()
            .filter(|b| *b == b'\t' || (*b >= b' ' && *b != 0x7f));
        lines.push(allowed.collect::<Vec<u8>>());
    }
    let peer = Some(SocketAddr::new(PROXY, 4000));
    let headers = map(name, &lines);
    for resolver in [&case.trusting, &case.everybody, &case.counting] {
        check(resolver, peer, &headers);
        check(resolver, None, &headers);
    }

    if case.written.is_empty() {
        return;
    }
    let written = case.written[usize::from(choice >> 3) % case.written.len()];
    match lines.last_mut() {
        Some(last) if choice & 4 == 0 => {
            last.extend_from_slice(b", ");
            last.extend_from_slice(written);
        }
        _ => lines.push(written.to_vec()),
    }
    let headers = map(name, &lines);
    let found = check(&case.trusting, peer, &headers);
    assert_eq!(
        (found.ip, found.source),
        (Some(CLIENT), ClientIpSource::Forwarded),
        "{headers:?}"
    );
    assert_eq!(
        check(&case.counting, None, &headers).ip,
        Some(CLIENT),
        "{headers:?}"
    );
});

fn map(name: &HeaderName, lines: &[Vec<u8>]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(name, HeaderValue::from_bytes(line).unwrap());
    }
    headers
}

fn check(resolver: &Resolver, peer: Option<SocketAddr>, headers: &HeaderMap) -> ClientIp {
    let found = resolver.resolve(peer, headers);
    assert_eq!(found, resolver.resolve(peer, headers));
    assert_eq!(found.ip, found.ip.map(|ip| ip.to_canonical()));
    assert_eq!(found.peer, peer);
    found
}
