//! A process and its signals, its descriptors and its end. Many a test runs this binary again, as the process that
//! it sends signals to.
#![cfg(feature = "serve")]

mod descriptors;
mod frozen;
mod said;
mod shutdown;
mod signals;

#[path = "../support/mod.rs"]
mod support;
