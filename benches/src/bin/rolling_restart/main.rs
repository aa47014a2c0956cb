//! Two instances of a server, restarted one after the other under keep-alive load, as behind a load balancer.
//!
//! Clients open new connections only to instances whose `/readyz` was 200 at the last poll, but keep using an open
//! connection until the server closes it or announces that it will. Nothing may be lost, refused or answered with 503.

mod fleet;
mod http1_clients;
mod http2_clients;
mod requests;
mod restarts;
mod tally;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use lameduck_benches::{nofile, settings::Args};
use tokio::{task::JoinSet, time};

use crate::{fleet::Fleet, requests::Roles, tally::Tally};

const USAGE: &str = "rolling_restart [--http2] [--restarts 50] [--clients 64] [--streams 4] [--settle 300ms]
                [--slow-readers 6] [--uploaders 6]
                [--server PATH] [--lame-duck 500ms] [--drain 5s] [--logs DIR]

--server   the server to restart (full_service); started with PORT, LAME_DUCK and DRAIN_TIMEOUT, and without its limits and its access log
--http2    HTTP/2 clients (prior knowledge), --streams of the --clients on each connection
--slow-readers  of the clients, how many download 1 MiB at 1 MiB a second; --uploaders, how many send 64 KiB in pieces
--settle   the pause after a restart before the next one
--logs     a folder for what the instances print
Ends with 1 if a request was lost, refused, retriable or answered with 503 or another status than 200.";

/// The time after which a request counts as incomplete.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// The shared state of all clients.
#[derive(Clone)]
struct Load {
    fleet: Arc<Fleet>,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits up to 20 ms between an answer and the next request.
    async fn think(&self) {
        time::sleep(Duration::from_micros(fastrand::u64(0..20_000))).await;
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut args = Args::from_env(USAGE);
    let http2 = args.flag("--http2");
    let restarts: u32 = args.value("--restarts", 50)?;
    let clients: usize = args.value("--clients", 64)?;
    let streams: usize = args.value("--streams", 4)?;
    let roles = Roles {
        clients,
        slow_readers: args.value("--slow-readers", clients / 10)?,
        uploaders: args.value("--uploaders", clients / 10)?,
    };
    let settle = args.duration("--settle", Duration::from_millis(300))?;
    let server = args.server("--server", "full_service")?;
    let lame_duck = args.duration("--lame-duck", Duration::from_millis(500))?;
    let drain = args.duration("--drain", Duration::from_secs(5))?;
    let logs: PathBuf = args.value("--logs", PathBuf::new())?;
    args.finish()?;
    ensure!(streams > 0, "--streams must be at least 1");
    nofile::raise()?;

    let fleet = Arc::new(Fleet::describe(&server, lame_duck, drain, &logs)?);
    let load = Load {
        fleet: fleet.clone(),
        tally: Arc::new(Tally::default()),
        stop: Arc::new(AtomicBool::new(false)),
    };
    let poller = tokio::spawn(fleet::poll_forever(fleet.clone()));
    let mut running = restarts::start_all(&fleet).await?;

    let mut tasks = JoinSet::new();
    if http2 {
        http2_clients::spawn(&load, &mut tasks, roles, streams);
    } else {
        http1_clients::spawn(&load, &mut tasks, roles);
    }
    let exits = restarts::roll(&fleet, &mut running, restarts, settle).await;
    load.stop.store(true, Ordering::Relaxed);
    // Every client ends after its current request, which is bounded.
    while tasks.join_next().await.is_some() {}
    poller.abort();

    let exits = exits?;
    load.tally.print_details();
    exits.print();
    let protocol = if http2 { "http2" } else { "http1" };
    println!("{}", load.tally.summary(protocol, restarts));
    Ok(if load.tally.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
