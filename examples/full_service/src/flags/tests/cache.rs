//! The cache on disk: written whole by many at once, tried anew, and waited for by nothing.

use std::{fs, path::Path, process::Command, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};

use super::row;
use crate::flags::{
    Flags, Redis, Settings, Source,
    cache::{Cache, read, write},
    file::File,
    table::Table,
};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Returns as many flags, of this version.
fn table(version: u64, flags: usize) -> Table {
    let flag = r#"{"enabled": true, "rollout": 100}"#;
    let rows = (0..flags).map(|number| row(&format!("flag-{number}"), flag));
    Table::read(rows.collect(), version, &Table::default())
}

fn fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.expect("mkfifo").success());
}

async fn written(cache: &mut Cache) -> bool {
    timeout(PATIENCE, cache.written()).await.expect("its end")
}

#[test]
fn cache_is_written_whole_and_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("flags.json");
    assert!(read(&path).expect("no error").is_none());

    let rows = vec![
        row("a", r#"{"enabled": true, "rollout": 12.345, "version": 3}"#),
        row("b", "rubbish"),
    ];
    let table = Table::read(rows, 9, &Table::default());
    write(&path, &table).expect("written");
    let (found, age) = read(&path).expect("no error").expect("a cache");
    assert_eq!((found.version, &found.flags), (Some(9), &table.flags));
    assert!(age < Duration::from_secs(60), "{age:?}");
    let files = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(files, 1, "nothing else is left");

    // Another version of the service has written a flag that this one does not know.
    let text = fs::read_to_string(&path).expect("text");
    let other = text.replace("\"flags\":{", "\"flags\":{\"new\":{\"rule\":1},");
    fs::write(&path, other).expect("written");
    let (found, _) = read(&path).expect("no error").expect("a cache");
    assert_eq!(found.flags, table.flags);

    for rubbish in ["", "{", "[]", "{\"version\":1}"] {
        fs::write(&path, rubbish).expect("written");
        assert!(read(&path).is_err(), "{rubbish}");
    }
    // A folder that is missing leaves the cache as it was.
    assert!(write(&folder.path().join("no/flags.json"), &table).is_err());
}

#[test]
fn writers_of_one_cache_do_not_spoil_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("flags.json");
    std::thread::scope(|scope| {
        for version in 1..=4 {
            let path = &path;
            scope.spawn(move || {
                let table = table(version, 200 * version as usize);
                for _ in 0..50 {
                    write(path, &table).expect("written");
                    let (found, _) = read(path).expect("whole").expect("there");
                    let version = found.version.expect("a version");
                    assert_eq!(found.flags.len(), 200 * version as usize);
                }
            });
        }
    });
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn cache_that_is_too_large_is_neither_written_nor_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("flags.json");
    // As many flags as there may be.
    write(&path, &table(1, 10_000)).expect("written");
    let (found, _) = read(&path).expect("whole").expect("there");
    assert_eq!(found.flags.len(), 10_000);

    let tenants: Vec<String> = (0..10_000).map(|n| format!("\"{n:0>250}\"")).collect();
    let flag = format!(
        r#"{{"enabled": true, "rollout": 0, "tenants": [{}]}}"#,
        tenants.join(",")
    );
    let rows = (0..30).map(|number| row(&number.to_string(), &flag));
    let large = Table::read(rows.collect(), 2, &Table::default());
    let error = write(&path, &large).expect_err("too large").to_string();
    assert!(error.contains("64 MiB"), "{error}");
    let (found, _) = read(&path).expect("whole").expect("there");
    assert_eq!(found.version, Some(1), "the one before stays");

    let file = fs::File::create(&path).expect("a file");
    file.set_len(1 << 40).expect("sparse");
    let error = read(&path).expect_err("too large");
    assert!(error.contains("64 MiB"), "{error}");
}

#[tokio::test]
async fn write_that_failed_is_due_again_until_it_succeeds() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("later").join("flags.json");
    let mut cache = Cache::new(&path);
    let flags = || Arc::new(table(7, 1));
    cache.begin(flags);
    assert!(!cache.is_writing(), "nothing has changed");

    cache.change();
    for _ in 0..2 {
        cache.begin(flags);
        assert!(!written(&mut cache).await, "there is no folder");
    }
    fs::create_dir(folder.path().join("later")).expect("a folder");
    cache.begin(flags);
    assert!(written(&mut cache).await);
    let (found, _) = read(&path).expect("whole").expect("there");
    assert_eq!(found.version, Some(7));
    cache.begin(flags);
    assert!(!cache.is_writing(), "it is written");
}

#[tokio::test]
async fn one_write_at_a_time_and_the_last_change_after_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("flags.json");
    let mut cache = Cache::new(&path);
    cache.change();
    cache.begin(|| Arc::new(table(1, 1)));
    assert!(cache.is_writing());
    cache.change();
    cache.begin(|| panic!("no second write"));
    assert!(written(&mut cache).await);
    cache.begin(|| Arc::new(table(2, 1)));
    assert!(written(&mut cache).await);
    let (found, _) = read(&path).expect("whole").expect("there");
    assert_eq!(found.version, Some(2));
}

#[tokio::test]
async fn disk_that_hangs_does_not_hold_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("flags.json");
    // To open it for reading waits until another one writes.
    fifo(&path);
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("its address");
    drop(free);
    let flags = Flags::new(Settings {
        redis: Some(Redis::new(&format!("redis://{address}")).expect("a URL")),
        refresh: Duration::from_secs(10),
        cache: Some(path.clone()),
        file: File::default(),
    });
    let begun = Instant::now();
    let loaded = timeout(PATIENCE, flags.refresher().load()).await;
    let took = begun.elapsed();
    // The runtime waits for its threads in the end.
    drop(fs::OpenOptions::new().write(true).open(&path));
    loaded.expect("to be loaded");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(flags.source(), Source::File);
}
