//! Two instances on PostgreSQL that are restarted in turn under load, some by SIGKILL: no request of a SIGTERM is lost,
//! and no order or job at all. `tests/restarts/run` runs a long round of it.

mod clients;
mod fleet;

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use self::{
    clients::{Seen, place_orders},
    fleet::{Fleet, Instance},
};
use crate::support::{
    api,
    postgres::{Database, Session},
    service::{Service, command},
    wait_for,
};

/// The workers of each instance.
const WORKERS: usize = 2;
/// The longest that connections are seen after the end of their process: of the long round, on a machine of its own.
const CONNECTIONS_SEEN: Duration = Duration::from_millis(100);

/// The claims of jobs beyond the first.
const CLAIMED_TWICE: &str = "SELECT coalesce(sum(attempts - 1), 0) FROM jobs WHERE attempts > 1";

/// A round of restarts.
struct Round {
    restarts: usize,
    clients: usize,
    connections_seen: Duration,
}

/// What the ends of the instances have shown.
#[derive(Default)]
struct Ends {
    kills: usize,
    /// The longest of a SIGTERM, until its process was gone.
    longest: Duration,
    /// The longest that connections were seen after the end of their process.
    seen_longest: Duration,
    /// The instances that ended by SIGTERM, and those that were killed.
    terminated: Vec<String>,
    killed: Vec<String>,
}

/// An instance, as it runs and as clients know it.
struct Member {
    service: Service,
    known: Arc<Instance>,
    /// Its name in `pg_stat_activity`.
    name: String,
}

impl Round {
    /// Returns the short round, unless the environment says how long it is.
    fn of_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse());
        let number = |name| number(name).transpose().expect("a number");
        let restarts = number("RESTARTS");
        Self {
            restarts: restarts.unwrap_or(4),
            clients: number("CLIENTS").unwrap_or(12),
            connections_seen: match restarts {
                Some(_) => CONNECTIONS_SEEN,
                None => Duration::from_secs(5),
            },
        }
    }
}

#[test]
fn rolling_restarts_lose_no_request_no_order_and_no_job() {
    let round = Round::of_environment();
    let database = Database::create();
    migrated(&database);
    // Only so does the server say that a client has left without a farewell.
    database.ask(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET log_min_messages = debug1', current_database()); END $$",
    );
    let fleet = Fleet::default();
    let (stop, stop_polls) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut session = database.session();
    let (seen, mut ends, members) = scope(|threads| {
        let _stop = StopAtTheEnd([&stop, &stop_polls]);
        let polls = threads.spawn(|| fleet.poll_until(&stop_polls));
        let mut members = VecDeque::from([(); 2].map(|()| Member::start(&database, &fleet)));
        let user = api::user(members[0].service.address, "ada@example.com");
        let clients: Vec<_> = (0..round.clients)
            .map(|number| {
                let (fleet, stop, user) = (&fleet, &stop, user.clone());
                threads.spawn(move || place_orders(fleet, &user, &format!("c{number}"), stop))
            })
            .collect();
        let mut ends = Ends::default();
        sleep(Duration::from_millis(500));
        for restart in 1..=round.restarts {
            let old = members.pop_front().expect("two of them");
            match restart % 5 {
                3 => old.kill(&fleet, &mut session, &mut ends),
                _ => old.terminate(&fleet, &mut session, &mut ends),
            }
            members.push_back(Member::start(&database, &fleet));
            sleep(Duration::from_millis(300));
        }
        stop.store(true, SeqCst);
        let mut seen = Seen::default();
        for client in clients {
            seen.add(client.join().expect("a client"));
        }
        stop_polls.store(true, SeqCst);
        polls.join().expect("the polls");
        (seen, ends, members)
    });

    // All that was committed is done, in time, whoever was killed meanwhile.
    wait_for("the end of all jobs", || {
        let open = "SELECT count(*) FROM jobs WHERE state <> 'done'";
        (database.ask(open) == "0").then_some(())
    });
    for member in members {
        member.terminate(&fleet, &mut session, &mut ends);
    }
    let tables = Tables::read(&database, &seen.placed);
    println!(
        "restarts: {} ({} by SIGKILL) under {} clients, {} requests, {} orders; lost {}, by a kill {}, \
         of these replayed {}; answered and absent {}, doubled {}, not confirmed once {}; claimed twice {}; \
         longest SIGTERM {:?}, connections seen after the end {:?}",
        round.restarts,
        ends.kills,
        round.clients,
        seen.requests,
        seen.placed.len(),
        seen.lost.len(),
        seen.lost_by_kill,
        seen.replayed,
        tables.absent,
        tables.doubled,
        tables.not_confirmed_once,
        tables.claimed_twice,
        ends.longest,
        ends.seen_longest,
    );

    assert_eq!(seen.lost, [""; 0]);
    assert!(seen.placed.len() > round.restarts * 10, "there was load");
    assert_eq!(tables.absent, 0, "orders answered 201");
    assert_eq!(tables.doubled, 0, "orders of one key");
    assert_eq!(tables.not_confirmed_once, 0, "orders by their job");
    assert!(
        tables.claimed_twice <= ends.kills * WORKERS,
        "{}",
        tables.claimed_twice
    );
    assert!(
        ends.seen_longest <= round.connections_seen,
        "{:?}",
        ends.seen_longest
    );
    let log = database.log();
    let left_at_once = |name: &String| {
        let mut lines = log.lines();
        lines.any(|line| line.contains(name) && line.contains("unexpected EOF"))
    };
    assert!(!ends.terminated.iter().any(left_at_once), "a farewell");
    assert!(ends.killed.iter().all(left_at_once), "the check sees it");
}

