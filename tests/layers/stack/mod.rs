//! The whole stack in its frameworks, tested by real clients: axum, tonic, warp and a plain service function, on
//! `lameduck::serve` and on the servers of axum and tonic.
#![cfg(all(feature = "axum", feature = "rate-limit"))]

mod cors;
mod grpc;
mod http;
mod per_route;
mod places;
mod wire;
