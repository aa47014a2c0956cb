use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use lameduck::{DrainLayer, InFlightLayer, Shutdown, Timeouts};
use tower::{Layer, service_fn};

use crate::{app::App, settings};

/// The same service through `lameduck::serve`, with the in-flight and drain layers around it.
///
/// Set by `LAME_DUCK`, `DRAIN_TIMEOUT`, `READ_HEADER_TIMEOUT`, `READ_TIMEOUT`, `WRITE_TIMEOUT`, `IDLE_TIMEOUT` and
/// `TERMINATION_GRACE`; what is not set keeps the crate's default. `EXTENSIONS=1` leaves peer, deadlines and drain in the
/// requests' extensions.
pub fn plain() -> Result<ExitCode> {
    super::runtime()?.block_on(async {
        // Off by default, because the bare server gives a request none either.
        let extensions = std::env::var_os("EXTENSIONS").is_some();
        let shutdown = shutdown()?;
        let lifecycle = shutdown.handle().lifecycle().clone();
        let app = App::new({
            let lifecycle = lifecycle.clone();
            move || lifecycle.is_ready()
        });
        let mut drain = DrainLayer::new(&lifecycle)
            .exempt(|request| matches!(request.uri.path(), "/healthz" | "/readyz"));
        if !extensions {
            drain = drain.without_extension();
        }
        let service = service_fn(move |request| app.call(request));
        let service = InFlightLayer::new().layer(drain.layer(service));
        let mut server = lameduck::serve(super::listen().await?, service)
            .timeouts(timeouts()?)
            .shutdown(shutdown);
        if !extensions {
            server = server.without_extensions();
        }
        let report = server.await?;
        println!("{report}");
        Ok(report.exit_code())
    })
}

fn shutdown() -> Result<Shutdown> {
    let second = Duration::from_secs(1);
    let lame_duck = settings::env_duration("LAME_DUCK")?.unwrap_or(5 * second);
    let drain = settings::env_duration("DRAIN_TIMEOUT")?.unwrap_or(15 * second);
    let grace = settings::env_duration("TERMINATION_GRACE")?.unwrap_or(30 * second);
    Ok(Shutdown::new()
        .lame_duck(lame_duck)
        .drain(drain)
        .termination_grace(grace))
}

fn timeouts() -> Result<Timeouts> {
    let mut timeouts = Timeouts::default();
    if let Some(limit) = settings::env_duration("READ_HEADER_TIMEOUT")? {
        timeouts = timeouts.read_header(limit);
    }
    if let Some(limit) = settings::env_duration("READ_TIMEOUT")? {
        timeouts = timeouts.read(limit);
    }
    if let Some(limit) = settings::env_duration("WRITE_TIMEOUT")? {
        timeouts = timeouts.write(limit);
    }
    if let Some(limit) = settings::env_duration("IDLE_TIMEOUT")? {
        timeouts = timeouts.idle(limit);
    }
    Ok(timeouts)
}
