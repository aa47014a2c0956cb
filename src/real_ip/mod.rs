//! A layer that finds the client's address behind trusted proxies.
//!
//! Behind a proxy the socket's peer is the proxy, and the client's address is in a header, which a client can forge.
//! Trust is therefore explicit: in certain proxies ([`TrustedProxies`], or a number of proxies), and in a single header
//! ([`ClientIpHeader`]).
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use lameduck::{ClientIp, ConnInfo, RealIpLayer};
//! use std::convert::Infallible;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let service = ServiceBuilder::new()
//!     .layer(RealIpLayer::new("loopback, private".parse().unwrap()))
//!     .service(service_fn(|request: Request<()>| async move {
//!         let client = ClientIp::of(request.extensions()).unwrap();
//!         let text = format!("{} ({})", client.ip.unwrap(), client.source);
//!         Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(text)))
//!     }));
//!
//! let request = Request::get("/")
//!     .header("x-forwarded-for", "6.6.6.6, 203.0.113.9, 10.0.0.7") // 6.6.6.6 is the client's own
//!     .extension(ConnInfo::new(Some("127.0.0.1:4000".parse().unwrap()), None)) // `serve` does this
//!     .body(())
//!     .unwrap();
//! let answer = service.oneshot(request).await.unwrap();
//! let text = answer.into_body().collect().await.unwrap().to_bytes();
//! assert_eq!(text, "203.0.113.9 (forwarded)");
//! # }
//! ```
//!
//! # Result
//!
//! The layer writes a [`ClientIp`](crate::ClientIp) with its [source](crate::ClientIpSource) into the
//! [`ConnInfo`](crate::ConnInfo) of the request. If there is none, one is inserted, which is the only allocation. A
//! second layer further in overwrites the result of the first.
//!
//! With trusted proxies:
//!
//! | the peer | the header | address | source |
//! |---|---|---|---|
//! | is not a trusted proxy | is missing | the peer's | `peer` |
//! | is not a trusted proxy | is ignored | the peer's | `ignored` |
//! | has no address (a Unix socket), and `unix` is not among the trusted | is ignored | none | `unknown` |
//! | is trusted | is missing, or has no entry | the peer's | `no_header` |
//! | is trusted | right to left past trusted proxies, ends at another address | that one | `forwarded` |
//! | is trusted | names trusted proxies only | the leftmost | `all_trusted` |
//! | is trusted | has an unreadable entry before another address | the one to its right, or the peer's | `unreadable` |
//! | is trusted | has more than 32 entries before another address | the 32nd from the right | `too_many` |
//!
//! If `unix` is trusted, a peer without an address is a trusted proxy. Where the table says the peer's address there is
//! then none, and `no_header` becomes `unknown`.
//!
//! `ignored` shows a proxy that is missing from the configuration, but any client can send the header. It costs one
//! look-up in the headers of a peer that is not trusted, and no more. The metrics count it; the log (feature `tracing`)
//! has one warning, with the network to trust.
//!
//! With a number of proxies, [`RealIpLayer::hops`], the peer is ignored (it may have no address). The client is that
//! entry from the right: `forwarded`. With fewer entries the source is `too_few`, with an unreadable entry
//! `unreadable`, both without an address, because any other entry would be a proxy's. Empty entries count.
//!
//! # Header syntax
//!
//! * All lines of the header form one list, in their order. The name is compared exactly: `X_Forwarded_For` is another
//!   header.
//! * `X-Forwarded-For`: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`. Ports and
//!   zones (`fe80::1%eth0`) are dropped, IPv4-mapped addresses are folded to IPv4. Spaces and tabs around an entry, and
//!   empty entries, are skipped. Anything else is unreadable: names, octets with leading zeros, whole numbers,
//!   hexadecimal, quotes, bytes beyond ASCII.
//! * `Forwarded`: strictly by RFC 7239. IPv6 addresses and ports require quotes, IPv6 brackets as well; no white space
//!   around `;`; `for` in any case. Unreadable are `unknown`, `_obfuscated`, and an element without `for`, with a
//!   repeated parameter, or malformed anywhere.
//! * Quotes in `Forwarded` are matched from the right, and never beyond a line. A client that sends `for="1.1.1.1`
//!   cannot swallow the `, for=203.0.113.9` that a proxy appends, on the same line or on another.
//! * Any other header, [`ClientIpHeader::Named`]: one line with one address, as in `X-Forwarded-For`; a number of
//!   proxies does not apply there. [`ClientIpHeader::NamedWithPort`]: always with a port after the last colon. An
//!   address of a trusted proxy is flagged as `all_trusted`.
//!
//! Resolution is linear in the size of the header and does not allocate.

mod address;
mod entries;
mod forwarded;
mod header;
mod layer;
mod resolver;
mod service;
mod shared;
#[cfg(test)]
mod tests;
mod trusted;

/// The response future of a [`RealIp`] service.
pub use crate::reply::ReplyFuture as RealIpFuture;
pub use header::ClientIpHeader;
pub use layer::RealIpLayer;
pub use resolver::Resolver;
pub use service::RealIp;
pub use trusted::{InvalidTrustedProxies, TrustedProxies};
