use std::fmt;
use std::sync::Arc;

use http::Extensions;

use crate::conn_info::ConnInfo;
use crate::events::EventSink;
use crate::serve::config::{Limits, Protocols, Timeouts};
use crate::serve::listen::Listener;
use crate::serve::service::App;
use crate::serve::state::OnConnection;
use crate::shutdown::{Shutdown, ShutdownHandle};

/// A server that is about to start: await it to run it to its end, or [`spawn`](Self::spawn) it. Created by
/// [`serve`](super::serve()).
#[must_use = "a server does nothing until it is awaited"]
pub struct Serve<L, A> {
    pub(super) listener: L,
    pub(super) app: A,
    pub(super) timeouts: Timeouts,
    pub(super) limits: Limits,
    /// The part in a shutdown; `None` if it drives one of its own, which is created when the server is awaited. Created
    /// earlier, it would receive signals in place of the one that is still to be set.
    pub(super) part: Option<Part>,
    pub(super) events: EventSink,
    pub(super) on_connection: Option<OnConnection>,
    pub(super) extensions: bool,
    pub(super) protocols: Protocols,
}

/// The part of a server in a shutdown.
pub(super) enum Part {
    /// It drives the whole sequence.
    Drives(Box<Shutdown>),
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
        self.part = Some(Part::Drives(Box::new(shutdown)));
        self
    }

    /// Takes part in a shutdown that another server of this process drives (an admin port): drains
    /// when it drains, and ends when this server's own connections have ended.
    pub fn follow(mut self, handle: &ShutdownHandle) -> Self {
        self.part = Some(Part::Follows(handle.clone()));
        self
    }

    /// Watches a shutdown that another server of this process drives: the port for metrics, health and
    /// [status](ShutdownHandle::in_flight). It keeps serving until the [report](ShutdownHandle::reported) is ready. The
    /// drain does not wait for its connections, and the report does not include them. Responses that are open when the
    /// report is made have one second to end, if the [margin](Shutdown::margin) allows it (0.1 s after a second
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

    /// Adds a sink for the events of connections, requests and the phase. Default: the [hub](ShutdownHandle::listen) of
    /// the shutdown that it drives or follows; a server that observes emits to no one.
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

    /// Leaves [`ConnInfo`], [`Deadlines`](super::Deadlines) and axum's `ConnectInfo` out of the requests: a request then
    /// costs no allocation beyond hyper's own.
    pub fn without_extensions(mut self) -> Self {
        self.extensions = false;
        self
    }
}

impl<L, A> fmt::Debug for Serve<L, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("timeouts", &self.timeouts)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
