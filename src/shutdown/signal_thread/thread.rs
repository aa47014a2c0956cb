use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use signal_hook::low_level;

use super::ear::{Ear, number};
use super::end::end;
use super::subscriber::Subscriber;
use crate::shutdown::signals::{EXIT_FORCED, Signal};
use crate::sync::Lock;

/// The thread waits and compares; the default of 2 MiB is address space for nothing.
const STACK: usize = 128 * 1024;

/// The number of shutdowns that leave the signals to others: while there is one, the process is not over.
pub(super) static UNSUBSCRIBED: AtomicUsize = AtomicUsize::new(0);

/// The one thread of the process, once a shutdown receives signals.
pub(super) static THREAD: OnceLock<Result<&Thread, (io::ErrorKind, String)>> = OnceLock::new();

pub(super) struct Thread {
    pub subscribers: Lock<Subscribers>,
    /// Wakes the thread: a deadline has moved.
    wake: UnixStream,
}

#[derive(Default)]
pub(super) struct Subscribers {
    pub live: Vec<Arc<Subscriber>>,
    /// The last subscriber that was dropped or has finished, with its signals and settings.
    pub last: Option<Arc<Subscriber>>,
    /// Finished subscribers: their grace goes on until another shutdown is created. A process with a next one (a
    /// test's) lives on.
    pub finished: Vec<Arc<Subscriber>>,
}

impl Thread {
    pub(crate) fn get() -> io::Result<&'static Thread> {
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
        // Before the handlers: no signal is taken without a thread that receives it.
        std::thread::Builder::new()
            .name("lameduck-signals".to_owned())
            .stack_size(STACK)
            .spawn(move || thread.run(ear))?;
        for (signal, flag) in Signal::ALL.into_iter().zip(flags) {
            // In this order: a woken thread finds the flag.
            signal_hook::flag::register(number(signal), flag)?;
            low_level::pipe::register(number(signal), wake.try_clone()?)?;
        }
        Ok(thread)
    }

    pub(crate) fn wake(&self) {
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
        let over = live.is_empty() && UNSUBSCRIBED.load(Ordering::Relaxed) == 0;
        if let Some(last) = last.filter(|_| over) {
            last.hear_after_its_end(signal, now);
        }
    }

    /// Returns the time at which the process ends: the latest of its shutdowns.
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
