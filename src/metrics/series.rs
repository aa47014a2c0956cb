use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::histogram::{Bounds, Histogram};
use super::labels::{End, Method};
use super::table::{Place, Table};

/// The route of folded series. No router has it: a route begins with a slash.
pub(super) const FOLDED: &str = "_other";
/// The route of a request without one.
pub(super) const UNMATCHED: &str = "unmatched";
/// The maximum length of a route; a longer one is folded, so that memory is bounded in bytes too.
const MAX_ROUTE_LEN: usize = 512;
/// The maximum number of gRPC methods with series of their own.
const MAX_METHODS: usize = 500;

/// The series of requests: an entry for each method and route, and an entry for each outcome of such requests. Both are
/// looked up without a lock and addressed by their index.
pub(super) struct Series {
    pub duration: Bounds,
    pub size: Bounds,
    hasher: RandomState,
    routes: Table<Route>,
    ends: Table<Ended>,
    folded_routes: [Route; Method::COUNT],
    folded_ends: Table<Ended>,
    /// The number of folded requests.
    pub folded: AtomicU64,
    active: [AtomicI64; Method::COUNT],
    /// The number of gRPC methods that have series.
    grpc_methods: AtomicUsize,
}

/// The measurements by method and route.
pub(super) struct Route {
    pub method: Method,
    pub route: Box<str>,
    pub head: Histogram,
    pub request: Histogram,
    pub response: Histogram,
}

/// The measurements by all labels.
pub(super) struct Ended {
    pub route: RouteId,
    pub end: End,
    pub duration: Histogram,
}

/// A known pair of method and route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteId {
    Own(Place),
    Folded(Method),
}

/// The amounts that a request adds at its end.
pub(super) struct Totals {
    pub duration: Duration,
    pub request: Option<u64>,
    pub response: Option<u64>,
}

impl Series {
    pub(crate) fn new(max: usize, duration: Bounds, size: Bounds) -> Self {
        let mut methods = Method::all();
        let folded_routes = std::array::from_fn(|_| {
            let method = methods.next().unwrap_or(Method::OTHER);
            Route::new(method, FOLDED, &duration, &size)
        });
        Series {
            hasher: RandomState::new(),
            routes: Table::new(max),
            ends: Table::new(max),
            folded_routes,
            folded_ends: Table::new(Method::COUNT * End::FOLDED + End::FOLDED_GRPC),
            folded: AtomicU64::new(0),
            active: [const { AtomicI64::new(0) }; Method::COUNT],
            grpc_methods: AtomicUsize::new(0),
            duration,
            size,
        }
    }

    /// Records the beginning of a request.
    pub(crate) fn begin(&self, method: Method) {
        self.active[method.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Finds the route, or adds it.
    pub(crate) fn add_route(&self, method: Method, route: &str) -> RouteId {
        let found = (route.len() <= MAX_ROUTE_LEN)
            .then(|| {
                self.routes.find(
                    self.hasher.hash_one((method, route)),
                    |known| known.method == method && *known.route == *route,
                    || Route::new(method, route, &self.duration, &self.size),
                )
            })
            .flatten();
        found.map_or(RouteId::Folded(method), RouteId::Own)
    }

    /// Finds the route if it is known.
    pub(crate) fn known_route(&self, method: Method, route: &str) -> Option<RouteId> {
        let hash = self.hasher.hash_one((method, route));
        let is = |known: &Route| known.method == method && *known.route == *route;
        self.routes.known(hash, is).map(RouteId::Own)
    }

    /// Adds the route of a gRPC method; `None` if there are too many, real or invented.
    pub(crate) fn add_grpc_method(&self, method: Method, route: &str) -> Option<RouteId> {
        let more = |count| (count < MAX_METHODS).then_some(count + 1);
        let count = &self.grpc_methods;
        let room = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        room.is_ok().then(|| self.add_route(method, route))
    }

    /// Records the head of the response.
    pub(crate) fn head(&self, id: RouteId, after: Duration) {
        if let Some(route) = self.route(id) {
            route.head.observe_duration(&self.duration, after);
        }
    }

    /// Records the end of the request.
    pub(crate) fn end(&self, id: RouteId, method: Method, end: End, totals: &Totals) {
        self.active[method.index()].fetch_sub(1, Ordering::Relaxed);
        if let Some(route) = self.route(id) {
            if let Some(size) = totals.request {
                route.request.observe(&self.size, size);
            }
            if let Some(size) = totals.response {
                route.response.observe(&self.size, size);
            }
        }
        if let Some(ended) = self.ended(id, method, end) {
            ended
                .duration
                .observe_duration(&self.duration, totals.duration);
        }
    }

    fn ended(&self, id: RouteId, method: Method, end: End) -> Option<&Ended> {
        let found = match id {
            RouteId::Own(_) => self.find(&self.ends, id, end),
            RouteId::Folded(_) => None,
        };
        found.or_else(|| {
            self.folded.fetch_add(1, Ordering::Relaxed);
            self.find(&self.folded_ends, RouteId::Folded(method), end.folded())
        })
    }

    fn find<'a>(&self, table: &'a Table<Ended>, id: RouteId, end: End) -> Option<&'a Ended> {
        let route = match id {
            RouteId::Own(Place(place)) => place,
            RouteId::Folded(method) => method.index() as u32,
        };
        let word = (u64::from(route) << 32) | end.word();
        let place = table.find(
            mixed(word),
            |known| known.route == id && known.end == end,
            || Ended {
                route: id,
                end,
                duration: self.duration.histogram(),
            },
        )?;
        table.get(place)
    }

    pub(crate) fn route(&self, id: RouteId) -> Option<&Route> {
        match id {
            RouteId::Own(place) => self.routes.get(place),
            RouteId::Folded(method) => self.folded_routes.get(method.index()),
        }
    }

    pub(crate) fn active(&self) -> impl Iterator<Item = (Method, i64)> {
        Method::all().map(|method| (method, self.active[method.index()].load(Ordering::Relaxed)))
    }

    /// Returns the entries by method and route, sorted by name; folded ones only for methods that occurred.
    pub(crate) fn routes(&self) -> Vec<&Route> {
        let own = self.routes.iter().map(|(_, route)| route);
        let used = |method: &Method| {
            let mut ends = self.folded_ends.iter();
            ends.any(|(_, ended)| ended.route == RouteId::Folded(*method))
        };
        let folded = Method::all()
            .filter(used)
            .filter_map(|method| self.route(RouteId::Folded(method)));
        let mut all: Vec<_> = own.chain(folded).collect();
        all.sort_by_key(|route| (&route.route, route.method.index()));
        all
    }

    /// Returns the entries by all labels, sorted by name.
    pub(crate) fn ends(&self) -> Vec<(&Route, &Ended)> {
        let all = self.ends.iter().chain(self.folded_ends.iter());
        let mut all: Vec<_> = all
            .filter_map(|(_, ended)| Some((self.route(ended.route)?, ended)))
            .collect();
        all.sort_by_key(|(route, ended)| (&route.route, route.method.index(), ended.end.word()));
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }
}

impl Route {
    fn new(method: Method, route: &str, duration: &Bounds, size: &Bounds) -> Self {
        Route {
            method,
            route: route.into(),
            head: duration.histogram(),
            request: size.histogram(),
            response: size.histogram(),
        }
    }
}

/// Mixes the bits of a word (the finaliser of SplitMix64). A weak hash suffices: no client chooses the input.
fn mixed(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
