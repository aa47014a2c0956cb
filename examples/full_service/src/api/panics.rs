//! Handlers that panic: one line in the log, and a 500 that says nothing about it.

use std::{any::Any, backtrace::Backtrace};

use axum::response::{IntoResponse, Response};
use tracing::error;

use super::problem::{Kind, Problem};

/// Logs each panic once, within the span of its request, instead of printing it.
pub fn log() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let thread = std::thread::current();
        error!(
            panic = text.unwrap_or("not a text"),
            place = panic.location().map(tracing::field::display),
            thread = thread.name(),
            backtrace = %Backtrace::force_capture(),
            "panicked"
        );
    }));
}

/// Answers for a handler that has panicked. The hook has logged it.
pub fn answer(_: Box<dyn Any + Send>) -> Response {
    Problem::new(Kind::INTERNAL, "please report the request_id").into_response()
}
