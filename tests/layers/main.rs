//! Layers in front of real handlers, over real sockets: each alone, and the whole stack.
#![cfg(feature = "serve")]

mod body_limit;
mod rate_limit_redis;
mod real_ip;
mod stack;
mod timeout;

#[path = "../support/mod.rs"]
mod support;
