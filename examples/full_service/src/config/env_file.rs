//! A file of variables for development, as shells and Compose read it: `NAME=value`, comments, quotes.
//!
//! A parser of our own, because an error names the line and never its content, which may be a secret.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
};

/// The variables of a file.
#[derive(Debug, Default)]
pub struct EnvFile {
    pub variables: BTreeMap<String, String>,
    /// True for a file that others than its owner may read.
    pub shared: bool,
}

/// The error of a file.
#[derive(Debug)]
pub enum EnvFileError {
    Unreadable(std::io::Error),
    /// The number of a line that is no `NAME=value`.
    Malformed(usize),
}

// === impl EnvFile ===

impl EnvFile {
    /// # Errors
    ///
    /// The file cannot be read, or a line is malformed.
    pub fn read(path: &Path) -> Result<Self, EnvFileError> {
        let text = std::fs::read_to_string(path).map_err(EnvFileError::Unreadable)?;
        let mut file = Self::parse(&text)?;
        file.shared = is_shared(path);
        Ok(file)
    }

    pub fn names(&self) -> BTreeSet<String> {
        self.variables.keys().cloned().collect()
    }

    pub(super) fn parse(text: &str) -> Result<Self, EnvFileError> {
        let mut variables = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = assignment(line).ok_or(EnvFileError::Malformed(number + 1))?;
            variables.insert(name.to_owned(), value.to_owned());
        }
        Ok(Self {
            variables,
            shared: false,
        })
    }
}

fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim_end();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(word)
    {
        return None;
    }
    Some((name, unquoted(value.trim_start())?))
}

/// Returns the value without quotes, or without a comment behind it. Nothing is expanded.
fn unquoted(value: &str) -> Option<&str> {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            let (inner, after) = rest.split_once(quote)?;
            let after = after.trim_start();
            return (after.is_empty() || after.starts_with('#')).then_some(inner);
        }
    }
    let end = value.find(" #").unwrap_or(value.len());
    Some(value[..end].trim_end())
}

#[cfg(unix)]
fn is_shared(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_shared(_path: &Path) -> bool {
    false
}

impl fmt::Display for EnvFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "{error}"),
            Self::Malformed(line) => write!(f, "line {line} is not NAME=value"),
        }
    }
}

impl std::error::Error for EnvFileError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let text = "# comment\n\nA=1\nexport B = two words \nC=\"quoted # text\" # comment\nD='it is'\nE=\nF=a#b # c\r\n";
        let file = EnvFile::parse(text).expect("a file");
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "quoted # text"),
            ("D", "it is"),
            ("E", ""),
            ("F", "a#b"),
        ];
        let read: Vec<_> = file
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(read, expected);
    }

    #[test]
    fn an_error_names_the_line_and_not_its_content() {
        for wrong in [
            "hunter2",
            "1A=hunter2",
            "A B=hunter2",
            "=hunter2",
            "A=\"hunter2",
            "A='hunter2' x",
        ] {
            let error = EnvFile::parse(&format!("X=1\n{wrong}\n"))
                .expect_err(wrong)
                .to_string();
            assert_eq!(error, "line 2 is not NAME=value", "{wrong}");
        }
    }
}
