//! A snapshot of the whole state, as JSON.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::recent_events::Entry;
use super::state::Shared;
use crate::json::{Json, millis};
use crate::phase::Phase;
use crate::shutdown::{CutRequest, ShutdownHandle};
use crate::text;

/// The maximum number of listed requests.
pub(super) const NAMED: usize = 100;

/// The maximum length of a method and a path, in bytes.
const MAX_LEN: usize = 256;

/// The text before the document, which makes it a server-sent event.
pub(super) const BEFORE: &str = "data: ";
/// The text after the document.
pub(super) const AFTER: &str = "\n\n";

/// Returns the document as a server-sent event, in one line.
pub(super) fn event(shared: &Shared) -> String {
    let mut json = Json::after(BEFORE, 4 * 1024);
    json.object(|json| {
        json.key("title").text(&shared.title);
        json.key("instance")
            .text(format_args!("{:016x}", shared.instance));
        phase(json, &shared.handle);
        connections(json, shared);
        in_flight(json, shared);
        recent_events(json, shared);
        let report = shared.handle.report();
        json.key("report").or_null(report, |json, report| {
            json.object(|json| {
                json.key("clean").bool(report.is_clean());
                json.key("cut").number(report.cut.len() as u64);
                json.key("text").text(&*report);
            });
        });
    });
    let mut event = json.finish();
    event.push_str(AFTER);
    event
}

fn phase(json: &mut Json, handle: &ShutdownHandle) {
    let lifecycle = handle.lifecycle();
    let now = lifecycle.phase();
    json.key("phase").text(now);
    // In the instant in which the entry is not yet written, the time is 0.
    let since = |phase| {
        lifecycle
            .entered(phase)
            .map_or(Duration::ZERO, |at| at.elapsed())
    };
    json.key("phase_ms").number(millis(since(now)));
    let left = lifecycle.lame_duck_left();
    json.key("lame_duck_left_ms").number(millis(left));
    let whole = match now {
        Phase::LameDuck => left + since(now),
        _ => Duration::ZERO,
    };
    json.key("lame_duck_ms").number(millis(whole));
    let began = lifecycle.entered(Phase::Draining);
    let (left, whole) = match (handle.drain_deadline(), began) {
        (Some(deadline), Some(began)) if now == Phase::Draining => (
            deadline.saturating_duration_since(Instant::now()),
            deadline.saturating_duration_since(began),
        ),
        _ => Default::default(),
    };
    json.key("drain_left_ms").number(millis(left));
    json.key("drain_ms").number(millis(whole));
    // The duration of each phase, past or current; skipped ones are omitted.
    json.key("phases").object(|json| {
        let entered: Vec<_> = Phase::ALL
            .iter()
            .map(|&phase| lifecycle.entered(phase))
            .collect();
        for (at, &phase) in Phase::ALL.iter().enumerate() {
            if let Some(began) = entered[at].filter(|_| phase <= now) {
                let next = entered[at + 1..].iter().flatten().next();
                let ended = next.copied().unwrap_or_else(Instant::now);
                let took = ended.saturating_duration_since(began);
                json.key(phase.as_str()).number(millis(took));
            }
        }
    });
}

fn connections(json: &mut Json, shared: &Shared) {
    let counts = shared.handle.connections();
    json.key("connections").object(|json| {
        json.key("total").number(counts.total() as u64);
        json.key("by_state").object(|json| {
            for (state, count) in counts.iter() {
                json.key(state.as_str()).number(count as u64);
            }
        });
        json.key("opened").number(shared.recent_events.opened());
        json.key("closed").object(|json| {
            for (why, count) in shared.recent_events.closed() {
                json.key(why).number(count);
            }
        });
    });
}

fn in_flight(json: &mut Json, shared: &Shared) {
    let (count, named) = shared.handle.oldest_in_flight(NAMED);
    let routes = routes(shared, &named);
    json.key("in_flight").object(|json| {
        json.key("count").number(count as u64);
        json.key("more").number((count - named.len()) as u64);
        let peak = shared.in_flight.as_ref().map(|layer| layer.peak());
        json.key("peak")
            .or_null(peak, |json, peak| json.number(peak as u64));
        json.key("requests").array(|json| {
            for request in &named {
                let CutRequest {
                    method,
                    path,
                    age,
                    peer: from,
                    state,
                    route: matched,
                    client,
                    request_id,
                } = request;
                json.object(|json| {
                    json.key("age_ms").number(millis(*age));
                    json.key("method").text(text::line(method, MAX_LEN));
                    json.key("path").text(text::line(path, MAX_LEN));
                    let route = routes.get(&(method.as_str(), path.as_str()));
                    json.key("route")
                        .or_null(matched.as_ref().or(route), |json, route| json.text(route));
                    peer(json, *from);
                    json.key("client").or_null(*client, Json::text);
                    json.key("request_id")
                        .or_null(request_id.as_deref(), Json::text);
                    json.key("state").text(state);
                });
            }
        });
    });
}

/// Returns the routes of the listed requests, as far as the layer knows them.
fn routes<'a>(shared: &Shared, named: &'a [CutRequest]) -> HashMap<(&'a str, &'a str), String> {
    let mut routes = HashMap::new();
    let Some(layer) = &shared.in_flight else {
        return routes;
    };
    if named.is_empty() {
        return routes;
    }
    let keys = named
        .iter()
        .map(|one| (one.method.as_str(), one.path.as_str()));
    let wanted: HashMap<_, usize> = keys.zip(0..).collect();
    let mut found = vec![None::<String>; named.len()];
    layer.visit_routes(|method, path, route| {
        if let Some(&at) = wanted.get(&(method, path)) {
            found[at].get_or_insert_with(|| route.to_owned());
        }
    });
    for (key, at) in wanted {
        if let Some(route) = found[at].take() {
            routes.insert(key, route);
        }
    }
    routes
}

fn recent_events(json: &mut Json, shared: &Shared) {
    let now = tokio::time::Instant::now();
    let log = shared.recent_events.log();
    json.key("counters").array(|json| {
        for counter in &log.counters {
            json.object(|json| {
                json.key("kind").text(counter.kind);
                json.key("what").text(counter.what);
                json.key("count").number(counter.count);
            });
        }
    });
    json.key("events").array(|json| {
        for one in log.list.iter().rev() {
            let Entry {
                kind,
                what,
                detail,
                peer: from,
                count,
                first,
                last,
            } = one;
            json.object(|json| {
                json.key("kind").text(kind);
                json.key("what").text(what);
                json.key("detail").text(detail);
                peer(json, *from);
                json.key("count").number(*count);
                let since = |at| millis(now.saturating_duration_since(at));
                json.key("first_ms").number(since(*first));
                json.key("last_ms").number(since(*last));
            });
        }
    });
}

fn peer(json: &mut Json, peer: Option<SocketAddr>) {
    json.key("peer").or_null(peer, |json, peer| json.text(peer));
}
