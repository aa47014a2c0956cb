//! The command line: serve, probe the service that runs beside it, migrate, or print the settings.

use std::{ffi::OsString, io::Write, path::PathBuf, process::ExitCode};

use lameduck::health;

use crate::{
    config::{Config, Settings},
    database,
};

const USAGE: &str = concat!(
    "usage: ",
    env!("CARGO_PKG_NAME"),
    " [--env-file PATH] [COMMAND]

Without a command it serves, with the settings of the environment; README.md lists them.

  migrate COMMAND        shows or changes the schema of the database; `migrate help` lists how
  --healthcheck [PATH]   probes the running service (/healthz); exits with 0 if it is healthy
  --print-config         prints the settings and where each comes from; secrets are not shown
  --help                 prints this help

  --env-file PATH        reads variables from a file too; those of the environment win
"
);

/// The exit code for wrong settings or arguments: a restart without a change will not help.
pub const EXIT_CONFIG: u8 = 2;

/// A command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    pub env_file: Option<PathBuf>,
    pub command: Command,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Serve,
    /// Probes this path.
    HealthCheck(String),
    PrintConfig,
    Migrate(Vec<String>),
}

impl Arguments {
    /// # Errors
    ///
    /// Returns the text to print, and the exit code.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, (String, u8)> {
        let wrong = |wrong: &str| (format!("{wrong}\n{USAGE}"), EXIT_CONFIG);
        let unknown = |argument: &str| wrong(&format!("unknown argument {argument:?}"));
        let text = |argument: OsString| {
            let text = argument.into_string();
            text.map_err(|argument| wrong(&format!("argument {argument:?} is not text")))
        };
        let texts: Vec<String> = arguments.into_iter().map(text).collect::<Result<_, _>>()?;
        let mut arguments = texts.into_iter().peekable();
        let mut env_file = None;
        if arguments
            .next_if(|argument| argument == "--env-file")
            .is_some()
        {
            let path = arguments.next();
            env_file = Some(PathBuf::from(
                path.ok_or_else(|| wrong("--env-file needs a path"))?,
            ));
        }
        let command = match arguments.next().as_deref() {
            None => Command::Serve,
            Some("--healthcheck") => {
                let path = arguments.next().unwrap_or_else(|| "/healthz".to_owned());
                Command::HealthCheck(path)
            }
            Some("--print-config") => Command::PrintConfig,
            Some("migrate") => Command::Migrate(arguments.by_ref().collect()),
            Some("--help" | "-h") => return Err((USAGE.to_owned(), 0)),
            Some(argument) => return Err(unknown(argument)),
        };
        match arguments.next() {
            None => Ok(Self { env_file, command }),
            Some(argument) => Err(unknown(&argument)),
        }
    }
}

impl Command {
    /// Runs a command that ends at once; `None` for the one that serves.
    pub fn run(self, config: &Config, settings: &Settings) -> Option<ExitCode> {
        match self {
            Self::Serve => None,
            Self::HealthCheck(path) => Some(probe(config, &path)),
            Self::PrintConfig => Some(match write!(std::io::stdout(), "{settings}") {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }),
            Self::Migrate(arguments) => Some(database::migrate_cli(config, arguments)),
        }
    }
}

/// Probes a service that runs with these settings.
fn probe(config: &Config, path: &str) -> ExitCode {
    match health::probe(config.address, path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{}{path}: {error}", config.address);
            ExitCode::FAILURE
        }
    }
}
