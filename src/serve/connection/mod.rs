//! One task a connection, and one a stream of HTTP/2: the stages of their lives.

mod closing;
mod http1;
mod http2;
mod http2_departure;
mod http2_stream;
mod parked;
mod raw_head;
mod task;

pub(crate) use task::ConnTask;
