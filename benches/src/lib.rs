//! Shared tools of the measurements, and the measured servers.
//!
//! Each measurement is a binary of its own (`src/bin`). It starts release builds of the servers as child processes, so
//! that a whole process is measured as in production: its memory, its exit, its signals.

pub mod app;
pub mod cores;
pub mod crowd;
#[path = "../../tests/support/wire.rs"]
pub mod frames;
pub mod http1;
pub mod layers;
pub mod metrics;
pub mod nofile;
pub mod process;
pub mod servers;
pub mod settings;
pub mod statistics;
pub mod tcp_table;
