use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use tower_layer::Layer;

use super::RouteService;
use super::shared::Settings;
use crate::body_limit::expect_route_limit;
#[cfg(feature = "serve")]
use crate::deadlines::Deadlines;
use crate::served::expect_takeover;

/// Returns the settings of a route, none of them set; see the [module](super).
pub fn route() -> RouteLayer {
    expect_takeover();
    RouteLayer {
        settings: Arc::default(),
    }
}

/// A layer of one route, whose settings replace those of the layers further out; see the [module](super).
#[derive(Clone)]
#[must_use = "a route's settings do nothing until they are a layer of it"]
pub struct RouteLayer {
    settings: Arc<Settings>,
}

impl RouteLayer {
    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }

    /// Sets the time from the call of the route to the head of its response. `None`: no limit.
    ///
    /// At a shutdown the drain is the limit (`Shutdown::drain`, 15 s by default): a route that
    /// takes longer is cut, unless the drain is as long.
    ///
    /// Replaces the time of each [`TimeoutLayer`](crate::TimeoutLayer) further out, to the whole response too, and on
    /// [`serve`](mod@crate::serve) its `response_head`. It is in force without a `TimeoutLayer` as well. A late request
    /// gets 503, a gRPC call DEADLINE_EXCEEDED. A gRPC client's `grpc-timeout` stays in force.
    pub fn timeout(self, time: impl Into<Option<Duration>>) -> Self {
        let time = time.into();
        self.with(|settings| settings.timeout = Some(time))
    }

    /// Answers 504 in place of 503 when the route's [`timeout`](Self::timeout) has passed.
    pub fn gateway(self) -> Self {
        self.with(|settings| settings.gateway = true)
    }

    /// Ignores `grpc-timeout`, by which a gRPC client shortens the time of a route that sets one or is a stream.
    pub fn without_grpc_timeout(self) -> Self {
        self.with(|settings| settings.ignore_grpc_timeout = true)
    }

    /// Sets the maximum size of a request's body in bytes. `None`: no limit.
    ///
    /// Replaces the limit of each [`BodyLimitLayer`](crate::BodyLimitLayer) further out, and, with feature `axum`,
    /// axum's `DefaultBodyLimit`. It is in force without a `BodyLimitLayer` as well.
    ///
    /// A request may declare more than a layer further out allows, and no more than the largest limit of any route of
    /// the process. It is passed on to its route, for only that knows its limit. On a route without one a handler may
    /// begin: it gets an error in place of the body, and the client 413.
    pub fn body_limit(self, bytes: impl Into<Option<u64>>) -> Self {
        let bytes = bytes.into();
        expect_route_limit(bytes.unwrap_or(u64::MAX));
        self.with(|settings| settings.body_limit = Some(bytes))
    }

    /// Serves streams: no total time, no limit on a body of unknown length, unless they are set too; a response of unknown
    /// length ends by itself when the process leaves, see [Streams](super#streams). A request that declares its length
    /// is no stream: a layer further out refuses it by its own limit, unless [`body_limit`](Self::body_limit) is set.
    ///
    /// The client sees the end of its stream at once when the process leaves, in the lame duck, and may connect again; an
    /// idle connection of its own ends with the drain.
    ///
    /// On [`serve`](mod@crate::serve) the totals `read` and `write` are off; stalls and minimum rates, which detect an
    /// inactive client, stay.
    pub fn streaming(self) -> Self {
        self.with(|settings| settings.streaming = true)
    }

    /// Moves the request's deadlines on [`serve`](mod@crate::serve), before the handler is called. Does nothing on
    /// another server.
    ///
    /// ```
    /// let poll = lameduck::route().deadlines(|deadlines| deadlines.set_read_stall(None));
    /// # let _ = poll;
    /// ```
    #[cfg(feature = "serve")]
    pub fn deadlines(self, set: impl Fn(&Deadlines) + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.deadlines = Some(Arc::new(set)))
    }

    /// Restricts all settings to requests for which `predicate` is true. It is called on the request path and must not
    /// block.
    pub fn when(self, predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.when = Some(Arc::new(predicate)))
    }
}

impl<S> Layer<S> for RouteLayer {
    type Service = RouteService<S>;

    fn layer(&self, inner: S) -> RouteService<S> {
        RouteService {
            inner,
            settings: self.settings.clone(),
        }
    }
}

impl fmt::Debug for RouteLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RouteLayer").field(&self.settings).finish()
    }
}
