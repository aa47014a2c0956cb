use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;

use super::RouteTimeout;
use crate::events::EventSink;
use crate::reply::RefusalReason;

type PerRequest = dyn Fn(&Parts) -> Option<RouteTimeout> + Send + Sync;

#[derive(Clone)]
pub(super) struct Shared {
    pub after: Duration,
    pub reason: RefusalReason,
    pub grpc_timeout: bool,
    pub whole: bool,
    pub per_request: Option<Arc<PerRequest>>,
    pub events: EventSink,
}
