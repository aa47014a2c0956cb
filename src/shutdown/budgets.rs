use std::fmt;
use std::time::Duration;

/// The longest shutdown: a longer one is a mistake of units.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// The time budgets for the parts of a shutdown.
///
/// ```
/// use lameduck::shutdown::Budgets;
/// use std::time::Duration;
///
/// let budgets = Budgets { drain: Duration::from_secs(40), ..Budgets::default() };
/// let error = budgets.check(Duration::ZERO, Duration::from_secs(30)).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "the shutdown needs 51s (lame_duck 5s + drain 40s + workers 5s + closers 0s + margin 1s) but the \
///      termination grace is 30s: raise the grace (ECS stopTimeout, Kubernetes \
///      terminationGracePeriodSeconds) to 51s, or lower drain to 19s",
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// The lame duck: the process serves on while it asks all clients to go elsewhere. Always used whole, unless a
    /// Ctrl-C skips it; set it to zero if there is no balancer. Default: 5 s.
    pub lame_duck: Duration,
    /// The drain, which finishes requests in flight. Default: 15 s.
    pub drain: Duration,
    /// The stop of the workers. Default: 5 s.
    pub workers: Duration,
    /// The reserve for the last responses of observers, and half of it for the end of the process itself. Default: 1 s.
    pub margin: Duration,
}

impl Default for Budgets {
    fn default() -> Self {
        Budgets {
            lame_duck: Duration::from_secs(5),
            drain: Duration::from_secs(15),
            workers: Duration::from_secs(5),
            margin: Duration::from_secs(1),
        }
    }
}

impl Budgets {
    /// Checks that the budgets fit into `grace` together with `closers`, the sum of the closers' own budgets.
    ///
    /// # Errors
    ///
    /// The budgets do not fit.
    pub fn check(&self, closers: Duration, grace: Duration) -> Result<(), InvalidShutdown> {
        let parts = [
            ("lame_duck", self.lame_duck),
            ("drain", self.drain),
            ("workers", self.workers),
            ("closers", closers),
            ("margin", self.margin),
        ];
        let add = |sum: Duration, part: &(&str, Duration)| sum.saturating_add(part.1);
        let sum = parts.iter().fold(Duration::ZERO, add);
        if sum <= grace && sum <= LONGEST {
            return Ok(());
        }
        Err(InvalidShutdown(Box::new(Misfit { parts, sum, grace })))
    }
}

/// The error of budgets that do not fit into the termination grace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidShutdown(Box<Misfit>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Misfit {
    parts: [(&'static str, Duration); 5],
    sum: Duration,
    grace: Duration,
}

impl fmt::Display for InvalidShutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Misfit { parts, sum, grace } = &*self.0;
        write!(f, "the shutdown needs {} (", WithUnit(*sum))?;
        for (index, (name, part)) in parts.iter().enumerate() {
            let plus = if index > 0 { " + " } else { "" };
            write!(f, "{plus}{name} {}", WithUnit(*part))?;
        }
        if sum <= grace {
            return f.write_str("), longer than a week: a mistake of units");
        }
        write!(
            f,
            ") but the termination grace is {}: raise the grace (ECS stopTimeout, Kubernetes \
             terminationGracePeriodSeconds) to {}",
            WithUnit(*grace),
            WithUnit(*sum)
        )?;
        // The longest part has the most to give.
        if let Some((longest, _)) = parts.iter().max_by_key(|(_, part)| *part) {
            let others = parts.iter().filter(|(name, _)| name != longest);
            let others = others.fold(Duration::ZERO, |sum, (_, part)| sum.saturating_add(*part));
            if *grace > others {
                write!(f, ", or lower {longest} to {}", WithUnit(*grace - others))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for InvalidShutdown {}

/// A duration, displayed so that zero has the same unit as the others.
struct WithUnit(Duration);

impl fmt::Display for WithUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            f.write_str("0s")
        } else {
            write!(f, "{:?}", self.0)
        }
    }
}
