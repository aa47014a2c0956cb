//! The instances as a load balancer sees them.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::sleep,
    time::Duration,
};

use crate::support::{client, wait_for};

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A process, for as long as clients may know of it.
pub struct Instance {
    pub address: SocketAddr,
    ready: AtomicBool,
    killed: AtomicBool,
}

/// The instances that the balancer knows.
#[derive(Default)]
pub struct Fleet(Mutex<Vec<Arc<Instance>>>);

impl Instance {
    /// Notes that it is about to be killed: what it loses from now on is not the service's fault.
    pub fn set_killed(&self) {
        self.killed.store(true, SeqCst);
    }

    pub fn was_killed(&self) -> bool {
        self.killed.load(SeqCst)
    }

    fn poll(&self) {
        let answer = client::get(self.address, "/readyz");
        let ready = answer.is_ok_and(|answer| answer.head.status == 200);
        self.ready.store(ready, SeqCst);
    }
}

impl Fleet {
    /// Adds a process, and waits until it is found ready.
    pub fn add(&self, address: SocketAddr) -> Arc<Instance> {
        let instance = Arc::new(Instance {
            address,
            ready: AtomicBool::new(false),
            killed: AtomicBool::new(false),
        });
        self.instances().push(instance.clone());
        wait_for("an instance that is ready", || {
            instance.ready.load(SeqCst).then_some(())
        });
        instance
    }

    pub fn remove(&self, gone: &Arc<Instance>) {
        self.instances()
            .retain(|instance| !Arc::ptr_eq(instance, gone));
    }

    /// Returns one of those that were ready at the last poll.
    pub fn pick(&self) -> Arc<Instance> {
        wait_for("an instance that is ready", || {
            let instances = self.instances();
            let ready = instances.iter().filter(|one| one.ready.load(SeqCst));
            fastrand::choice(ready.collect::<Vec<_>>()).cloned()
        })
    }

    /// Polls every instance, each time on a new connection as load balancers do.
    pub fn poll_until(&self, stop: &AtomicBool) {
        while !stop.load(SeqCst) {
            let instances = self.instances().clone();
            for instance in instances {
                instance.poll();
            }
            sleep(POLL_INTERVAL);
        }
    }

    fn instances(&self) -> MutexGuard<'_, Vec<Arc<Instance>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
