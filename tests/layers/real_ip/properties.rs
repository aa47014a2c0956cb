//! Properties that hold for every header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderValue};
use lameduck::ClientIpSource;
use lameduck::real_ip::{ClientIpHeader, Resolver, TrustedProxies};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{peer, trusting};

fn header() -> impl Strategy<Value = ClientIpHeader> {
    prop_oneof![
        Just(ClientIpHeader::XForwardedFor),
        Just(ClientIpHeader::Forwarded),
        Just("x-real-ip".parse().unwrap()),
    ]
}

/// Generates bytes that may occur in a header, more often significant ones.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => prop::sample::select(&b"for=\"\\,;:[]. \t10%_FOR\xff"[..]),
        1 => any::<u8>(),
    ];
    vec(byte, 0..60).prop_map(|bytes| {
        bytes
            .into_iter()
            .filter(|b| HeaderValue::from_bytes(&[*b]).is_ok())
            .collect()
    })
}

/// Generates the header of a client: anything, and plausible lists.
fn sent() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        bytes(),
        Just(b"6.6.6.6".to_vec()),
        Just(b"for=6.6.6.6".to_vec()),
        Just(br#"for="6.6.6.6"#.to_vec()),
        Just(br#"for=6.6.6.6;by=""#.to_vec()),
        Just(br#"for="6.6.6.6\"#.to_vec()),
        Just(b"6.6.6.6, 10.6.6.6".to_vec()),
        Just(b"6.6.6.6, 10.6.6.6,".to_vec()),
    ]
}

fn trusted_ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 3]>().prop_map(|[a, b, c]| Ipv4Addr::new(10, a, b, c).into()),
        any::<u16>().prop_map(|n| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n).into()),
    ]
}

fn client_ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 3]>().prop_map(|[a, b, c]| Ipv4Addr::new(203, a, b, c).into()),
        any::<u16>().prop_map(|n| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n).into()),
    ]
}

