//! The lines `-- key: value` at the top of a file, and what they demand of its statements.

use super::{
    file::{Phase, Release, Script},
    sql::{self, Concurrent, Statement},
};

/// The directives of one file, as they stand there.
#[derive(Default)]
pub struct Directives {
    safe: Option<String>,
    phase: Option<String>,
    after: Option<String>,
    transaction: Option<String>,
}

// === impl Directives ===

impl Directives {
    /// Reads the lines `-- key: value` at the top, up to the first line that is no comment.
    pub fn read(text: &str, complain: &mut impl FnMut(String)) -> Self {
        let mut found = Self::default();
        let mut top = true;
        for (number, line) in text.lines().enumerate() {
            let comment = line.trim().strip_prefix("--");
            top &= comment.is_some();
            let Some((key, value)) = comment.and_then(|comment| comment.trim().split_once(':'))
            else {
                continue;
            };
            let (key, value) = (key.trim(), value.trim());
            let place = match key {
                "safe" => &mut found.safe,
                "phase" => &mut found.phase,
                "after" => &mut found.after,
                "transaction" => &mut found.transaction,
                // For the linter.
                "lint" => continue,
                // A typing error would change what is done; free text begins after an empty line.
                _ if top && !key.contains(' ') => {
                    complain(format!("line {}: unknown directive {key:?}", number + 1));
                    continue;
                }
                _ => continue,
            };
            if !top {
                complain(format!(
                    "line {}: the directive {key:?} is not among the first lines",
                    number + 1
                ));
            } else if place.replace(value.to_owned()).is_some() {
                complain(format!("line {}: a second {key:?}", number + 1));
            }
        }
        found
    }

    pub fn script(&self, file: &str, text: &str, complain: &mut impl FnMut(String)) -> Script {
        let statements = sql::split(text).unwrap_or_else(|line| {
            complain(format!("line {line}: a quote or comment is not closed"));
            Vec::new()
        });
        let transaction = match self.transaction.as_deref() {
            None | Some("yes") => true,
            Some("no") => false,
            Some(_) => {
                complain("transaction is neither yes nor no".to_owned());
                true
            }
        };
        match statements.len() {
            0 => complain("has no statement".to_owned()),
            1 => {}
            _ if transaction => {}
            count => complain(format!(
                "has {count} statements: without a transaction it may have one"
            )),
        }
        for statement in &statements {
            if let Some(wrong) = refusal(statement, transaction) {
                complain(format!("line {}: {wrong}", statement.line));
            }
        }
        Script {
            file: file.to_owned(),
            statements,
            transaction,
        }
    }

    /// Returns why it needs downtime; `None` if it is safe.
    pub fn downtime(&self, complain: &mut impl FnMut(String)) -> Option<String> {
        let Some(safe) = self.safe.as_deref() else {
            complain("needs `-- safe: yes` or `-- safe: no <reason>` at the top".to_owned());
            return None;
        };
        let (answer, reason) = safe.split_once(char::is_whitespace).unwrap_or((safe, ""));
        match (answer, reason.trim()) {
            ("yes", _) => {}
            ("no", "") => complain("`safe: no` needs a reason behind it".to_owned()),
            ("no", reason) => return Some(reason.to_owned()),
            _ => complain("safe is neither `yes` nor `no <reason>`".to_owned()),
        }
        None
    }

    /// Returns the phase; without the directive it is `expand`.
    pub fn phase(&self, complain: &mut impl FnMut(String)) -> Phase {
        match self.phase.as_deref() {
            None | Some("expand") => {}
            Some("contract") => return Phase::Contract,
            Some(_) => complain("phase is neither expand nor contract".to_owned()),
        }
        Phase::Expand
    }

    /// Returns the release that a contract waits for.
    pub fn after(&self, complain: &mut impl FnMut(String)) -> Option<Release> {
        let contract = self.phase.as_deref() == Some("contract");
        let Some(after) = self.after.as_deref() else {
            if contract {
                let wanted = "`-- after: <version of the service that must run everywhere>`";
                complain(format!("a contract needs {wanted}"));
            }
            return None;
        };
        if !contract {
            complain("after is for a contract only".to_owned());
        }
        let release = Release::parse(after);
        if release.is_none() {
            complain(format!("after: {after:?} is not a version like 1.4.0"));
        }
        release
    }
}

/// Returns what forbids a statement.
fn refusal(statement: &Statement, transaction: bool) -> Option<&'static str> {
    if statement.controls_transaction() {
        return Some("begins or ends a transaction, which is done for it");
    }
    match statement.concurrent()? {
        _ if transaction => Some("CONCURRENTLY needs `-- transaction: no`"),
        Concurrent::Create { index: None, .. } => {
            Some("the index needs a name, by which a repair finds it")
        }
        // It would skip an index that an interrupted run has left invalid.
        Concurrent::Create {
            if_not_exists: true,
            ..
        } => Some("IF NOT EXISTS would take an invalid index for a finished one"),
        _ => None,
    }
}
