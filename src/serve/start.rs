//! From the settings of a server to its end.

use std::any::TypeId;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;

use super::builder::{Part, Serve};
use super::error::ServeError;
use super::task::ServeTask;
use crate::phase::{Lifecycle, Phase};
use crate::runtime;
use crate::serve::listen::{Listener, accept};
use crate::serve::service::App;
#[cfg(feature = "axum")]
use crate::serve::service::with_layers_applied;
use crate::serve::state::{Registry, Shared};
use crate::shutdown::{DrainServer, Report, Sequence, ShutdownHandle};

/// The part of a server that has started in its shutdown.
enum Joined {
    /// It drives the sequence.
    Drives(Sequence),
    /// It takes part in, or watches, what is driven elsewhere.
    Attends(ShutdownHandle),
}

impl<L: Listener, A: App> Serve<L, A> {
    /// Starts the server in a task of its own: for a process that does something else besides, and for tests.
    ///
    /// Dropping the [`ServeTask`] does not stop the server; its handle does.
    ///
    /// ```
    /// # async fn run(listener: tokio::net::TcpListener, app: axum::Router) -> Result<(), lameduck::serve::ServeError> {
    /// let server = lameduck::serve(listener, app).spawn()?;
    /// // ...
    /// let report = server.shutdown().await?; // or `server.await`, until SIGTERM
    /// println!("{report}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The server does not start, as for [`serve`](super::serve()).
    pub fn spawn(mut self) -> Result<ServeTask, ServeError> {
        let part = self.take_part();
        let handle = match &part {
            Part::Drives(shutdown) => shutdown.handle(),
            Part::Follows(handle) | Part::Observes(handle) => handle.clone(),
        };
        let run = self.start(part)?;
        Ok(ServeTask::new(handle, tokio::spawn(run)))
    }

    fn take_part(&mut self) -> Part {
        let part = self.part.take();
        part.unwrap_or_else(|| Part::Drives(Box::default()))
    }

    /// Checks the settings, joins the shutdown, and returns the future that serves to the end.
    fn start(self, mut part: Part) -> Result<impl Future<Output = Report> + Send, ServeError> {
        if let Part::Drives(shutdown) = &mut part {
            // An error of the start says all that there is to say.
            shutdown.set_taken();
        }
        check_runtime::<L>()?;
        self.timeouts.check()?;
        self.limits.check()?;
        let lifecycle = match &part {
            Part::Drives(shutdown) => shutdown.handle().lifecycle().clone(),
            Part::Follows(handle) => handle.lifecycle().clone(),
            Part::Observes(_) => {
                let own = Lifecycle::new();
                own.advance(Phase::Ready);
                own
            }
        };
        let events = match &part {
            Part::Drives(shutdown) => {
                let handle = shutdown.handle();
                handle.listen(self.events);
                handle.event_sink()
            }
            Part::Follows(handle) => handle.event_sink().and(self.events),
            Part::Observes(_) => self.events,
        };
        let mut shared = Shared::new(self.timeouts, self.limits, lifecycle, events);
        shared.on_connection = self.on_connection;
        shared.extensions = self.extensions;
        shared.protocols = self.protocols;
        let registry = Arc::new(Registry::new(shared));
        let joined = match part {
            Part::Drives(shutdown) => {
                let handle = shutdown.handle();
                let sequence = shutdown.start()?;
                handle.register(registry.clone());
                if !sequence.waits_for_ready() {
                    handle.ready();
                }
                Joined::Drives(sequence)
            }
            Part::Follows(handle) => {
                handle.register(registry.clone());
                Joined::Attends(handle)
            }
            Part::Observes(handle) => {
                handle.enlist_observer(registry.shared.lifecycle.clone(), registry.clone());
                Joined::Attends(handle)
            }
        };
        let (listener, app) = (self.listener, self.app);
        #[cfg(feature = "axum")]
        let app = with_layers_applied(app);
        Ok(async move {
            match joined {
                Joined::Drives(sequence) => {
                    let accepting = accept(listener, app, registry);
                    let ((), report) = tokio::join!(accepting, sequence.run());
                    report
                }
                Joined::Attends(handle) => attend(listener, app, registry, &handle).await,
            }
        })
    }
}

impl<L: Listener, A: App> IntoFuture for Serve<L, A> {
    type Output = Result<Report, ServeError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(mut self) -> Self::IntoFuture {
        let part = self.take_part();
        Box::pin(async move { Ok(self.start(part)?.await) })
    }
}

/// Checks that the runtime has timers, and I/O where connections are tokio's own sockets: a listener in memory needs
/// none.
fn check_runtime<L: Listener>() -> Result<(), ServeError> {
    let io = TypeId::of::<L::Io>();
    let is_socket = io == TypeId::of::<tokio::net::TcpStream>();
    #[cfg(unix)]
    let is_socket = is_socket || io == TypeId::of::<tokio::net::UnixStream>();
    runtime::check_timers().map_err(ServeError::Runtime)?;
    if is_socket {
        runtime::check_io().map_err(ServeError::Runtime)?;
    }
    Ok(())
}

/// Serves to the end of the server's lifecycle, which is driven elsewhere.
async fn attend<L: Listener, A: App>(
    listener: L,
    app: A,
    registry: Arc<Registry>,
    handle: &ShutdownHandle,
) -> Report {
    accept(listener, app, registry.clone()).await;
    let lifecycle = &registry.shared.lifecycle;
    lifecycle.reached(Phase::Draining).await;
    // Its own end, or that of the shutdown: a cut connection may linger with its owner.
    tokio::select! {
        () = registry.all.idle() => {}
        _ = lifecycle.reached(Phase::Closed) => {}
    }
    let mut report =
        Report::of_follower(registry.requests(), registry.connections(), handle.cause());
    report.timed_out = registry.timed_out();
    report.client_gone = registry.client_gone();
    report
}
