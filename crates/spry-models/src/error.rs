//! The one error type of this crate.

use spry_data::guard::sayable;
use std::path::PathBuf;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. Every message says what was wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{path}: {reason}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        reason: std::io::Error,
    },
    /// A model's configuration cannot be read.
    #[error("{location}: not a usable model configuration: {reason}")]
    Config {
        /// Where it comes from.
        location: String,
        /// What is wrong.
        reason: String,
    },
    /// A configuration asks for something that is not supported.
    #[error("`{key}` = {got} is not supported; supported: {supported}")]
    Unsupported {
        /// The key of the configuration.
        key: &'static str,
        /// Its value.
        got: String,
        /// The values that are.
        supported: String,
    },
    /// A safetensors file is damaged.
    #[error("{path} is not a usable safetensors file: {reason}", path = .path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The list of a checkpoint's files cannot be used.
    #[error("{path} is not a usable index of safetensors files: {reason}", path = .path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Files that an index lists are not there, and the model needs them.
    #[error("{path} lists {files}, which the model needs and which cannot be read: {reason}", path = .path.display())]
    MissingFiles {
        /// The index.
        path: PathBuf,
        /// Names of the files.
        files: String,
        /// Why the first of them cannot be read.
        reason: String,
    },
    /// Weights are in another format.
    #[error(
        "{path} is not read: only safetensors are; convert it in Python by `{how}`",
        path = .path.display()
    )]
    NotSafetensors {
        /// The file.
        path: PathBuf,
        /// How to make what is read.
        how: &'static str,
    },
    /// A file asks for more tensors, longer names or larger ones than it may.
    #[error(
        "tensor `{name}` {reason} for {budget}; does config.json belong to this model?",
        name = sayable(.name)
    )]
    OverBudget {
        /// The tensor.
        name: String,
        /// What is too much.
        reason: String,
        /// For what.
        budget: &'static str,
    },
    /// A weight of a checkpoint is no number that can be computed with.
    #[error("{path}: value {index} of tensor `{name}` is {value}; the checkpoint is damaged", path = .path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Which of its values, in row-major order, from 0 on.
        index: usize,
        /// What it is.
        value: String,
    },
    /// A checkpoint lacks tensors that the model needs.
    #[error(
        "{path} lacks {count} tensor(s) that the model needs: {names}; does config.json belong to it?",
        path = .path.display()
    )]
    MissingTensors {
        /// The file.
        path: PathBuf,
        /// How many.
        count: usize,
        /// The first of them.
        names: String,
    },
    /// A checkpoint has tensors that the model does not know.
    #[error(
        "{path} has {count} tensor(s) that the model does not know: {names}; they would be lost",
        path = .path.display()
    )]
    ExtraTensors {
        /// The file.
        path: PathBuf,
        /// How many.
        count: usize,
        /// The first of them.
        names: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor `{name}` has shape {got:?}, but the configuration says {expected:?}{hint}")]
    Misshapen {
        /// The tensor.
        name: String,
        /// Its shape.
        got: Vec<usize>,
        /// The shape it should have.
        expected: Vec<usize>,
        /// What may help.
        hint: &'static str,
    },
    /// A tensor has a data type that weights cannot have.
    #[error("tensor `{name}` has dtype {got}; supported: F32, F16, BF16, F64")]
    DType {
        /// The tensor.
        name: String,
        /// Its type.
        got: String,
    },
    /// The forward pass asks for a weight that is not there.
    #[error("the model has no weight `{path}`")]
    UnknownWeight {
        /// The path.
        path: String,
    },
    /// No module has a name that a finetuning method targets.
    #[error("target module `{target}` names no linear layer of this model; it has {available}")]
    UnknownTarget {
        /// The name.
        target: String,
        /// Names there are.
        available: String,
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
    /// A file cannot be read or written, for a reason that is not the system's.
    #[error(transparent)]
    Data(spry_data::Error),
    /// A batch does not fit the model.
    #[error("the batch does not fit the model: {reason}")]
    Batch {
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |reason| Self::Io { path, reason }
    }
}

impl From<spry_data::Error> for Error {
    fn from(error: spry_data::Error) -> Self {
        match error {
            spry_data::Error::Io { path, reason } => Self::Io { path, reason },
            other => Self::Data(other),
        }
    }
}

impl From<Error> for spry_core::Error {
    fn from(error: Error) -> Self {
        Self::objective(error)
    }
}
