//! Slow clients against a server with short deadlines, and a normal client beside them.
//!
//! Every attack is made twice: by clients written here, each of which is watched until the server let it go, and by
//! slowhttptest, whose connections are watched as a crowd.

mod attack;
mod attackers;
mod http2;
mod normal;
mod slowhttptest;
mod watch;

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use lameduck_benches::{nofile, process::ServerCommand, settings::Args};
use tokio::time;

use crate::attack::{Attack, Deadlines};

const USAGE: &str = "slow_clients [--connections 200] [--read-header 2s] [--read 3s] [--write 5s] [--idle 2s] [--calm 5s]
             [--drip 200ms] [--server PATH] [--no-slowhttptest]
slow_clients --defaults [--connections 200] [--drip 9s] [--server PATH]

The server (plain) is started with READ_HEADER_TIMEOUT, READ_TIMEOUT, WRITE_TIMEOUT and IDLE_TIMEOUT as given, or with
none of them: then stalls and minimum rates end what is slow. --drip is the pause between two bytes of an attacker.
Ends with 1 if an attacking connection was held for longer than its deadline plus 1 s, or a normal request failed.";

/// The default deadlines that end each attack: a body whose first window (10 s, after a grace of 5 s) brings too
/// little, and a response whose peer acknowledges nothing.
const DEFAULTS: Deadlines = Deadlines {
    read_header: Duration::from_secs(5),
    read: Duration::from_secs(15),
    write: Duration::from_secs(30),
    idle: Duration::from_secs(120),
    write_stall: Duration::from_secs(30),
    drip: Duration::from_secs(9),
};

/// The margin that a server has beyond a deadline.
const MARGIN: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut args = Args::from_env(USAGE);
    let connections: usize = args.value("--connections", 200)?;
    let defaults = args.flag("--defaults");
    let deadlines = if defaults {
        Deadlines {
            drip: args.duration("--drip", Duration::from_secs(9))?,
            ..DEFAULTS
        }
    } else {
        Deadlines {
            read_header: args.duration("--read-header", Duration::from_secs(2))?,
            read: args.duration("--read", Duration::from_secs(3))?,
            write: args.duration("--write", Duration::from_secs(5))?,
            idle: args.duration("--idle", Duration::from_secs(2))?,
            write_stall: DEFAULTS.write_stall,
            drip: args.duration("--drip", Duration::from_millis(200))?,
        }
    };
    let calm = args.duration("--calm", Duration::from_secs(5))?;
    let server = args.server("--server", "plain")?;
    // Its clients are slow by its own settings.
    let own_only = args.flag("--no-slowhttptest") || defaults;
    args.finish()?;
    nofile::raise()?;
    let with_tool = !own_only && slowhttptest::is_installed().await;
    if !own_only && !with_tool {
        eprintln!("slowhttptest is missing: apt-get install -y slowhttptest");
        return Ok(ExitCode::from(2));
    }

    let millis = |duration: Duration| format!("{}ms", duration.as_millis());
    let mut command = ServerCommand::new(&server)?;
    if !defaults {
        command = command
            .env("READ_HEADER_TIMEOUT", millis(deadlines.read_header))
            .env("READ_TIMEOUT", millis(deadlines.read))
            .env("WRITE_TIMEOUT", millis(deadlines.write))
            .env("IDLE_TIMEOUT", millis(deadlines.idle));
    }
    let server = command.start().await?;
    println!("{connections} connections each against {}", command.name());

    let normal = normal::start(server.addr());
    time::sleep(calm).await;
    normal.report("calm");
    let mut clean = true;
    for attack in Attack::ALL {
        let result = attackers::run(attack, server.addr(), connections, &deadlines).await?;
        clean &= result.print(attack, attack.deadline(&deadlines));
        clean &= normal.report(&format!("during {attack}"));
    }
    for attack in http2::Attack::ALL {
        let result = http2::run(attack, server.addr(), connections, &deadlines).await?;
        clean &= result.print(attack, attack.deadline(&deadlines));
        clean &= normal.report(&format!("during {attack}"));
    }
    if with_tool {
        for attack in Attack::ALL.into_iter().filter(Attack::has_tool) {
            clean &=
                slowhttptest::run(attack, server.addr(), connections, &deadlines, &normal).await?;
            clean &= normal.report(&format!("during slowhttptest {attack}"));
        }
    }
    normal.stop();
    println!(
        "slow_clients: {}",
        if clean {
            "every attacking connection was closed in time"
        } else {
            "NOT every attacking connection was closed in time, or a normal request failed"
        }
    );
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
