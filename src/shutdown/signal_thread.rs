//! One thread of the process hears its signals, and ends it when its grace is over.
//!
//! A plain thread, because neither may depend on a runtime: a signal may come before there is one, and
//! what holds a shutdown up is often what blocks the runtime.

use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level;

use super::signals::{Heard, Meaning, Signal, SignalAction, Signals};
use super::{EXIT_FORCED, Handle};
use crate::sync::Lock;

/// How long after a cut and the budgets of the flushes a process may take to end.
const AFTER_CUT: Duration = Duration::from_secs(1);
/// How long the last line may take to reach its reader.
const LAST_LINE: Duration = Duration::from_millis(100);
/// It waits and compares; the default of 2 MiB is address space for nothing.
const STACK: usize = 128 * 1024;

/// When the process is to end, as its shutdown has been set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grace {
    /// Whether the process is ended when its grace is over.
    pub enforced: bool,
    pub grace: Duration,
    /// What of it is left to the end of the process itself.
    pub reserve: Duration,
    /// What the flushes may take after a cut.
    pub flushes: Duration,
}

/// A shutdown that hears signals; dropped, it hears them no more.
pub(super) struct Subscription {
    thread: &'static Thread,
    subscriber: Arc<Subscriber>,
    /// What becomes of signals when it is dropped.
    left: Left,
}

/// Shutdowns that leave the signals to others: as long as there is one, the process is not over.
static DEAF: AtomicUsize = AtomicUsize::new(0);

/// The one thread of the process, once a shutdown hears signals.
static THREAD: OnceLock<Result<&Thread, (io::ErrorKind, String)>> = OnceLock::new();

/// A shutdown that leaves the signals to others.
pub(super) struct Deaf(());

/// How a shutdown stopped to hear signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// It was dropped: a signal ends the process, as it would without a handler.
    Dropped,
    /// It was told to leave them to others.
    Withdrawn,
    /// It is over, and so is the process, but for what still holds it.
    Finished,
}

struct Subscriber {
    handle: Handle,
    state: Lock<State>,
}

struct State {
    signals: Signals,
    grace: Grace,
    heard: Heard,
}

struct Thread {
    subscribers: Lock<Subscribers>,
    /// Wakes it: a deadline has moved.
    wake: UnixStream,
}

#[derive(Default)]
struct Subscribers {
    live: Vec<Arc<Subscriber>>,
    /// Of the last that was dropped or has finished: what it heard, and how it was set.
    last: Option<Arc<Subscriber>>,
    /// Of one that has finished: its grace goes on, until another shutdown is made. A process with a next one
    /// (a test's) lives on.
    finished: Vec<Arc<Subscriber>>,
}

// === impl Subscription ===

impl Subscription {
    /// Installs the handlers, the first time in the process.
    pub fn new(handle: Handle, signals: Signals, grace: Grace) -> io::Result<Self> {
        let thread = Thread::get()?;
        let subscriber = Arc::new(Subscriber {
            handle,
            state: Lock::new(State {
                signals,
                grace,
                heard: Heard::default(),
            }),
        });
        let mut subscribers = thread.subscribers.lock();
        subscribers.live.push(subscriber.clone());
        subscribers.finished.clear();
        drop(subscribers);
        Ok(Subscription {
            thread,
            subscriber,
            left: Left::Dropped,
        })
    }

    pub fn set(&self, signals: Signals, grace: Grace) {
        let mut state = self.subscriber.state.lock();
        (state.signals, state.grace) = (signals, grace);
        let armed = state.heard.first.is_some();
        drop(state);
        if armed {
            self.thread.wake();
        }
    }

    /// When the process will be ended, if a signal has begun its end.
    pub fn deadline(&self) -> Option<Instant> {
        self.subscriber.deadline()
    }

    /// Leaves the signals to others.
    pub fn withdraw(mut self) {
        self.left = Left::Withdrawn;
    }

