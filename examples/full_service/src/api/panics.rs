//! Handlers that panic: one line in the log, and a 500 that says nothing about it.

use std::{any::Any, backtrace::Backtrace};

use axum::response::{IntoResponse, Response};
use tracing::error;

use super::problem::{Kind, Problem};
use crate::secret::redact;

/// Logs each panic once, within the span of its request, instead of printing it.
pub fn log() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        error!(
            panic = text(panic.payload()),
            place = panic.location().map(tracing::field::display),
            thread = thread.name(),
            backtrace = %Backtrace::force_capture(),
            "panicked"
        );
    }));
}

/// Returns the text of a panic, which may repeat the URL that something was given.
fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    redact(text.unwrap_or("not a text"))
}

/// Answers for a handler that has panicked. The hook has logged it.
pub fn answer(_: Box<dyn Any + Send>) -> Response {
    Problem::new(Kind::INTERNAL, "please report the request_id").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_panic_has_no_credentials() {
        let panicked = |panic: fn()| {
            let payload = std::panic::catch_unwind(panic).expect_err("a panic");
            text(&*payload)
        };
        let shown = panicked(|| panic!("cannot reach postgres://u:hunter2@db/shop"));
        assert_eq!(shown, "cannot reach postgres://…@db/shop");
        assert_eq!(panicked(|| panic!("no luck")), "no luck");
        assert_eq!(panicked(|| std::panic::panic_any(7)), "not a text");
    }
}
