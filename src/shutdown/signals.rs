use std::time::Duration;

use super::Cause;
#[cfg(not(unix))]
use super::ShutdownHandle;
use super::notices::Notice;
use super::order::Order;

/// The exit code of a process that was ended because it did not end by itself: 124, as `timeout` uses it. See
/// [`Shutdown::enforce_grace`](super::Shutdown::enforce_grace).
pub const EXIT_FORCED: u8 = 124;

/// The actions of signals. Passed to [`Shutdown::signals`](super::Shutdown::signals).
///
/// | signal | by default |
/// |---|---|
/// | SIGTERM | begins the shutdown |
/// | SIGQUIT | begins the shutdown: the stop signal of images that are built like nginx's |
/// | SIGINT | begins the shutdown; skips the lame duck if standard input is a terminal, where it is a person's Ctrl-C (Fly.io and Nomad also stop a service by SIGINT) |
/// | SIGHUP | asks for a reload (see [`ShutdownHandle::reloads`](super::ShutdownHandle::reloads)); ignored if no task waits for one |
/// | a second one a second or more after the first | cuts requests in flight: the process ends within its flushes' budgets and 1 s |
/// | a second one within that second | no effect: process groups, wrappers and platforms send two, of one kind or of two |
/// | SIGINT after SIGTERM or SIGQUIT, or a second Ctrl-C at a terminal after 150 ms | cuts at once: a person steps in (a wrapper repeats a Ctrl-C sooner than a person presses the key again) |
/// | a third one, a second or more after the one that cuts | ends the process, with [`EXIT_FORCED`](super::EXIT_FORCED) |
///
/// Each is emitted as [`Event::Signal`](crate::events::Event::Signal) with its effect. A person's Ctrl-C is answered by
/// a line on standard error too: `lameduck: SIGINT: draining, 1 request in flight; Ctrl-C again cuts`.
///
/// On Windows there is Ctrl-C alone, which is SIGINT here.
///
/// ```
/// use lameduck::Shutdown;
/// use lameduck::shutdown::{Signal, SignalAction, Signals};
///
/// // A stop signal of our own, and Ctrl-C that never waits for a load balancer.
/// let signals = Signals::new()
///     .on(Signal::Hangup, SignalAction::Shutdown)
///     .on(Signal::Interrupt, SignalAction::Drain);
/// let shutdown = Shutdown::with_signals(signals);
/// # drop(shutdown);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signals {
    actions: [SignalAction; Signal::ALL.len()],
    repeat: Duration,
}

/// A signal that a [`Shutdown`](super::Shutdown) can receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// SIGTERM
    #[doc(alias = "SIGTERM")]
    Terminate,
    /// SIGQUIT
    #[doc(alias = "SIGQUIT")]
    Quit,
    /// SIGINT, on Windows Ctrl-C
    #[doc(alias = "SIGINT")]
    Interrupt,
    /// SIGHUP
    #[doc(alias = "SIGHUP")]
    Hangup,
}

impl Signal {
    pub(super) const ALL: [Signal; 4] = [
        Signal::Terminate,
        Signal::Quit,
        Signal::Interrupt,
        Signal::Hangup,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Signal::Terminate => "SIGTERM",
            Signal::Quit => "SIGQUIT",
            Signal::Interrupt => "SIGINT",
            Signal::Hangup => "SIGHUP",
        }
    }

    pub(super) fn cause(self) -> Cause {
        match self {
            Signal::Terminate => Cause::Sigterm,
            Signal::Quit => Cause::Sigquit,
            Signal::Interrupt => Cause::Sigint,
            Signal::Hangup => Cause::Sighup,
        }
    }
}

/// The action of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignalAction {
    /// Begins the whole shutdown.
    Shutdown,
    /// Begins the shutdown without the lame duck.
    Drain,
    /// As [`Drain`](Self::Drain) if standard input is a terminal, otherwise as [`Shutdown`](Self::Shutdown).
    DrainAtTerminal,
    /// Cuts requests in flight, at once.
    Cut,
    /// Wakes the tasks that wait for [`ShutdownHandle::reloads`](super::ShutdownHandle::reloads).
    Reload,
    /// Does nothing, and does not end the process either.
    Ignore,
    /// Has the system's effect without a handler: ends the process at once.
    Default,
}

impl Signals {
    /// Creates the defaults; see the table above.
    pub const fn new() -> Self {
        Signals {
            actions: [
                SignalAction::Shutdown,
                SignalAction::Shutdown,
                SignalAction::DrainAtTerminal,
                SignalAction::Reload,
            ],
            repeat: Duration::from_secs(1),
        }
    }

    /// Creates an empty table: all signals are left to the service.
    ///
    /// [`Shutdown::with_signals`](super::Shutdown::with_signals) then installs no handler.
    pub const fn off() -> Self {
        Signals {
            actions: [SignalAction::Ignore; Signal::ALL.len()],
            repeat: Duration::ZERO,
        }
    }

    /// Sets the action of `signal`.
    #[must_use]
    pub const fn on(mut self, signal: Signal, action: SignalAction) -> Self {
        self.actions[signal as usize] = action;
        self
    }

