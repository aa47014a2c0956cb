use std::pin::Pin;
use std::task::{Context, Poll, ready};

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

    /// `Ready`, with the time, when `deadline` has come; else the task is woken at it or earlier, to ask
    /// again. The clock is read only when what was armed has fired.
    pub fn poll_due(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        clock: &Clock,
        deadline: Tick,
    ) -> Poll<Tick> {
        if !self.as_mut().fired() {
            ready!(self.as_mut().arm(cx, clock, deadline));
        }
        loop {
            let now = clock.now();
            if now >= deadline {
                return Poll::Ready(now);
            }
            ready!(self.as_mut().arm(cx, clock, deadline));
        }
    }

    /// Whether what was armed has come.
    fn fired(self: Pin<&mut Self>) -> bool {
        let this = self.project();
        let fired = *this.armed != Tick::NEVER && this.sleep.is_elapsed();
        if fired {
            *this.armed = Tick::NEVER;
        }
        fired
    }

    /// Sees to it that the task is woken at `deadline` or earlier. `Ready` when it has come already.
    fn arm(self: Pin<&mut Self>, cx: &mut Context<'_>, clock: &Clock, deadline: Tick) -> Poll<()> {
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
