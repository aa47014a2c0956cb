use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use super::order::{Order, Orders};
use super::{Step, StepEnd, StepKind};

/// The output of a closer: `()`, or a `Result` whose error is reported.
pub trait StepOutput: sealed::Sealed + Send + 'static {
    #[doc(hidden)]
    fn into_end(self) -> StepEnd;
}

mod sealed {
    // Sealed: callers cannot name it.
    #[allow(unnameable_types)]
    pub trait Sealed {}
    impl Sealed for () {}
    impl<E> Sealed for Result<(), E> {}
    impl Sealed for Never {}

    /// `!` cannot be written as a type yet, but it can be named as what such a function returns.
    #[allow(unnameable_types)]
    pub trait Returns {
        type Output;
    }
    impl<T> Returns for fn() -> T {
        type Output = T;
    }
    pub(crate) type Never = <fn() -> ! as Returns>::Output;
}

/// A worker that loops for ever, until it is aborted.
impl StepOutput for sealed::Never {
    fn into_end(self) -> StepEnd {
        self
    }
}

impl StepOutput for () {
    fn into_end(self) -> StepEnd {
        StepEnd::Done
    }
}

impl<E: fmt::Display + Send + 'static> StepOutput for Result<(), E> {
    fn into_end(self) -> StepEnd {
        match self {
            Ok(()) => StepEnd::Done,
            Err(error) => StepEnd::Failed(error.to_string()),
        }
    }
}

type Running = Pin<Box<dyn Future<Output = StepEnd> + Send>>;

/// A closer or a flush that is still to run.
pub(super) struct Planned {
    pub name: String,
    pub budget: Duration,
    start: Box<dyn FnOnce() -> Running + Send>,
}

impl Planned {
    pub(crate) fn new<F, R>(name: &str, budget: Duration, start: F) -> Self
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output: StepOutput> + Send + 'static,
    {
        Planned {
            name: name.to_owned(),
            budget,
            start: Box::new(move || Box::pin(async move { start().await.into_end() })),
        }
    }

    /// Runs it within its budget. With `orders`, an order to cut ends it, or skips it.
    pub(crate) async fn run(self, kind: StepKind, orders: Option<&Orders>) -> Step {
        let began = Instant::now();
        if orders.is_some_and(|orders| orders.current() >= Order::Cut) {
            return Step::new(kind, self.name, Duration::ZERO, StepEnd::Skipped);
        }
        // A task of its own: a panic in it ends it alone.
        let mut task = tokio::spawn((self.start)());
        let cut = async {
            match orders {
                Some(orders) => orders.at_least(Order::Cut).await,
                None => std::future::pending().await,
            }
        };
        let end = tokio::select! {
            biased;
            ended = &mut task => ended.unwrap_or(StepEnd::Panicked),
            () = tokio::time::sleep(self.budget) => StepEnd::TimedOut,
            () = cut => StepEnd::CutShort,
        };
        task.abort();
        Step::new(kind, self.name, began.elapsed(), end)
    }
}
