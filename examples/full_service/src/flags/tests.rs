//! The value of a flag: the same everywhere, evenly drawn, without memory; and what becomes of flags that cannot be read.

mod cache;
mod cost;
mod draw;

use std::{sync::Arc, time::Duration};

use serde::Deserialize;

use super::{
    Flags, Redis, Settings, bucket,
    file::File,
    flag::{Decision, Flag, Reason, Rollout, check_key},
    table::{Row, Table},
};

/// Returns the flags of a file, without Redis.
fn flags(text: &str) -> Flags {
    Flags::new(Settings {
        redis: None,
        refresh: Duration::from_secs(10),
        cache: None,
        file: File::parse(text).expect("flags"),
    })
}

fn flag(json: &str) -> Flag {
    Flag::parse(json.as_bytes()).expect(json)
}

fn row(key: &str, json: &str) -> Row {
    (key.into(), json.into())
}

#[derive(Deserialize)]
struct Vector {
    key: String,
    salt: Option<String>,
    tenant: String,
    bucket: u32,
}

#[test]
fn buckets_are_those_of_other_languages() {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("vectors.json")).expect("vectors");
    assert_eq!(vectors.len(), 20);
    for vector in vectors {
        let seed = vector.salt.as_deref().unwrap_or(&vector.key);
        let drawn = bucket::of(seed, &vector.tenant);
        assert_eq!(drawn, vector.bucket, "{} {}", vector.key, vector.tenant);
    }
}

