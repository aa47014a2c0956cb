use std::{
    convert::Infallible,
    fmt::Debug,
    future::Future,
    hint::black_box,
    pin::{Pin, pin},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use tower::Service;

use super::asking::{AskBody, Asks, Server, request};

type Loop = dyn Fn(u32) -> Pin<Box<dyn Future<Output = Result<Duration>>>>;

/// A service and its requests.
pub struct Case {
    pub name: &'static str,
    /// The name of the case to compare with: the service alone.
    pub base: &'static str,
    run: Box<Loop>,
}

impl Case {
    pub fn new<S, B>(
        name: &'static str,
        base: &'static str,
        service: S,
        (asks, server): (Asks, Server),
        status: StatusCode,
    ) -> Self
    where
        S: Service<Request<AskBody>, Response = Response<B>, Error = Infallible> + Clone + 'static,
        B: Body<Data = Bytes, Error: Debug>,
    {
        let run = move |requests| -> Pin<Box<dyn Future<Output = _>>> {
            let mut service = service.clone();
            Box::pin(async move {
                // The first request is not measured: it may allocate registries, and may be all that a limit allows.
                ask(&mut service, asks, server).await;
                let seen = ask(&mut service, asks, server).await;
                ensure!(seen == status, "{name}: answered {seen}, not {status}");
                let began = Instant::now();
                for _ in 0..requests {
                    black_box(ask(&mut service, asks, server).await);
                }
                Ok(began.elapsed())
            })
        };
        Case {
            name,
            base,
            run: Box::new(run),
        }
    }

    /// Sends so many requests; returns the time they took.
    pub async fn run(&self, requests: u32) -> Result<Duration> {
        (self.run)(requests).await
    }
}

/// Sends one request and reads its whole answer.
async fn ask<S, B>(service: &mut S, asks: Asks, server: Server) -> StatusCode
where
    S: Service<Request<AskBody>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes, Error: Debug>,
{
    let request = black_box(request(asks, server));
    let Ok(()) = std::future::poll_fn(|cx| service.poll_ready(cx)).await;
    let Ok(response) = service.call(request).await;
    let status = response.status();
    let mut body = pin!(response.into_body());
    while !body.is_end_stream() {
        match body.frame().await {
            Some(frame) => drop(black_box(frame)),
            None => break,
        }
    }
    status
}
