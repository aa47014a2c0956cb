//! The servers that are measured: the same [`App`](crate::app::App), served in different ways.

mod axum_serve;
mod bare_auto;
mod lameduck_serve;
mod plain;
mod stacked;

pub use axum_serve::{axum_serve, axum_stacked};
pub use bare_auto::bare_auto;
pub use plain::plain;
pub use stacked::stacked;

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};

use crate::{nofile, settings};

/// Prepares a server: raises the limit of descriptors, and builds a runtime of one thread.
fn runtime() -> Result<Runtime> {
    nofile::raise()?;
    Builder::new_current_thread()
        .enable_all()
        .build()
        .context("building the runtime")
}

/// Listens on `PORT` of the loopback address.
async fn listen() -> Result<TcpListener> {
    let port: u16 = settings::env_or("PORT", 8080)?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("listening on port {port}"))
}