    /// Sets how long after the first signal another one counts as its repetition, if it asks for no more and is not a
    /// SIGINT after another signal. Default: 1 s; between two Ctrl-C at a terminal at most 150 ms. With zero each further
    /// signal cuts.
    #[must_use]
    pub const fn repeat_within(mut self, window: Duration) -> Self {
        self.repeat = window;
        self
    }

    /// Returns `true` if no signal has an action.
    pub(super) fn are_off(&self) -> bool {
        *self == Signals::off()
    }

    pub(super) fn action(&self, signal: Signal) -> SignalAction {
        self.actions[signal as usize]
    }

    #[cfg(unix)]
    pub(super) fn repeat(&self) -> Duration {
        self.repeat
    }
}

impl Default for Signals {
    fn default() -> Self {
        Self::new()
    }
}

/// Converts `true` to [`Signals::new`] and `false` to [`Signals::off`].
impl From<bool> for Signals {
    fn from(on: bool) -> Self {
        match on {
            true => Signals::new(),
            false => Signals::off(),
        }
    }
}

/// How soon a wrapper repeats a Ctrl-C; a person takes longer to press the key again.
const WRAPPER: Duration = Duration::from_millis(150);

/// The signals that have come.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The first one that began the shutdown, its order, and its time.
    pub first: Option<(Signal, Order, std::time::Instant)>,
    /// The time of the first one that cuts.
    pub cut: Option<std::time::Instant>,
}

/// The consequence of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Nothing,
    /// It repeats the one before, and has no effect.
    Repeated,
    Order(Order),
    Reload,
    /// The process ends, whatever it does.
    End,
    Default,
}

impl Heard {
    /// Records `signal`, and returns its consequence.
    pub(crate) fn hear(
        &mut self,
        signals: &Signals,
        signal: Signal,
        now: std::time::Instant,
        by_person: bool,
    ) -> Meaning {
        let order = match signals.action(signal) {
            SignalAction::Ignore => return Meaning::Nothing,
            SignalAction::Reload => return Meaning::Reload,
            SignalAction::Default => return Meaning::Default,
            SignalAction::Shutdown => Order::Leave,
            SignalAction::Drain => Order::LeaveNow,
            SignalAction::DrainAtTerminal if by_person => Order::LeaveNow,
            SignalAction::DrainAtTerminal => Order::Leave,
            SignalAction::Cut => Order::Cut,
        };
        // Signals are counted, not orders: a preStop hook that began the drain by a call is followed by the
        // orchestrator's SIGTERM, and that is not a second signal.
        let Some((first, asked, at)) = self.first else {
            self.first = Some((signal, order, now));
            if order == Order::Cut {
                self.cut = Some(now);
            }
            return Meaning::Order(order);
        };
        // A wrapper sends SIGTERM on the Ctrl-C that the service has received as well, a platform its own stop signal
        // behind that of the image. A SIGINT behind either is a person who steps in.
        let steps_in = signal == Signal::Interrupt && first != Signal::Interrupt;
        let repeat = match by_person && first == Signal::Interrupt {
            true => signals.repeat.min(WRAPPER),
            false => signals.repeat,
        };
        let soon = now.saturating_duration_since(at) < repeat;
        let repeats = soon && order <= asked && !steps_in;
        match self.cut {
            None if repeats => Meaning::Repeated,
            None => {
                self.cut = Some(now);
                Meaning::Order(Order::Cut)
            }
            Some(cut) if now.saturating_duration_since(cut) < signals.repeat => Meaning::Repeated,
            Some(_) => Meaning::End,
        }
    }
}

impl Meaning {
    /// Returns the notice to the listeners, if there is something to say.
    pub(crate) fn notice(self, signal: Signal, by_person: bool) -> Option<Notice> {
        let effect = match self {
            Meaning::Order(Order::Leave) => "shutdown",
            Meaning::Order(Order::LeaveNow) => "drain",
            Meaning::Order(Order::Cut) => "cut",
            Meaning::Repeated => "repeated",
            Meaning::Order(Order::Serve)
            | Meaning::Nothing
            | Meaning::Reload
            | Meaning::End
            | Meaning::Default => return None,
        };
        let signal = signal.as_str();
        Some(Notice {
            signal,
            effect,
            by_person,
        })
    }
}

/// Turns Ctrl-C into orders for as long as it is polled.
#[cfg(not(unix))]
pub(super) async fn follow_ctrl_c(
    signals: Signals,
    handle: ShutdownHandle,
) -> std::convert::Infallible {
    let mut heard = Heard::default();
    loop {
        if signals.are_off() || tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        let signal = Signal::Interrupt;
        let by_person = std::io::IsTerminal::is_terminal(&std::io::stdin());
        let meaning = heard.hear(&signals, signal, std::time::Instant::now(), by_person);
        if let Some(notice) = meaning.notice(signal, by_person) {
            handle.notices().add(notice);
        }
        match meaning {
            Meaning::Nothing | Meaning::Repeated => {}
            Meaning::Order(order) => handle.orders().give(order, signal.cause()),
            Meaning::Reload => handle.reload(),
            Meaning::End | Meaning::Default => {
                std::process::exit(i32::from(super::EXIT_FORCED));
            }
        }
    }
}
