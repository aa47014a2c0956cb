use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use signal_hook::low_level;

use super::ear::number;
use super::end::end;
use crate::shutdown::ShutdownHandle;
use crate::shutdown::signals::{EXIT_FORCED, Heard, Meaning, Signal, SignalAction, Signals};
use crate::sync::Lock;

/// The time for a process to end after a cut and the budgets of the flushes.
const AFTER_CUT: Duration = Duration::from_secs(1);

/// The grace of a process, as its shutdown has been set.
#[derive(Clone, Copy, Debug)]
pub(in crate::shutdown) struct Grace {
    /// `true` if the process is ended when its grace is over.
    pub enforced: bool,
    pub grace: Duration,
    /// The part that is left to the end of the process itself.
    pub reserve: Duration,
    /// The time for the flushes after a cut.
    pub flushes: Duration,
}

/// A shutdown, as the thread knows it.
pub(super) struct Subscriber {
    pub handle: ShutdownHandle,
    pub state: Lock<State>,
}

pub(super) struct State {
    pub signals: Signals,
    pub grace: Grace,
    pub heard: Heard,
}

impl Subscriber {
    pub(crate) fn hear(&self, signal: Signal, now: Instant) {
        let mut state = self.state.lock();
        let signals = state.signals;
        let by_person = signal == Signal::Interrupt && io::stdin().is_terminal();
        let meaning = state.heard.hear(&signals, signal, now, by_person);
        let enforced = state.grace.enforced;
        drop(state);
        if let Some(notice) = meaning.notice(signal, by_person) {
            self.handle.notices().add(notice);
        }
        match meaning {
            Meaning::Nothing | Meaning::Repeated => {}
            Meaning::Order(order) => self.handle.orders().give(order, signal.cause()),
            Meaning::Reload => self.handle.reload(),
            Meaning::End if enforced => end("a third signal came".to_owned(), EXIT_FORCED),
            Meaning::End => {}
            // It fails for unknown signals only, and these are known.
            Meaning::Default => drop(low_level::emulate_default_handler(number(signal))),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let state = self.state.lock();
        let grace = &state.grace;
        let (.., first) = state.heard.first.filter(|_| grace.enforced)?;
        let at_most = first.checked_add(grace.grace.saturating_sub(grace.reserve))?;
        let cut = state.heard.cut;
        let cut = cut.and_then(|cut| cut.checked_add(grace.flushes.saturating_add(AFTER_CUT)));
        Some(cut.map_or(at_most, |cut| cut.min(at_most)))
    }

    /// Returns the message for a deadline that has passed.
    pub(crate) fn overdue(&self) -> String {
        let state = self.state.lock();
        let phase = self.handle.lifecycle().phase();
        match state.heard.cut {
            Some(_) => format!("it did not end after a second signal, in the phase {phase}"),
            None => format!(
                "it did not end within its termination grace of {:?}, in the phase {phase}",
                state.grace.grace
            ),
        }
    }

    /// Ends the process on a signal after the shutdown's end: no part is left to act on it. It ends as it would without
    /// a handler, but by an exit, which works for PID 1 too.
    pub(crate) fn hear_after_its_end(&self, signal: Signal, now: Instant) {
        let state = self.state.lock();
        let ignored = matches!(
            state.signals.action(signal),
            SignalAction::Ignore | SignalAction::Reload
        );
        // The same signal sent twice finds a process that is on its way out.
        let repeated = state
            .heard
            .first
            .is_some_and(|(.., at)| now.saturating_duration_since(at) < state.signals.repeat());
        if !ignored && !repeated {
            low_level::exit(128 + number(signal));
        }
    }
}
