//! Requests per second of `plain` against `bare_auto`, and heap allocations per request of both.
//!
//! The server has one core and wrk the other. The runs alternate, so that whatever else the machine does hits both.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use lameduck_benches::{
    cores,
    http1::Connection,
    nofile,
    process::{ServerCommand, ServerProcess},
    settings::Args,
    statistics::median,
};
use tokio::{process::Command, time};

const USAGE: &str = "speed [--runs 5] [--duration 5s] [--connections 64] [--server PATH] [--baseline PATH] [--no-allocations]

Compares --server (plain) with --baseline (bare_auto). Needs wrk and two cores.";

const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;
const WARM_UP: Duration = Duration::from_secs(1);

/// The share of its core below which a server did not limit the rate.
const FULLY_BUSY: f64 = 0.9;

struct Options {
    runs: usize,
    duration: Duration,
    connections: usize,
    server: PathBuf,
    baseline: PathBuf,
    allocations: bool,
}

/// The result of one run of the load.
struct Run {
    per_second: f64,
    /// Processor time of the server per request.
    cpu: Duration,
    /// The share of its core that the server used; well below 1, the load was the bottleneck and the run means little.
    busy: f64,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut args = Args::from_env(USAGE);
    let options = Options {
        runs: args.value("--runs", 5)?,
        duration: args.duration("--duration", Duration::from_secs(5))?,
        connections: args.value("--connections", 64)?,
        server: args.server("--server", "plain")?,
        baseline: args.server("--baseline", "bare_auto")?,
        allocations: !args.flag("--no-allocations"),
    };
    args.finish()?;
    if Command::new("wrk").arg("-v").output().await.is_err() {
        eprintln!("wrk is missing: apt-get install -y wrk");
        return Ok(ExitCode::from(2));
    }
    nofile::raise()?;
    throughput(&options).await?;
    if options.allocations {
        allocations(&options).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn throughput(options: &Options) -> Result<()> {
    let server = ServerCommand::new(&options.server)?.core(SERVER_CORE);
    let baseline = ServerCommand::new(&options.baseline)?.core(SERVER_CORE);
    println!(
        "GET / over {} keep-alive connections, server on core {SERVER_CORE}, wrk on core {LOAD_CORE}, {} runs of {:?} each",
        options.connections, options.runs, options.duration
    );
    let mut of_server = Vec::new();
    let mut of_baseline = Vec::new();
    for run in 1..=options.runs {
        // The first of each pair alternates too.
        let order = if run % 2 == 1 {
            [&baseline, &server]
        } else {
            [&server, &baseline]
        };
        for command in order {
            let result = load(command, options).await?;
            println!(
                "run {run}: {:<10} {:>9.0} requests/s, {:.2} us of server CPU each, core {:.0}% busy",
                command.name(),
                result.per_second,
                result.cpu.as_secs_f64() * 1e6,
                result.busy * 100.0,
            );
            if std::ptr::eq(command, &server) {
                of_server.push(result);
            } else {
                of_baseline.push(result);
            }
        }
    }
    let of = |runs: &[Run], value: fn(&Run) -> f64| {
        median(&runs.iter().map(value).collect::<Vec<_>>()).ok_or_else(|| anyhow!("no runs"))
    };
    let rate = of(&of_server, |run| run.per_second)?;
    let base_rate = of(&of_baseline, |run| run.per_second)?;
    let cpu = of(&of_server, |run| run.cpu.as_secs_f64())?;
    let base_cpu = of(&of_baseline, |run| run.cpu.as_secs_f64())?;
    let busiest = of(&of_server, |run| run.busy)?.max(of(&of_baseline, |run| run.busy)?);
    if busiest < FULLY_BUSY {
        println!(
            "warning: the servers used only {:.0}% of their core: the load or the machine was the bottleneck, the ratio of the rates says little",
            busiest * 100.0
        );
    }
    println!(
        "speed: {} {rate:.0}/s, {} {base_rate:.0}/s, ratio {:.3} (medians of {}; by CPU time per request {:.3})",
        server.name(),
        baseline.name(),
        rate / base_rate,
        options.runs,
        base_cpu / cpu,
    );
    Ok(())
}

/// Makes one run: a fresh server, a short warm-up, then the measured load.
async fn load(command: &ServerCommand, options: &Options) -> Result<Run> {
    let server = command.start().await?;
    wrk(&server, options.connections, WARM_UP).await?;
    let before = server.main_thread_cpu()?;
    let (requests, per_second) = wrk(&server, options.connections, options.duration).await?;
    let used = server.main_thread_cpu()? - before;
    Ok(Run {
        per_second,
        cpu: used.div_f64(requests),
        busy: used.as_secs_f64() / (requests / per_second),
    })
}

/// Runs wrk; gives the number of requests and the rate.
async fn wrk(server: &ServerProcess, connections: usize, duration: Duration) -> Result<(f64, f64)> {
    let child = cores::pinned(Some(LOAD_CORE), || {
        Command::new("wrk")
            .arg("-t1")
            .arg(format!("-c{connections}"))
            .arg(format!("-d{}s", duration.as_secs().max(1)))
            .arg(format!("http://{}/", server.addr()))
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    })?
    .context("starting wrk")?;
    let limit = duration + Duration::from_secs(20);
    let output = time::timeout(limit, child.wait_with_output())
        .await
        .context("wrk does not end")??;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.contains("Socket errors") || text.contains("Non-2xx") {
        bail!("wrk saw errors:\n{text}");
    }
    let requests = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .and_then(|(count, _)| count.parse().ok());
    let rate = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Requests/sec:"))
        .and_then(|rate| rate.trim().parse().ok());
    requests
        .zip(rate)
        .ok_or_else(|| anyhow!("wrk's answer was not understood:\n{text}"))
}

/// Measures allocations of the two servers' counting twins, where they exist.
async fn allocations(options: &Options) -> Result<()> {
    let (server, baseline) = (
        counted_twin(&options.server),
        counted_twin(&options.baseline),
    );
    for twin in [&server, &baseline] {
        if !twin.is_file() {
            println!("allocations per request: there is no {}", twin.display());
            return Ok(());
        }
    }
    let of_server = allocations_per_request(&server).await?;
    let of_baseline = allocations_per_request(&baseline).await?;
    println!(
        "allocations per request: {} {of_server:.4}, {} {of_baseline:.4}, difference {:+.4}",
        ServerCommand::new(&options.server)?.name(),
        ServerCommand::new(&options.baseline)?.name(),
        of_server - of_baseline
    );
    Ok(())
}

fn counted_twin(server: &Path) -> PathBuf {
    let name = server.file_name().unwrap_or_default().to_string_lossy();
    server.with_file_name(format!("{name}_counted"))
}

/// Returns the heap allocations of one `GET /` on a warm keep-alive connection, by difference over many.
async fn allocations_per_request(server: &Path) -> Result<f64> {
    const REQUESTS: u32 = 10_000;
    let server = ServerCommand::new(server)?.start().await?;
    let limit = Duration::from_secs(10);
    let mut connection = Connection::open(server.addr(), limit).await?;
    for _ in 0..1000 {
        connection.get("/", limit).await?;
    }
    let first = counted(&mut connection).await?;
    let second = counted(&mut connection).await?;
    for _ in 0..REQUESTS {
        connection.get("/", limit).await?;
    }
    let last = counted(&mut connection).await?;
    // Reading the counter allocates too; two readings in a row show how much.
    let reading = second - first;
    Ok((last - second - reading) / f64::from(REQUESTS))
}

async fn counted(connection: &mut Connection) -> Result<f64> {
    let answer = connection.get("/__allocs", Duration::from_secs(10)).await?;
    let count: f64 = String::from_utf8_lossy(&answer.body)
        .parse()
        .context("the counter is no number")?;
    ensure!(count > 0.0, "this server does not count its allocations");
    Ok(count)
}
