//! The cost of metrics for a request, by lameduck and by axum-prometheus, and the cost of a scrape.

use std::{convert::Infallible, fmt::Debug, hint::black_box, time::Instant};

use anyhow::{Context, Result};
use axum::{Router, body::Body, routing::get};
use axum_prometheus::PrometheusMetricLayer;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use lameduck::{Metrics, MetricsLayer};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{settings::Args, statistics::median};

const USAGE: &str = "metrics [--requests 300000] [--rounds 7] [--series 1000]

Nanoseconds per request, the median of --rounds rounds, each of which measures every service; then the size and time of
a scrape with --series series. metrics_counted: allocations per request instead.";

/// Runs the measurement. `count` returns the allocations so far, which are then measured instead of time.
pub async fn run(count: Option<fn() -> usize>) -> Result<()> {
    let mut args = Args::from_env(USAGE);
    let requests: u32 = args.value("--requests", 300_000)?;
    let rounds: usize = args.value("--rounds", 7)?;
    let series: usize = args.value("--series", 1_000)?;
    args.finish()?;
    let (theirs, handle) = PrometheusMetricLayer::pair();

    let mut bench = Bench {
        requests,
        count,
        round: 0,
        figures: Vec::new(),
    };
    let bare = service_fn(|request: Request<Body>| async move {
        drop(request);
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
    });
    let metrics = Metrics::new();
    let named = Metrics::builder().route(|_| Some("/users/{id}")).build();
    let router = || Router::<()>::new().route("/users/{id}", get(|| async { "hello" }));
    let in_axum = Metrics::new();
    // The router boxes each layer: the difference to one that does nothing is the cost of the metrics.
    let off = router().layer(MetricsLayer::off());
    let ours = router().layer(in_axum.layer());
    let axum_prometheus = router().layer(theirs.clone());
    for round in 0..rounds {
        bench.round = round;
        let mut at = 0..;
        let mut row = || at.next().unwrap_or(0);
        bench.measure(row(), "a service: no layer", &bare).await?;
        bench
            .measure(
                row(),
                "a service: MetricsLayer::off",
                &MetricsLayer::off().layer(bare),
            )
            .await?;
        bench
            .measure(row(), "a service: metrics", &metrics.layer().layer(bare))
            .await?;
        bench
            .measure(
                row(),
                "a service: metrics, route by a function",
                &named.layer().layer(bare),
            )
            .await?;
        bench
            .measure(row(), "a service: axum-prometheus", &theirs.layer(bare))
            .await?;
        bench.measure(row(), "axum: no layer", &router()).await?;
        bench
            .measure(row(), "axum: MetricsLayer::off", &off)
            .await?;
        bench.measure(row(), "axum: metrics", &ours).await?;
        bench
            .measure(row(), "axum: axum-prometheus", &axum_prometheus)
            .await?;
    }
    bench.print();
    if count.is_none() {
        drop(handle.render());
        scrapes(series, rounds).await?;
    }
    Ok(())
}

struct Bench {
    requests: u32,
    count: Option<fn() -> usize>,
    round: usize,
    figures: Vec<(&'static str, Vec<f64>)>,
}

impl Bench {
    async fn measure<S, B>(&mut self, row: usize, name: &'static str, service: &S) -> Result<()>
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone,
        B: http_body::Body<Error: Debug>,
    {
        let (asked, figure) = match self.count {
            None => {
                let began = Instant::now();
                ask(service, self.requests).await?;
                (self.requests, began.elapsed().as_nanos() as f64)
            }
            Some(count) => {
                let asked = self.requests.min(10_000);
                // The series are created by requests that are not measured.
                ask(service, 10).await?;
                let before = count();
                ask(service, asked).await?;
                (asked, (count() - before) as f64)
            }
        };
        if self.round == 0 {
            self.figures.push((name, Vec::new()));
        }
        let (_, figures) = self
            .figures
            .get_mut(row)
            .context("the rows are the same each time")?;
        figures.push(figure / f64::from(asked));
        Ok(())
    }

    fn print(&self) {
        let unit = match self.count {
            None => "ns",
            Some(_) => "allocations",
        };
        let mut base = 0.0;
        for (name, rounds) in &self.figures {
            let median = median(rounds).unwrap_or(f64::NAN);
            if name.ends_with(": no layer") {
                base = median;
            }
            println!(
                "{name:<44} {median:8.1} {unit} per request, {:+.1}",
                median - base
            );
        }
    }
}

async fn ask<S, B>(service: &S, requests: u32) -> Result<()>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone,
    B: http_body::Body<Error: Debug>,
{
    for _ in 0..requests {
        let request = Request::get("/users/7").body(Body::empty())?;
        let Ok(response) = service.clone().oneshot(black_box(request)).await;
        black_box(response.into_body().collect().await.ok());
    }
    Ok(())
}

async fn scrapes(series: usize, rounds: usize) -> Result<()> {
    let metrics = Metrics::builder()
        .route(|head| Some(head.uri.path()))
        .build();
    let service = metrics.layer().layer(service_fn(|_: Request<Body>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
    }));
    for number in 0..series {
        let request = Request::get(format!("/some/service/route/{number}")).body(Body::empty())?;
        let Ok(response) = service.clone().oneshot(request).await;
        response.into_body().collect().await.ok();
    }
    for (name, accept) in [
        (
            "OpenMetrics, as Prometheus asks",
            "application/openmetrics-text",
        ),
        ("classic text", "text/plain"),
    ] {
        let (mut times, mut length) = (Vec::new(), 0);
        for _ in 0..=rounds {
            let request = Request::get("/metrics").header("accept", accept).body(())?;
            let began = Instant::now();
            let Ok(answer) = metrics.service().oneshot(request).await;
            length = answer.into_body().collect().await?.to_bytes().len();
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
        let time = median(&times).unwrap_or(f64::NAN);
        println!("a scrape of {series} series, {name}: {length} bytes, {time:.1} ms");
    }
    Ok(())
}
