//! What the library allocates on the path of a request, and what it holds.
//!
//! Allocations are counted on the thread that makes them: the tests of this binary may run side by side.

mod body_limit;
mod drain;
mod health;
mod logs;
mod metrics;
mod rate_limit;
mod rate_limit_memory;
mod real_ip;
mod request_id;
mod timeout;

use std::convert::Infallible;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::Service;

/// Returns the status of a request that is answered at once, and its allocations to the end of the answer's body.
fn cost<S, R, B>(service: &mut S, request: Request<R>) -> (u16, usize)
where
    S: Service<Request<R>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let mut status = 0;
    let work = || {
        let mut call = pin!(service.call(request));
        let Poll::Ready(Ok(response)) = call.as_mut().poll(&mut cx) else {
            panic!("it is ready at once");
        };
        status = response.status().as_u16();
        let mut body = pin!(response.into_body());
        while let Poll::Ready(Some(Ok(_))) = body.as_mut().poll_frame(&mut cx) {}
    };
    let allocations = measure(work).count_total;
    (status, allocations as usize)
}
