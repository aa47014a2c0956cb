//! One reading of every message on HTTP/1 and HTTP/2: the end of its body, its target and its host. Ambiguous messages
//! are refused, or end their connection.

mod bodies;
mod broken;
mod differential;
mod hosts;
mod reference;
mod responses;
mod targets;
mod wire;
