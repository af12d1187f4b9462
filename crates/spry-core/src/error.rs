//! The one error type of this crate.

use std::error::Error as StdError;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. Every message says what was wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A path names no parameter of the set at hand.
    #[error("there is no trainable parameter `{path}`; known ones are {known}")]
    UnknownParameter {
        /// The path that was asked for.
        path: String,
        /// Some of the paths that exist.
        known: String,
    },
    /// Two values of one parameter have different shapes.
    #[error("parameter `{path}` has shape {expected:?}, but the given value has {got:?}")]
    ShapeMismatch {
        /// The parameter's path.
        path: String,
        /// Its shape.
        expected: Vec<usize>,
        /// The shape that was given.
        got: Vec<usize>,
    },
    /// Two values of one parameter differ in data type, role or group.
    #[error("parameter `{path}` is {expected}, but the given value is {got}")]
    KindMismatch {
        /// The parameter's path.
        path: String,
        /// Its role, group and data type.
        expected: String,
        /// Those that were given.
        got: String,
    },
    /// Parameter sets that must have the same paths do not.
    #[error("the parameter sets differ: `{path}` is in only one of them")]
    PathMismatch {
        /// A path that only one of the sets has.
        path: String,
    },
    /// A number that must be finite is NaN or infinite.
    #[error("{what} is not finite; a smaller learning rate usually helps")]
    NonFinite {
        /// What was not finite, with its path if it has one.
        what: String,
    },
    /// An option has a value that cannot work.
    #[error("`{option}` is {got}, but must be {expected}")]
    InvalidOption {
        /// Name of the option.
        option: &'static str,
        /// The value given.
        got: String,
        /// What is allowed.
        expected: String,
    },
    /// There is no option of this name.
    #[error("there is no option `{option}`; there are {known}")]
    UnknownOption {
        /// Path of the option that was given.
        option: String,
        /// The options at its place.
        known: String,
    },
    /// An option has a value that cannot be read.
    #[error("`{option}` cannot be used: {reason}")]
    UnusableOption {
        /// Path of the option.
        option: String,
        /// What is wrong with its value.
        reason: String,
    },
    /// A snapshot of a simulation is damaged.
    #[error("the snapshot cannot be used: {reason}")]
    UnusableSnapshot {
        /// What is wrong with it.
        reason: String,
    },
    /// A client has nothing to train on.
    #[error("client {client} has no training examples")]
    NoExamples {
        /// The client.
        client: usize,
    },
    /// A client's update does not answer its task.
    #[error("client {client} sent an unusable update: {reason}")]
    UnusableUpdate {
        /// The client.
        client: usize,
        /// What is wrong with the update.
        reason: String,
    },
    /// A client did not answer.
    #[error("client {client} dropped out of the round")]
    DroppedOut {
        /// The client.
        client: usize,
    },
    /// No client of a round delivered a usable update.
    #[error("no client delivered a usable update")]
    NoUsableUpdate,
    /// A run with a budget of work made no progress.
    #[error(
        "no client did any work in {rounds} rounds in a row, so the budget would never be spent; \
         the events of these rounds say why"
    )]
    NoProgress {
        /// The number of rounds.
        rounds: u32,
    },
    /// A gradient lacks a parameter.
    #[error("the gradient has neither values nor coefficients for `{path}`")]
    IncompleteGradient {
        /// The parameter's path.
        path: String,
    },
    /// All usable updates of a round were left out by the method.
    #[error("all updates were left out: {}", list(reasons))]
    AllLeftOut {
        /// The clients, and why.
        reasons: Vec<(usize, String)>,
    },
    /// The run was asked to stop.
    #[error("stopped on request")]
    Stopped,
    /// A client's work, or the strategy's aggregation, panicked.
    #[error("a piece of work panicked: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// The model or the data failed; the source says how.
    #[error(transparent)]
    Objective(Box<dyn StdError + Send + Sync>),
    /// A message could not be written or read.
    #[error("a message could not be serialised")]
    Serialization(#[from] postcard::Error),
    /// The operating system refused something.
    #[error("{what}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// The system's answer.
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl Error {
    /// Wraps an error of a model or dataset.
    pub fn objective(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Objective(source.into())
    }

    /// Whether this says that the run was asked to stop, rather than that something failed.
    pub fn is_stopped(&self) -> bool {
        matches!(self, Self::Stopped)
    }
}

/// Checks an option that must be a finite number in a range.
pub(crate) fn check_option(
    option: &'static str,
    value: f64,
    allowed: impl Fn(f64) -> bool,
    expected: &str,
) -> Result<()> {
    if value.is_finite() && allowed(value) {
        return Ok(());
    }
    Err(Error::InvalidOption { option, got: value.to_string(), expected: expected.to_string() })
}

fn list(reasons: &[(usize, String)]) -> String {
    let each: Vec<String> =
        reasons.iter().map(|(client, reason)| format!("client {client}: {reason}")).collect();
    each.join("; ")
}
