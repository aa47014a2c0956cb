//! The syntax of the headers.

use super::*;

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
        ClientIpSource::Forwarded,
    );
    resolves(
        &resolver,
        &[(name, "10.0.0.7")],
        Some("10.0.0.7"),
        ClientIpSource::AllTrusted,
    );
    resolves(
        &resolver,
        &[("x-forwarded-for", "1.1.1.1")],
        proxy,
        ClientIpSource::NoHeader,
    );
    for odd in ["", "1.1.1.1, 2.2.2.2", "1.1.1.1,", "for=1.1.1.1"] {
        resolves(&resolver, &[(name, odd)], proxy, ClientIpSource::Unreadable);
        resolves(&counted, &[(name, odd)], None, ClientIpSource::Unreadable);
    }
    resolves(
        &resolver,
        &[(name, "1.1.1.1"), (name, "1.1.1.1")],
        proxy,
        ClientIpSource::Unreadable,
    );
    resolves(
        &counted,
        &[(name, "1.1.1.1")],
        Some("1.1.1.1"),
        ClientIpSource::Forwarded,
    );
    resolves(&counted, &[], None, ClientIpSource::TooFew);
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
            ClientIpSource::Forwarded,
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
            ClientIpSource::Unreadable,
        );
    }
    // A quote ends with its line.
    let lines = [(name, r#"for="6.6.6.6"#), (name, "for=1.1.1.1")];
    resolves(
        &resolver,
        &lines,
        Some("1.1.1.1"),
        ClientIpSource::Forwarded,
    );
    let lines = [(name, r#"for="6.6.6.6"#), (name, "for=10.0.0.2")];
    resolves(
        &resolver,
        &lines,
        Some("10.0.0.2"),
        ClientIpSource::Unreadable,
    );
}

#[test]
fn a_header_with_a_port_is_cut_at_the_last_colon() {
    let cloudfront = "CloudFront-Viewer-Address";
    let header: ClientIpHeader = cloudfront.parse().unwrap();
    assert_eq!(header.to_string(), "cloudfront-viewer-address");
    let own: ClientIpHeader = "X-Client:port".parse().unwrap();
    assert_eq!(own.to_string(), "x-client:port");
    assert_eq!(own.to_string().parse::<ClientIpHeader>().unwrap(), own);
    let with =
        |header: &ClientIpHeader| Resolver::new("private".parse().unwrap()).header(header.clone());
    for (value, expected) in [
        ("203.0.113.9:46532", Some("203.0.113.9")),
        ("2600:300:f:abcd::9:9985", Some("2600:300:f:abcd::9")),
        ("2600:300:f:abcd::9:46532", Some("2600:300:f:abcd::9")),
        (
            "2600:300:f:abcd:1:2:3:4:46532",
            Some("2600:300:f:abcd:1:2:3:4"),
        ),
        ("[2600:300::9]:443", Some("2600:300::9")),
        ("::ffff:203.0.113.9:443", Some("203.0.113.9")),
        ("::1:80", Some("::1")),
        ("203.0.113.9", None),
        ("203.0.113.9:", None),
        ("203.0.113.9:+80", None),
        ("203.0.113.9:99999", None),
        ("2600:300:f:abcd:1:2:3:4", None),
        ("a:80", None),
        (":80", None),
        ("203.0.113.9:80, 203.0.113.10:80", None),
    ] {
        let source = match expected {
            Some(_) => ClientIpSource::Forwarded,
            None => ClientIpSource::Unreadable,
        };
        let expected = expected.or(Some("10.0.0.1"));
        resolves(
            &with(&header),
            &[("cloudfront-viewer-address", value)],
            expected,
            source,
        );
        resolves(&with(&own), &[("x-client", value)], expected, source);
    }
    // Other headers are unaffected: text that may be a whole address is one.
    let plain: ClientIpHeader = "x-real-ip".parse().unwrap();
    resolves(
        &with(&plain),
        &[("x-real-ip", "2600:300:f:abcd::9:9985")],
        Some("2600:300:f:abcd::9:9985"),
        ClientIpSource::Forwarded,
    );
}
