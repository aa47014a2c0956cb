//! The settings of the traces, by the names that OpenTelemetry gives them.

use std::fmt;

/// The collector, and what it gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The base of its URL, without `/v1/traces`.
    pub endpoint: String,
    pub service: String,
    pub sampler: Sampler,
    /// The share of traces to keep, for the samplers that have one.
    pub ratio: f64,
}

/// The choice of the traces to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// Follows the choice of the client, if it has made one.
    pub by_parent: bool,
    pub root: Root,
}

/// The choice for a trace that begins here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    AlwaysOn,
    AlwaysOff,
    Ratio,
}

impl Sampler {
    /// Parses a value of `OTEL_TRACES_SAMPLER`.
    pub fn parse(text: &str) -> Option<Self> {
        let (by_parent, root) = match text.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, text),
        };
        let mut roots = [Root::AlwaysOn, Root::AlwaysOff, Root::Ratio].into_iter();
        let root = roots.find(|known| known.name() == root)?;
        Some(Self { by_parent, root })
    }
}

impl Root {
    fn name(self) -> &'static str {
        match self {
            Self::AlwaysOn => "always_on",
            Self::AlwaysOff => "always_off",
            Self::Ratio => "traceidratio",
        }
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.by_parent {
            f.write_str("parentbased_")?;
        }
        f.write_str(self.root.name())
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "of {} to {} ({}",
            self.service, self.endpoint, self.sampler
        )?;
        if self.sampler.root == Root::Ratio {
            write!(f, " {}", self.ratio)?;
        }
        f.write_str(")")
    }
}
