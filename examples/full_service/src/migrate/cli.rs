//! `migrate status|plan|apply|down|repair|new`: the command line.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use super::{
    Database, Migrations, Options, Repair, apply, down, file::Problems, new, pending, repair,
    report::Answer, status, try_out,
};

const USAGE: &str = "\
usage: migrate status                                 lists all migrations and their state
       migrate plan [--execute]                       lists what `apply` would do; with --execute it is tried in a
                                                      transaction that rolls back
       migrate apply [--expand-only]                  applies what is pending; --expand-only stops before a contract
                     [--allow-downtime]               also what is not safe while the service runs
                     [--out-of-order]                 also what lies below the newest one
       migrate down --to N --yes                      undoes all above N; data may be lost
       migrate repair [N --as applied|pending]        mends what did not finish
       migrate new NAME                               writes the files of a new migration
options, with each command:
       --json               the answer as JSON
       --dir DIR            the migrations of this folder, instead of those in the program
       --lock-wait 5m       the wait for another process that migrates
       --lock-timeout 2s    the wait of a statement for a lock
       --tries 5            the tries of a migration that does not get its locks
exit codes: 0 done, 1 failed or refused, 2 wrong arguments or files
";

/// The exit code for wrong arguments and files: a repetition will not help.
const WRONG: u8 = 2;

#[derive(Debug, PartialEq, Eq)]
enum Command {
    Status,
    Plan { execute: bool },
    Apply,
    Down(i64),
    Repair(Repair),
    New(String),
}

#[derive(Debug, Default)]
struct Arguments {
    words: Vec<String>,
    json: bool,
    execute: bool,
    yes: bool,
    to: Option<i64>,
    repair_as: Option<String>,
    folder: Option<PathBuf>,
    options: Options,
}

/// Runs a command: the arguments behind `migrate`. Its answer goes to standard output, its log to standard error.
pub fn run(
    arguments: impl IntoIterator<Item = String>,
    database: &Database,
    migrations: &Migrations,
) -> ExitCode {
    let parsed = Arguments::parse(arguments).and_then(|arguments| {
        let command = arguments.command()?;
        Ok((arguments, command))
    });
    let (arguments, command) = match parsed {
        Ok(parsed) => parsed,
        Err(None) => {
            print(&mut io::stdout(), USAGE);
            return ExitCode::SUCCESS;
        }
        Err(Some(wrong)) => {
            print(&mut io::stderr(), &format!("migrate: {wrong}\n{USAGE}"));
            return ExitCode::from(WRONG);
        }
    };
    let log = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_target(false)
        .with_writer(|| Quiet)
        .finish();
    let _log = tracing::subscriber::set_default(log);

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(execute(&arguments, command, database, migrations)),
        Err(error) => Err(Failure(
            1,
            format!("the async runtime did not start: {error}"),
        )),
    };
    let (answer, code) = done.map_or_else(
        |Failure(code, text)| {
            print(&mut io::stderr(), &format!("migrate: {text}\n"));
            (Answer::Error(text), ExitCode::from(code))
        },
        |answer| (answer, ExitCode::SUCCESS),
    );
    let text = match arguments.json {
        true => answer.json(),
        false => answer.to_string(),
    };
    print(&mut io::stdout(), &text);
    code
}

/// An exit code, and the reason for it.
struct Failure(u8, String);

async fn execute(
    arguments: &Arguments,
    command: Command,
    database: &Database,
    embedded: &Migrations,
) -> Result<Answer, Failure> {
    if let Command::New(name) = &command {
        let paths = new::new(name, arguments.folder.as_deref())?;
        let paths = paths.iter().map(|path| path.display().to_string());
        return Ok(Answer::Created(paths.collect()));
    }
    let read;
    let migrations = match &arguments.folder {
        Some(folder) => {
            read = Migrations::read(folder)?;
            &read
        }
        None => embedded,
    };
    let options = &arguments.options;
    Ok(match command {
        Command::Status => {
            let entries = status(database, migrations).await?;
            Answer::Migrations(entries.into_iter().map(Into::into).collect())
        }
        Command::Plan { execute: false } => {
            // The plan lists what needs downtime; it is `apply` that refuses it.
            let options = Options {
                allow_downtime: true,
                ..options.clone()
            };
            let planned = pending(database, migrations, &options).await?;
            Answer::Pending(planned.into_iter().map(Into::into).collect())
        }
        Command::Plan { execute: true } => {
            let tried = try_out(database, migrations, options).await?;
            Answer::Tried(tried.into_iter().map(Into::into).collect())
        }
        Command::Apply => {
            let done = apply(database, migrations, options).await?;
            Answer::Applied(done.into_iter().map(Into::into).collect())
        }
        Command::Down(to) => {
            let done = down(database, migrations, options, to).await?;
            Answer::Undone(done.into_iter().map(Into::into).collect())
        }
        Command::Repair(way) => {
            let mended = repair(database, migrations, options, way).await?;
            Answer::Repaired(mended.into_iter().map(Into::into).collect())
        }
        Command::New(_) => Answer::Created(Vec::new()),
    })
}

