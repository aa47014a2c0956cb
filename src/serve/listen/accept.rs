//! The accept loop: nothing slow in it, and no connection lost at its end.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::listener::Listener;
use crate::conn_info::ConnInfo;
use crate::events::Event;
use crate::phase::Phase;
use crate::serve::config::fixed::{FIRST_ACCEPT_PAUSE, LONGEST_ACCEPT_PAUSE};
use crate::serve::connection::ConnTask;
use crate::serve::service::App;
use crate::serve::state::{ConnGuard, Registry, Shared};
use crate::serve::transport::ServeIo;
use crate::shutdown::DrainServer;
use crate::track::Tally;

/// Accepts until the drain begins; then takes the connections that the system has accepted, and closes.
pub(crate) async fn accept<L: Listener, A: App>(mut listener: L, app: A, registry: Arc<Registry>) {
    let server = registry.shared.clone();
    // The drain waits until the last connection is taken out of the queue.
    let _busy = Tally::enter(&registry.busy);
    let inherits = listener.prepare(&server.limits);
    // Connections that the system accepted before that have inherited nothing.
    let mut older = inherits;
    let lifecycle = server.lifecycle.clone();
    let mut draining = pin!(lifecycle.reached(Phase::Draining));
    let mut pauses = Pauses::default();
    loop {
        let next = async {
            let permit = permit(&registry).await;
            if older {
                // Past tokio's notices of readiness, which prove nothing about an empty queue.
                if let Some(accepted) = listener.accept_queued().transpose() {
                    return (accepted, permit);
                }
                older = false;
            }
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            biased;
            _ = &mut draining => break,
            next = next => next,
        };
        match accepted {
            Ok((io, info)) => {
                pauses.over();
                if older || !inherits {
                    L::configure(&io, &server.limits);
                }
                open::<L, A>(&registry, &app, io, info, permit);
            }
            Err(error) if is_of_one_connection(&error) => {
                let event = || Event::AcceptError {
                    error: &error,
                    pause: None,
                };
                server.events.emit(event);
            }
            Err(error) => {
                let pause = pauses.next(&server, &error);
                tokio::select! {
                    biased;
                    _ = &mut draining => break,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
    empty(&mut listener, app, &registry, &mut pauses).await;
}

/// Takes the connections that the system has accepted, over `max_connections` if need be: closing the listener would
/// reset them. A server that has run out of file descriptors is likely to be restarted, so this waits for some to come
/// free, to the end of the shutdown.
async fn empty<L: Listener, A: App>(
    listener: &mut L,
    app: A,
    registry: &Arc<Registry>,
    pauses: &mut Pauses,
) {
    let server = &registry.shared;
    let mut closed = pin!(server.lifecycle.reached(Phase::Closed));
    // A limit, for a queue that fills as fast as it is emptied: the system's own is 4096 by default.
    for _ in 0..65_536 {
        match listener.accept_queued() {
            Ok(Some((io, info))) => {
                L::configure(&io, &server.limits);
                open::<L, A>(registry, &app, io, info, None);
            }
            Ok(None) => return,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Most holders of descriptors are idle, and would be closed at the end of the drain: now a request
                // waits for their descriptors.
                registry.close_idle();
                let pause = pauses.next(server, &error).min(FIRST_ACCEPT_PAUSE * 10);
                tokio::select! {
                    biased;
                    _ = &mut closed => return,
                    () = tokio::time::sleep(pause) => {}
                }
                if server.cutting() {
                    return;
                }
            }
        }
    }
}

/// The pauses of a run of failures: out of file descriptors or memory, wait for connections to end. Reported once per
/// run, because a loop that logs each one fills the disk as well.
#[derive(Default)]
struct Pauses(Duration);

impl Pauses {
    fn over(&mut self) {
        self.0 = Duration::ZERO;
    }

    fn next(&mut self, server: &Shared, error: &io::Error) -> Duration {
        let first = self.0.is_zero();
        self.0 = (self.0 * 2).clamp(FIRST_ACCEPT_PAUSE, LONGEST_ACCEPT_PAUSE);
        if first {
            let pause = Some(self.0);
            server.events.emit(|| Event::AcceptError { error, pause });
        }
        self.0
    }
}

async fn permit(registry: &Registry) -> Option<OwnedSemaphorePermit> {
    let permits = registry.permits.clone()?;
    // It fails only when the semaphore is closed, which never happens.
    permits.acquire_owned().await.ok()
}

fn open<L: Listener, A: App>(
    registry: &Arc<Registry>,
    app: &A,
    io: L::Io,
    info: ConnInfo,
    permit: Option<OwnedSemaphorePermit>,
) {
    let guard = ConnGuard::open(registry, info, permit);
    let io = ServeIo::new(io, L::reset, guard);
    tokio::spawn(ConnTask::new(io, app.clone()));
}

/// Returns `true` if the error concerns one connection only: the peer gave up before it was accepted, or the network
/// failed it.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted,
        NetworkDown, NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | TimedOut
    )
}
