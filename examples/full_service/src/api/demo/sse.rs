//! Server-sent events: an endless response, which ends itself when the service is leaving.

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

/// The delay before a client reconnects, so that a load balancer has time to send it to another instance.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// Sends an event a second. The last one is `draining`.
pub async fn events(
    Extension(deadlines): Extension<Deadlines>,
    Extension(draining): Extension<Draining>,
) -> impl IntoResponse {
    // If WRITE_TIMEOUT is set, an endless response has no last byte to be in time. The stall and the minimum rate still
    // detect a client that reads nothing.
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
    /// Returns the next event, and the rest of the stream.
    async fn next(mut self) -> (Event, Option<Self>) {
        tokio::select! {
            // The drain is polled first: the last event must not wait for a turn.
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
