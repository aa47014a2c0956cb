use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use super::error::ServeError;
use crate::shutdown::{Report, ShutdownHandle};

/// A server that runs in a task of its own; created by [`Serve::spawn`](super::Serve::spawn). As a future it is ready
/// with the report, and resumes a panic of the task.
///
/// Dropping it does not stop the server.
#[derive(Debug)]
#[must_use = "the report comes from awaiting it"]
pub struct ServeTask {
    handle: ShutdownHandle,
    task: JoinHandle<Report>,
}

impl ServeTask {
    pub(super) fn new(handle: ShutdownHandle, task: JoinHandle<Report>) -> Self {
        ServeTask { handle, task }
    }

    /// Returns the handle of the shutdown that the server drives, follows or observes.
    pub fn handle(&self) -> &ShutdownHandle {
        &self.handle
    }

    /// Begins the shutdown, as SIGTERM does, and waits for the report.
    ///
    /// # Errors
    ///
    /// The runtime has shut down.
    pub async fn shutdown(self) -> Result<Report, ServeError> {
        self.handle.shutdown();
        self.await
    }
}

impl Future for ServeTask {
    type Output = Result<Report, ServeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.task).poll(cx).map(|ended| match ended {
            Ok(report) => Ok(report),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(ServeError::Runtime("the tokio runtime has shut down")),
            },
        })
    }
}
