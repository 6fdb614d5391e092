//! How a run failed: the kind, which shrinking keeps, and every detail, which it does not.

use std::fmt;
use std::time::Duration;

/// What kind of thing went wrong; shrinking keeps it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An invariant was broken; its first words.
    Invariant(String),
    /// A process died unasked.
    Death,
    /// The cluster does not come to rest; what is missing.
    Unsettled(&'static str),
    /// Something was left behind.
    Leak,
    /// The simulator itself could not go on.
    Simulator,
}

/// How a run failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// What kind of thing.
    pub kind: Kind,
    /// Every detail.
    pub message: String,
    /// When, in virtual time.
    pub at: Duration,
    /// The step after which it was seen, from 0; past the last one while the cluster comes to rest.
    pub step: usize,
    /// All pods had been deleted before.
    pub emptied: bool,
    /// What the cluster at rest should have shown, as the body of an `expect`.
    pub demand: Option<String>,
}

impl Failure {
    /// The simulator itself could not go on, before anything happened.
    pub fn of_simulator(message: String) -> Failure {
        Failure { kind: Kind::Simulator, message, at: Duration::ZERO, step: 0, emptied: false, demand: None }
    }
}

impl Kind {
    /// An invariant's sentence begins with what must hold.
    pub(super) fn of_invariant(sentence: &str) -> Kind {
        let name = sentence.split_once(':').map_or(sentence, |(name, _)| name);
        Kind::Invariant(name.to_owned())
    }

    /// One word for file names.
    pub fn word(&self) -> String {
        let text = match self {
            Kind::Invariant(name) => name.as_str(),
            Kind::Death => "death",
            Kind::Unsettled(topic) => topic,
            Kind::Leak => "leak",
            Kind::Simulator => "simulator",
        };
        let letter = |c: char| {
            if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }
        };
        text.chars().map(letter).collect()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Invariant(name) => write!(f, "broken invariant: {name}"),
            Kind::Death => f.write_str("a process died unasked"),
            Kind::Unsettled(topic) => write!(f, "the cluster does not come to rest: {topic}"),
            Kind::Leak => f.write_str("something was left behind"),
            Kind::Simulator => f.write_str("the simulator could not go on"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, at, step) = (&self.kind, self.at.as_secs_f64(), self.step + 1);
        write!(f, "{kind} at {at:.3}s, step {step}\n{}", self.message)
    }
}
