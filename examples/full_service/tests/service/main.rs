//! The service as its clients and its operator see it: the real binary, over TCP, with real signals.

mod admin;
mod api;
mod drain;
mod end;
mod flags;
mod layers;
mod openapi;
mod prometheus;
mod restarts;
mod routes;
mod schema;
mod secrets;
mod start;
mod support;
mod traces;
