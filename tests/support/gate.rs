use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::Semaphore;

use super::{App, LIMIT, app, reply, within};

/// A service that answers with the request's path: at once, except paths under `/slow`, which it reports and holds
/// until they may go.
#[derive(Clone)]
pub struct Gate {
    came: Arc<Semaphore>,
    let_go: Arc<Semaphore>,
    calls: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

struct OnDrop(Arc<AtomicUsize>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

impl Gate {
    pub fn new() -> Gate {
        Gate {
            came: Arc::new(Semaphore::new(0)),
            let_go: Arc::new(Semaphore::new(0)),
            calls: Arc::default(),
            dropped: Arc::default(),
        }
    }

    pub fn app(&self) -> App {
        let gate = self.clone();
        app(move |request| {
            let gate = gate.clone();
            async move {
                gate.calls.fetch_add(1, Relaxed);
                let _dropped = OnDrop(gate.dropped.clone());
                if request.uri().path().starts_with("/slow") {
                    gate.hold().await;
                }
                reply(200, request.uri().path().to_owned())
            }
        })
    }

    /// Reports a request and holds it until it may go.
    pub async fn hold(&self) {
        self.came.add_permits(1);
        self.let_go.acquire().await.unwrap().forget();
    }

    /// Waits for a request that is held.
    pub async fn came(&self) {
        self.all_came(1).await;
    }

    /// Waits for so many requests that are held.
    pub async fn all_came(&self, count: u32) {
        let came = self.came.acquire_many(count);
        within(LIMIT, "requests", came).await.unwrap().forget();
    }

    pub fn let_one_go(&self) {
        self.let_go(1);
    }

    pub fn let_go(&self, count: usize) {
        self.let_go.add_permits(count);
    }

    /// Returns how many requests the service was called for.
    pub fn calls(&self) -> usize {
        self.calls.load(Relaxed)
    }

    /// Returns how many handlers have ended or were dropped.
    pub fn dropped(&self) -> usize {
        self.dropped.load(Relaxed)
    }
}
