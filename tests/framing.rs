//! One reading of every message on HTTP/1 and HTTP/2: the end of its body, its target and its host. Ambiguous messages
//! are refused, or end their connection.
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
