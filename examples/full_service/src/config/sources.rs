//! The places that settings come from: the environment, a file for development, and files of secrets.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    io::{self, Read},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{env_file::EnvFile, problems::Refusal};

/// The largest file of a secret.
const LARGEST: u64 = 64 * 1024;

type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The place that a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    Environment,
    /// The file of `--env-file`, or `.env`.
    EnvFile,
    /// The file that `NAME_FILE` names.
    File(PathBuf),
    /// The credentials that systemd passes (`LoadCredential=`).
    Credentials,
}

/// All sources. The environment wins over the file.
pub struct Sources<'a> {
    environment: Lookup<'a>,
    file: BTreeMap<String, String>,
}

// === impl Sources ===

impl<'a> Sources<'a> {
    pub fn new(environment: Lookup<'a>, file: Option<EnvFile>) -> Self {
        let file = file.map(|file| file.variables).unwrap_or_default();
        Self { environment, file }
    }

    /// Returns the value of a variable. An empty one counts as unset.
    pub fn value(&self, variable: &str) -> Option<(OsString, Origin)> {
        let set = |value: &OsString| !value.is_empty();
        if let Some(value) = (self.environment)(variable).filter(set) {
            return Some((value, Origin::Environment));
        }
        let value = OsString::from(self.file.get(variable)?);
        set(&value).then_some((value, Origin::EnvFile))
    }

    /// Returns the value of a secret: of the variable, of the file that `NAME_FILE` names, or of systemd's credentials.
    ///
    /// # Errors
    ///
    /// Both the variable and its file are set, or the file cannot be read.
    pub fn secret(&self, variable: &str) -> Result<Option<(Zeroizing<String>, Origin)>, Refusal> {
        let direct = self.value(variable);
        let named = self.value(&format!("{variable}_FILE"));
        match (direct, named) {
            (Some(_), Some(_)) => Err(Refusal {
                wrong: format!("is set, and {variable}_FILE too"),
                right: "only one of the two",
            }),
            (Some((value, origin)), None) => match value.into_string() {
                Ok(value) => Ok(Some((Zeroizing::new(value), origin))),
                Err(_) => Err(Refusal::not_text()),
            },
            (None, Some((path, _))) => {
                let path = PathBuf::from(path);
                let value = content(&path)?;
                Ok(Some((value, Origin::File(path))))
            }
            (None, None) => self.credential(variable),
        }
    }

    /// Reads `$CREDENTIALS_DIRECTORY/name`, if it is there.
    fn credential(&self, variable: &str) -> Result<Option<(Zeroizing<String>, Origin)>, Refusal> {
        let Some((directory, _)) = self.value("CREDENTIALS_DIRECTORY") else {
            return Ok(None);
        };
        let path = Path::new(&directory).join(variable.to_ascii_lowercase());
        match path.try_exists() {
            Ok(true) => Ok(Some((content(&path)?, Origin::Credentials))),
            Ok(false) => Ok(None),
            Err(error) => Err(unreadable(&path, &error)),
        }
    }
}

/// Reads the file of a secret, without the newline that editors put at its end.
fn content(path: &Path) -> Result<Zeroizing<String>, Refusal> {
    let mut text = Zeroizing::new(String::new());
    let read = std::fs::File::open(path)
        // One byte more distinguishes a file that is too large from one that fits.
        .and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text));
    match read {
        Ok(bytes) if bytes as u64 > LARGEST => Err(Refusal {
            wrong: format!("is in a file of more than 64 KiB, {}", path.display()),
            right: "a file that has the secret and nothing else",
        }),
        Ok(_) => {
            if text.ends_with('\n') {
                text.pop();
            }
            match text.is_empty() {
                true => Err(Refusal {
                    wrong: format!("is in an empty file, {}", path.display()),
                    right: "a file that has the secret and nothing else",
                }),
                false => Ok(text),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(Refusal::not_text()),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Refusal {
    Refusal {
        wrong: format!("cannot be read from {}: {error}", path.display()),
        right: "a file that this process may read",
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Environment => f.write_str("environment"),
            Self::EnvFile => f.write_str("env file"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Credentials => f.write_str("credentials"),
        }
    }
}
