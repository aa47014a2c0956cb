use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;

use http::Extensions;

use super::error::ServeError;
use crate::conn_info::ConnInfo;
use crate::events::EventSink;
use crate::phase::{Lifecycle, Phase};
use crate::serve::config::{Limits, Protocols, Timeouts};
use crate::serve::listen::{Listener, accept};
use crate::serve::service::App;
use crate::serve::state::{OnConnection, Registry, Shared};
use crate::shutdown::{DrainServer, Report, Shutdown, ShutdownHandle};

/// A server that is about to start: await it to run it to its end. Created by [`serve`](super::serve()).
#[must_use = "a server does nothing until it is awaited"]
pub struct Serve<L, A> {
    listener: L,
    app: A,
    timeouts: Timeouts,
    limits: Limits,
    /// The part in a shutdown; `None` if it drives one of its own, which is created when the server is awaited. Created
    /// earlier, it would receive signals in place of the one that is still to be set.
    part: Option<Part>,
    events: EventSink,
    on_connection: Option<OnConnection>,
    extensions: bool,
    protocols: Protocols,
}

/// The part of a server in a shutdown.
enum Part {
    /// It drives the whole sequence.
    Drives(Shutdown),
    /// It takes part in a shutdown that is driven elsewhere.
    Follows(ShutdownHandle),
    /// It watches a shutdown that is driven elsewhere.
    Observes(ShutdownHandle),
}

impl<L: Listener, A: App> Serve<L, A> {
    pub(crate) fn new(listener: L, app: A) -> Self {
        Serve {
            listener,
            app,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            part: None,
            events: EventSink::none(),
            on_connection: None,
            extensions: true,
            protocols: Protocols::default(),
        }
    }

    /// Sets the deadlines for the parts of a connection's life. Default: [`Timeouts::default`].
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Sets the limits of connections. Default: [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the versions of HTTP that this server speaks. Default: [`Protocols::Both`].
    pub fn protocols(mut self, protocols: Protocols) -> Self {
        self.protocols = protocols;
        self
    }

    /// Sets the shutdown that this server drives: signals, phases, workers, closers. Default: [`Shutdown::new`],
    /// created when the server is awaited; one of your own receives signals from its creation on.
    #[doc(alias("with_graceful_shutdown", "graceful_shutdown", "serve_with_shutdown"))]
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.part = Some(Part::Drives(shutdown));
        self
    }

    /// Takes part in a shutdown that another server of this process drives (an admin port): drains
    /// when it drains, and ends when this server's own connections have ended.
    pub fn follow(mut self, handle: &ShutdownHandle) -> Self {
        self.part = Some(Part::Follows(handle.clone()));
        self
    }

    /// Watches a shutdown that another server of this process drives: the port for metrics, health and
    /// [status](crate::shutdown::ShutdownHandle::in_flight). It keeps serving until the [report](crate::shutdown::ShutdownHandle::reported) is ready.
    /// The drain does not wait for its connections, and the report does not include them. Responses that are open when
    /// the report is made have one second to end, if the [margin](Shutdown::margin) allows it (0.1 s after a second
    /// signal); then they are cut.
    ///
    /// ```
    /// # async fn run(public: tokio::net::TcpListener, admin: tokio::net::TcpListener, app: axum::Router, pages: axum::Router) -> Result<(), Box<dyn std::error::Error>> {
    /// let shutdown = lameduck::Shutdown::new();
    /// tokio::spawn(lameduck::serve(admin, pages).observe(&shutdown.handle()).into_future());
    /// let report = lameduck::serve(public, app).shutdown(shutdown).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn observe(mut self, handle: &ShutdownHandle) -> Self {
        self.part = Some(Part::Observes(handle.clone()));
        self
    }

    /// Adds a sink for the events of connections, requests and the phase. Default: the [hub](crate::shutdown::ShutdownHandle::listen) of the
    /// shutdown that it drives or follows; a server that observes emits to no one.
    pub fn events(mut self, events: EventSink) -> Self {
        self.events = events;
        self
    }

    /// Sets a hook that adds to the extensions of every request of a connection. It is called once when a connection
    /// becomes active; the extensions are cloned into each of its requests.
    ///
    /// ```
    /// # use lameduck::ConnInfo;
    /// #[derive(Clone)]
    /// struct Internal(bool);
    ///
    /// # fn on(listener: tokio::net::TcpListener, app: axum::Router) {
    /// let server = lameduck::serve(listener, app).on_connection(|info: &ConnInfo, extensions| {
    ///     extensions.insert(Internal(info.peer.is_some_and(|peer| peer.ip().is_loopback())));
    /// });
    /// # drop(server);
    /// # }
    /// ```
    pub fn on_connection(
        mut self,
        add: impl Fn(&ConnInfo, &mut Extensions) + Send + Sync + 'static,
    ) -> Self {
        self.on_connection = Some(match self.on_connection.take() {
            Some(first) => Arc::new(move |info, extensions| {
                first(info, extensions);
                add(info, extensions);
            }),
            None => Arc::new(add),
        });
        self
    }

    /// Makes `axum::extract::ConnectInfo<SocketAddr>` work, as
    /// `into_make_service_with_connect_info` does for `axum::serve`.
    #[cfg(feature = "axum")]
    pub fn connect_info(self) -> Self {
        self.on_connection(|info, extensions| {
            if let Some(peer) = info.peer {
                extensions.insert(axum::extract::ConnectInfo(peer));
            }
        })
    }

    /// Leaves [`ConnInfo`] and [`Deadlines`](super::Deadlines) out of the requests: a request then
    /// costs no allocation beyond hyper's own.
    pub fn without_extensions(mut self) -> Self {
        self.extensions = false;
        self
    }
}

impl<L: Listener, A: App> IntoFuture for Serve<L, A> {
    type Output = Result<Report, ServeError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(mut self) -> Self::IntoFuture {
        let part = self.part.take();
        let part = part.unwrap_or_else(|| Part::Drives(Shutdown::new()));
        Box::pin(async move {
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
            match part {
                Part::Drives(shutdown) => {
                    let handle = shutdown.handle();
                    let sequence = shutdown.start()?;
                    handle.register(registry.clone());
                    if !sequence.waits_for_ready() {
                        handle.ready();
                    }
                    let accepting = accept(self.listener, self.app, registry);
                    let ((), report) = tokio::join!(accepting, sequence.run());
                    Ok(report)
                }
                Part::Follows(handle) => {
                    handle.register(registry.clone());
                    Ok(attend(self.listener, self.app, registry, &handle).await)
                }
                Part::Observes(handle) => {
                    handle.enlist_observer(registry.shared.lifecycle.clone(), registry.clone());
                    Ok(attend(self.listener, self.app, registry, &handle).await)
                }
            }
        })
    }
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

impl<L, A> fmt::Debug for Serve<L, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("timeouts", &self.timeouts)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
