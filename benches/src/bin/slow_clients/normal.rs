//! The normal clients: one asks on a keep-alive connection, one on a new connection each time, every 50 ms.

use std::{
    collections::HashSet,
    mem,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use lameduck_benches::{
    http1::{Answer, Connection, Failure, Idle},
    statistics,
};
use tokio::{
    task::JoinHandle,
    time::{self, MissedTickBehavior},
};

const INTERVAL: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_secs(5);

/// The observations of one client.
#[derive(Default)]
struct Sample {
    latencies: Vec<Duration>,
    failures: Vec<String>,
    /// The local ports of the connections it opened.
    ports: HashSet<u16>,
}

impl Sample {
    fn add(&mut self, since: Instant, result: Result<Answer, Failure>) {
        match result {
            Ok(answer) if answer.status == 200 => self.latencies.push(since.elapsed()),
            Ok(answer) => self.failures.push(format!("status {}", answer.status)),
            Err(failure) => self.failures.push(failure.to_string()),
        }
    }
}

type Shared = Arc<Mutex<Sample>>;

pub struct Normal {
    clients: Vec<(&'static str, Shared, JoinHandle<()>)>,
}

pub fn start(addr: SocketAddr) -> Normal {
    let kept = Shared::default();
    let fresh = Shared::default();
    let keep_alive = tokio::spawn(on_one_connection(addr, kept.clone()));
    let each_new = tokio::spawn(on_new_connections(addr, fresh.clone()));
    Normal {
        clients: vec![
            ("keep-alive", kept, keep_alive),
            ("new connections", fresh, each_new),
        ],
    }
}

impl Normal {
    /// Prints the answers since the last report; `false` if a request failed.
    pub fn report(&self, when: &str) -> bool {
        let mut clean = true;
        for (name, shared, _) in &self.clients {
            let mut sample = lock(shared);
            let latencies = mem::take(&mut sample.latencies);
            let failures = mem::take(&mut sample.failures);
            drop(sample);
            println!(
                "    normal client ({name}), {when}: {}, {} answered, {} failed",
                statistics::spread(&latencies),
                latencies.len(),
                failures.len(),
            );
            for failure in failures.iter().take(5) {
                println!("        {failure}");
            }
            clean &= failures.is_empty();
        }
        clean
    }

    /// Returns true if the connection from `port` is one of a normal client.
    pub fn owns(&self, port: u16) -> bool {
        self.clients
            .iter()
            .any(|(_, shared, _)| lock(shared).ports.contains(&port))
    }

    pub fn stop(self) {
        for (_, _, task) in self.clients {
            task.abort();
        }
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Sample> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ticks() -> time::Interval {
    let mut ticks = time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn on_new_connections(addr: SocketAddr, sample: Shared) {
    let mut ticks = ticks();
    loop {
        ticks.tick().await;
        let since = Instant::now();
        let result = ask(addr, None, &sample).await;
        lock(&sample).add(since, result.map(|(answer, _)| answer));
    }
}

async fn on_one_connection(addr: SocketAddr, sample: Shared) {
    let mut ticks = ticks();
    let mut open: Option<Connection> = None;
    loop {
        ticks.tick().await;
        let since = Instant::now();
        let kept = open.take();
        let result = ask(addr, kept, &sample).await.map(|(answer, connection)| {
            open = (!answer.close).then_some(connection);
            answer
        });
        lock(&sample).add(since, result);
    }
}

/// Asks on the kept connection if it is still open, else on a new one.
async fn ask(
    addr: SocketAddr,
    kept: Option<Connection>,
    sample: &Shared,
) -> Result<(Answer, Connection), Failure> {
    let still_open = kept.and_then(|mut one| (one.look() == Idle::Open).then_some(one));
    let mut connection = match still_open {
        Some(connection) => connection,
        None => {
            let connection = Connection::open(addr, LIMIT).await?;
            lock(sample).ports.extend(connection.local_port());
            connection
        }
    };
    let answer = connection.get("/", LIMIT).await?;
    Ok((answer, connection))
}