// === impl Failure ===

impl From<super::MigrateError> for Failure {
    fn from(error: super::MigrateError) -> Self {
        Self(1, error.to_string())
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self(WRONG, problems.to_string().trim_end().to_owned())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(WRONG, error.to_string())
    }
}

// === impl Arguments ===

impl Arguments {
    /// Reads the options.
    ///
    /// # Errors
    ///
    /// Returns what is wrong; `None` for a wish for help.
    fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, Option<String>> {
        let mut found = Self::default();
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            let mut value = || {
                let missing = || Some(format!("{argument} needs a value"));
                rest.next().ok_or_else(missing)
            };
            let wrong = |text: &str| Some(format!("{argument}: {text:?} does not fit"));
            match argument.as_str() {
                "--help" | "-h" => return Err(None),
                "--json" => found.json = true,
                "--execute" => found.execute = true,
                "--yes" => found.yes = true,
                "--allow-downtime" => found.options.allow_downtime = true,
                "--out-of-order" => found.options.out_of_order = true,
                "--expand-only" => found.options.expand_only = true,
                "--dir" => found.folder = Some(value()?.into()),
                "--as" => found.repair_as = Some(value()?),
                "--to" => {
                    let text = value()?;
                    found.to = Some(text.parse().map_err(|_| wrong(&text))?);
                }
                "--tries" => {
                    let text = value()?;
                    found.options.tries = text.parse().map_err(|_| wrong(&text))?;
                }
                "--lock-wait" => {
                    let text = value()?;
                    found.options.lock_wait = duration(&text).ok_or_else(|| wrong(&text))?;
                }
                "--lock-timeout" => {
                    let text = value()?;
                    found.options.lock_timeout = duration(&text).ok_or_else(|| wrong(&text))?;
                }
                option if option.starts_with('-') => {
                    return Err(Some(format!("there is no option {option}")));
                }
                _ => found.words.push(argument),
            }
        }
        Ok(found)
    }

    /// Returns the command, if everything that was given belongs to it.
    fn command(&self) -> Result<Command, Option<String>> {
        let words: Vec<_> = self.words.iter().map(String::as_str).collect();
        let wrong = |text: &str| Err(Some(text.to_owned()));
        let command = match words.as_slice() {
            [] => return wrong("which command?"),
            ["help"] => return Err(None),
            ["status"] => Command::Status,
            ["plan"] => Command::Plan {
                execute: self.execute,
            },
            ["apply"] => Command::Apply,
            ["down"] => match (self.to, self.yes) {
                (Some(to), true) if to >= 0 => Command::Down(to),
                (Some(_), _) => return wrong("down needs --yes: data may be lost"),
                (None, _) => return wrong("down needs --to N"),
            },
            ["repair"] if self.repair_as.is_none() => Command::Repair(Repair::Look),
            ["repair", number] => match (number.parse(), self.repair_as.as_deref()) {
                (Ok(number), Some("applied")) => Command::Repair(Repair::Applied(number)),
                (Ok(number), Some("pending")) => Command::Repair(Repair::Pending(number)),
                _ => return wrong("repair N needs --as applied or --as pending"),
            },
            ["new", name] => Command::New((*name).to_owned()),
            _ => return Err(Some(format!("no command {:?}", words.join(" ")))),
        };
        let lost = [
            ("--execute", self.execute && words[0] != "plan"),
            ("--yes", self.yes && words[0] != "down"),
            ("--to", self.to.is_some() && words[0] != "down"),
            ("--as", self.repair_as.is_some() && words[0] != "repair"),
        ];
        match lost.iter().find(|(_, lost)| *lost) {
            Some((option, _)) => Err(Some(format!("{option} is not for {}", words[0]))),
            None => Ok(command),
        }
    }
}

/// Reads a duration of one unit: `200ms`, `2s`, `5m`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let millis = number.parse::<u64>().ok()?.checked_mul(millis)?;
    // A day is more than any wait; more would overflow clocks.
    (millis <= 86_400_000).then(|| Duration::from_millis(millis))
}

/// Writes, and takes a reader that has left for no error.
fn print(to: &mut impl Write, text: &str) {
    let _ = to.write_all(text.as_bytes());
    let _ = to.flush();
}

/// Standard error for the log, without a panic when its reader has left.
struct Quiet;

impl Write for Quiet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
