use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use pin_project::pin_project;
use tokio::task::coop::{has_budget_remaining, unconstrained};
use tokio::time::Sleep;

use super::clock::{Clock, Tick};

/// The shortest time of the last look before a deadline.
///
/// tokio's IO driver delivers all input that has arrived before its timers fire, in the same turn: a second timer
/// proves a turn after the deadline, on every kind of runtime. (`yield_now` proves none where another thread holds the
/// driver.)
const LOOK: Duration = Duration::from_millis(1);

/// The longest last look, after the process or its threads stood still: time that the server lost is not the client's,
/// but a client may not gain much by it.
const LONGEST_LOOK: Duration = Duration::from_millis(250);

/// The maximum number of looks if every poll of the task finds the cooperative budget spent.
const MOST_LOOKS: u8 = 4;

/// A lazily armed timer.
///
/// Deadlines move all the time and mostly later; the timer wheel is touched only when the deadline in force is earlier
/// than the armed one. When the timer fires too early nothing is due yet, and the owner arms it anew: that costs one
/// look a period instead of two wheel operations a request.
#[pin_project]
pub(crate) struct Timer {
    #[pin]
    sleep: Sleep,
    armed: Tick,
    /// The number of last looks that have begun since the deadline passed; the end of one is armed.
    looks: u8,
    /// The waker that the armed sleep holds.
    waker: Option<Waker>,
}

impl Timer {
    pub(crate) fn new(clock: &Clock) -> Self {
        Timer {
            // Not registered with the wheel before it is first polled.
            sleep: tokio::time::sleep_until(clock.instant(Tick(0))),
            armed: Tick::NEVER,
            looks: 0,
            waker: None,
        }
    }

    /// Follows the polling task: a timer armed for another task is armed anew. Returns `true` if the task is another
    /// one than before.
    pub(crate) fn follow(self: Pin<&mut Self>, waker: &Waker) -> bool {
        let this = self.project();
        if this.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            return false;
        }
        *this.waker = Some(waker.clone());
        *this.armed = Tick::NEVER;
        true
    }

    /// Returns `Ready` with the time once `deadline` has passed and the owner has polled its IO once more since
    /// ([`LOOK`]); otherwise the task is woken at that time or earlier, to ask again. The clock is read only when the
    /// armed timer has fired.
    ///
    /// The owner polls its IO first, then asks. A look is taken once for a deadline, whatever input comes meanwhile: a
    /// client cannot prolong it.
    pub(crate) fn poll_due(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        clock: &Clock,
        deadline: Tick,
    ) -> Poll<Tick> {
        self.as_mut().follow(cx.waker());
        let this = self.as_mut().project();
        let fired = *this.armed != Tick::NEVER && this.sleep.is_elapsed();
        if !fired && deadline >= *this.armed {
            return Poll::Pending;
        }
        if !fired {
            if *this.looks > 0 && *this.armed != Tick::NEVER {
                return Poll::Pending;
            }
            // A look whose end was armed for another task begins anew.
            *this.looks = 0;
            ready!(self.as_mut().arm(cx, clock, deadline));
        }
        loop {
            let this = self.as_mut().project();
            *this.armed = Tick::NEVER;
            let now = clock.now();
            if now < deadline {
                *this.looks = 0;
                ready!(self.as_mut().arm(cx, clock, deadline));
                continue;
            }
            // If the budget was spent, tokio's IO may have refused to look.
            if *this.looks > 0 && (has_budget_remaining() || *this.looks == MOST_LOOKS) {
                *this.looks = 0;
                return Poll::Ready(now);
            }
            let look = match *this.looks {
                0 => now.since(deadline).clamp(LOOK, LONGEST_LOOK),
                _ => LOOK,
            };
            *this.looks += 1;
            ready!(self.as_mut().arm(cx, clock, now.after(Some(look))));
        }
    }

    /// Arms the timer, so that the task is woken at `deadline`. Returns `Ready` if it has passed already.
    fn arm(self: Pin<&mut Self>, cx: &mut Context<'_>, clock: &Clock, deadline: Tick) -> Poll<()> {
        if deadline == Tick::NEVER {
            return Poll::Pending;
        }
        let mut this = self.project();
        *this.armed = deadline;
        this.sleep.as_mut().reset(clock.instant(deadline));
        // Outside of the task's cooperative budget: the Pending of a spent budget registers nothing.
        pin!(unconstrained(this.sleep)).poll(cx)
    }
}
