//! `full_service --healthcheck`: asks the service that runs beside it, for a container that has no shell and
//! no curl.

use std::{io::Write, process::ExitCode};

use lameduck::health;

use crate::config::Config;

const USAGE: &str = "\
usage: full_service                        serves, as the environment says
       full_service --healthcheck [path]   asks the running service (/healthz); exit code 0 if it is well
       full_service --help                 says this

README.md has the settings.
";

/// What the command line asks for.
pub enum Command {
    Serve,
    /// Asks for this path.
    HealthCheck(String),
}

impl Command {
    /// # Errors
    ///
    /// What is to be printed, and the exit code.
    pub fn from_args(mut args: impl Iterator<Item = String>) -> Result<Self, (&'static str, u8)> {
        let command = match args.next().as_deref() {
            None => Command::Serve,
            Some("--healthcheck") => {
                let path = args.next().unwrap_or_else(|| "/healthz".to_owned());
                Command::HealthCheck(path)
            }
            Some("--help" | "-h") => return Err((USAGE, 0)),
            Some(_) => return Err((USAGE, 2)),
        };
        match args.next() {
            None => Ok(command),
            Some(_) => Err((USAGE, 2)),
        }
    }
}

pub fn run(config: &Config, path: &str) -> ExitCode {
    match health::probe(config.address, path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{}{path}: {error}", config.address);
            ExitCode::FAILURE
        }
    }
}
