//! The answers of other implementations.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use lameduck::real_ip::{ClientIpHeader, Resolver, TrustedProxies};
use serde_json::Value;

use super::{headers, ip, peer};

static DATA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../data/real_ip.json")).unwrap());
static DECISIONS: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/real_ip_decisions.json")).unwrap()
});

fn rows(name: &str, count: usize) -> &'static [Value] {
    let rows = DATA[name].as_array().unwrap();
    assert_eq!(rows.len(), count, "{name}");
    rows
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Returns the networks of a row. Networks with bits behind the prefix become the intended one and names are left out,
/// because we refuse both.
fn trusted(list: &Value) -> TrustedProxies {
    let mut accepted = Vec::new();
    for entry in list.as_array().unwrap().iter().map(text) {
        let Err(error) = entry.parse::<TrustedProxies>() else {
            accepted.push(entry.to_owned());
            continue;
        };
        assert_eq!(Some(error.entry()), entry.split_whitespace().next());
        let message = error.to_string();
        match message
            .split_once("write ")
            .unwrap()
            .1
            .split_once(" for the network")
        {
            Some((network, _)) => accepted.push(network.to_owned()),
            None => assert!(!entry.starts_with(|c: char| c.is_ascii_digit()), "{error}"),
        }
    }
    accepted.join(",").parse().unwrap()
}

fn resolve(row: &Value, config: &Value) -> (Option<IpAddr>, &'static str) {
    assert!(config["trusted_hops"].is_null(), "no row has one");
    let header: ClientIpHeader = text(&config["header"]).parse().unwrap();
    let resolver = Resolver::new(trusted(&config["trusted"])).header(header);
    let lines = row["headers"].as_array().unwrap();
    let headers = headers(
        lines
            .iter()
            .map(|line| (text(&line[0]), text(&line[1]).as_bytes())),
    );
    let peer: Option<SocketAddr> = row["peer"].as_str().map(|peer| peer.parse().unwrap());
    let found = resolver.resolve(peer, &headers);
    assert_eq!(found, resolver.resolve(peer, &headers));
    assert_eq!(found.peer, peer);
    (found.ip, found.source.as_str())
}

#[test]
fn resolver_agrees_with_all_implementations() {
    for row in rows("agreed", 80) {
        let expected = row["expect"].as_str().map(|text| ip(text).to_canonical());
        assert_eq!(resolve(row, row).0, expected, "{row}");
    }
}

#[test]
fn disagreements_are_decided() {
    let decisions = DECISIONS["disputed"].as_array().unwrap();
    let mut decisions: BTreeMap<_, _> = decisions
        .iter()
        .map(|row| (text(&row["id"]), row))
        .collect();
    for row in rows("disputed", 44) {
        let Some(decision) = decisions.remove(text(&row["id"])) else {
            panic!("undecided: {row}");
        };
        let expected = (decision["ip"].as_str().map(ip), text(&decision["source"]));
        assert_eq!(resolve(row, &row["config"]), expected, "{row}");
        assert!(text(&decision["why"]).len() > 10);
    }
    assert!(decisions.is_empty(), "{decisions:?}");
}

#[test]
fn forwarded_follows_rfc_7239() {
    let resolver =
        Resolver::new(TrustedProxies::from(ip("10.0.0.1"))).header(ClientIpHeader::Forwarded);
    let decisions = DECISIONS["forwarded"].as_object().unwrap();
    let mut decided = 0;
    for row in rows("forwarded_rfc7239", 28) {
        let input = text(&row["input"]);
        let found = resolver.resolve(
            peer("10.0.0.1"),
            &headers([("forwarded", input.as_bytes())]),
        );
        let answer = found.ip.filter(|found| *found != ip("10.0.0.1"));
        // We return the rightmost of a list; of one element it is the only one.
        let mut expected = match &row["rfc_strict_list"] {
            Value::Null => &row["expect"],
            list => list.as_array().unwrap().last().unwrap(),
        };
        if let Some(decision) = decisions.get(input) {
            assert_ne!(&decision["ip"], expected, "{input} is no deviation");
            assert!(text(&decision["why"]).len() > 10);
            expected = &decision["ip"];
            decided += 1;
        }
        assert_eq!(answer, expected.as_str().map(ip), "{input}");
    }
    assert_eq!(decided, decisions.len());
}

#[test]
fn networks_contain_their_addresses() {
    // Names of sockets and files, and addresses with leading zeros, are no addresses to us, so none of them is trusted.
    let mut no_addresses = 0;
    for row in rows("trust_ranges", 120) {
        let trusted = trusted(&row["trusted"]);
        match text(&row["ip"]).parse() {
            Ok(ip) => assert_eq!(trusted.contains(ip), row["expect"] == true, "{row}"),
            Err(_) => no_addresses += usize::from(row["expect"] == true),
        }
        let again: TrustedProxies = trusted.to_string().parse().unwrap();
        assert_eq!(again, trusted, "{row}");
    }
    assert_eq!(no_addresses, DECISIONS["trusted_names"]["count"]);
}
