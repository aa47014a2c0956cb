use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout};

use super::report::{Component, Status};
use crate::error::BoxError;

type Running = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;
type Ask = dyn Fn() -> Running + Send + Sync;

/// The time after its deadline for which a check that does not yield is awaited.
const ABANDON_GRACE: Duration = Duration::from_millis(100);
/// The maximum length of a reported error, in bytes: it may quote a whole page of foreign text.
const MAX_ERROR_LEN: usize = 512;

/// A check of a dependency.
#[derive(Clone)]
pub(super) struct Check {
    name: Arc<str>,
    optional: bool,
    ask: Arc<Ask>,
    /// `true` while the check's future exists. A check that blocks its thread outlives its deadline; a second one
    /// beside it would block the next thread, and so on until none is left.
    busy: Arc<AtomicBool>,
}

/// A started check.
pub(super) struct Started {
    since: Instant,
    task: Option<JoinHandle<(Found, Duration)>>,
}

enum Found {
    Well,
    /// The error's text.
    Failed(Arc<str>),
    TooLate,
}

impl Check {
    pub(super) fn new<F, R, E>(name: &str, optional: bool, check: F) -> Check
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Check {
            name: name.into(),
            optional,
            ask: Arc::new(move || {
                let asked = check();
                Box::pin(async move { asked.await.map_err(Into::into) })
            }),
            busy: Arc::new(AtomicBool::new(false)),
        }
    }

    #[cfg(feature = "serve")]
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns a copy for another runner. Each runner tracks on its own whether the check is busy.
    pub(super) fn afresh(&self) -> Check {
        Check {
            busy: Arc::default(),
            ..self.clone()
        }
    }

    /// Starts the check in a task of its own, which isolates a panic or a blocked thread.
    pub(super) fn start(&self, on: &Handle, deadline: Duration) -> Started {
        let since = Instant::now();
        let task = Busy::claim(&self.busy).map(|busy| {
            let ask = self.ask.clone();
            on.spawn(async move {
                let _busy = busy;
                let found = match timeout(deadline, async { ask().await }).await {
                    Ok(Ok(())) => Found::Well,
                    // Formatted inside the task: an error's `Display` is the user's code too, and may panic.
                    Ok(Err(error)) => Found::Failed(message(&error)),
                    Err(_) => Found::TooLate,
                };
                (found, since.elapsed())
            })
        });
        Started { since, task }
    }

    /// Returns the check's result, at the latest a moment after its deadline.
    pub(super) async fn found(&self, started: Started, deadline: Duration) -> Component {
        let Some(mut task) = started.task else {
            return self.failed("still blocked in an earlier check".into(), Duration::ZERO);
        };
        let left = deadline
            .saturating_add(ABANDON_GRACE)
            .saturating_sub(started.since.elapsed());
        let (found, duration) = match timeout(left, &mut task).await {
            Ok(Ok(found)) => found,
            Ok(Err(ended)) => {
                return self.failed(died(ended).as_str().into(), started.since.elapsed());
            }
            Err(_) => {
                task.abort();
                (Found::TooLate, started.since.elapsed())
            }
        };
        match found {
            Found::Well => self.component(Status::Pass, None, duration),
            Found::Failed(error) => self.failed(error, duration),
            Found::TooLate => {
                let late = format!("timed out after {deadline:?}");
                self.failed(late.as_str().into(), duration)
            }
        }
    }

    pub(super) fn unknown(&self) -> Component {
        self.component(Status::Unknown, None, Duration::ZERO)
    }

    pub(super) fn failed(&self, error: Arc<str>, duration: Duration) -> Component {
        let status = if self.optional {
            Status::Warn
        } else {
            Status::Fail
        };
        self.component(status, Some(error), duration)
    }

    fn component(&self, status: Status, error: Option<Arc<str>>, duration: Duration) -> Component {
        Component {
            name: self.name.clone(),
            status,
            optional: self.optional,
            duration,
            error,
        }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("name", &self.name)
            .field("optional", &self.optional)
            .finish_non_exhaustive()
    }
}

struct Busy(Arc<AtomicBool>);

impl Busy {
    fn claim(busy: &Arc<AtomicBool>) -> Option<Busy> {
        // Relaxed: the flag publishes no other data.
        (!busy.swap(true, Ordering::Relaxed)).then(|| Busy(busy.clone()))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

fn died(ended: JoinError) -> String {
    let Ok(panic) = ended.try_into_panic() else {
        return "cancelled: the runtime is shutting down".to_owned();
    };
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let mut text = match message {
        Some(message) => format!("panicked: {message}"),
        None => "panicked".to_owned(),
    };
    shorten(&mut text);
    text
}

/// Formats the error with its sources, because many errors leave the cause to their source.
fn message(error: &BoxError) -> Arc<str> {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        if text.len() > MAX_ERROR_LEN {
            break;
        }
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    shorten(&mut text);
    text.into()
}

fn shorten(text: &mut String) {
    if text.len() > MAX_ERROR_LEN {
        let mut end = MAX_ERROR_LEN;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
}
