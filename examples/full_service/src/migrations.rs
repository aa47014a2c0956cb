//! The migrations of this service, embedded: the binary carries the schema that it needs.

/// The name and the text of a migration file.
type File = (&'static str, &'static str);

macro_rules! files {
    ($directory:literal: $($name:literal)+) => {
        &[$(
            (concat!($name, ".up.sql"), include_str!(concat!("../migrations/", $directory, "/", $name, ".up.sql"))),
            (concat!($name, ".down.sql"), include_str!(concat!("../migrations/", $directory, "/", $name, ".down.sql"))),
        )+]
    };
}

/// The migrations for PostgreSQL.
pub const POSTGRES: &[File] = files!("postgres":
    "0001_users"
    "0002_orders"
    "0003_idempotency_keys"
    "0004_jobs"
    "0005_instances"
    "0006_dead_jobs");

/// The migrations for SQLite.
pub const SQLITE: &[File] = files!("sqlite":
    "0001_users"
    "0002_orders"
    "0003_idempotency_keys"
    "0004_jobs"
    "0005_instances"
    "0006_dead_jobs");
