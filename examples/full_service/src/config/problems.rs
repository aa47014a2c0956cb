//! Reads variables one after another and collects all errors.

use std::{ffi::OsString, fmt};

/// The refusal of a value: the error, and valid alternatives.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub wrong: String,
    pub right: &'static str,
}

#[derive(Debug)]
struct Problem {
    variable: &'static str,
    value: String,
    refusal: Refusal,
}

/// All errors of the environment. Operators read its `Display`.
#[derive(Debug)]
pub struct Problems(Vec<Problem>);

pub struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<OsString>,
    problems: Vec<Problem>,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self {
            lookup,
            problems: Vec::new(),
        }
    }

    /// Returns the variable's value, or the default if it is unset, empty or wrong. Records wrong values and continues,
    /// so that the next one is found too.
    pub fn read<T>(
        &mut self,
        variable: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, Refusal>,
    ) -> T {
        let Some(raw) = (self.lookup)(variable).filter(|raw| !raw.is_empty()) else {
            return default;
        };
        let parsed = match raw.to_str() {
            Some(text) => parse(text),
            None => Err(Refusal {
                wrong: "is not valid UTF-8".to_owned(),
                right: "plain text",
            }),
        };
        parsed.unwrap_or_else(|refusal| {
            self.refuse(variable, raw.to_string_lossy().into_owned(), refusal);
            default
        })
    }

    /// Reads as [`read`](Self::read) does, without showing the value.
    pub fn read_secret<T>(
        &mut self,
        variable: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, Refusal>,
    ) -> T {
        let known = self.problems.len();
        let value = self.read(variable, default, parse);
        if let Some(problem) = self.problems.get_mut(known) {
            problem.value = "(not shown)".to_owned();
        }
        value
    }

    pub fn refused(&self, variable: &str) -> bool {
        let mut problems = self.problems.iter();
        problems.any(|problem| problem.variable == variable)
    }

    /// Records a refusal that follows from several variables together.
    pub fn refuse(&mut self, variable: &'static str, value: String, refusal: Refusal) {
        self.problems.push(Problem {
            variable,
            value,
            refusal,
        });
    }

    pub fn finish<T>(self, value: T) -> Result<T, Problems> {
        if self.problems.is_empty() {
            Ok(value)
        } else {
            Err(Problems(self.problems))
        }
    }
}

// === impl Problems ===

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = match self.0.len() {
            1 => "1 setting is wrong".to_owned(),
            many => format!("{many} settings are wrong"),
        };
        writeln!(f, "full_service cannot start: {settings}")?;
        for Problem {
            variable,
            value,
            refusal,
        } in &self.0
        {
            writeln!(f, "\n  {variable}={}", value.escape_debug())?;
            writeln!(f, "      {}", refusal.wrong)?;
            writeln!(f, "      use {}", refusal.right)?;
        }
        Ok(())
    }
}
