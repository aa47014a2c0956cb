//! The instances as a load balancer sees them, and the poller that decides which are ready.

use std::{
    fmt, fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures_util::future::join_all;
use lameduck_benches::{http1, process::ServerCommand};
use tokio::time::{self, MissedTickBehavior};

const POLL_INTERVAL: Duration = Duration::from_millis(50);
const POLL_LIMIT: Duration = Duration::from_secs(1);

/// The state of an instance in its restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Starting,
    Up,
    Signalled,
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Story {
    stage: Stage,
    restart: u32,
    signalled_at: Option<Instant>,
    /// The time of the last poll if it was answered 200; `None` otherwise.
    ready_poll: Option<Instant>,
}

pub struct Instance {
    index: usize,
    pub command: ServerCommand,
    story: Mutex<Story>,
}

impl Instance {
    pub fn addr(&self) -> SocketAddr {
        self.command.addr()
    }

    pub fn is_ready(&self) -> bool {
        self.story().ready_poll.is_some()
    }

    /// Returns true if a poll sent after `since` found the instance ready.
    pub fn was_ready_after(&self, since: Instant) -> bool {
        self.story().ready_poll.is_some_and(|poll| poll > since)
    }

    pub fn stage(&self, stage: Stage) {
        self.story().stage = stage;
    }

    pub fn signalled(&self, restart: u32, at: Instant) {
        let mut story = self.story();
        story.stage = Stage::Signalled;
        story.restart = restart;
        story.signalled_at = Some(at);
    }

    fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn poll(&self) {
        let sent = Instant::now();
        let answer = http1::get_once(self.addr(), "/readyz", POLL_LIMIT).await;
        let ready = answer.is_ok_and(|answer| answer.status == 200);
        self.story().ready_poll = ready.then_some(sent);
    }
}

/// Formats the instance's current state, for the story of a lost request.
impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let story = *self.story();
        write!(f, "instance {}, {:?}", self.index, story.stage)?;
        if let Some(at) = story.signalled_at {
            let millis = at.elapsed().as_secs_f64() * 1e3;
            let restart = story.restart;
            write!(f, ", {millis:.1} ms after the SIGTERM of restart {restart}")?;
        }
        Ok(())
    }
}

pub struct Fleet {
    pub instances: Vec<Arc<Instance>>,
    pub lame_duck: Duration,
    pub drain: Duration,
}

impl Fleet {
    /// Describes two instances; nothing runs yet.
    pub fn describe(
        server: &Path,
        lame_duck: Duration,
        drain: Duration,
        logs: &Path,
    ) -> Result<Self> {
        let logged = !logs.as_os_str().is_empty();
        if logged {
            fs::create_dir_all(logs).with_context(|| logs.display().to_string())?;
        }
        let instances = (0..2)
            .map(|index| {
                let log = logged.then(|| logs.join(format!("instance-{index}.log")));
                let command = ServerCommand::new(server)?
                    .env("LAME_DUCK", format!("{}ms", lame_duck.as_millis()))
                    .env("DRAIN_TIMEOUT", format!("{}ms", drain.as_millis()))
                    .log(log);
                Ok(Arc::new(Instance {
                    index,
                    command,
                    story: Mutex::new(Story {
                        stage: Stage::Starting,
                        restart: 0,
                        signalled_at: None,
                        ready_poll: None,
                    }),
                }))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            instances,
            lame_duck,
            drain,
        })
    }

    /// Picks one of the ready instances at random.
    pub fn pick(&self) -> Option<Arc<Instance>> {
        let ready: Vec<_> = self.instances.iter().filter(|one| one.is_ready()).collect();
        fastrand::choice(ready).cloned()
    }
}

/// Polls every instance, each time on a new connection as load balancers do.
pub async fn poll_forever(fleet: Arc<Fleet>) {
    let mut ticks = time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        join_all(fleet.instances.iter().map(|one| one.poll())).await;
    }
}
