//! The service as its clients and its operator see it: the real binary, over TCP, with real signals.

mod admin;
mod drain;
mod layers;
mod prometheus;
mod routes;
mod start;
mod support;
