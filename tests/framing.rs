//! One reading of every message: where its body ends, what it is for and whose it is, on HTTP/1 and HTTP/2. What
//! could be read in two ways is refused, or ends its connection.
#![cfg(feature = "serve")]

#[path = "framing/bodies.rs"]
mod bodies;
#[path = "framing/broken.rs"]
mod broken;
#[path = "framing/differential.rs"]
mod differential;
#[path = "framing/hosts.rs"]
mod hosts;
#[path = "framing/reference.rs"]
mod reference;
#[path = "framing/responses.rs"]
mod responses;
mod support;
#[path = "framing/targets.rs"]
mod targets;
#[path = "framing/wire.rs"]
mod wire;
