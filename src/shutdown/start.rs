//! From the settings of a shutdown to its sequence.

use std::time::Duration;

use super::obeys::Obeys;
use super::sequence::{Driver, Sequence};
use super::{Budgets, InvalidShutdown, Report, Shutdown, StartError};
use crate::{runtime, text};

impl Shutdown {
    /// Checks the budgets against the grace, as a starting server does. A shutdown that was made to be checked may be
    /// dropped: it is not reported as one that no server drives.
    ///
    /// # Errors
    ///
    /// The budgets do not fit; the message names the number to change, and a value that fits.
    pub fn check(&self) -> Result<(), InvalidShutdown> {
        self.undriven.set_taken();
        self.check_budgets()
    }

    /// Checks as [`check`](Self::check) does, for one that is to be driven: a drop is still reported.
    pub(crate) fn check_budgets(&self) -> Result<(), InvalidShutdown> {
        let steps = self.closers.iter().chain(&self.flushes);
        let closers = steps.fold(Duration::ZERO, |sum, step| sum.saturating_add(step.budget));
        self.budgets.check(closers, self.grace)
    }

    /// Drives the shutdown without a server of [`serve`](crate::serve()): for a process that has workers only, or an
    /// accept loop of its own whose connections follow by [`Connections`](crate::serve::Connections).
    ///
    /// # Errors
    ///
    /// The budgets do not fit, signal handlers cannot be installed, or there is no runtime with timers.
    ///
    /// ```
    /// # use lameduck::Shutdown;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let shutdown = Shutdown::new().lame_duck(Duration::ZERO);
    /// let handle = shutdown.handle();
    /// handle.spawn_worker("queue", |stop| async move { stop.cancelled().await });
    /// # handle.shutdown();
    /// let report = shutdown.run().await.unwrap(); // until SIGTERM
    /// assert!(report.is_clean());
    /// # }
    /// ```
    pub async fn run(mut self) -> Result<Report, StartError> {
        self.set_taken();
        runtime::check_timers().map_err(StartError::Runtime)?;
        let handle = self.handle.clone();
        let sequence = self.start()?;
        if !sequence.waits_for_ready() {
            handle.ready();
        }
        Ok(sequence.run().await)
    }

    /// Returns the budgets and the grace, for a start line.
    pub(crate) fn budgets_in_force(&self) -> (Budgets, Duration) {
        (self.budgets, self.grace)
    }

    /// Returns the problem of its closers and flushes, if there is one: two of one name, or one without time.
    pub(crate) fn problem(&self) -> Option<String> {
        let kinds = [("closer", &self.closers), ("flush", &self.flushes)];
        kinds.into_iter().find_map(|(kind, steps)| {
            let twice = text::twice(steps.iter().map(|step| step.name.as_str()));
            let idle = steps.iter().find(|step| step.budget.is_zero());
            let twice = twice.map(|name| format!("{kind}: there are two with the name {name:?}"));
            twice.or_else(|| Some(format!("{kind} {:?}: its budget is zero", idle?.name)))
        })
    }

    /// Notes that a server has taken it: from then on it is driven, or its start fails.
    pub(crate) fn set_taken(&mut self) {
        self.undriven.set_taken();
    }

    /// Checks the budgets and begins to listen for signals.
    pub(crate) fn start(mut self) -> Result<Sequence, StartError> {
        self.set_taken();
        self.check_budgets()?;
        #[cfg(unix)]
        let subscription = self.subscription.transpose().map_err(StartError::Signals)?;
        let obeys = Obeys::enter(&self.handle, &self.signals);
        self.handle.set_driven();
        Ok(Sequence {
            driver: Driver {
                handle: self.handle,
                #[cfg(unix)]
                subscription,
                #[cfg(unix)]
                _deaf: self.deaf,
                _obeys: obeys,
                finished: false,
            },
            budgets: self.budgets,
            #[cfg(not(unix))]
            signals: self.signals,
            starting: self.starting,
            lame_duck_is_set: self.lame_duck_is_set,
            trigger: self.trigger,
            closers: self.closers,
            flushes: self.flushes,
        })
    }
}