    /// The report is made: what is left of the process has what is left of its grace.
    pub fn finish(mut self) {
        self.left = Left::Finished;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut subscribers = self.thread.subscribers.lock();
        subscribers
            .live
            .retain(|live| !Arc::ptr_eq(live, &self.subscriber));
        if self.left != Left::Withdrawn {
            subscribers.last = Some(self.subscriber.clone());
        }
        if self.left == Left::Finished && self.subscriber.deadline().is_some() {
            subscribers.finished.push(self.subscriber.clone());
        }
        drop(subscribers);
        // It may have waited for a deadline that is none any more.
        self.thread.wake();
    }
}

// === impl Deaf ===

impl Deaf {
    pub fn new() -> Self {
        // Relaxed: a count that orders nothing.
        DEAF.fetch_add(1, Ordering::Relaxed);
        if let Some(Ok(thread)) = THREAD.get() {
            thread.subscribers.lock().finished.clear();
        }
        Deaf(())
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        DEAF.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Subscriber ===

impl Subscriber {
    fn hear(&self, signal: Signal, now: Instant) {
        let mut state = self.state.lock();
        let signals = state.signals;
        let at_terminal = || io::stdin().is_terminal();
        let meaning = state.heard.hear(&signals, signal, now, at_terminal);
        let enforced = state.grace.enforced;
        drop(state);
        match meaning {
            Meaning::Nothing => {}
            Meaning::Order(order) => self.handle.orders().give(order, signal.cause()),
            Meaning::Reload => self.handle.reload(),
            Meaning::End if enforced => end("a third signal came".to_owned(), EXIT_FORCED),
            Meaning::End => {}
            // It fails for signals that are not known, and these are.
            Meaning::Default => drop(low_level::emulate_default_handler(number(signal))),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let state = self.state.lock();
        let grace = &state.grace;
        let (_, first) = state.heard.first.filter(|_| grace.enforced)?;
        let at_most = first.checked_add(grace.grace.saturating_sub(grace.reserve))?;
        let cut = state.heard.cut;
        let cut = cut.and_then(|cut| cut.checked_add(grace.flushes.saturating_add(AFTER_CUT)));
        Some(cut.map_or(at_most, |cut| cut.min(at_most)))
    }

    /// What is said when the deadline has come.
    fn overdue(&self) -> String {
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
}

// === impl Thread ===

impl Thread {
    fn get() -> io::Result<&'static Thread> {
        let begun = || Thread::begin().map_err(|error| (error.kind(), error.to_string()));
        let thread = THREAD.get_or_init(begun).as_ref();
        thread
            .copied()
            .map_err(|(kind, error)| io::Error::new(*kind, error.clone()))
    }

    fn begin() -> io::Result<&'static Thread> {
        let (pipe, wake) = UnixStream::pair()?;
        // A write that does not fit has been preceded by one that will be read.
        wake.set_nonblocking(true)?;
        let flags: [Arc<AtomicBool>; Signal::ALL.len()] = Default::default();
        let ear = Ear {
            pipe,
            flags: flags.clone(),
        };
        // One for the life of the process.
        let thread: &Thread = Box::leak(Box::new(Thread {
            subscribers: Lock::default(),
            wake: wake.try_clone()?,
        }));
        // Before the handlers: no signal is taken that no thread hears.
        std::thread::Builder::new()
            .name("lameduck-signals".to_owned())
            .stack_size(STACK)
            .spawn(move || thread.run(ear))?;
        for (signal, flag) in Signal::ALL.into_iter().zip(flags) {
            // In this order: what is woken finds the flag.
            signal_hook::flag::register(number(signal), flag)?;
            low_level::pipe::register(number(signal), wake.try_clone()?)?;
        }
        Ok(thread)
    }

    fn wake(&self) {
        // It fails when the pipe is full, and then the thread is awake.
        let _ = (&self.wake).write(b"w");
    }

    fn run(&self, mut ear: Ear) {
        loop {
            let signals = ear.wait(self.deadline());
            for signal in signals {
                self.hear(signal);
            }
            self.enforce();
        }
    }

    fn hear(&self, signal: Signal) {
        let now = Instant::now();
        let (live, last) = {
            let subscribers = self.subscribers.lock();
            (subscribers.live.clone(), subscribers.last.clone())
        };
        for subscriber in &live {
            subscriber.hear(signal, now);
        }
        let over = live.is_empty() && DEAF.load(Ordering::Relaxed) == 0;
        if let Some(last) = last.filter(|_| over) {
            last.hear_after_its_end(signal, now);
        }
    }

    /// When the process is to end: the last of what its shutdowns say.
    fn deadline(&self) -> Option<Instant> {
        self.latest().map(|(deadline, _)| deadline)
    }

    fn latest(&self) -> Option<(Instant, Arc<Subscriber>)> {
        let subscribers = self.subscribers.lock();
        let all = subscribers.live.iter().chain(&subscribers.finished);
        all.filter_map(|subscriber| Some((subscriber.deadline()?, subscriber.clone())))
            .max_by_key(|(deadline, _)| *deadline)
    }

    fn enforce(&self) {
        if let Some((deadline, subscriber)) = self.latest() {
            if deadline <= Instant::now() {
                end(subscriber.overdue(), EXIT_FORCED);
            }
        }
    }
}

impl Subscriber {
    /// Nothing is left that could obey: the process ends, as it would without a handler, but by an exit,
    /// which works for PID 1 too.
    fn hear_after_its_end(&self, signal: Signal, now: Instant) {
        let state = self.state.lock();
        let ignored = matches!(
            state.signals.action(signal),
            SignalAction::Ignore | SignalAction::Reload
        );
        // The same signal sent twice finds a process that is on its way out.
        let repeated = state
            .heard
            .first
            .is_some_and(|(_, at)| now.saturating_duration_since(at) < state.signals.repeat());
        if !ignored && !repeated {
            low_level::exit(128 + number(signal));
        }
    }
}

struct Ear {
    pipe: UnixStream,
    flags: [Arc<AtomicBool>; Signal::ALL.len()],
}

impl Ear {
    /// Waits for a signal, a change or `deadline`, and returns the signals that came.
    fn wait(&mut self, deadline: Option<Instant>) -> Vec<Signal> {
        // Zero would be no timeout.
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        let timeout = deadline.map(|deadline| left(deadline).max(Duration::from_millis(1)));
        let waited = self
            .pipe
            .set_read_timeout(timeout)
            .and_then(|()| self.pipe.read(&mut [0; 64]));
        match waited {
            Ok(_) => {}
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
                | io::ErrorKind::Interrupted => {}
                // Not to be expected of a pipe of our own; it must not become a busy loop.
                _ => std::thread::sleep(Duration::from_millis(100)),
            },
        }
        let came = Signal::ALL.into_iter().zip(&self.flags);
        came.filter(|(_, flag)| flag.swap(false, Ordering::SeqCst))
            .map(|(signal, _)| signal)
            .collect()
    }
}

fn number(signal: Signal) -> i32 {
    match signal {
        Signal::Terminate => SIGTERM,
        Signal::Quit => SIGQUIT,
        Signal::Interrupt => SIGINT,
        Signal::Hangup => SIGHUP,
    }
}

/// Ends the process, after one line on standard error if that takes it.
fn end(why: String, code: u8) -> ! {
    let (told, wait) = mpsc::channel();
    // Another thread: standard error may be a pipe that is full, or locked by who waits for it.
    let speaker = std::thread::Builder::new().spawn(move || {
        let line = format!("lameduck: the process is ended with exit code {code}: {why}\n");
        let _ = io::stderr().write_all(line.as_bytes());
        let _ = told.send(());
    });
    if speaker.is_ok() {
        let _ = wait.recv_timeout(LAST_LINE);
    }
    // Not `std::process::exit`, which writes out what is buffered for standard output, and may wait for
    // that as long as everything else does.
    low_level::exit(i32::from(code))
}
