use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use http::request::Parts;
use lameduck::{Lifecycle, Shutdown, Timeouts, serve::App as Service};

use crate::{app::App, settings};

/// Serves the service that `wrap` returns through `lameduck::serve`.
///
/// The variables `LAME_DUCK`, `DRAIN_TIMEOUT`, `READ_HEADER_TIMEOUT`, `READ_TIMEOUT`, `WRITE_TIMEOUT`, `IDLE_TIMEOUT`
/// and `TERMINATION_GRACE` configure it; unset ones keep the crate's default.
pub(super) fn lameduck_serve<S: Service>(
    extensions: bool,
    wrap: impl FnOnce(&Lifecycle, App) -> Result<S>,
) -> Result<ExitCode> {
    super::runtime()?.block_on(async {
        let shutdown = shutdown()?;
        let lifecycle = shutdown.handle().lifecycle().clone();
        let app = App::new({
            let lifecycle = lifecycle.clone();
            move || lifecycle.is_ready()
        });
        let service = wrap(&lifecycle, app)?;
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

/// Returns true for requests that are served to the very end.
pub(super) fn is_probe(request: &Parts) -> bool {
    matches!(request.uri.path(), "/healthz" | "/readyz")
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
