//! Server-sent events that say goodbye at the drain, so that a deploy cuts no stream. Without a last event,
//! `get(events).layer(lameduck::route().streaming())` suffices.
//!
//! ```sh
//! cargo run --example sse --features serve,axum
//! curl -N localhost:8080/events        # then press Ctrl-C here: the last event is `draining`
//! ```

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use axum::{Router, routing::get};
use lameduck::drain::Draining;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

#[tokio::main]
async fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    let app = Router::new().route("/events", get(events));

    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let report = lameduck::serve(listener, app).await?;
    println!("{report}");
    Ok(report.exit_code())
}

type EventSink = Sse<ReceiverStream<Result<Event, Infallible>>>;

async fn events(draining: Draining) -> EventSink {
    let (events, stream) = mpsc::channel(1);
    tokio::spawn(send_until_the_drain(draining, events));
    Sse::new(ReceiverStream::new(stream))
}

/// Sends an event a second until the client or the process leaves.
async fn send_until_the_drain(draining: Draining, events: mpsc::Sender<Result<Event, Infallible>>) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    for count in 1.. {
        tokio::select! {
            _ = every.tick() => {}
            () = events.closed() => return,
            () = draining.draining() => {
                // `retry` gives the load balancer time to choose another instance for the reconnect.
                let last = Event::default().event("draining").retry(Duration::from_secs(1));
                let _ = events.send(Ok(last.data("please reconnect"))).await;
                return;
            }
        }
        let event = Event::default().data(format!("event {count}"));
        if events.send(Ok(event)).await.is_err() {
            return;
        }
    }
}
