use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The proxies whose headers are trusted. Empty by default.
///
/// Parsed from a list, separated by commas or white space, of
///
/// * networks, `10.0.0.0/8` or `2001:db8::/32`, without bits after the prefix;
/// * addresses, which are networks of one: `192.0.2.1` is `192.0.2.1/32`;
/// * `loopback`: 127.0.0.0/8, ::1/128;
/// * `link_local`: 169.254.0.0/16, fe80::/10;
/// * `private`: 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 (RFC 1918), fc00::/7 (RFC 4193);
/// * `unix`: a peer without an address, such as a Unix socket's. Use it only if the server reports its peers: a server
///   that reports none looks the same.
///
/// An IPv4-mapped address is IPv4 on both sides: `::ffff:10.0.0.0/104` is `10.0.0.0/8`. An IPv6 network with a prefix
/// shorter than that of the mapped addresses (96) does not cover IPv4: to trust every peer, write `0.0.0.0/0, ::/0`.
///
/// The list is stored, shown and compared as the fewest networks that hold the same addresses. Clones share them.
///
/// ```
/// use lameduck::real_ip::TrustedProxies;
///
/// let trusted: TrustedProxies = "private, 192.0.2.7".parse().unwrap();
/// assert!(trusted.contains("10.1.2.3".parse().unwrap()));
/// assert!(trusted.contains("::ffff:10.1.2.3".parse().unwrap()));
/// assert!(!trusted.contains("192.0.2.8".parse().unwrap()));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TrustedProxies {
    // Sorted and free of overlaps, so that only one network can contain an address.
    v4: Arc<[Ipv4Net]>,
    v6: Arc<[Ipv6Net]>,
    unix: bool,
}

const LOOPBACK: &str = "127.0.0.0/8 ::1/128";
const LINK_LOCAL: &str = "169.254.0.0/16 fe80::/10";
const PRIVATE: &str = "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7";

impl TrustedProxies {
    /// Creates an empty list, which trusts no proxy.
    pub fn none() -> Self {
        Self::default()
    }

    /// Returns `true` if no proxy is trusted.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty() && !self.unix
    }

    /// Returns `true` if a peer without an address is trusted, as on a Unix socket.
    pub fn contains_unix(&self) -> bool {
        self.unix
    }

    /// Returns `true` if this address is trusted. Logarithmic in the number of networks.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let after = self.v4.partition_point(|net| net.network() <= ip);
                self.v4[..after].last().is_some_and(|net| net.contains(&ip))
            }
            IpAddr::V6(ip) => {
                let after = self.v6.partition_point(|net| net.network() <= ip);
                self.v6[..after].last().is_some_and(|net| net.contains(&ip))
            }
        }
    }
}

impl FromStr for TrustedProxies {
    type Err = InvalidTrustedProxies;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        let mut unix = false;
        let mut add = |entry: &str| {
            match network(entry)? {
                IpNet::V4(net) => v4.push(net),
                IpNet::V6(net) => v6.push(net),
            }
            Ok(())
        };
        for entry in list.split(separates).filter(|entry| !entry.is_empty()) {
            let preset = match entry.to_ascii_lowercase().as_str() {
                "loopback" => LOOPBACK,
                "link_local" => LINK_LOCAL,
                "private" => PRIVATE,
                "unix" => {
                    unix = true;
                    continue;
                }
                _ => {
                    add(entry)?;
                    continue;
                }
            };
            preset.split(separates).try_for_each(&mut add)?;
        }
        let (mut v4, mut v6) = (Ipv4Net::aggregate(&v4), Ipv6Net::aggregate(&v6));
        v4.sort_unstable();
        v6.sort_unstable();
        Ok(TrustedProxies {
            v4: v4.into(),
            v6: v6.into(),
            unix,
        })
    }
}

fn separates(c: char) -> bool {
    c == ',' || c.is_whitespace()
}

