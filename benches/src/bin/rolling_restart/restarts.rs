//! The rolling restart itself: one instance after the other.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lameduck_benches::{process::ServerProcess, statistics};
use tokio::time;

use crate::fleet::{Fleet, Instance, Stage};

/// The time within which the poller must find an instance ready.
const READY_LIMIT: Duration = Duration::from_secs(15);

/// The exits of the restarted processes.
#[derive(Default)]
pub struct Exits {
    times: Vec<Duration>,
    unclean: Vec<String>,
}

impl Exits {
    pub fn print(&self) {
        println!("SIGTERM to exit: {}", statistics::spread(&self.times));
        for line in &self.unclean {
            println!("unclean exit: {line}");
        }
    }
}

pub async fn start_all(fleet: &Fleet) -> Result<Vec<ServerProcess>> {
    let mut running = Vec::new();
    for instance in &fleet.instances {
        running.push(start(instance).await?);
    }
    Ok(running)
}

/// Restarts the instances in turn.
pub async fn roll(
    fleet: &Fleet,
    running: &mut [ServerProcess],
    restarts: u32,
    settle: Duration,
) -> Result<Exits> {
    let exit_limit = fleet.lame_duck + fleet.drain + Duration::from_secs(10);
    let mut exits = Exits::default();
    time::sleep(settle).await;
    let turns = (0..fleet.instances.len()).cycle();
    for (restart, turn) in (1..=restarts).zip(turns) {
        let instance = &fleet.instances[turn];
        let server = &mut running[turn];
        let signalled = server.terminate()?;
        instance.signalled(restart, signalled);
        let exit = server
            .wait_exit(exit_limit)
            .await
            .with_context(|| format!("restart {restart}: {instance}"))?;
        instance.stage(Stage::Gone);
        exits
            .times
            .push(exit.at.saturating_duration_since(signalled));
        if !exit.status.success() {
            exits
                .unclean
                .push(format!("restart {restart}: {}", exit.status));
        }
        *server = start(instance).await?;
        time::sleep(settle).await;
    }
    Ok(exits)
}

/// Starts an instance and waits until the poller, not only the instance itself, finds it ready.
async fn start(instance: &Instance) -> Result<ServerProcess> {
    instance.stage(Stage::Starting);
    let started = Instant::now();
    let mut server = instance.command.spawn()?;
    while started.elapsed() < READY_LIMIT {
        if instance.was_ready_after(started) {
            instance.stage(Stage::Up);
            return Ok(server);
        }
        if let Ok(exit) = server.wait_exit(Duration::from_millis(5)).await {
            bail!("{instance}: ended while it started: {}", exit.status);
        }
    }
    bail!("{instance}: not ready after {READY_LIMIT:?}")
}