/// Formats an entry as a proxy may; `style` selects the variant.
fn written(ip: IpAddr, header: &ClientIpHeader, style: u8) -> String {
    let port = if style & 1 == 1 { ":4000" } else { "" };
    let node = match ip {
        IpAddr::V4(_) => format!("{ip}{port}"),
        IpAddr::V6(_) => format!("[{ip}]{port}"),
    };
    if *header == ClientIpHeader::XForwardedFor {
        return match style & 6 {
            0 if port.is_empty() => ip.to_string(),
            _ => node,
        };
    }
    let escaped: String = node.chars().flat_map(|c| ['\\', c]).collect();
    let node = match style & 6 {
        0 if !node.contains(':') => node,
        2 => format!("\"{escaped}\""),
        _ => format!("\"{node}\""),
    };
    match style & 24 {
        0 => format!("for={node}"),
        8 => format!("For={node};by=_proxy;proto=https"),
        16 => format!(r#"host="a, \"for=6.6.6.6\\";FOR={node}"#),
        _ => format!(r#"for={node};ext="\\,for=6.6.6.6""#),
    }
}

/// Appends an entry, to the same line or on one of its own.
fn append(headers: &mut HeaderMap, header: &ClientIpHeader, entry: &str, own_line: bool) {
    let mut lines: Vec<_> = headers.get_all(header.name()).iter().cloned().collect();
    match lines.last_mut() {
        Some(last) if !own_line => {
            let joined = [last.as_bytes(), b", ", entry.as_bytes()].concat();
            *last = HeaderValue::from_bytes(&joined).unwrap();
        }
        _ => lines.push(HeaderValue::from_str(entry).unwrap()),
    }
    headers.remove(header.name());
    for line in lines {
        headers.append(header.name().clone(), line);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_header_resolves(header in header(), lines in vec(bytes(), 0..4), hops in 0..4usize) {
        let mut headers = HeaderMap::new();
        for line in &lines {
            headers.append(header.name().clone(), HeaderValue::from_bytes(line).unwrap());
        }
        for resolver in [
            Resolver::new(TrustedProxies::none()).header(header.clone()),
            trusting("0.0.0.0/0, ::/0", header.clone()),
            trusting("private", header.clone()),
            Resolver::hops(hops).header(header.clone()),
        ] {
            for peer in [None, peer("10.0.0.1"), peer("192.0.2.1")] {
                let found = resolver.resolve(peer, &headers);
                prop_assert_eq!(found, resolver.resolve(peer, &headers));
                prop_assert_eq!(found.ip, found.ip.map(|ip| ip.to_canonical()));
                let none = matches!(found.source, ClientIpSource::Unknown | ClientIpSource::TooFew);
                prop_assert!(found.ip.is_none() || !none);
                prop_assert!(found.source != ClientIpSource::Peer || lines.is_empty());
                prop_assert!(found.source != ClientIpSource::Ignored || !lines.is_empty());
            }
        }
    }

    /// Each proxy of a chain appends the address of its caller to whatever a client sent: the client's address is found,
/// never one that it sent.
#[test]
    fn client_cannot_choose_its_address(
        forwarded in any::<bool>(),
        sent in vec(sent(), 0..3),
        client in client_ip(),
        // The proxies from the outermost to the innermost, without the peer.
        proxies in vec(trusted_ip(), 0..5),
        styles in vec((0..32u8, any::<bool>()), 6),
    ) {
        let header = match forwarded {
            true => ClientIpHeader::Forwarded,
            false => ClientIpHeader::XForwardedFor,
        };
        let mut headers = HeaderMap::new();
        for line in &sent {
            headers.append(header.name().clone(), HeaderValue::from_bytes(line).unwrap());
        }
        let callers = std::iter::once(&client).chain(&proxies);
        for (caller, (style, own_line)) in callers.zip(&styles) {
            append(&mut headers, &header, &written(*caller, &header, *style), *own_line);
        }
        let found = trusting("private", header.clone()).resolve(peer("10.0.0.1"), &headers);
        prop_assert_eq!((found.ip, found.source), (Some(client), ClientIpSource::Forwarded), "{:?}", headers);

        let counted = Resolver::hops(proxies.len() + 1).header(header.clone());
        prop_assert_eq!(counted.resolve(None, &headers).ip, Some(client), "{:?}", headers);

        // Headers of a client that bypasses the proxies are not trusted.
        let found = trusting("private", header).resolve(peer("192.0.2.1"), &headers);
        prop_assert_eq!((found.ip, found.source), (peer("192.0.2.1").map(|p| p.ip()), ClientIpSource::Ignored));
    }

    /// Nothing to the left of an unreadable hop is ever used.
    #[test]
    fn walk_ends_at_an_unreadable_hop(
        unreadable in prop::sample::select(&["unknown", "_x", "10.1", "010.0.0.1", "0x0a000001", "for", "1.1.1.1:", "a\u{fe}"][..]),
        proxies in vec(trusted_ip(), 0..5),
        styles in vec((0..8u8, any::<bool>()), 6),
    ) {
        let header = ClientIpHeader::XForwardedFor;
        let mut headers = HeaderMap::new();
        append(&mut headers, &header, "6.6.6.6", false);
        append(&mut headers, &header, unreadable, styles[0].1);
        for (caller, (style, own_line)) in proxies.iter().zip(&styles) {
            append(&mut headers, &header, &written(*caller, &header, *style), *own_line);
        }
        let found = trusting("private", header).resolve(peer("10.0.0.1"), &headers);
        let last = proxies.first().copied().or(peer("10.0.0.1").map(|peer| peer.ip()));
        prop_assert_eq!((found.ip, found.source), (last, ClientIpSource::Unreadable), "{:?}", headers);
    }

    /// Sorted and joined networks contain what the written ones contain, and their text parses again.
    #[test]
    fn joined_networks_contain_what_was_written(
        nets in vec((any::<u32>(), 0..=32u8), 0..12),
        asked in vec(any::<u32>(), 20),
    ) {
        let nets: Vec<_> = nets.into_iter()
            .map(|(ip, prefix)| ipnet::Ipv4Net::new(ip.into(), prefix).unwrap().trunc())
            .collect();
        let list: Vec<_> = nets.iter().map(ToString::to_string).collect();
        let trusted: TrustedProxies = list.join(" ").parse().unwrap();
        let edges = nets.iter().flat_map(|net| [u32::from(net.network()), net.broadcast().into()]);
        let near = edges.flat_map(|edge| [edge.wrapping_sub(1), edge, edge.wrapping_add(1)]);
        for ip in near.chain(asked).map(Ipv4Addr::from) {
            let held = nets.iter().any(|net| net.contains(&ip));
            prop_assert_eq!(trusted.contains(ip.into()), held, "{}", ip);
            prop_assert_eq!(trusted.contains(ip.to_ipv6_mapped().into()), held, "{}", ip);
        }
        prop_assert_eq!(&trusted.to_string().parse::<TrustedProxies>().unwrap(), &trusted);
    }
}
