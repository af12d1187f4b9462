//! The one error type of this crate.

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
    /// A model's weights are in PyTorch's own format.
    #[error(
        "{path} is PyTorch's own format, which is not read; convert it in Python by \
         `AutoModel.from_pretrained(folder).save_pretrained(folder)`",
        path = .path.display()
    )]
    NotSafetensors {
        /// The file.
        path: PathBuf,
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
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] spry_data::Error),
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

impl From<Error> for spry_core::Error {
    fn from(error: Error) -> Self {
        Self::objective(error)
    }
}