#[test]
fn first_rule_that_fits_decides() {
    // Bucket 40,336 of 100,000.
    const DRAWN: &str = "tenant-1";
    let lists = r#""tenants": ["in", "both"], "denied": ["out", "both"]"#;
    let decide = |rest: &str, tenant| {
        let flag = flag(&format!("{{{rest}, {lists}}}"));
        let Decision { value, reason } = flag.decide("orders-open", tenant);
        (value, reason)
    };
    let off = r#""enabled": false, "rollout": 100"#;
    for tenant in [Some("in"), Some("out"), Some(DRAWN), None] {
        assert_eq!(decide(off, tenant), (false, Reason::Disabled));
    }
    for (rollout, drawn, anonymous) in [
        ("0", false, false),
        ("40.336", false, false),
        ("40.337", true, false),
        ("100", true, true),
    ] {
        let on = format!(r#""enabled": true, "rollout": {rollout}"#);
        assert_eq!(decide(&on, Some("out")), (false, Reason::Denied));
        assert_eq!(decide(&on, Some("both")), (false, Reason::Denied));
        assert_eq!(decide(&on, Some("in")), (true, Reason::Tenant));
        assert_eq!(decide(&on, Some(DRAWN)), (drawn, Reason::Percentage));
        assert_eq!(decide(&on, None), (anonymous, Reason::Anonymous));
    }
}

#[test]
fn unknown_flag_has_the_default_of_its_caller() {
    let flags = flags("[known]\nenabled = false\nrollout = 100");
    assert!(!flags.is_on("known", None, true));
    assert!(flags.is_on("unknown", Some("a"), true));
    assert!(!flags.is_on("unknown", Some("a"), false));
}

#[test]
fn salt_stands_for_the_key() {
    let salted = r#"{"enabled": true, "rollout": 50, "salt": "s"}"#;
    let (salted, plain) = (flag(salted), flag(r#"{"enabled": true, "rollout": 50}"#));
    let tenants: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    let of = |flag: &Flag, key: &str| -> Vec<bool> {
        let tenants = tenants.iter();
        tenants
            .map(|tenant| flag.decide(key, Some(tenant)).value)
            .collect()
    };
    assert_eq!(of(&salted, "a"), of(&salted, "b"));
    assert_eq!(of(&salted, "a"), of(&plain, "s"));
    assert_ne!(of(&plain, "a"), of(&plain, "b"));
}

#[test]
fn password_of_redis_is_not_shown() {
    let redis = Redis::new("redis://user:hunter2@localhost:7000/3").expect("a URL");
    assert_eq!(format!("{redis:?}"), "Redis(localhost:7000)");
    let error = Redis::new("redis://user:hunter2@localhost:port").expect_err("no port");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn rollout_has_three_decimals() {
    for percent in [0.0, 0.001, 12.345, 33.333, 99.999, 100.0] {
        let rollout = Rollout::try_from(percent).expect("a rollout");
        assert_eq!(f64::from(rollout), percent);
    }
    for wrong in [-0.001, 0.0001, 12.3456, 100.001, f64::NAN, f64::INFINITY] {
        assert!(Rollout::try_from(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn invalid_flags_are_refused() {
    let long = "x".repeat(257);
    let many: Vec<String> = (0..10_001).map(|number| format!("\"{number}\"")).collect();
    for wrong in [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        r#"{"enabled": true}"#.to_owned(),
        r#"{"rollout": 5}"#.to_owned(),
        r#"{"enabled": 1, "rollout": 5}"#.to_owned(),
        r#"{"enabled": true, "rollout": "5"}"#.to_owned(),
        r#"{"enabled": true, "rollout": 101}"#.to_owned(),
        r#"{"enabled": true, "rollout": 5, "country": "at"}"#.to_owned(),
        r#"{"enabled": true, "rollout": 5, "tenants": [""]}"#.to_owned(),
        format!(r#"{{"enabled": true, "rollout": 5, "denied": ["{long}"]}}"#),
        format!(
            r#"{{"enabled": true, "rollout": 5, "tenants": [{}]}}"#,
            many.join(",")
        ),
        r#"{"enabled": true, "rollout": 5, "salt": ""}"#.to_owned(),
        r#"{"enabled": true, "rollout": 5, "salt": "a\u0000b"}"#.to_owned(),
        r#"{"enabled": true, "rollout": 5, "version": -1}"#.to_owned(),
        r#"{"enabled": true, "rollout": 5} {}"#.to_owned(),
    ] {
        assert!(Flag::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
    for wrong in ["", "A", "a b", "ä", "a/b", &"a".repeat(65)] {
        assert!(check_key(wrong).is_err(), "{wrong}");
    }
    assert!(check_key("new-prices_2.0").is_ok());
}

#[test]
fn flag_survives_its_own_form() {
    let written = flag(
        r#"{"enabled": true, "rollout": 12.345, "tenants": ["b", "a"], "denied": ["c"], "salt": "s",
            "version": 7, "updated_by": "ada", "updated_at": "2026-11-27T06:00:00Z"}"#,
    );
    let json = serde_json::to_string(&written).expect("JSON");
    assert_eq!(flag(&json), written, "{json}");
    assert!(json.contains(r#""tenants":["a","b"]"#), "{json}");
    assert_eq!(
        written.to_string(),
        r#"enabled, rollout 12.345 %, tenants ["a", "b"], denied ["c"], salt s, version 7"#
    );
}

#[test]
fn invalid_row_leaves_the_last_good_flag() {
    let (on, off) = (
        r#"{"enabled": true, "rollout": 100}"#,
        r#"{"enabled": false, "rollout": 0}"#,
    );
    let first = Table::read(
        vec![row("a", on), row("b", on), row("c", on)],
        1,
        &Table::default(),
    );
    assert!(first.invalid.is_empty());
    let rows = vec![
        row("a", off),
        row("b", "rubbish"),
        row("d", "rubbish"),
        row("Not a key", on),
        (vec![0xff, 0xfe], on.into()),
    ];
    let second = Table::read(rows, 2, &first);
    let enabled = |key| second.get(key).map(|flag| flag.enabled);
    assert_eq!(
        [enabled("a"), enabled("b"), enabled("c"), enabled("d")],
        [Some(false), Some(true), None, None]
    );
    let invalid: Vec<_> = second.invalid.keys().map(String::as_str).collect();
    assert_eq!(invalid, ["Not a key", "b", "d", "\u{fffd}\u{fffd}"]);

    // Whatever is in the row, the log and the page stay short.
    let long = format!(
        r#"{{"enabled": true, "rollout": 5, "{}": 1}}"#,
        "x".repeat(100_000)
    );
    let rubbish = vec![row("long", &long), row(&"Y".repeat(100_000), on)];
    for (key, reason) in Table::read(rubbish, 2, &first).invalid {
        assert!(key.len() <= 300 && reason.len() <= 300, "{key}: {reason}");
    }

    // It stays for as long as the row is invalid, and is not kept longer.
    let third = Table::read(vec![row("b", "more rubbish")], 3, &second);
    assert!(third.get("b").is_some_and(|flag| flag.enabled));
    let fourth = Table::read(vec![row("b", off)], 4, &third);
    assert!(fourth.get("b").is_some_and(|flag| !flag.enabled) && fourth.invalid.is_empty());
}

#[test]
fn file_of_flags_names_the_line_of_an_error() {
    let good = "[a]\nenabled = true\nrollout = 12.5\ntenants = [\"x\"]\n\n[b]\nenabled = false\nrollout = 0\n";
    let file = File::parse(good).expect("flags");
    assert_eq!(file.0.len(), 2);
    assert_eq!(file.0.get("a").map(|flag| flag.tenants.len()), Some(1));
    for (wrong, says) in [
        ("[a]\nenabled = true\nrollout = 120\n", "line 3: "),
        ("[a]\nenabled = yes\n", "line 2: "),
        ("[a]\nenabled = true\nrolout = 1\n", "line 3: "),
        ("[A]\nenabled = true\nrollout = 1\n", "a key has 1 to 64"),
    ] {
        let error = File::parse(wrong).expect_err(wrong);
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn readers_see_one_table_or_the_other() {
    let both = |state: bool| {
        let flag = format!(r#"{{"enabled": {state}, "rollout": 100}}"#);
        Table::read(vec![row("a", &flag), row("b", &flag)], 1, &Table::default())
    };
    let flags = flags("");
    flags.replace(both(true));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (flags, stop) = (flags.clone(), stop.clone());
        move || {
            let mut read = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let table = flags.table();
                let value = |key| table.get(key).map(|flag| flag.enabled);
                assert!(value("a").is_some() && value("a") == value("b"));
                read += 1;
            }
            read
        }
    });
    for number in 0..2_000 {
        flags.replace(both(number % 2 == 0));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(reader.join().expect("no panic") > 0);
}
