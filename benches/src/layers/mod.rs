//! The cost of each layer for a request, in one process and one run: the same service alone and within the layers.

mod asking;
mod case;
mod cases;

use std::{collections::HashMap, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};

use case::Case;

use crate::{
    app::allocations,
    settings::{Args, sibling},
    statistics::median,
};

const USAGE: &str = "layers [--requests 200000] [--rounds 9] [--instructions]
layers --only NAME [--count 1000]

What each layer adds to a request, over the same service without it: nanoseconds (the median of --rounds rounds, each of
which measures every layer), heap allocations, and with --instructions the instructions (needs valgrind, about 3 minutes).
The lines without a difference are the services alone. --only asks one of them --count times and prints nothing: for a
profiler.";

/// The numbers of requests of a layer under valgrind: the difference of both runs is the cost of the requests between
/// them.
const COUNTS: [u32; 2] = [1_000, 51_000];

/// Runs the binary `layers`.
pub async fn layers() -> Result<()> {
    let mut args = Args::from_env(USAGE);
    let only: String = args.value("--only", String::new())?;
    let count: u32 = args.value("--count", COUNTS[0])?;
    let requests: u32 = args.value("--requests", 200_000)?;
    let rounds: usize = args.value("--rounds", 9)?;
    let with_instructions = args.flag("--instructions");
    args.finish()?;
    let cases = cases::all()?;
    if !only.is_empty() {
        let case = cases.iter().find(|case| case.name == only);
        let case = case.with_context(|| format!("there is no {only:?}"))?;
        case.run(count).await?;
        return Ok(());
    }
    let mut columns = vec![
        ("ns", times(&cases, requests, rounds).await?),
        ("allocations", counted()?),
    ];
    if with_instructions {
        columns.push(("instructions", instructions(&cases)?));
    }
    print(&cases, &columns);
    Ok(())
}

/// Runs the binary `layers_counted`: prints each layer's name and its allocations a request.
pub async fn layers_counted() -> Result<()> {
    const REQUESTS: u32 = 10_000;
    for case in cases::all()? {
        case.run(REQUESTS).await?;
        let before = allocations();
        case.run(REQUESTS).await?;
        let first = allocations() - before;
        case.run(2 * REQUESTS).await?;
        let second = allocations() - before - first;
        ensure!(before > 0, "this binary does not count its allocations");
        // The cost of a run beside its requests is in both.
        println!(
            "{}\t{:.4}",
            case.name,
            (second as f64 - first as f64) / f64::from(REQUESTS)
        );
    }
    Ok(())
}

type Column = HashMap<&'static str, f64>;

async fn times(cases: &[Case], requests: u32, rounds: usize) -> Result<Column> {
    let mut times = vec![Vec::new(); cases.len()];
    for _ in 0..rounds {
        for (case, times) in cases.iter().zip(&mut times) {
            let took: Duration = case.run(requests).await?;
            times.push(took.as_nanos() as f64 / f64::from(requests));
        }
    }
    let medians = times.iter().map(|times| median(times).context("no rounds"));
    cases
        .iter()
        .zip(medians)
        .map(|(case, time)| Ok((case.name, time?)))
        .collect()
}

/// Reads the figures of this binary's counting twin, because counting costs time.
fn counted() -> Result<Column> {
    let twin = sibling("layers_counted")?;
    let output = Command::new(&twin)
        .output()
        .with_context(|| format!("starting {}", twin.display()))?;
    ensure!(output.status.success(), "{} failed", twin.display());
    let text = String::from_utf8(output.stdout)?;
    let mut column = Column::new();
    for case in cases::all()? {
        let count = text.lines().find_map(|line| {
            let (name, count) = line.split_once('\t')?;
            (name == case.name).then(|| count.parse().ok())?
        });
        let count = count.with_context(|| format!("no allocations of {}", case.name))?;
        column.insert(case.name, count);
    }
    Ok(column)
}

fn instructions(cases: &[Case]) -> Result<Column> {
    let mut column = Column::new();
    for case in cases {
        let [few, many] = COUNTS;
        let more = callgrind(case.name, many)? - callgrind(case.name, few)?;
        column.insert(case.name, more / f64::from(many - few));
    }
    Ok(column)
}

/// Returns the instructions of one run of this binary.
fn callgrind(name: &str, count: u32) -> Result<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["--only", name, "--count", &count.to_string()])
        .output()
        .context("starting valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, number)| number.trim().parse().ok());
    match collected {
        Some(collected) if output.status.success() => Ok(collected),
        _ => bail!("valgrind's answer was not understood:\n{text}"),
    }
}

fn print(cases: &[Case], columns: &[(&str, Column)]) {
    print!("{:<34}", "");
    for (name, _) in columns {
        print!("{name:>14}");
    }
    println!();
    for case in cases {
        print!("{:<34}", case.name);
        for (_, column) in columns {
            let (Some(of), Some(base)) = (column.get(case.name), column.get(case.base)) else {
                continue;
            };
            let digits = usize::from(*of < 100.0);
            match case.name == case.base {
                true => print!("{of:>14.digits$}"),
                false => print!("{:>+14.digits$}", of - base),
            }
        }
        println!();
    }
}
