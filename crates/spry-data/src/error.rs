//! The one error type of this crate.

use std::path::PathBuf;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. Every message says what was wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder cannot be read or written.
    #[error("{path}: {reason}", path = .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        reason: std::io::Error,
    },
    /// Something else than a regular file stands where a file is expected.
    #[error(
        "{path} is not a regular file; a folder, FIFO or device cannot be read here",
        path = .path.display()
    )]
    NotAFile {
        /// The folder, FIFO, socket or device.
        path: PathBuf,
    },
    /// Git left a pointer in the place of a file that Git LFS keeps elsewhere.
    #[error(
        "{path} is a Git LFS pointer, not the file itself; run `git lfs pull` in its repository, \
         or download the file again",
        path = .path.display()
    )]
    LfsPointer {
        /// The pointer.
        path: PathBuf,
    },
    /// A file is longer than what is read of its kind.
    #[error("{path} has {bytes} bytes, but at most {limit} are read of such a file", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A name is neither a local directory nor a hub id.
    #[error("`{name}` is neither a local directory nor a hub id such as `organisation/name`")]
    NotASource {
        /// The name.
        name: String,
    },
    /// A file is needed from the hub, but is not in its cache, and going online is not allowed.
    #[error(
        "`{file}` of {repo} is not in the local hub cache ({cache}), and offline mode is on; \
         go online once (unset HF_HUB_OFFLINE, drop --offline), or give a local directory",
        cache = .cache.display()
    )]
    NotCached {
        /// The repository.
        repo: String,
        /// The file.
        file: String,
        /// The cache that was searched.
        cache: PathBuf,
    },
    /// A variable of the environment that is needed here cannot be used.
    #[error("the environment variable {variable} cannot be used: {reason}")]
    Environment {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it; never its value.
        reason: String,
    },
    /// A repository of the hub has no such file.
    #[error("`{file}` is not in {repo}: {reason}")]
    NotInRepository {
        /// The repository.
        repo: String,
        /// The file.
        file: String,
        /// How this is known.
        reason: String,
    },
    /// Files of one commit of a repository are in use, and others can be had of another commit
    /// only: all of them must be asked for again.
    #[error(
        "{repo} moved from commit {from} to {to} while its files were read; try again, or name a \
         commit: `organisation/name@commit`"
    )]
    Moved {
        /// The repository.
        repo: String,
        /// The commit whose files are in use.
        from: String,
        /// The commit of the others, which is asked for from now on.
        to: String,
    },
    /// The hub cannot be reached at all.
    #[error(
        "the hub at {endpoint} cannot be reached ({reason}); check the network and HF_ENDPOINT, or \
         give a local directory"
    )]
    Unreachable {
        /// The hub's address.
        endpoint: String,
        /// What was tried.
        reason: String,
    },
    /// The hub refused, or the transfer broke off.
    #[error("`{file}` of {repo} cannot be downloaded: {reason}")]
    Download {
        /// The repository.
        repo: String,
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// A dataset's folder has no Parquet file for a split.
    #[error(
        "no Parquet file for split `{split}` in {location}; expected files such as \
         `{folder}/{split}-00000-of-00001.parquet`"
    )]
    MissingSplit {
        /// The split.
        split: String,
        /// Where it was looked for.
        location: String,
        /// The folder in it where such a file is expected.
        folder: String,
    },
    /// A split's files are not one complete set.
    #[error("split `{split}` in {location}: {reason}")]
    SplitFiles {
        /// The split.
        split: String,
        /// Where its files are.
        location: String,
        /// Which files there are, and which are missing or too many.
        reason: String,
    },
    /// A dataset has one class only.
    #[error("{name} has no class but `{class}`; a classifier needs at least two")]
    OneClass {
        /// The dataset.
        name: String,
        /// Its class.
        class: String,
    },
    /// A Parquet file cannot be read.
    #[error("{path} is not a readable Parquet file: {reason}", path = .path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A Parquet file lacks a column.
    #[error("{path} has no column `{column}`; its columns are {available}", path = .path.display())]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The columns there are.
        available: String,
    },
    /// A value has the wrong type or range.
    #[error("{path}, row {row}, column `{column}`: {reason}", path = .path.display())]
    BadValue {
        /// The file.
        path: PathBuf,
        /// The row, from 0 on.
        row: usize,
        /// The column.
        column: String,
        /// What is wrong.
        reason: String,
    },
    /// A dataset has no examples.
    #[error("{name} has no examples")]
    Empty {
        /// The dataset.
        name: String,
    },
    /// A dataset's name is not known.
    #[error("unknown dataset `{name}`; known ones are {known}")]
    UnknownDataset {
        /// The name.
        name: String,
        /// The known ones.
        known: String,
    },
    /// The tokenizer cannot be loaded, or a text cannot be encoded.
    #[error("tokenizer {location}: {reason}")]
    Tokenizer {
        /// Its file or folder.
        location: String,
        /// What is wrong.
        reason: String,
    },
    /// There are more clients than examples.
    #[error("{clients} clients cannot share {examples} examples; use at most {examples} clients")]
    TooManyClients {
        /// The number of clients.
        clients: usize,
        /// The number of examples.
        examples: usize,
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
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |reason| Self::Io { path, reason }
    }

    /// Whether the hub could not be reached, or may not be: a local stand-in can help.
    pub fn is_offline(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NotCached { .. })
    }
}
