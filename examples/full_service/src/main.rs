//! A whole service on `lameduck`: run it, put load on it, replace it under load, copy it.
//!
//! `main` is the life of the process from top to bottom; each step has a file of its own.

#![forbid(unsafe_code)]

mod admin;
mod api;
mod cli;
mod config;
mod database;
mod flags;
mod jobs;
mod log_writer;
mod migrate;
mod migrations;
mod secret;
mod shutdown;
mod store;
mod telemetry;
mod traces;

use std::{future::ready, io::Write, process::ExitCode};

use lameduck::{RealIpLayer, Server, real_ip::Resolver};
use prometheus_client::registry::Registry;
use tracing::{error, warn};

use crate::{
    api::ApiState,
    cli::{Arguments, EXIT_CONFIG},
    config::Config,
    database::Database,
    flags::Flags,
    log_writer::LogWriter,
    shutdown::{Steps, step},
    traces::Traces,
};

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args_os().skip(1)) {
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
    let (writer, traces) = match telemetry::init(&config) {
        Ok(started) => started,
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
    let code = runtime.block_on(run(config, writer.clone(), traces));
    // Everything worth waiting for was awaited, within its budget. The rest was cut, and must not hold the process.
    runtime.shutdown_background();
    telemetry::last_lines(&writer);
    code
}

async fn run(config: Config, mut writer: LogWriter, traces: Option<Traces>) -> ExitCode {
    // First: from here on signals are handled, and a stop during the start is orderly.
    let server = Server::new(env!("CARGO_PKG_NAME"));
    let database = match Database::open(&config).await {
        Ok(database) => database,
        Err(error) => {
            error!(%error, "the database cannot be opened");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let flags = Flags::new(config.flags.clone());
    let app = api::router(ApiState {
        store: database.store().clone(),
        flags: flags.clone(),
        websocket_idle: config.websocket_idle,
    });
    let server = with_layers(server, &config);
    let server = with_operations(server, &config, &database, &flags, &writer, traces);
    let running = match server.serve(config.address, app).spawn().await {
        Ok(running) => running,
        Err(error) => {
            error!(%error, "the service did not start");
            return ExitCode::FAILURE;
        }
    };
    telemetry::log_start(&running, &config, database.instance());

    // It serves already, so that probes are answered during this work; `/readyz` returns 503 until it is over.
    let started = shutdown::start_up(&config, &database, &flags, running.handle()).await;
    match running.await {
        Ok(report) => {
            telemetry::log_report(&report, &mut writer);
            started.err().unwrap_or(report.exit_code())
        }
        Err(error) => {
            error!(%error, "the service has failed");
            ExitCode::FAILURE
        }
    }
}

/// Sets what stands between a client and the routes. Of outer layers, a later one is further out; else the order of the
/// calls does not matter.
fn with_layers(server: Server, config: &Config) -> Server {
    let origins = config.cors_origins.clone();
    let clients = Resolver::new(config.trusted_proxies.clone());
    let clients = clients.header(config.client_ip_header.clone());
    let real_ip = RealIpLayer::from(clients.clone());
    let traced = config.traces.is_some();
    let redis = config.redis.clone();
    server
        .timeouts(config.timeouts())
        .timeout(config.request_timeout)
        .body_limit(config.body_limit)
        .rate_limit(config.rate_limit)
        .rate_limit_layer(|layer| match redis {
            Some(redis) => layer.redis(redis),
            None => layer,
        })
        .layers(|stack| stack.real_ip(real_ip))
        .access_log()
        // Around the access log, whose lines then name the trace.
        .outer_layers(move |app| match traced {
            true => traces::around(app, clients),
            false => app,
        })
        .outer_layers(move |app| api::around(app, origins.as_ref()))
}

/// Sets what operators see, and the end of the process.
fn with_operations(
    server: Server,
    config: &Config,
    database: &Database,
    flags: &Flags,
    writer: &LogWriter,
    traces: Option<Traces>,
) -> Server {
    let (store, end) = (database.store().clone(), database.clone());
    let (flags, writer) = (flags.clone(), writer.clone());
    let mut registry = Registry::default();
    registry.register_collector(Box::new(database.job_metrics()));
    registry.register_collector(Box::new(flags.clone()));
    if let Some(traces) = &traces {
        traces.register(&mut registry);
    }
    let steps = Steps {
        database: step(|| end.close()),
        traces: traces
            .map(Traces::start)
            .map(|traces| step(|| traces.flush())),
        logs: step(|| telemetry::flush(writer)),
    };
    let mut server = server
        .health(|health| health.version(env!("CARGO_PKG_VERSION")))
        // Nothing is answered without it, on no instance; but a balancer that sees none ready says so at once.
        .check("database", move || {
            let store = store.clone();
            async move { store.ping().await }
        })
        .admin_routes(admin::routes(database.store(), flags.clone(), config))
        .registry(registry)
        .last_scrape(config.last_scrape)
        .shutdown(|shutdown| config.budgets().set(shutdown, steps).starting())
        // The log has a line of its own, with the settings.
        .announce(false);
    if let Some(redis) = config.redis.clone() {
        // Optional: without Redis each instance limits for itself.
        server = server.optional_check("redis", move || {
            ready(match redis.is_away() {
                true => Err("away: the rate limit is each instance's own"),
                false => Ok(()),
            })
        });
        // With old flags too the service works as it did.
        server = server.optional_check("flags", move || ready(flags.check()));
    }
    match config.admin {
        Some(address) => server.admin(address),
        None => server,
    }
}
