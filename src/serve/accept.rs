//! The accept loop: nothing slow in it, and no connection lost at its end.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::app::App;
use super::conn::ConnGuard;
use super::io::ServeIo;
use super::listener::Listener;
use super::server::Server;
use super::task::ConnTask;
use crate::conn_info::ConnInfo;
use crate::events::Event;
use crate::phase::Phase;
use crate::track::Tally;

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts until the drain begins; then takes what the system has accepted, and closes.
pub(super) async fn accept<L: Listener, A: App>(mut listener: L, app: A, server: Arc<Server>) {
    // The drain waits for the last connection to be taken out of the queue.
    let _busy = Tally::enter(&server.busy);
    listener.prepare();
    let lifecycle = server.lifecycle.clone();
    let mut draining = pin!(lifecycle.reached(Phase::Draining));
    let mut pause = Duration::ZERO;
    loop {
        let next = async {
            let permit = permit(&server).await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            biased;
            _ = &mut draining => break,
            next = next => next,
        };
        match accepted {
            Ok((io, info)) => {
                pause = Duration::ZERO;
                open::<L, A>(&server, &app, io, info, permit);
            }
            Err(error) if is_of_one_connection(&error) => {
                let event = || Event::AcceptError {
                    error: &error,
                    pause: None,
                };
                server.events.tell(event);
            }
            // Out of file descriptors or memory: wait for connections to end. Told once for a run of
            // failures, because a loop that logs each one fills the disk as well.
            Err(error) => {
                let first = pause.is_zero();
                pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                if first {
                    let event = || Event::AcceptError {
                        error: &error,
                        pause: Some(pause),
                    };
                    server.events.tell(event);
                }
                tokio::select! {
                    biased;
                    _ = &mut draining => break,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
    // Over `max_connections` if need be: these have been accepted for us and would be reset.
    for (io, info) in listener.close() {
        open::<L, A>(&server, &app, io, info, None);
    }
}

async fn permit(server: &Server) -> Option<OwnedSemaphorePermit> {
    let permits = server.permits.clone()?;
    // It fails only when the semaphore is closed, which nobody does.
    permits.acquire_owned().await.ok()
}

fn open<L: Listener, A: App>(
    server: &Arc<Server>,
    app: &A,
    io: L::Io,
    info: ConnInfo,
    permit: Option<OwnedSemaphorePermit>,
) {
    let guard = ConnGuard::open(server, info, permit);
    let io = ServeIo::new(io, L::reset, guard);
    tokio::spawn(ConnTask::new(io, app.clone()));
}

/// The peer gave up before it was accepted, or the network failed it: the next one is another matter.
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
