use std::fmt;
use std::future::IntoFuture;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

#[cfg(feature = "metrics")]
use super::Parts;
use super::compose::Composed;
use super::{AdminService, Bind, IntoListener, Server, ServerError, announce};
use crate::serve::{App, Listener, serve};
use crate::shutdown::{Report, ShutdownHandle};

/// A [`Server`] that is about to start: await it to run it to its end, or [`spawn`](Self::spawn) it.
#[must_use = "a server does nothing until it is awaited"]
pub struct Serving<L, A> {
    server: Server,
    listener: L,
    app: A,
}

/// A server that listens, and serves once the future is polled.
struct Started {
    addr: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    handle: ShutdownHandle,
    run: Pin<Box<dyn Future<Output = Result<Report, ServerError>> + Send>>,
}

impl Server {
    /// Serves `app` on an address or a listener, to the end of the process: await it, or [`spawn`](Serving::spawn) it.
    pub fn serve<L: IntoListener, A: App>(self, listener: L, app: A) -> Serving<L, A> {
        Serving::new(self, listener, app)
    }

    /// Runs the workers of a process without HTTP to its end: as soon as a signal comes, they are to stop. It is awaited;
    /// a test [runs it as a task](crate::server#testing) and stops it by [`handle`](Self::handle). The admin
    /// port is there if it is set. Connections of an accept loop of your own take part by
    /// [`Connections::follow`](crate::serve::Connections::follow), and have the lame-duck wait and the drain.
    ///
    /// # Errors
    ///
    /// The server does not start.
    pub async fn run(self) -> Result<Report, ServerError> {
        run(self).await
    }
}

impl<L: IntoListener, A: App> Serving<L, A> {
    pub(super) fn new(server: Server, listener: L, app: A) -> Self {
        Serving {
            server,
            listener,
            app,
        }
    }

    /// Starts the server and serves in a task of its own: for tests, and for a process that does something else
    /// besides.
    ///
    /// # Errors
    ///
    /// The server does not start.
    pub async fn spawn(self) -> Result<Running, ServerError> {
        let started = self.start().await?;
        Ok(Running {
            addr: started.addr,
            admin: started.admin,
            handle: started.handle,
            task: tokio::spawn(started.run),
        })
    }

    async fn start(self) -> Result<Started, ServerError> {
        let Serving {
            mut server,
            listener,
            app,
        } = self;
        server.shutdown.set_taken();
        super::bind::check_runtime()?;
        server.check_admin()?;
        #[cfg(feature = "axum")]
        if !server.outer_layers.is_empty() && !super::compose::is_router(&app) {
            let problem = "outer_layers: the service is no `axum::Router`; \
                           `Router::new().fallback_service(service)` makes one of it";
            return Err(ServerError::Setting(problem.to_owned()));
        }
        // Ports first: one that is taken should be known before any work is done.
        let listener = listener.into_listener().await?;
        let addr = local_addr(&listener);
        let admin = Admin::bind(server.admin.take(), addr).await?;
        let announces = server.announces;
        let line = match addr {
            Some(addr) => format!("serving {} on {addr}", server.name),
            None => format!("serving {}", server.name),
        };
        let in_force = server.in_force();
        let (timeouts, limits, protocols) = (server.timeouts, server.limits, server.protocols);
        let on_connection = std::mem::take(&mut server.on_connection);
        #[cfg(feature = "axum")]
        let outer_layers = std::mem::take(&mut server.outer_layers);
        #[cfg(feature = "axum")]
        let admin = admin.routes(&mut server);
        let parts = server.build()?;
        // Where no one can read them, they are not counted.
        #[cfg(feature = "metrics")]
        let parts = match admin.addr() {
            Some(_) => parts,
            None => Parts {
                stack: parts.stack.metrics(crate::MetricsLayer::off()),
                ..parts
            },
        };
        let app = Composed::new(app, &parts.stack);
        #[cfg(feature = "axum")]
        let app = app.outer_layers(outer_layers);
        #[cfg(feature = "tonic")]
        let app = app.grpc_health(parts.grpc_health);
        let mut public = serve(listener, app)
            .timeouts(timeouts)
            .limits(limits)
            .protocols(protocols)
            .shutdown(parts.shutdown);
        for add in on_connection {
            public = public.on_connection(add);
        }
        let line = format!("{line} {in_force} admin={admin}");
        let (handle, admin_addr) = (parts.handle.clone(), admin.addr());
        let run = async move {
            if announces {
                announce::started(&line);
            }
            admin.observe(&parts.handle, parts.admin);
            let report = public.await?;
            if announces {
                announce::ended(&report);
            }
            Ok(report)
        };
        Ok(Started {
            addr,
            admin: admin_addr,
            handle,
            run: Box::pin(run),
        })
    }
}

