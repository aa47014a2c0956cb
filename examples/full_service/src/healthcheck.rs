//! `full_service --healthcheck`: probes the service that runs beside it, for a container without a shell and curl.

use std::{io::Write, process::ExitCode};

use lameduck::health;

use crate::config::Config;

const USAGE: &str = "\
usage: full_service                        serves with the settings of the environment
       full_service --healthcheck [path]   probes the running service (/healthz); exits with 0 if it is healthy
       full_service --help                 prints this help

README.md lists the settings.
";

/// A command of the command line.
pub enum Command {
    Serve,
    /// Probes this path.
    HealthCheck(String),
}

impl Command {
    /// # Errors
    ///
    /// Returns the text to print, and the exit code.
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
