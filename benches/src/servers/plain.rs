use std::process::ExitCode;

use anyhow::Result;
use lameduck::{DrainLayer, InFlightLayer};
use tower::{Layer, service_fn};

use super::lameduck_serve::{is_probe, lameduck_serve};

/// Serves the service through `lameduck::serve`, with the in-flight and drain layers around it.
///
/// `EXTENSIONS=1` keeps the peer, deadlines and drain in the requests' extensions.
pub fn plain() -> Result<ExitCode> {
    // Extensions are off by default, because the bare server gives a request none either.
    let extensions = std::env::var_os("EXTENSIONS").is_some();
    lameduck_serve(extensions, |lifecycle, app| {
        let mut drain = DrainLayer::new(lifecycle).exempt(is_probe);
        if !extensions {
            drain = drain.without_extension();
        }
        let service = service_fn(move |request| app.call(request));
        Ok(InFlightLayer::new().layer(drain.layer(service)))
    })
}
