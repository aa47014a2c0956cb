//! Migrations as operators run them: the real binary, a real PostgreSQL, a real SQLite, real signals.

mod apply;
mod common;
mod kill;
mod pooler;
mod race;
mod rename;
mod sqlite;
#[path = "../service/support/mod.rs"]
mod support;
mod words;