impl<L: IntoListener, A: App> IntoFuture for Serving<L, A> {
    type Output = Result<Report, ServerError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.start().await?.run.await })
    }
}

/// Runs a process without HTTP.
pub(super) async fn run(mut server: Server) -> Result<Report, ServerError> {
    server.shutdown.set_taken();
    super::bind::check_runtime()?;
    server.check_admin()?;
    let admin = Admin::bind(server.admin.take(), None).await?;
    #[cfg(feature = "axum")]
    let admin = admin.routes(&mut server);
    let announces = server.announces;
    let workers = match server.worker_names.is_empty() {
        true => "none".to_owned(),
        false => server.worker_names.join(","),
    };
    let line = format!("running {} workers={workers} admin={admin}", server.name);
    let parts = server.build()?;
    if announces {
        announce::started(&line);
    }
    admin.observe(&parts.handle, parts.admin);
    let report = parts.shutdown.run().await?;
    if announces {
        announce::ended(&report);
    }
    Ok(report)
}

fn local_addr<L: Listener>(listener: &L) -> Option<SocketAddr> {
    let listener: &dyn std::any::Any = listener;
    listener.downcast_ref::<TcpListener>()?.local_addr().ok()
}

impl Server {
    fn check_admin(&self) -> Result<(), ServerError> {
        #[cfg(feature = "metrics")]
        if self.last_scrape.is_some() && self.admin.is_none() {
            let problem =
                "last_scrape: there is no admin port to scrape; give it an address by `admin`";
            return Err(ServerError::Setting(problem.to_owned()));
        }
        Ok(())
    }
}

/// The admin port, if there is to be one.
struct Admin {
    listener: Option<TcpListener>,
    #[cfg(feature = "axum")]
    routes: super::admin::Routes,
}

impl Admin {
    fn new(listener: Option<TcpListener>) -> Self {
        Admin {
            listener,
            #[cfg(feature = "axum")]
            routes: super::admin::Routes::default(),
        }
    }

    async fn bind(address: Option<Bind>, service: Option<SocketAddr>) -> Result<Self, ServerError> {
        let Some(address) = address else {
            return Ok(Admin::new(None));
        };
        let port = address.port();
        match address.bind().await {
            Ok(listener) => Ok(Admin::new(Some(listener))),
            Err(ServerError::Bind { error, .. })
                if error.kind() == ErrorKind::AddrInUse
                    && port.is_some()
                    && port == service.map(|service| service.port()) =>
            {
                let problem = "admin: its port is that of the service itself; give it another one";
                Err(ServerError::Setting(problem.to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    fn addr(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    #[cfg(feature = "axum")]
    fn routes(mut self, server: &mut Server) -> Self {
        let routes = std::mem::take(&mut server.admin_routes);
        self.routes = super::admin::Routes::new(routes, server.admin_hosts.clone());
        self
    }

    /// Not a part of what is drained: it is there to the very end.
    fn observe(self, handle: &ShutdownHandle, pages: AdminService) {
        if let Some(listener) = self.listener {
            #[cfg(feature = "axum")]
            let pages = self.routes.before(pages);
            tokio::spawn(serve(listener, pages).observe(handle).into_future());
        }
    }
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr() {
            Some(addr) => addr.fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// A server that runs in a task of its own; made by [`Serving::spawn`]. As a future it is ready with the report.
#[derive(Debug)]
#[must_use = "the report, or why there is none, comes from awaiting it"]
pub struct Running {
    addr: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    handle: ShutdownHandle,
    task: JoinHandle<Result<Report, ServerError>>,
}

impl Running {
    /// Returns the address that it listens on; `None` for a listener without one.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.addr
    }

    /// Returns the address of the admin port.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Returns the handle of its shutdown.
    pub fn handle(&self) -> &ShutdownHandle {
        &self.handle
    }

    /// Begins the shutdown, as SIGTERM does, and waits for the report.
    ///
    /// # Errors
    ///
    /// The server did not start.
    pub async fn shutdown(self) -> Result<Report, ServerError> {
        self.handle.shutdown();
        self.await
    }
}

impl Future for Running {
    type Output = Result<Report, ServerError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.task).poll(cx).map(|ended| match ended {
            Ok(report) => report,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(ServerError::Runtime("the tokio runtime has shut down")),
            },
        })
    }
}

impl<L, A> fmt::Debug for Serving<L, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}
