//! Resident memory of idle keep-alive connections, of `plain` and of `bare_auto` in one run.

use std::{path::Path, time::Duration};

use anyhow::Result;
use lameduck_benches::{
    crowd::{self, Waves},
    http1, nofile,
    process::ServerCommand,
    settings::Args,
};
use tokio::time;

const USAGE: &str =
    "idle_memory [--waves 16] [--wave-size 500] [--wave-gap 50ms] [--idle 1300ms] [--server PATH] [--baseline PATH] [--most BYTES]

Every connection makes one request, then all are idle for --idle; the growth of the server's memory, per connection.
With --most, fails when --server uses more than that.";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut args = Args::from_env(USAGE);
    let waves = Waves {
        count: args.value("--waves", 16)?,
        size: args.value("--wave-size", 500)?,
        gap: args.duration("--wave-gap", Duration::from_millis(50))?,
    };
    let idle = args.duration("--idle", Duration::from_millis(1300))?;
    let server = args.server("--server", "plain")?;
    let baseline = args.server("--baseline", "bare_auto")?;
    let most: f64 = args.value("--most", f64::INFINITY)?;
    args.finish()?;
    nofile::raise()?;
    println!(
        "{} connections in {} waves, {:?} apart, one request each, then idle for {idle:?}",
        waves.connections(),
        waves.count,
        waves.gap,
    );
    let bytes = measure(&server, waves, idle).await?;
    measure(&baseline, waves, idle).await?;
    anyhow::ensure!(
        bytes <= most,
        "{bytes:.0} bytes per connection, more than {most:.0}"
    );
    Ok(())
}

async fn measure(program: &Path, waves: Waves, idle: Duration) -> Result<f64> {
    // Long deadlines: no connection may be closed while it is being counted.
    let command = ServerCommand::new(program)?.env("IDLE_TIMEOUT", "120s");
    let server = command.start().await?;
    // One-time allocations of the first request are no cost of a connection.
    http1::get_once(server.addr(), "/", Duration::from_secs(5)).await?;
    time::sleep(Duration::from_millis(200)).await;
    let before = server.resident()?;
    let mut crowd = crowd::gather(server.addr(), waves).await?;
    let busy = server.resident()?;
    time::sleep(idle).await;
    let after = server.resident()?;
    let open = crowd
        .iter_mut()
        .filter_map(|one| (one.look() == http1::Idle::Open).then_some(()))
        .count();
    let per_connection = |resident: u64| (resident as f64 - before as f64) / crowd.len() as f64;
    println!(
        "idle_memory {}: {:.0} bytes per connection (RSS {} kB before, {} kB after; right after the last wave {:.0} bytes each; {open} of {} still open)",
        command.name(),
        per_connection(after),
        before / 1024,
        after / 1024,
        per_connection(busy),
        crowd.len(),
    );
    Ok(per_connection(after))
}
