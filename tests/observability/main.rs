//! A service as its operator sees it: events, logs, metrics, probes and the status page.
#![cfg(feature = "serve")]

mod grpc;
mod health;
mod health_grpc;
mod logs;
mod metrics;
mod observe;
mod status_page;

#[path = "../support/mod.rs"]
mod support;
