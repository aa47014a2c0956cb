//! Heap allocations of the access log and the bounded lines: none beyond the subscriber's.
#![cfg(feature = "tracing")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use allocation_counter::measure;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use lameduck::events::{Event, RequestInfo};
use lameduck::reply::RefusalReason;
use lameduck::request_id::RequestId;
use lameduck::{AccessLogLayer, ConnInfo, logs};
use tower::{Layer, service_fn};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

use super::cost;

/// A subscriber that takes every line and only counts it.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

impl Subscriber for Counting {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Relaxed);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Counts the allocations of a request to the end of its body.
fn allocations(layer: &AccessLogLayer) -> usize {
    let mut service = layer.layer(service_fn(|_: Request<()>| {
        let body = Full::new(Bytes::from_static(b"hello"));
        std::future::ready(Ok::<_, Infallible>(Response::new(body)))
    }));
    let mut request = Request::get("/a/path?query").body(()).unwrap();
    drop(request.uri().clone()); // its bytes are shared, as those of a head from a socket are
    let peer = Some("192.0.2.1:80".parse().unwrap());
    request.extensions_mut().insert(ConnInfo::new(peer, None));
    request.extensions_mut().insert(RequestId::random());
    cost(&mut service, request).1
}

#[test]
fn log_lines_allocate_nothing_beyond_the_subscriber() {
    let counting = Counting::default();
    let lines = || counting.0.swap(0, Relaxed);
    let _guard = tracing::subscriber::set_default(counting.clone());

    let on = AccessLogLayer::new();
    allocations(&on); // the line's place in the code is registered
    lines();
    assert_eq!(allocations(&on), 0);
    assert_eq!(lines(), 1);
    assert_eq!(allocations(&AccessLogLayer::off()), 0);
    assert_eq!(lines(), 0);

    let events = logs::event_sink();
    let reason = RefusalReason::RateLimited;
    events.emit(|| Event::Refused {
        reason,
        request: RequestInfo::default(),
    });
    let allocated = measure(|| {
        for _ in 0..100_000 {
            events.emit(|| Event::Refused {
                reason,
                request: RequestInfo::default(),
            });
        }
    });
    // In a new second the line about the lines left out is registered as well.
    let allocated = allocated.count_total;
    assert!(allocated <= 1, "{allocated}");
    let lines = lines();
    assert!(lines < 1000, "{lines} of 100,001");
}