impl Member {
    /// Starts an instance, and waits until the balancer finds it ready.
    fn start(database: &Database, fleet: &Fleet) -> Self {
        let service = Service::start(&[
            ("DATABASE_URL", &database.url),
            ("RATE_LIMIT", "off"),
            ("LAME_DUCK", "300ms"),
            ("DRAIN_TIMEOUT", "10s"),
            ("JOB_LEASE", "5s"),
            (
                "LOG_LEVEL",
                concat!(
                    "info,lameduck::access=off,",
                    env!("CARGO_PKG_NAME"),
                    "::jobs=warn"
                ),
            ),
            // A busy machine is slow, and not wrong.
            ("REQUEST_TIMEOUT", "off"),
            ("DATABASE_ACQUIRE_TIMEOUT", "15s"),
            ("DATABASE_STATEMENT_TIMEOUT", "15s"),
        ]);
        let listening = service.logged("message", "listening");
        Self {
            name: api::text(&listening["instance"]),
            known: fleet.add(service.address),
            service,
        }
    }

    fn terminate(self, fleet: &Fleet, session: &mut Session, ends: &mut Ends) {
        let begun = Instant::now();
        self.service.signal(Signal::TERM);
        let ended = self.service.ended();
        ends.longest = ends.longest.max(begun.elapsed());
        let seen = connections_seen(session, &self.name);
        ends.seen_longest = ends.seen_longest.max(seen);
        fleet.remove(&self.known);
        ended.assert_clean();
        ends.terminated.push(self.name);
    }

    fn kill(self, fleet: &Fleet, session: &mut Session, ends: &mut Ends) {
        if ends.kills == 0 {
            assert_eq!(session.ask(CLAIMED_TWICE), "0", "without a kill");
        }
        self.known.set_killed();
        self.service.signal(Signal::KILL);
        let _ = self.service.ended();
        connections_seen(session, &self.name);
        fleet.remove(&self.known);
        ends.kills += 1;
        ends.killed.push(self.name);
    }
}

/// Returns how long connections of an instance that has just ended are still seen.
fn connections_seen(session: &mut Session, name: &str) -> Duration {
    let ended = Instant::now();
    let seen =
        format!("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%/{name}'");
    wait_for("the end of the connections", || {
        (session.ask(&seen) == "0").then(|| ended.elapsed())
    })
}

/// What the tables have to say at the end.
struct Tables {
    /// Orders that were answered 201, and are not there.
    absent: usize,
    /// Orders that another one with the same key precedes.
    doubled: usize,
    /// Orders that were not confirmed, or more than once.
    not_confirmed_once: usize,
    claimed_twice: usize,
}

impl Tables {
    fn read(database: &Database, placed: &[String]) -> Self {
        let ids = database.ask("SELECT id FROM orders");
        let ids: HashSet<_> = ids.lines().collect();
        let number = |sql: &str| database.ask(sql).parse().expect("a number");
        Self {
            absent: placed
                .iter()
                .filter(|id| !ids.contains(id.as_str()))
                .count(),
            doubled: number("SELECT count(*) - count(DISTINCT items->0->>'sku') FROM orders"),
            not_confirmed_once: number(
                "SELECT count(*) FROM orders WHERE status <> 'confirmed' OR version <> 2",
            ),
            claimed_twice: number(CLAIMED_TWICE),
        }
    }
}

/// Ends the threads beside a test that panics.
struct StopAtTheEnd<'a>([&'a AtomicBool; 2]);

impl Drop for StopAtTheEnd<'_> {
    fn drop(&mut self) {
        for stop in self.0 {
            stop.store(true, SeqCst);
        }
    }
}

fn migrated(database: &Database) {
    let applied = command(&[("DATABASE_URL", &database.url)])
        .args(["migrate", "apply"])
        .output()
        .expect("it runs");
    assert!(applied.status.success(), "{applied:?}");
}
