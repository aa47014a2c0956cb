//! Server-sent events: a response without an end, which ends itself when the service is leaving.

use std::{convert::Infallible, time::Duration};

use axum::{
    Extension,
    response::{
        IntoResponse,
        sse::{Event, Sse},
    },
};
use futures_util::stream;
use lameduck::{drain::Draining, serve::Deadlines};
use tokio::time::{Interval, interval};

/// How long a client should wait before it comes back, so that a load balancer has the time to
/// send it to another instance.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// An event a second. The last one is `draining`.
pub async fn events(
    Extension(deadlines): Extension<Deadlines>,
    Extension(draining): Extension<Draining>,
) -> impl IntoResponse {
    // Where WRITE_TIMEOUT is set: a response with no end has no last byte to be in time for. A client
    // that takes nothing is still found out, by the stall and the minimum rate.
    deadlines.set_write(None);

    let ticks = Ticks {
        every: interval(Duration::from_secs(1)),
        count: 0,
        draining,
    };
    Sse::new(stream::unfold(Some(ticks), |state| async move {
        let (event, state) = state?.next().await;
        Some((Ok::<_, Infallible>(event), state))
    }))
}

struct Ticks {
    every: Interval,
    count: u64,
    draining: Draining,
}

impl Ticks {
    /// The next event, and what is left of the stream after it.
    async fn next(mut self) -> (Event, Option<Self>) {
        tokio::select! {
            // First look whether the service is leaving: the last event must not wait for a turn.
            biased;
            () = self.draining.draining() => {
                let goodbye = Event::default()
                    .event("draining")
                    .retry(RECONNECT_AFTER)
                    .data("please reconnect");
                (goodbye, None)
            }
            _ = self.every.tick() => {
                self.count += 1;
                let event = Event::default().event("tick").data(self.count.to_string());
                (event, Some(self))
            }
        }
    }
}
