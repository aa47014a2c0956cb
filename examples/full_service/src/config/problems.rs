//! Reads variables one after another and collects all errors.

use std::fmt;

use super::sources::{Origin, Sources};
use crate::secret::{Secret, redact};

/// The refusal of a value: the error, and valid alternatives.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub wrong: String,
    pub right: &'static str,
}

/// The absence of a value that was refused, and recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

#[derive(Debug)]
struct Problem {
    variable: &'static str,
    value: String,
    refusal: Refusal,
}

/// All errors of the settings. Operators read its `Display`.
#[derive(Debug)]
pub struct Problems(Vec<Problem>);

/// A setting in force. The value of a secret is `set` or `none`.
#[derive(Debug)]
struct Setting {
    variable: &'static str,
    value: String,
    origin: Origin,
}

/// All settings in force, with their origins.
#[derive(Debug)]
pub struct Settings(Vec<Setting>);

pub struct Reader<'a> {
    sources: &'a Sources<'a>,
    problems: Vec<Problem>,
    settings: Vec<Setting>,
}

const NOT_SHOWN: &str = "(not shown)";

// === impl Refusal ===

impl Refusal {
    pub fn not_text() -> Self {
        Self {
            wrong: "is not valid UTF-8".to_owned(),
            right: "plain text",
        }
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub fn new(sources: &'a Sources<'a>) -> Self {
        Self {
            sources,
            problems: Vec::new(),
            settings: Vec::new(),
        }
    }

    /// Returns the variable's value, or that of its default if it is unset or empty.
    ///
    /// # Errors
    ///
    /// The value is wrong. That is recorded; go on, so that the next one is found too.
    pub fn read<T>(
        &mut self,
        variable: &'static str,
        default: &str,
        parse: impl FnOnce(&str) -> Result<T, Refusal>,
    ) -> Result<T, Refused> {
        let (raw, origin) = match self.sources.value(variable) {
            Some(found) => found,
            None => (default.into(), Origin::Default),
        };
        let parsed = match raw.to_str() {
            Some(text) => parse(text),
            None => Err(Refusal::not_text()),
        };
        // A URL may be in the wrong variable.
        let value = redact(&raw.to_string_lossy());
        match parsed {
            Ok(parsed) => {
                self.settings.push(Setting {
                    variable,
                    value,
                    origin,
                });
                Ok(parsed)
            }
            Err(refusal) => Err(self.refuse(variable, value, refusal)),
        }
    }

    /// Reads as [`read`](Self::read) does, and shows the value nowhere; a default is no secret.
    ///
    /// # Errors
    ///
    /// The value is wrong, which is recorded.
    pub fn read_secret<T>(
        &mut self,
        variable: &'static str,
        default: Option<&str>,
        parse: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Result<Option<(T, Secret<String>)>, Refused> {
        let (text, origin) = match self.sources.secret(variable) {
            Ok(Some((text, origin))) => (text, origin),
            Ok(None) => {
                let value = default.unwrap_or("none").to_owned();
                self.settings.push(Setting {
                    variable,
                    value,
                    origin: Origin::Default,
                });
                let Some(text) = default else {
                    return Ok(None);
                };
                return match parse(text) {
                    Ok(parsed) => Ok(Some((parsed, Secret::new(text.to_owned())))),
                    Err(refusal) => Err(self.refuse(variable, text.to_owned(), refusal)),
                };
            }
            Err(refusal) => return Err(self.refuse(variable, NOT_SHOWN.to_owned(), refusal)),
        };
        match parse(&text) {
            Ok(parsed) => {
                self.settings.push(Setting {
                    variable,
                    value: "set".to_owned(),
                    origin,
                });
                Ok(Some((parsed, Secret::new(text.to_string()))))
            }
            Err(refusal) => Err(self.refuse(variable, NOT_SHOWN.to_owned(), refusal)),
        }
    }

    /// Records a refusal that follows from several variables together.
    pub fn refuse(&mut self, variable: &'static str, value: String, refusal: Refusal) -> Refused {
        self.problems.push(Problem {
            variable,
            value,
            refusal,
        });
        Refused
    }

    /// Returns the settings with what `value` made of them, or all problems.
    ///
    /// # Errors
    ///
    /// A value was refused.
    pub fn finish<T>(self, value: Result<T, Refused>) -> Result<(T, Settings), Problems> {
        match value {
            Ok(value) if self.problems.is_empty() => Ok((value, Settings(self.settings))),
            _ => Err(Problems(self.problems)),
        }
    }
}

// === impl Problems ===

impl Problems {
    /// Returns the problem of a file that could not be read.
    pub fn of_file(path: String, wrong: String) -> Self {
        let refusal = Refusal {
            wrong,
            right: "a file with one NAME=value a line",
        };
        Self(vec![Problem {
            variable: "--env-file",
            value: path,
            refusal,
        }])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = match self.0.len() {
            1 => "1 setting is wrong".to_owned(),
            many => format!("{many} settings are wrong"),
        };
        writeln!(f, "{} cannot start: {settings}", env!("CARGO_PKG_NAME"))?;
        for Problem {
            variable,
            value,
            refusal,
        } in &self.0
        {
            writeln!(f, "\n  {variable}={}", shortened(value))?;
            writeln!(f, "      {}", redact(&refusal.wrong))?;
            writeln!(f, "      use {}", refusal.right)?;
        }
        Ok(())
    }
}

/// Returns a value on one line, and of a very long one the begin.
fn shortened(value: &str) -> String {
    const LONGEST: usize = 200;
    let begin: String = value.chars().take(LONGEST).collect();
    let rest = match value.len() - begin.len() {
        0 => String::new(),
        rest => format!("… ({rest} bytes more)"),
    };
    format!("{}{rest}", begin.escape_debug())
}

// === impl Settings ===

impl Settings {
    /// Returns true for a variable that has been read.
    pub fn know(&self, name: &str) -> bool {
        self.0.iter().any(|setting| setting.variable == name)
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Setting {
            variable,
            value,
            origin,
        } in &self.0
        {
            writeln!(f, "{variable}={}  # {origin}", value.escape_debug())?;
        }
        Ok(())
    }
}
