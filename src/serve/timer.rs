use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::pin_project;
use tokio::time::Sleep;

use super::clock::{Clock, Tick};

/// One lazily armed timer.
///
/// Deadlines move all the time and mostly later; the timer wheel is touched only when the one in
/// force is earlier than the one that is armed. When it fires too early nothing is due yet, and the
/// owner arms it anew: that costs one look a period instead of two wheel operations a request.
#[pin_project]
pub(super) struct Timer {
    #[pin]
    sleep: Sleep,
    armed: Tick,
}

impl Timer {
    pub fn new(clock: &Clock) -> Self {
        Timer {
            // Not registered with the wheel before it is first polled.
            sleep: tokio::time::sleep_until(clock.instant(Tick(0))),
            armed: Tick::NEVER,
        }
    }

    /// Whether what was armed has come. The owner then looks at its deadlines.
    pub fn fired(self: Pin<&mut Self>) -> bool {
        let this = self.project();
        let fired = *this.armed != Tick::NEVER && this.sleep.is_elapsed();
        if fired {
            *this.armed = Tick::NEVER;
        }
        fired
    }

    /// Sees to it that the task is woken at `deadline` or earlier. `Ready` when it has come already.
    pub fn arm(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        clock: &Clock,
        deadline: Tick,
    ) -> Poll<()> {
        let mut this = self.project();
        if deadline >= *this.armed {
            return Poll::Pending;
        }
        *this.armed = deadline;
        this.sleep.as_mut().reset(clock.instant(deadline));
        match this.sleep.poll(cx) {
            Poll::Ready(()) => {
                *this.armed = Tick::NEVER;
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
