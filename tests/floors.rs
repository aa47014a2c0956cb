//! The crate's rooms stand on floors, and a file imports from its own room and from floors below. Rust does not hold a
//! module to that; this does. Arrows are found by name, across all features.
//!
//! A new room goes on the lowest floor from which it can see what it needs. If an arrow points up, the item stands too
//! high: move it down, or let the upper room hand it in (as a value, or behind a trait of the lower room).

#[path = "floors/imports.rs"]
mod imports;
#[path = "floors/tokens.rs"]
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use imports::{Module, Tree};

/// The floors from the ground up. A room is a folder or a file of `src`; the longest name counts.
const FLOORS: &[(&str, &[&str])] = &[
    (
        "ground: words that need no others",
        &[
            "accept",
            "all",
            "allowed_hosts",
            "conn_info",
            "error",
            "grpc",
            "head",
            "id",
            "json",
            "min_rate",
            "phase",
            "runtime",
            "stderr",
            "sync",
            "text",
            "track",
        ],
    ),
    ("words that need those", &["route"]),
    ("answers", &["reply", "single_flight"]),
    ("what happens", &["events"]),
    ("the phase, and who hears of it", &["phase/lifecycle"]),
    ("what layers and server share of a request", &["control"]),
    ("a handler's own deadlines", &["deadlines"]),
    ("a request as a layer sees it", &["served"]),
    ("the process", &["logs", "shutdown"]),
    (
        "layers",
        &[
            "access_log",
            "body_limit",
            "catch_panic",
            "drain",
            "health",
            "in_flight",
            "rate_limit",
            "real_ip",
            "request_id",
            "timeout",
        ],
    ),
    ("over the layers", &["metrics", "per_route", "status"]),
    ("all layers at once", &["stack"]),
    ("server: settings and time", &["serve/config", "serve/time"]),
    (
        "server: what connections share",
        &["serve/error", "serve/state"],
    ),
    ("server: one request", &["serve/exchange"]),
    (
        "server: the request's two sides",
        &["serve/service", "serve/transport"],
    ),
    ("server: one connection", &["serve/connection"]),
    ("server: where connections come from", &["serve/listen"]),
    ("server: the whole", &["serve"]),
    ("all parts of a service", &["server"]),
    ("roof", &["lib"]),
];

fn tree() -> Tree {
    Tree::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

/// The module's room and its floor.
fn place(module: &Module) -> Option<(usize, &'static str)> {
    let path = module.join("/");
    let is_in = |room: &str| match path.strip_prefix(room) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => path.is_empty() && room == "lib",
    };
    let rooms = FLOORS.iter().enumerate();
    let rooms = rooms.flat_map(|(floor, (_, rooms))| rooms.iter().map(move |room| (floor, *room)));
    rooms
        .filter(|(_, room)| is_in(room))
        .max_by_key(|(_, room)| room.len())
}

#[test]
fn every_file_has_a_floor() {
    let tree = tree();
    let homeless: Vec<_> = tree
        .modules()
        .filter(|module| place(module).is_none())
        .collect();
    assert!(
        homeless.is_empty(),
        "on no floor of the table: {homeless:?}"
    );
    assert!(
        tree.arrows().len() > 500,
        "the imports are not read any more"
    );
}

#[test]
fn no_import_points_up() {
    let mut up = Vec::new();
    for (from, to) in tree().arrows() {
        let (Some((floor, room)), Some((below, other))) = (place(&from), place(&to)) else {
            continue;
        };
        if room != other && below >= floor {
            up.push(format!("{} -> {}", from.join("/"), to.join("/")));
        }
    }
    assert!(up.is_empty(), "imports that point up:\n{}", up.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let circles: Vec<_> = circles(&tree().arrows()).iter().map(show).collect();
    assert!(
        circles.is_empty(),
        "circles of files:\n{}",
        circles.join("\n")
    );
}

fn show(circle: &BTreeSet<Module>) -> String {
    let files: Vec<_> = circle.iter().map(|module| module.join("/")).collect();
    files.join(", ")
}

/// The sets of two and more files that reach each other.
fn circles(arrows: &BTreeSet<(Module, Module)>) -> BTreeSet<BTreeSet<Module>> {
    let mut next: BTreeMap<&Module, Vec<&Module>> = BTreeMap::new();
    for (from, to) in arrows {
        next.entry(from).or_default().push(to);
    }
    let reach = |from: &Module| {
        let mut seen = BTreeSet::new();
        let mut todo = vec![from];
        while let Some(at) = todo.pop() {
            let fresh = next.get(at).into_iter().flatten();
            todo.extend(fresh.filter(|to| seen.insert((**to).clone())));
        }
        seen
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> =
        next.keys().map(|module| (*module, reach(module))).collect();
    let circle = |(from, seen): (&&Module, &BTreeSet<Module>)| -> BTreeSet<Module> {
        let back = |to: &&Module| reached.get(*to).is_some_and(|seen| seen.contains(*from));
        seen.iter().filter(back).cloned().collect()
    };
    reached
        .iter()
        .map(circle)
        .filter(|circle| !circle.is_empty())
        .collect()
}

mod the_reader {
    use super::tokens::tokens;

    #[test]
    fn leaves_out_comments_literals_and_tests() {
        let source = r##"
            //! `use crate::a;`
            use crate::b; /* use crate::c; */
            const TEXT: &str = "use crate::d;";
            const RAW: &str = r#"use "crate::e";"#;
            fn first<'a>(text: &'a str) -> Option<char> { text.chars().find(|c| *c == '"') }
            #[cfg(test)]
            mod tests { use crate::f; }
            #[cfg(not(test))]
            use crate::g;
        "##;
        let tokens = tokens(source);
        for name in ["b", "g"] {
            assert!(
                tokens.iter().any(|token| token == name),
                "{name}: {tokens:?}"
            );
        }
        for name in ["a", "c", "d", "e", "f"] {
            let of_path = |pair: &[String]| pair[0] == "::" && pair[1] == name;
            assert!(!tokens.windows(2).any(of_path), "{name}: {tokens:?}");
        }
    }
}
