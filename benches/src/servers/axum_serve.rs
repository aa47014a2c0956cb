use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{Router, serve::ListenerExt};
use http::StatusCode;
use tokio::{
    signal::unix::{SignalKind, signal},
    time,
};
use tower::{ServiceBuilder, service_fn};
use tower_governor::{GovernorLayer, governor::GovernorConfigBuilder};
use tower_http::{
    limit::RequestBodyLimitLayer, metrics::InFlightRequestsLayer, timeout::TimeoutLayer,
};

use crate::{app::App, settings};

/// Serves by `axum::serve` with today's practice: at SIGTERM readiness fails, a wait of `LAME_DUCK`, graceful shutdown.
pub fn axum_serve() -> Result<()> {
    serve(false, Ok)
}

/// Serves the same within the layers of tower-http and tower_governor that come nearest to lameduck's: no drain, no
/// client behind proxies, no names of requests in flight. None of their limits is ever reached.
pub fn axum_stacked() -> Result<()> {
    serve(true, |router| {
        let (in_flight, _) = InFlightRequestsLayer::pair();
        // The quota is 100,000,000 a second. It counts by the peer, from axum's ConnectInfo.
        let quota = GovernorConfigBuilder::default()
            .per_nanosecond(10)
            .burst_size(100_000_000)
            .finish()
            .context("the quota")?;
        let second = Duration::from_secs(1);
        // The router gets one layer, because it boxes each of its layers. The limit is the innermost, because it
        // answers only with axum's own body; its place costs nothing.
        let layers = ServiceBuilder::new()
            .layer(in_flight)
            .layer(RequestBodyLimitLayer::new(1024 * 1024))
            .layer(TimeoutLayer::with_status_code(
                StatusCode::SERVICE_UNAVAILABLE,
                10 * second,
            ))
            .layer(GovernorLayer::new(quota));
        Ok(router.layer(layers))
    })
}

fn serve(connect_info: bool, wrap: impl FnOnce(Router) -> Result<Router>) -> Result<()> {
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
        let router = wrap(router)?;
        let drained = async move {
            sigterm.recv().await;
            ready.store(false, Ordering::Relaxed);
            time::sleep(lame_duck).await;
        };
        if connect_info {
            let router = router.into_make_service_with_connect_info::<SocketAddr>();
            let server = axum::serve(listener, router);
            server.with_graceful_shutdown(drained).await
        } else {
            let server = axum::serve(listener, router);
            server.with_graceful_shutdown(drained).await
        }
        .context("serving")
    })
}
