//! The tasks of connections and HTTP/2 streams: one task per connection, one per stream.

mod closing;
mod http1;
mod http1_end;
mod http2;
mod http2_departure;
mod http2_stream;
mod parked;
mod raw_head;
mod task;

pub(crate) use task::ConnTask;
