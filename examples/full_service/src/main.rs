//! A whole service on `lameduck`: run it, put load on it, replace it under load, copy it.
//!
//! `main` is the life of the process from top to bottom; each step has a file of its own.

#![forbid(unsafe_code)]

mod admin;
mod api;
mod cli;
mod config;
mod database;
mod jobs;
mod layers;
mod log_writer;
mod migrate;
mod migrations;
mod secret;
mod shutdown;
mod state;
mod store;
mod telemetry;

use std::{io::Write, net::SocketAddr, process::ExitCode};

use lameduck::{Metrics, logs, status::StatusPage};
use tokio::net::TcpListener;
use tracing::{error, warn};

use crate::{
    api::ApiState,
    cli::{Arguments, EXIT_CONFIG},
    config::Config,
    database::Database,
    layers::Layers,
    log_writer::LogWriter,
    state::AppState,
};

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err((usage, code)) => {
            // `print!` would panic without a reader, and hide the exit code.
            let _ = match code {
                0 => write!(std::io::stdout(), "{usage}"),
                _ => write!(std::io::stderr(), "{usage}"),
            };
            return ExitCode::from(code);
        }
    };
    let (config, settings) = match Config::read(arguments.env_file.as_deref()) {
        Ok(read) => read,
        Err(problems) => {
            let _ = write!(std::io::stderr(), "{problems}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if let Some(code) = arguments.command.run(&config, &settings) {
        return code;
    }
    let writer = match telemetry::init(&config) {
        Ok(writer) => writer,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "the log did not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    // From here on there is a log for them.
    api::panics::log();
    for warning in &config.warnings {
        warn!("{warning}");
    }

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
    let code = runtime.block_on(run(config, writer.clone()));
    // Everything worth waiting for was awaited, within its budget. The rest was cut, and must not hold the process.
    runtime.shutdown_background();
    telemetry::last_lines(&writer);
    code
}

async fn run(config: Config, mut writer: LogWriter) -> ExitCode {
    let database = match Database::open(&config).await {
        Ok(database) => database,
        Err(error) => {
            error!(%error, "the database cannot be opened");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    // The end is planned at the beginning; from here on signals are handled, and a stop during the start is orderly.
    let metrics = Metrics::new();
    let scrapes = metrics.service();
    let shutdown = shutdown::plan(
        &config.budgets(),
        writer.clone(),
        database.clone(),
        scrapes.scraped(),
    );
    let handle = shutdown.handle();
    metrics.shutdown(&handle);

    // Bind before any other work, so that a taken port is an early error.
    let Some(listener) = bind(config.address).await else {
        return ExitCode::FAILURE;
    };
    let admin = match config.admin {
        None => None,
        Some(address) => match bind(address).await {
            Some(listener) => Some(listener),
            None => return ExitCode::FAILURE,
        },
    };

    let page = StatusPage::new(&handle).title("full_service");
    let events = logs::event_sink()
        .and(metrics.event_sink())
        .and(page.event_sink());
    let redis = config.redis.clone();
    let redis = redis.map(|redis| redis.events(events.clone()));
    let health =
        admin::health(handle.lifecycle(), database.store(), redis.as_ref()).events(events.clone());
    let layers = Layers::new(
        &config,
        redis.as_ref(),
        handle.lifecycle(),
        health.layer(),
        &metrics,
        &events,
    );
    let layers = match layers {
        Ok(layers) => layers,
        // The quota was validated with the rest of the configuration.
        Err(error) => {
            error!(%error, "the layers could not be made");
            return ExitCode::FAILURE;
        }
    };
    let page = page.in_flight(layers.in_flight());
    let state = AppState::new(handle.lifecycle(), layers.in_flight());
    let routes = api::router(ApiState {
        store: database.store().clone(),
        websocket_idle: config.websocket_idle,
    });
    let app = api::around(layers.around(routes), config.cors_origins.as_ref());

    shutdown::start_ticker(&handle, &state);
    telemetry::log_start(&listener, admin.as_ref(), &config);
    if let Some(admin) = admin {
        // The admin port is not drained: it observes to the very end.
        let app = admin::router(health, scrapes, page, database.store(), &config);
        tokio::spawn(lameduck::serve(admin, app).observe(&handle).into_future());
    }

    let timeouts = config.timeouts();
    // Serving begins at once, so that probes are answered during the start-up work; `/readyz` returns 503 until
    // `handle.ready()`.
    let started = tokio::spawn(shutdown::start_up(config, database, handle));
    let server = lameduck::serve(listener, app)
        .timeouts(timeouts)
        .events(events)
        .shutdown(shutdown);

    match server.await {
        Ok(report) => {
            telemetry::log_report(&report, &mut writer);
            match started.await {
                Ok(Err(code)) => code,
                _ => report.exit_code(),
            }
        }
        // The budgets were validated with the rest of the configuration, so the error is the system's.
        Err(error) => {
            error!(%error, "the server did not start");
            ExitCode::FAILURE
        }
    }
}

async fn bind(address: SocketAddr) -> Option<TcpListener> {
    TcpListener::bind(address)
        .await
        .inspect_err(|error| error!(%address, %error, "the address could not be bound"))
        .ok()
}