/// Parses a network. `IpNet`'s own parser is not used: this one rejects ambiguous input, octets with leading zeros and
/// prefixes such as `+8`.
fn network(entry: &str) -> Result<IpNet, InvalidTrustedProxies> {
    let invalid = |problem| InvalidTrustedProxies {
        entry: entry.to_owned(),
        problem,
    };
    let (address, prefix) = match entry.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (entry, None),
    };
    let address: IpAddr = address.parse().map_err(|_| invalid(Problem::Unreadable))?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => longest,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().map_err(|_| invalid(Problem::Prefix))?
        }
        Some(_) => return Err(invalid(Problem::Prefix)),
    };
    let net = IpNet::new(address, prefix).map_err(|_| invalid(Problem::Prefix))?;
    // Not truncated silently: 192.168.1.7/16 may mean one address or all of them.
    if net.trunc() != net {
        return Err(invalid(Problem::HostBits(net.trunc())));
    }
    Ok(fold(net))
}

/// Converts an IPv4-mapped network to the IPv4 network.
fn fold(net: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    if let IpNet::V6(v6) = net {
        if let (Some(v4), Some(prefix)) = (
            v6.network().to_ipv4_mapped(),
            v6.prefix_len().checked_sub(MAPPED),
        ) {
            return Ipv4Net::new(v4, prefix).map_or(net, IpNet::V4);
        }
    }
    net
}

/// Writes the form that is parsed; addresses without their prefix.
impl TryFrom<&str> for TrustedProxies {
    type Error = InvalidTrustedProxies;

    fn try_from(list: &str) -> Result<Self, Self::Error> {
        list.parse()
    }
}

impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v4 = self.v4.iter().copied().map(IpNet::V4);
        f.write_str(if self.unix { "unix" } else { "" })?;
        for (i, net) in v4.chain(self.v6.iter().copied().map(IpNet::V6)).enumerate() {
            f.write_str(if i == 0 && !self.unix { "" } else { ", " })?;
            if net.prefix_len() == net.max_prefix_len() {
                write!(f, "{}", net.addr())?;
            } else {
                write!(f, "{net}")?;
            }
        }
        Ok(())
    }
}

impl From<IpAddr> for TrustedProxies {
    fn from(ip: IpAddr) -> Self {
        let mut trusted = TrustedProxies::none();
        match fold(IpNet::from(ip)) {
            IpNet::V4(net) => trusted.v4 = [net].into(),
            IpNet::V6(net) => trusted.v6 = [net].into(),
        }
        trusted
    }
}

impl From<Ipv4Addr> for TrustedProxies {
    fn from(ip: Ipv4Addr) -> Self {
        IpAddr::V4(ip).into()
    }
}

impl From<Ipv6Addr> for TrustedProxies {
    fn from(ip: Ipv6Addr) -> Self {
        IpAddr::V6(ip).into()
    }
}

/// The error returned for an invalid entry in a list of trusted proxies. It names the entry and the valid form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTrustedProxies {
    entry: String,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    Unreadable,
    Prefix,
    HostBits(IpNet),
}

impl InvalidTrustedProxies {
    /// Returns the entry as it was written.
    pub fn entry(&self) -> &str {
        &self.entry
    }
}

impl fmt::Display for InvalidTrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trusted proxy {:?}: ", self.entry)?;
        match self.problem {
            Problem::Unreadable => f.write_str(
                "not an address; write a network (10.0.0.0/8, 2001:db8::/32), an address \
                 (192.0.2.1), loopback, link_local, private or unix",
            ),
            Problem::Prefix => f.write_str(
                "the prefix behind the / is no number of bits; it is 0 to 32 for IPv4 and 0 to 128 \
                 for IPv6 (10.0.0.0/8)",
            ),
            Problem::HostBits(net) => write!(
                f,
                "there are bits behind the prefix; write {net} for the network, or the address \
                 alone"
            ),
        }
    }
}

impl std::error::Error for InvalidTrustedProxies {}
