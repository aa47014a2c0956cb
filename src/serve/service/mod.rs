//! The layer between hyper and the user's service: the request in, the response out.

mod app;
mod call;
mod conn;
mod framing;
mod grpc_messages;
mod host;
mod request_body;
mod request_context;
mod response;
mod response_body;
mod target;

pub use app::App;
pub use request_body::{BodyError, RequestBody};

#[cfg(feature = "axum")]
pub(crate) use app::with_layers_applied;
pub(crate) use conn::{ConnService, Source};
