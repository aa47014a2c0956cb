//! The client's address.

use std::net::{IpAddr, SocketAddr};

use axum::Json;
use lameduck::ClientIp;
use serde::Serialize;

#[derive(Serialize)]
pub struct WhoAmI {
    client: Option<IpAddr>,
    /// The reason for this address.
    why: &'static str,
    /// The other end of the connection: the nearest proxy, if there is one.
    peer: Option<SocketAddr>,
}

pub async fn whoami(client: ClientIp) -> Json<WhoAmI> {
    Json(WhoAmI {
        client: client.ip,
        why: client.source.as_str(),
        peer: client.peer,
    })
}
