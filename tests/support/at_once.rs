use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use lameduck::serve::{App, Connections};
use lameduck::shutdown::ShutdownHandle;
use lameduck::{ConnInfo, Limits, Shutdown, Timeouts};
use tokio::net::TcpListener;

use super::Raw;

/// A task that is polled within each of its wakes, by whatever wakes it.
///
/// This is the unluckiest moment that another thread could choose for the poll: all that the waking side does after a
/// wake comes too late for it, and has to wake the task once more.
pub struct AtOnce {
    task: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    woken: AtomicBool,
}

impl AtOnce {
    /// Polls `task` for the first time.
    pub fn spawn(task: impl Future<Output = ()> + Send + 'static) {
        let task = AtOnce {
            task: Mutex::new(Some(Box::pin(task))),
            woken: AtomicBool::new(false),
        };
        Arc::new(task).wake();
    }
}

impl Wake for AtOnce {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, SeqCst);
        while self.woken.load(SeqCst) {
            // A poll that is under way follows this wake by another one.
            let Ok(mut task) = self.task.try_lock() else {
                return;
            };
            let waker = Waker::from(self.clone());
            while self.woken.swap(false, SeqCst) {
                let polled = task.as_mut().map(|task| {
                    let mut cx = Context::from_waker(&waker);
                    task.as_mut().poll(&mut cx)
                });
                if polled.as_ref().is_some_and(Poll::is_ready) {
                    *task = None;
                }
            }
        }
    }
}

/// Serves one connection by such a task, without timeouts. Returns its client, and the handle that counts it.
pub async fn at_once(app: impl App) -> (Raw, ShutdownHandle) {
    let handle = Shutdown::new().signals(false).handle();
    let connections = Connections::new(Timeouts::none(), Limits::default()).expect("valid limits");
    let connections = connections.follow(&handle);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let client = Raw::connect(listener.local_addr().expect("its address")).await;
    let (stream, _) = listener.accept().await.expect("a connection");
    let connection = connections.serve(stream, ConnInfo::default(), app);
    AtOnce::spawn(async {
        let _ = connection.await;
    });
    (client, handle)
}
