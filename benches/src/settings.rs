//! Durations and other settings, from the command line or from the environment.

use std::{env, fmt::Display, path::PathBuf, str::FromStr, time::Duration};

use anyhow::{Context, Result, anyhow, bail};

/// Reads `5s`, `500ms` or `2m`.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(|| anyhow!("{text:?} has no unit: write it like 500ms, 5s or 2m"))?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .with_context(|| format!("{text:?} is not a duration like 500ms, 5s or 2m"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        _ => bail!("{text:?} is not a duration like 500ms, 5s or 2m"),
    }
}

/// Reads a duration from the environment; `None` if the variable is not set.
pub fn env_duration(name: &str) -> Result<Option<Duration>> {
    match env::var(name) {
        Ok(text) => parse_duration(&text).map(Some).context(name.to_owned()),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(error).context(name.to_owned()),
    }
}

/// Reads a value from the environment, or returns its default.
pub fn env_or<T>(name: &str, default: T) -> Result<T>
where
    T: FromStr,
    T::Err: Display,
{
    match env::var(name) {
        Ok(text) => text
            .parse()
            .map_err(|error| anyhow!("{name}={text}: {error}")),
        Err(env::VarError::NotPresent) => Ok(default),
        Err(error) => Err(error).context(name.to_owned()),
    }
}

/// The command line: `--name value` and `--flag`; anything else is an error.
pub struct Args(pico_args::Arguments);

impl Args {
    /// Reads the command line; prints `usage` and exits if help is requested.
    pub fn from_env(usage: &str) -> Self {
        let mut args = pico_args::Arguments::from_env();
        if args.contains(["-h", "--help"]) {
            println!("{usage}");
            std::process::exit(0);
        }
        Self(args)
    }

    pub fn flag(&mut self, name: &'static str) -> bool {
        self.0.contains(name)
    }

    pub fn value<T>(&mut self, name: &'static str, default: T) -> Result<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        Ok(self.0.opt_value_from_str(name)?.unwrap_or(default))
    }

    pub fn duration(&mut self, name: &'static str, default: Duration) -> Result<Duration> {
        Ok(self
            .0
            .opt_value_from_fn(name, parse_duration)?
            .unwrap_or(default))
    }

    /// Returns the path of a server: as given, or the binary called `default` in the folder of this one.
    pub fn server(&mut self, name: &'static str, default: &str) -> Result<PathBuf> {
        match self.0.opt_value_from_str(name)? {
            Some(path) => Ok(path),
            None => sibling(default),
        }
    }

    pub fn finish(self) -> Result<()> {
        let left = self.0.finish();
        if !left.is_empty() {
            bail!("arguments not understood: {left:?} (see --help)");
        }
        Ok(())
    }
}

/// Returns the binary called `name` in the folder of the running one.
pub fn sibling(name: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("where is this binary?")?;
    Ok(own.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_known_unit() {
        assert_eq!(
            parse_duration("500ms").ok(),
            Some(Duration::from_millis(500))
        );
        assert_eq!(parse_duration(" 5s ").ok(), Some(Duration::from_secs(5)));
        assert_eq!(parse_duration("2m").ok(), Some(Duration::from_secs(120)));
        for bad in ["", "5", "s", "5 s", "-5s", "5h"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }
}
