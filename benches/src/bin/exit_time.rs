//! The time to exit of a server: with nothing in flight, with one request in flight, with many idle connections.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lameduck_benches::{
    crowd::{self, Waves},
    http1::Connection,
    nofile,
    process::{Exit, ServerCommand},
    settings::Args,
    statistics,
};
use tokio::time;

const USAGE: &str = "exit_time [--times 20] [--crowd-times 5] [--lame-duck 200ms] [--waves 16] [--wave-size 500] [--server PATH]

(a) nothing in flight: SIGTERM to exit, minus the lame-duck time
(b) one request in flight: its last byte at the client to exit
(c) idle keep-alive connections that the clients leave open: SIGTERM to exit, minus the lame-duck time";

/// A server that needs longer than this is killed and the measurement fails.
const LIMIT: Duration = Duration::from_secs(40);

struct Options {
    server: PathBuf,
    lame_duck: Duration,
    waves: Waves,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = Args::from_env(USAGE);
    let times: usize = args.value("--times", 20)?;
    let crowd_times: usize = args.value("--crowd-times", 5)?;
    let options = Options {
        lame_duck: args.duration("--lame-duck", Duration::from_millis(200))?,
        waves: Waves {
            count: args.value("--waves", 16)?,
            size: args.value("--wave-size", 500)?,
            gap: Duration::from_millis(50),
        },
        server: args.server("--server", "plain")?,
    };
    args.finish()?;
    nofile::raise()?;

    let mut nothing = Vec::new();
    let mut one = Vec::new();
    for _ in 0..times {
        nothing.push(nothing_in_flight(&options).await?);
        one.push(one_in_flight(&options).await?);
    }
    report(
        "nothing in flight, end of the lame-duck phase to exit",
        &nothing,
    );
    report("one request in flight, its last byte to exit", &one);

    let mut crowded = Vec::new();
    for _ in 0..crowd_times {
        crowded.push(with_crowd(&options).await?);
    }
    let label = format!(
        "{} idle connections, end of the lame-duck phase to exit",
        options.waves.connections()
    );
    report(&label, &crowded);
    Ok(())
}

fn report(what: &str, sample: &[Duration]) {
    println!(
        "exit_time {what}: median {}, max {} ({} times)",
        statistics::millis(statistics::median(sample)),
        statistics::millis(statistics::percentile(sample, 100.0)),
        sample.len(),
    );
}

fn command(options: &Options) -> Result<ServerCommand> {
    let lame_duck = format!("{}ms", options.lame_duck.as_millis());
    Ok(ServerCommand::new(&options.server)?.env("LAME_DUCK", lame_duck))
}

async fn nothing_in_flight(options: &Options) -> Result<Duration> {
    let mut server = command(options)?.start().await?;
    let signalled = server.terminate()?;
    let exit = server.wait_exit(LIMIT).await?;
    after_lame_duck(options, signalled, exit)
}

async fn one_in_flight(options: &Options) -> Result<Duration> {
    let mut server = command(options)?.start().await?;
    // Long enough to be still running when the lame-duck phase is over.
    let wait = options.lame_duck + Duration::from_millis(200);
    let mut connection = Connection::open(server.addr(), LIMIT).await?;
    let request = tokio::spawn(async move {
        let path = format!("/slow?ms={}", wait.as_millis());
        connection.get(&path, LIMIT).await
    });
    // The request must have reached the handler before the signal.
    time::sleep(Duration::from_millis(50)).await;
    server.terminate()?;
    let answer = request.await??;
    let exit = server.wait_exit(LIMIT).await?;
    ensure!(answer.status == 200, "the answer was {}", answer.status);
    Ok(exit.at.saturating_duration_since(answer.done_at))
}

async fn with_crowd(options: &Options) -> Result<Duration> {
    let mut server = command(options)?.start().await?;
    let crowd = crowd::gather(server.addr(), options.waves).await?;
    time::sleep(Duration::from_millis(1300)).await;
    let signalled = server.terminate()?;
    let exit = server.wait_exit(LIMIT).await?;
    // The clients' ends stay open until the server is gone.
    drop(crowd);
    after_lame_duck(options, signalled, exit)
}

fn after_lame_duck(options: &Options, signalled: Instant, exit: Exit) -> Result<Duration> {
    let total = exit.at.saturating_duration_since(signalled);
    ensure!(
        total >= options.lame_duck,
        "the process was gone after {total:?}, before its lame-duck phase was over ({})",
        exit.status
    );
    Ok(total - options.lame_duck)
}
