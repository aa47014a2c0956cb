use super::*;
use crate::conn_info::{ClientIp, ConnInfo, Verdict, client_of};
use crate::events::{Event, Events};
use crate::reply::ReplyBody;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::Full;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use tower::{Layer, ServiceExt, service_fn};

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn private() -> RealIpLayer {
    RealIpLayer::new("private".parse().unwrap())
}

fn from(peer: &str) -> Request<()> {
    Request::get("/")
        .header("x-forwarded-for", "203.0.113.9")
        .extension(ConnInfo::new(Some(addr(peer)), Some(addr("10.9.9.9:80"))))
        .body(())
        .unwrap()
}

/// The answer, and the extensions that the inner service saw.
async fn call(
    layer: &RealIpLayer,
    request: Request<()>,
) -> (Response<ReplyBody<Full<Bytes>>>, Option<http::Extensions>) {
    let seen = Arc::new(Mutex::new(None));
    let see = seen.clone();
    let service = layer.layer(service_fn(move |request: Request<()>| {
        *see.lock().unwrap() = Some(request.extensions().clone());
        async { Ok::<_, Infallible>(Response::new(Full::default())) }
    }));
    let answer = service.oneshot(request).await.unwrap();
    let seen = seen.lock().unwrap().take();
    (answer, seen)
}

async fn found(layer: &RealIpLayer, request: Request<()>) -> ClientIp {
    let (_, seen) = call(layer, request).await;
    ClientIp::of(&seen.unwrap()).unwrap()
}

#[tokio::test]
async fn the_client_is_written_into_the_connections_extension() {
    let (_, seen) = call(&private(), from("10.0.0.1:4000")).await;
    let seen = seen.unwrap();
    let info = seen.get::<ConnInfo>().unwrap();
    assert_eq!(info.peer, Some(addr("10.0.0.1:4000")), "unchanged");
    assert_eq!(info.local, Some(addr("10.9.9.9:80")));
    let client = ClientIp::new(Some(ip("203.0.113.9")), info.peer, Verdict::Forwarded);
    assert_eq!(info.client, Some(client));
    assert_eq!(client_of(&seen), client.ip);
}

#[tokio::test]
async fn where_there_is_no_extension_one_is_inserted() {
    let found = found(&private(), Request::default()).await;
    assert_eq!(found, ClientIp::new(None, None, Verdict::Unknown));
}

#[tokio::test]
async fn off_touches_nothing() {
    let off = RealIpLayer::off()
        .refuse_unknown()
        .header(ClientIpHeader::Forwarded);
    let (answer, seen) = call(&off, Request::default()).await;
    assert_eq!(answer.status(), 200);
    assert!(seen.unwrap().is_empty());
}

#[tokio::test]
async fn the_peer_of_another_server() {
    #[derive(Clone)]
    struct Theirs(SocketAddr);
    let layer = private().peer(|extensions| Some(extensions.get::<Theirs>()?.0));
    let mut request = from("192.0.2.1:4000");
    request
        .extensions_mut()
        .insert(Theirs(addr("10.0.0.1:4000")));
    let found = found(&layer, request).await;
    assert_eq!(found.verdict, Verdict::Forwarded);
    assert_eq!(found.peer, Some(addr("10.0.0.1:4000")));
}

