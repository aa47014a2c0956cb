//! Whom the resolver trusts, and how far it walks.

use super::*;

#[test]
fn hops_are_counted_from_the_right() {
    let xff = "x-forwarded-for";
    let two = Resolver::hops(2);
    resolves(
        &two,
        &[(xff, "6.6.6.6, 1.1.1.1, 2.2.2.2")],
        Some("1.1.1.1"),
        ClientIpSource::Forwarded,
    );
    resolves(
        &two,
        &[(xff, "1.1.1.1"), (xff, "2.2.2.2")],
        Some("1.1.1.1"),
        ClientIpSource::Forwarded,
    );
    resolves(&two, &[(xff, "2.2.2.2")], None, ClientIpSource::TooFew);
    resolves(&two, &[], None, ClientIpSource::TooFew);
    resolves(
        &two,
        &[(xff, "6.6.6.6, unknown, 2.2.2.2")],
        None,
        ClientIpSource::Unreadable,
    );
    // A proxy's empty entry counts: otherwise the client's own entry would take its place.
    resolves(
        &two,
        &[(xff, "6.6.6.6, , 2.2.2.2")],
        None,
        ClientIpSource::Unreadable,
    );
    resolves(
        &Resolver::hops(0),
        &[(xff, "6.6.6.6")],
        Some("10.0.0.1"),
        ClientIpSource::Ignored,
    );
    resolves(
        &Resolver::hops(0),
        &[("forwarded", "for=6.6.6.6")],
        Some("10.0.0.1"),
        ClientIpSource::Peer,
    );
    resolves(
        &Resolver::hops(usize::MAX),
        &[(xff, "6.6.6.6")],
        None,
        ClientIpSource::TooFew,
    );

    let unix = Resolver::hops(0).resolve(None, &HeaderMap::new());
    assert_eq!((unix.ip, unix.source), (None, ClientIpSource::Unknown));
}

#[test]
fn thirty_two_hops_are_walked() {
    let resolver = Resolver::new("private".parse().unwrap());
    let hops = |n: u8| {
        (1..=n)
            .map(|i| format!("10.0.1.{i}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let chain = |n| format!("1.1.1.1,{}", hops(n));
    let xff = "x-forwarded-for";
    resolves(
        &resolver,
        &[(xff, &chain(31))],
        Some("1.1.1.1"),
        ClientIpSource::Forwarded,
    );
    resolves(
        &resolver,
        &[(xff, &hops(32))],
        Some("10.0.1.1"),
        ClientIpSource::AllTrusted,
    );
    resolves(
        &resolver,
        &[(xff, &chain(32))],
        Some("10.0.1.1"),
        ClientIpSource::TooMany,
    );
}

#[test]
fn a_unix_socket_peer_is_trusted_only_if_configured() {
    let resolve = |trusted: &str, header: ClientIpHeader, value: Option<&str>| {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.append(header.name().clone(), value.parse().unwrap());
        }
        let resolver = Resolver::new(trusted.parse().unwrap()).header(header);
        let found = resolver.resolve(None, &headers);
        (found.ip.map(|ip| ip.to_string()), found.source)
    };
    let (xff, real) = (
        ClientIpHeader::XForwardedFor,
        "x-real-ip".parse::<ClientIpHeader>().unwrap(),
    );
    let some = |ip: &str| Some(ip.to_owned());
    let list = Some("6.6.6.6, 203.0.113.9, 10.0.0.2");
    for (trusted, header, value, expected) in [
        (
            "loopback, private",
            &xff,
            list,
            (None, ClientIpSource::Unknown),
        ),
        (
            "unix, private",
            &xff,
            list,
            (some("203.0.113.9"), ClientIpSource::Forwarded),
        ),
        (
            "unix",
            &xff,
            list,
            (some("10.0.0.2"), ClientIpSource::Forwarded),
        ),
        ("unix", &xff, None, (None, ClientIpSource::Unknown)),
        (
            "unix",
            &xff,
            Some("unknown"),
            (None, ClientIpSource::Unreadable),
        ),
        (
            "unix, private",
            &xff,
            Some("10.0.0.2"),
            (some("10.0.0.2"), ClientIpSource::AllTrusted),
        ),
        (
            "unix",
            &real,
            Some("203.0.113.9"),
            (some("203.0.113.9"), ClientIpSource::Forwarded),
        ),
        ("unix", &real, None, (None, ClientIpSource::Unknown)),
    ] {
        assert_eq!(
            resolve(trusted, header.clone(), value),
            expected,
            "{trusted} {value:?}"
        );
    }
    // For a peer that has an address it changes nothing.
    let only_unix = Resolver::new("unix".parse().unwrap());
    resolves(
        &only_unix,
        &[("x-forwarded-for", "6.6.6.6")],
        Some("10.0.0.1"),
        ClientIpSource::Ignored,
    );
    // A header that the proxies do not write is not the proxies'.
    resolves(
        &only_unix,
        &[("forwarded", "for=6.6.6.6")],
        Some("10.0.0.1"),
        ClientIpSource::Peer,
    );
}
