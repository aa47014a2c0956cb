//! Watches which connections the server holds, by the kernel's table of sockets.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use lameduck_benches::tcp_table;
use tokio::{
    task::{self, JoinHandle},
    time,
};

/// The resolution of the times. Reading the table costs the kernel some milliseconds, so it is not much shorter.
const INTERVAL: Duration = Duration::from_millis(50);

/// The times when a connection was first seen with the server, and when it was gone.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    pub seen_at: Instant,
    pub gone_at: Option<Instant>,
}

type Sightings = Arc<Mutex<HashMap<u16, Sighting>>>;

/// Every connection to one server port, by the client's port, while this lives.
pub struct Watch {
    sightings: Sightings,
    task: JoinHandle<()>,
}

impl Watch {
    pub fn start(port: u16) -> Self {
        let sightings = Sightings::default();
        let task = tokio::spawn(look_forever(port, sightings.clone()));
        Self { sightings, task }
    }

    /// Returns the sighting of the connection from `port`; `None` if the server never held it.
    pub fn sighting(&self, port: u16) -> Option<Sighting> {
        self.all().get(&port).copied()
    }

    pub fn all(&self) -> HashMap<u16, Sighting> {
        self.sightings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until every one of `ports` was seen and is gone, at most `limit`.
    pub async fn until_gone(&self, ports: &[u16], limit: Duration) {
        let since = Instant::now();
        let gone = |port: &u16| self.sighting(*port).is_some_and(|it| it.gone_at.is_some());
        while since.elapsed() < limit && !ports.iter().all(gone) {
            time::sleep(INTERVAL).await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look_forever(port: u16, sightings: Sightings) {
    let mut ticks = time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Off the runtime's threads: the normal clients' answers must not wait for it.
        let Ok(Ok(held)) = task::spawn_blocking(move || tcp_table::held(port)).await else {
            continue;
        };
        let now = Instant::now();
        let mut sightings = sightings.lock().unwrap_or_else(PoisonError::into_inner);
        for (client, sighting) in sightings.iter_mut() {
            if !held.contains(client) {
                sighting.gone_at.get_or_insert(now);
            }
        }
        for client in held {
            let sighting = sightings.entry(client).or_insert(Sighting {
                seen_at: now,
                gone_at: None,
            });
            // The table is read piece by piece while it changes, so that a line can be missed: not gone after all.
            sighting.gone_at = None;
        }
    }
}
