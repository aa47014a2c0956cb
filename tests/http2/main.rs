//! HTTP/2 and gRPC, frame by frame: connections, streams, limits, and how they end.
#![cfg(feature = "serve")]

mod close;
mod expect_continue;
mod grpc;
mod heads;
mod lifetime;
mod limits;
mod threads;

#[path = "../support/mod.rs"]
mod support;
