//! The URL of a database.

use std::str::FromStr;

use sqlx::{postgres::PgConnectOptions, sqlite::SqliteConnectOptions};

use super::{Refusal, refuse};
use crate::secret::redact;

/// Parses the URL of a database, by its scheme.
pub fn database(text: &str) -> Result<(), Refusal> {
    const RIGHT: &str = "sqlite://orders.db?mode=rwc or postgres://user:password@host:5432/name";
    let parsed = match text.split_once(':').map(|(scheme, _)| scheme) {
        Some("sqlite") => match SqliteConnectOptions::from_str(text) {
            Ok(options) if is_passing(text, &options) => {
                return refuse(
                    "is a database in memory: each connection has one of its own",
                    RIGHT,
                );
            }
            parsed => parsed.map(drop),
        },
        // sqlx ignores what it does not know: a typing error in `sslmode` would be a connection without TLS.
        Some("postgres" | "postgresql") if !parameters(text).all(is_known) => {
            return refuse("has a parameter that is unknown", PARAMETERS_SHOWN);
        }
        Some("postgres" | "postgresql") => PgConnectOptions::from_str(text).map(drop),
        // The text is not repeated: it may be a password in the wrong variable.
        _ => return refuse("is no URL of SQLite or PostgreSQL", RIGHT),
    };
    parsed.or_else(|error| refuse(without_values(&redact(&error.to_string())), RIGHT))
}

/// Returns true for a database that ends with its connection: one in memory, or in a file without a name.
fn is_passing(url: &str, options: &SqliteConnectOptions) -> bool {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    options.get_filename().as_os_str().is_empty()
        || base.ends_with(":memory:")
        || query.split('&').any(|pair| pair == "mode=memory")
}

/// Lists the parameters that sqlx knows: one by one, and as a sentence.
macro_rules! parameters {
    ($($name:literal)+ or $last:literal) => {
        const PARAMETERS: &[&str] = &[$($name,)+ $last];
        const PARAMETERS_SHOWN: &str = concat!($($name, ", ",)+ "or ", $last);
    };
}

parameters!(
    "sslmode" "sslrootcert" "sslcert" "sslkey" "statement-cache-capacity" "host" "hostaddr" "port" "dbname" "user"
    "password" "application_name" or "options"
);

/// Checks the name of a parameter; of `options[name]` the part before the bracket.
fn is_known(parameter: &str) -> bool {
    let name = parameter.split('[').next().unwrap_or_default();
    PARAMETERS.contains(&name)
}

/// Returns the names of the parameters of a URL.
fn parameters(url: &str) -> impl Iterator<Item = &str> {
    let (_, query) = url.split_once('?').unwrap_or_default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split('=').next().unwrap_or(pair))
}

/// Removes what an error quotes of a value.
fn without_values(error: &str) -> String {
    let parts = error.split('"').enumerate();
    let parts = parts.map(|(number, part)| if number % 2 == 0 { part } else { "…" });
    parts.collect()
}
