use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{Router, serve::ListenerExt};
use tokio::{
    signal::unix::{SignalKind, signal},
    time,
};
use tower::service_fn;

use crate::{app::App, settings};

/// `axum::serve` with what its users do today: at SIGTERM readiness fails, a wait of `LAME_DUCK`, graceful shutdown.
pub fn axum_serve() -> Result<()> {
    super::runtime()?.block_on(async {
        let lame_duck = settings::env_duration("LAME_DUCK")?.unwrap_or(Duration::from_secs(5));
        let ready = Arc::new(AtomicBool::new(true));
        let mut sigterm = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let listener = super::listen().await?.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let app = App::new({
            let ready = ready.clone();
            move || ready.load(Ordering::Relaxed)
        });
        let router = Router::new().fallback_service(service_fn(move |request| app.call(request)));
        axum::serve(listener, router)
            .with_graceful_shutdown(async move {
                sigterm.recv().await;
                ready.store(false, Ordering::Relaxed);
                time::sleep(lame_duck).await;
            })
            .await
            .context("serving")
    })
}
