//! What each layer costs a request: the same service alone and within the layers, in one process and one run.

use std::{convert::Infallible, hint::black_box, time::Instant};

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use lameduck::{DrainLayer, InFlightLayer, Lifecycle};
use lameduck_benches::settings::Args;
use tower::{Layer, Service, ServiceExt, service_fn};

const USAGE: &str = "layers [--requests 1000000] [--rounds 7]

Nanoseconds per request, the median of --rounds rounds, each of which measures every stack.";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut args = Args::from_env(USAGE);
    let requests: u32 = args.value("--requests", 1_000_000)?;
    let rounds: usize = args.value("--rounds", 7)?;
    args.finish()?;
    let lifecycle = Lifecycle::new();
    let alone = service_fn(|request: Request<()>| async move {
        drop(request);
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
    });
    let drain = DrainLayer::new(&lifecycle);
    let lean = drain.clone().without_extension();
    let in_flight = InFlightLayer::new();
    let mut figures = vec![
        ("no layer", Vec::new()),
        ("drain", Vec::new()),
        ("drain, without its extension", Vec::new()),
        ("in_flight", Vec::new()),
        ("in_flight and drain, without its extension", Vec::new()),
    ];
    for _ in 0..rounds {
        figures[0].1.push(measure(alone, requests).await?);
        figures[1]
            .1
            .push(measure(drain.layer(alone), requests).await?);
        figures[2]
            .1
            .push(measure(lean.layer(alone), requests).await?);
        figures[3]
            .1
            .push(measure(in_flight.layer(alone), requests).await?);
        let both = in_flight.layer(lean.layer(alone));
        figures[4].1.push(measure(both, requests).await?);
    }
    let mut base = None;
    for (name, mut rounds) in figures {
        rounds.sort_by(f64::total_cmp);
        let median = rounds[rounds.len() / 2];
        let base = *base.get_or_insert(median);
        println!(
            "{name:<44} {median:7.1} ns per request, {:+.1}",
            median - base
        );
    }
    Ok(())
}

async fn measure<S, B>(service: S, requests: u32) -> Result<f64>
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let began = Instant::now();
    for _ in 0..requests {
        let request = Request::get("/some/path").body(())?;
        let Ok(response) = service.clone().oneshot(black_box(request)).await;
        black_box(response.into_body().collect().await.ok());
    }
    Ok(began.elapsed().as_nanos() as f64 / f64::from(requests))
}
