//! The whole stack in its frameworks, tested by real clients: axum, tonic, warp and a plain service function, on
//! `lameduck::serve` and on the servers of axum and tonic.
#![cfg(all(feature = "serve", feature = "axum", feature = "rate-limit"))]

#[path = "stack/cors.rs"]
mod cors;
#[path = "stack/grpc.rs"]
mod grpc;
#[path = "stack/http.rs"]
mod http;
#[path = "stack/per_route.rs"]
mod per_route;
#[path = "stack/places.rs"]
mod places;
mod support;
#[path = "stack/wire.rs"]
mod wire;
