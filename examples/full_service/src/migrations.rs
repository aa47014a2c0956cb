//! The migrations of this service, embedded: the binary carries the schema that it needs.

/// The name and the text of a migration file.
type File = (&'static str, &'static str);

macro_rules! files {
    ($folder:literal: $($file:literal)+) => {
        &[$((
            $file,
            include_str!(concat!("../migrations/", $folder, "/", $file)),
        )),+]
    };
}

/// The migrations for PostgreSQL.
pub const POSTGRES: &[File] = files!("postgres":
    "0001_users.up.sql"
    "0001_users.down.sql"
    "0002_orders.up.sql"
    "0002_orders.down.sql"
    "0003_idempotency_keys.up.sql"
    "0003_idempotency_keys.down.sql"
    "0004_jobs.up.sql"
    "0004_jobs.down.sql"
    "0005_instances.up.sql"
    "0005_instances.down.sql"
    "0006_dead_jobs.up.sql"
    "0006_dead_jobs.down.sql");

/// The migrations for SQLite.
pub const SQLITE: &[File] = files!("sqlite":
    "0001_users.up.sql"
    "0001_users.down.sql"
    "0002_orders.up.sql"
    "0002_orders.down.sql"
    "0003_idempotency_keys.up.sql"
    "0003_idempotency_keys.down.sql"
    "0004_jobs.up.sql"
    "0004_jobs.down.sql"
    "0005_instances.up.sql"
    "0005_instances.down.sql"
    "0006_dead_jobs.up.sql"
    "0006_dead_jobs.down.sql");

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_file_of_the_folders_is_embedded() {
        for (folder, embedded) in [("postgres", POSTGRES), ("sqlite", SQLITE)] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
            let files = fs::read_dir(path.join(folder)).expect("a folder");
            let files: BTreeSet<String> = files
                .map(|file| {
                    file.expect("a file")
                        .file_name()
                        .into_string()
                        .expect("text")
                })
                .filter(|name| name.ends_with(".sql"))
                .collect();
            let embedded = embedded.iter().map(|(name, _)| (*name).to_owned());
            assert_eq!(embedded.collect::<BTreeSet<_>>(), files, "{folder}");
        }
    }
}
