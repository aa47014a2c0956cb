//! The same attacks by slowhttptest. Its own report is coarse, so its connections are watched too.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use lameduck_benches::statistics;
use tokio::{process::Command, time};

use crate::{
    MARGIN,
    attack::{Attack, Deadlines},
    normal::Normal,
    watch::{Sighting, Watch},
};

/// The shortest lifetime that counts as an attacker's; the tool's own probes are much shorter.
const SHORTEST: Duration = Duration::from_millis(500);

pub async fn is_installed() -> bool {
    let mut command = Command::new("slowhttptest");
    command
        .arg("-h")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().await.is_ok()
}

/// Runs one attack; `false` when the server held a connection for too long.
pub async fn run(
    attack: Attack,
    addr: SocketAddr,
    connections: usize,
    deadlines: &Deadlines,
    normal: &Normal,
) -> Result<bool> {
    let deadline = attack.deadline(deadlines);
    let limit = deadline + MARGIN;
    let watch = Watch::start(addr.port());
    let length = limit.as_secs() + 5;
    let mut command = Command::new("slowhttptest");
    command
        .args(arguments(attack, addr)?)
        .args([
            "-c",
            &connections.to_string(),
            "-r",
            &connections.to_string(),
        ])
        .args(["-l", &length.to_string(), "-p", "3"])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = time::timeout(Duration::from_secs(length + 30), command.output())
        .await
        .context("slowhttptest does not end")?
        .context("running slowhttptest")?;

    let held: Vec<Sighting> = watch
        .all()
        .into_iter()
        .filter(|(port, _)| !normal.owns(*port))
        .map(|(_, sighting)| sighting)
        .collect();
    let closed: Vec<Duration> = held
        .iter()
        .filter_map(|it| it.gone_at.map(|gone| gone - it.seen_at))
        .filter(|life| *life >= SHORTEST)
        .collect();
    let never = held
        .iter()
        .filter(|it| it.gone_at.is_none() && it.seen_at.elapsed() > limit)
        .count();
    let late = closed.iter().filter(|life| **life > limit).count();
    let clean = late == 0 && never == 0 && !closed.is_empty();
    println!(
        "slowhttptest {attack}: deadline {deadline:?}; {} closed after min {}, median {}, max {}; {late} late, {never} still held; its verdict: {}: {}",
        closed.len(),
        statistics::millis(statistics::percentile(&closed, 0.0)),
        statistics::millis(statistics::median(&closed)),
        statistics::millis(statistics::percentile(&closed, 100.0)),
        verdict(&String::from_utf8_lossy(&output.stdout)),
        if clean { "ok" } else { "TOO LONG" },
    );
    Ok(clean)
}

fn arguments(attack: Attack, addr: SocketAddr) -> Result<Vec<String>> {
    let (flags, path) = match attack {
        Attack::SlowHeaders => ("-H -i 1 -t GET -x 24", "/"),
        Attack::SlowBody => ("-B -i 1 -s 8192 -t POST -x 10", "/echo"),
        Attack::SlowRead => ("-X -w 512 -y 1024 -n 1 -z 32 -k 1", "/big?mb=8"),
        Attack::Silence | Attack::Idle => bail!("slowhttptest does not know {attack}"),
    };
    let mut arguments: Vec<String> = flags.split(' ').map(str::to_owned).collect();
    arguments.push("-u".to_owned());
    arguments.push(format!("http://{addr}{path}"));
    Ok(arguments)
}

/// Returns the tool's exit status, without the colours.
fn verdict(output: &str) -> String {
    let mut plain = String::new();
    let mut in_escape = false;
    for c in output.chars() {
        match (in_escape, c) {
            (false, '\u{1b}') => in_escape = true,
            (true, c) if c.is_ascii_alphabetic() => in_escape = false,
            (false, c) => plain.push(c),
            (true, _) => {}
        }
    }
    let verdict = plain
        .lines()
        .rev()
        .find_map(|line| line.split_once("Exit status:"));
    match verdict {
        Some((_, status)) => status.trim().to_owned(),
        None => "none".to_owned(),
    }
}
