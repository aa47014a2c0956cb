//! A whole service on `lameduck`, to run, to put load on, to replace under load, and to copy.
//!
//! `main` is the life of the process from top to bottom; each step has a file of its own.

#![forbid(unsafe_code)]

mod config;
mod layers;
mod routes;
mod shutdown;
mod state;
mod telemetry;

use std::{io::Write, process::ExitCode};

use tokio::net::TcpListener;
use tracing::error;

use crate::{config::Config, state::AppState};

/// The configuration is wrong: starting again without changing it will not help.
const EXIT_CONFIG: u8 = 2;

fn main() -> ExitCode {
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(problems) => {
            // `eprint!` would panic where there is no stderr, and hide the exit code.
            let _ = write!(std::io::stderr(), "{problems}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    telemetry::init(&config);

    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "the async runtime did not start");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run(config));
    // Everything worth waiting for has been waited for, within its budget. What is left was cut,
    // and must not hold the process.
    runtime.shutdown_background();
    code
}

async fn run(config: Config) -> ExitCode {
    // Bind first: a port that is taken should be known before any work is done.
    let listener = match TcpListener::bind(config.address).await {
        Ok(listener) => listener,
        Err(error) => {
            error!(address = %config.address, %error, "the address could not be bound");
            return ExitCode::FAILURE;
        }
    };
    let address = listener.local_addr().unwrap_or(config.address);

    // What happens at the end is decided at the beginning.
    let shutdown = shutdown::plan(&config);
    let handle = shutdown.handle();

    let events = telemetry::events();
    let stack = match layers::stack(&config, handle.lifecycle(), &events) {
        Ok(stack) => stack,
        // The quota has been checked with the rest of the configuration.
        Err(error) => {
            error!(%error, "the layers could not be made");
            return ExitCode::FAILURE;
        }
    };
    let state = AppState::new(handle.lifecycle(), stack.in_flight_handle());
    let app = routes::router(state.clone(), stack);

    shutdown::start_workers(&handle, &state);
    telemetry::log_start(address, &config);

    // Serving begins at once, so that probes are answered while the start-up work is being done;
    // `/readyz` says 503 until `handle.ready()`.
    tokio::spawn(shutdown::start_up(config.startup_delay, handle));
    let server = lameduck::serve(listener, app)
        .timeouts(config.timeouts())
        .events(events)
        .shutdown(shutdown);

    match server.await {
        Ok(report) => {
            telemetry::tell(&report);
            report.exit_code()
        }
        // The budgets have been checked with the rest of the configuration, so this is the system's.
        Err(error) => {
            error!(%error, "the server did not start");
            ExitCode::FAILURE
        }
    }
}