#[tokio::test]
async fn the_inner_of_two_layers_has_the_last_word() {
    let inner = RealIpLayer::hops(0).layer(service_fn(|request: Request<()>| async move {
        assert_eq!(
            ClientIp::of(request.extensions()).unwrap().verdict,
            Verdict::Peer
        );
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    private()
        .layer(inner)
        .oneshot(from("10.0.0.1:4000"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_client_without_an_address_passes_or_is_refused() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    let events = Events::to(move |event: &Event<'_>| tell.lock().unwrap().push(event.to_string()));
    let layer = RealIpLayer::hops(2).events(events);

    let (answer, seen) = call(&layer, from("10.0.0.1:4000")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(client_of(&seen.unwrap()), None, "not the proxy's address");

    let layer = layer.refuse_unknown();
    let (answer, seen) = call(&layer, from("10.0.0.1:4000")).await;
    assert_eq!(answer.status(), 400);
    assert!(seen.is_none());
    let mut grpc = from("10.0.0.1:4000");
    *grpc.version_mut() = Version::HTTP_2;
    grpc.headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    let (answer, _) = call(&layer, grpc).await;
    assert_eq!(answer.headers()["grpc-status"], "3");

    let verdict = "client address: too_few";
    let refused = format!("refused: {}", crate::reply::Reason::ClientUnknown);
    let expected = [verdict, verdict, &refused, verdict, &refused];
    assert_eq!(*told.lock().unwrap(), expected);
}

#[track_caller]
fn resolves(
    resolver: &Resolver,
    lines: &[(&'static str, &str)],
    expected: Option<&str>,
    why: Verdict,
) {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, value.parse().unwrap());
    }
    let found = resolver.resolve(Some(addr("10.0.0.1:4000")), &headers);
    assert_eq!(
        (found.ip, found.verdict),
        (expected.map(ip), why),
        "{lines:?}"
    );
}

#[test]
fn hops_are_counted_from_the_right() {
    let xff = "x-forwarded-for";
    let two = Resolver::hops(2);
    resolves(
        &two,
        &[(xff, "6.6.6.6, 1.1.1.1, 2.2.2.2")],
        Some("1.1.1.1"),
        Verdict::Forwarded,
    );
    resolves(
        &two,
        &[(xff, "1.1.1.1"), (xff, "2.2.2.2")],
        Some("1.1.1.1"),
        Verdict::Forwarded,
    );
    resolves(&two, &[(xff, "2.2.2.2")], None, Verdict::TooFew);
    resolves(&two, &[], None, Verdict::TooFew);
    resolves(
        &two,
        &[(xff, "6.6.6.6, unknown, 2.2.2.2")],
        None,
        Verdict::Unreadable,
    );
    // An empty entry of a proxy counts: else what the client sent moves into its place.
    resolves(
        &two,
        &[(xff, "6.6.6.6, , 2.2.2.2")],
        None,
        Verdict::Unreadable,
    );
    resolves(
        &Resolver::hops(0),
        &[(xff, "6.6.6.6")],
        Some("10.0.0.1"),
        Verdict::Peer,
    );
    resolves(
        &Resolver::hops(usize::MAX),
        &[(xff, "6.6.6.6")],
        None,
        Verdict::TooFew,
    );

    let unix = Resolver::hops(0).resolve(None, &HeaderMap::new());
    assert_eq!((unix.ip, unix.verdict), (None, Verdict::Unknown));
}

#[test]
fn a_named_header_holds_one_address() {
    let name = "cf-connecting-ip";
    let resolver =
        Resolver::new("private".parse().unwrap()).header("CF-Connecting-IP".parse().unwrap());
    let counted = Resolver::hops(3).header(resolver_header(name));
    let proxy = Some("10.0.0.1");
    resolves(
        &resolver,
        &[(name, " 1.1.1.1\t")],
        Some("1.1.1.1"),
        Verdict::Forwarded,
    );
    resolves(
        &resolver,
        &[(name, "10.0.0.7")],
        Some("10.0.0.7"),
        Verdict::AllTrusted,
    );
    resolves(
        &resolver,
        &[("x-forwarded-for", "1.1.1.1")],
        proxy,
        Verdict::NoHeader,
    );
    for odd in ["", "1.1.1.1, 2.2.2.2", "1.1.1.1,", "for=1.1.1.1"] {
        resolves(&resolver, &[(name, odd)], proxy, Verdict::Unreadable);
        resolves(&counted, &[(name, odd)], None, Verdict::Unreadable);
    }
    resolves(
        &resolver,
        &[(name, "1.1.1.1"), (name, "1.1.1.1")],
        proxy,
        Verdict::Unreadable,
    );
    resolves(
        &counted,
        &[(name, "1.1.1.1")],
        Some("1.1.1.1"),
        Verdict::Forwarded,
    );
    resolves(&counted, &[], None, Verdict::TooFew);
}

fn resolver_header(name: &str) -> ClientIpHeader {
    let header: ClientIpHeader = name.parse().unwrap();
    assert_eq!(header.to_string(), name);
    header
}

#[test]
fn the_names_of_headers() {
    assert_eq!(
        resolver_header("x-forwarded-for"),
        ClientIpHeader::XForwardedFor
    );
    let mixed: ClientIpHeader = "X-Forwarded-For".parse().unwrap();
    assert_eq!(mixed, ClientIpHeader::XForwardedFor);
    assert_eq!(resolver_header("forwarded"), ClientIpHeader::Forwarded);
    assert!(matches!(
        resolver_header("x_forwarded_for"),
        ClientIpHeader::Named(_)
    ));
    assert!("a b".parse::<ClientIpHeader>().is_err());
    assert!("".parse::<ClientIpHeader>().is_err());
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
        Verdict::Forwarded,
    );
    resolves(
        &resolver,
        &[(xff, &hops(32))],
        Some("10.0.1.1"),
        Verdict::AllTrusted,
    );
    resolves(
        &resolver,
        &[(xff, &chain(32))],
        Some("10.0.1.1"),
        Verdict::TooMany,
    );
}

#[test]
fn forwarded_elements() {
    let resolver = Resolver::new("private".parse().unwrap()).header(ClientIpHeader::Forwarded);
    let name = "forwarded";
    for good in [
        "for=1.1.1.1",
        r#"for="1.1.1.1:80""#,
        r#"FOR="1.1.1.1:_port""#,
        r#"for="[::ffff:1.1.1.1]:80";proto=https"#,
        r#"by=_x;for=1.1.1.1;host="a, b;for=6.6.6.6""#,
        ";;for=1.1.1.1;",
        "for=1.1.1.1,, ,",
        r#"for="1.1.1.1";secret="\"\\""#,
        r#"for="6.6.6.6, for=1.1.1.1"#,
        r#"for="6.6.6.6\, for="\1.1.1.1""#,
        r#"for=6.6.6.6;by=", for=1.1.1.1;by="10.0.0.2""#,
    ] {
        resolves(
            &resolver,
            &[(name, good)],
            Some("1.1.1.1"),
            Verdict::Forwarded,
        );
    }
    for bad in [
        "for=unknown",
        "for=_hidden",
        "for=1.1.1.1:80",
        "for=1.1.1.1;for=1.1.1.1",
        "for=1.1.1.1;proto=a;PROTO=a",
        "for=1.1.1.1; proto=http",
        "for = 1.1.1.1",
        "for=[::1]",
        r#"for="::1""#,
        r#"for="[1.1.1.1]""#,
        r#"for="[2001:db8::1%eth0]""#,
        r#"for="1.1.1.1:""#,
        r#"for="1.1.1.1:123456""#,
        r#"for="1.1.1.1"x"#,
        r#"for=1.1.1.1;by="unmatched"#,
        r#"for="1.1.1.1\"#,
        "for=",
        "=1.1.1.1",
        "for",
        "by=1.1.1.1",
        ";",
        "1.1.1.1",
    ] {
        resolves(
            &resolver,
            &[(name, bad)],
            Some("10.0.0.1"),
            Verdict::Unreadable,
        );
    }
    // A quote ends with its line.
    let lines = [(name, r#"for="6.6.6.6"#), (name, "for=1.1.1.1")];
    resolves(&resolver, &lines, Some("1.1.1.1"), Verdict::Forwarded);
    let lines = [(name, r#"for="6.6.6.6"#), (name, "for=10.0.0.2")];
    resolves(&resolver, &lines, Some("10.0.0.2"), Verdict::Unreadable);
}

#[test]
fn trusted_proxies_are_shown_as_they_are_parsed() {
    let shown = |list: &str| list.parse::<TrustedProxies>().unwrap().to_string();
    assert_eq!(shown(""), "");
    assert_eq!(shown(" , \t\n"), "");
    assert_eq!(shown("Loopback"), "127.0.0.0/8, ::1");
    assert_eq!(shown("link_local"), "169.254.0.0/16, fe80::/10");
    assert_eq!(
        shown("private"),
        "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7"
    );
    assert_eq!(
        shown("::ffff:10.0.0.0/104 ::ffff:192.0.2.1"),
        "10.0.0.0/8, 192.0.2.1"
    );
    assert_eq!(
        shown("192.0.2.1/32,10.128.0.0/9,10.0.0.0/9"),
        "10.0.0.0/8, 192.0.2.1"
    );
    assert_eq!(shown("0.0.0.0/0,::/0"), "0.0.0.0/0, ::/0");
    assert!(TrustedProxies::none().is_empty());
    let one = TrustedProxies::from(ip("::ffff:192.0.2.1"));
    assert_eq!(one.to_string(), "192.0.2.1");
}

#[test]
fn what_is_no_network_is_named_with_how_to_write_it() {
    for (list, entry, told) in [
        ("private, 10.1.2.3/8", "10.1.2.3/8", "write 10.0.0.0/8"),
        ("2001:db8::1/32", "2001:db8::1/32", "write 2001:db8::/32"),
        ("10.0.0.0/33", "10.0.0.0/33", "0 to 32"),
        ("10.0.0.0/", "10.0.0.0/", "0 to 32"),
        ("10.0.0.0/+8", "10.0.0.0/+8", "0 to 32"),
        ("::/129", "::/129", "0 to 128"),
        ("010.0.0.0/8", "010.0.0.0/8", "not an address"),
        ("10.0/16", "10.0/16", "not an address"),
        ("loopback localhost", "localhost", "loopback"),
        ("fe80::1%eth0", "fe80::1%eth0", "not an address"),
        ("*", "*", "not an address"),
    ] {
        let error = list.parse::<TrustedProxies>().unwrap_err();
        assert_eq!(error.entry(), entry);
        let text = error.to_string();
        assert!(text.contains(entry) && text.contains(told), "{text}");
    }
}
