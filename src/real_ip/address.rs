//! An entry of `X-Forwarded-For`, and the syntax it shares with a node of `Forwarded`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The maximum length of an entry: longer than any address with its zone and port.
pub(super) const MAX_LEN: usize = 96;

/// Parses `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`, with an optional zone after
/// an IPv6 address; IPv4-mapped addresses are folded. `None` for anything else: the parsers of the standard library are
/// strict and accept no octal, hexadecimal or short form.
pub(super) fn read(entry: &[u8]) -> Option<IpAddr> {
    if entry.len() > MAX_LEN {
        return None;
    }
    let entry = std::str::from_utf8(entry).ok()?;
    let ip: IpAddr = if let Some(inside) = entry.strip_prefix('[') {
        let (ip, after) = inside.split_once(']')?;
        if !after.is_empty() && !after.strip_prefix(':').is_some_and(is_port) {
            return None;
        }
        zoned(ip)?.into()
    } else if let Some((ip, port)) = entry.split_once(':') {
        // A single colon precedes IPv4's port. Two or more are IPv6, where a port requires brackets.
        if port.contains(':') {
            zoned(entry)?.into()
        } else if is_port(port) {
            ip.parse::<Ipv4Addr>().ok()?.into()
        } else {
            return None;
        }
    } else {
        entry.parse::<Ipv4Addr>().ok()?.into()
    };
    Some(ip.to_canonical())
}

/// Parses `192.0.2.1:80`, `2001:db8::1:80`, `[2001:db8::1]:80`: always with a port after the last colon. IPv6 without a
/// port is indistinguishable from IPv6 with one, so an address without a port is rejected.
pub(super) fn read_with_port(entry: &[u8]) -> Option<IpAddr> {
    if entry.len() > MAX_LEN {
        return None;
    }
    let (ip, port) = std::str::from_utf8(entry).ok()?.rsplit_once(':')?;
    if !is_port(port) {
        return None;
    }
    let bracketed = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']'));
    let ip: IpAddr = match bracketed {
        Some(ip) => ip.parse::<Ipv6Addr>().ok()?.into(),
        None => ip.parse().ok()?,
    };
    Some(ip.to_canonical())
}

/// Parses an IPv6 address and drops its zone, which is meaningful only on the host that wrote it.
fn zoned(ip: &str) -> Option<Ipv6Addr> {
    let ip = match ip.split_once('%') {
        Some((ip, zone)) if is_zone(zone) => ip,
        Some(_) => return None,
        None => ip,
    };
    ip.parse().ok()
}

fn is_zone(zone: &str) -> bool {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'~');
    !zone.is_empty() && zone.bytes().all(unreserved)
}

pub(super) fn is_port(port: &str) -> bool {
    // `parse` alone would accept a sign.
    port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
}
