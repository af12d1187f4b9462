//! The one error type of this crate, and the exit codes that go with it.

use std::error::Error as StdError;
use std::path::PathBuf;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. Every message says what was wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line, a configuration or a file that was named cannot be used.
    #[error("{0}")]
    Input(String),
    /// A dataset, a tokenizer or a partition.
    #[error(transparent)]
    Data(#[from] spry_data::Error),
    /// A model or an adapter.
    #[error(transparent)]
    Model(#[from] spry_models::Error),
    /// A method or its run.
    #[error(transparent)]
    Core(#[from] spry_core::Error),
    /// A file or folder cannot be read or written.
    #[error("{path}: {reason}", path = .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        reason: std::io::Error,
    },
    /// A file that this program writes is damaged.
    #[error("{path} is damaged: {reason}", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Another process works on a run.
    #[error(
        "{folder}: another process works on this run{who}; wait for it, or stop it first",
        folder = .folder.display(),
        who = .holder.as_ref().map_or(String::new(), |holder| format!(" ({holder})"))
    )]
    Busy {
        /// The run's folder.
        folder: PathBuf,
        /// Who it is, such as `process 12 on host`, if that is known.
        holder: Option<String>,
    },
    /// The run was interrupted and can be resumed.
    #[error(
        "interrupted after {rounds} rounds; go on with: spry resume {folder}",
        folder = crate::text::shell_word(folder)
    )]
    Interrupted {
        /// The run's folder.
        folder: PathBuf,
        /// Number of rounds that had ended.
        rounds: u64,
    },
    /// A sweep was interrupted and can be taken up.
    #[error("interrupted; the same command goes on with the sweep")]
    SweepInterrupted,
    /// Something was checked and does not hold.
    #[error("{0}")]
    Failed(String),
}

/// Exit code of a command that failed while it worked.
pub const FAILED: u8 = 1;
/// Exit code for bad input: a wrong flag, configuration or file.
pub const BAD_INPUT: u8 = 2;
/// Exit code of an interrupted run, as of a shell's command after Ctrl-C.
pub const INTERRUPTED: u8 = 130;

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |reason| Self::Io { path, reason }
    }

    /// The exit code: [`FAILED`], [`BAD_INPUT`] or [`INTERRUPTED`].
    pub fn exit_code(&self) -> u8 {
        use spry_core::Error as Core;
        use spry_data::Error as Data;
        use spry_models::Error as Model;
        match self {
            Self::Input(_) | Self::Damaged { .. } | Self::Busy { .. } => BAD_INPUT,
            Self::Data(Data::Unreachable { .. } | Data::Download { .. }) => FAILED,
            Self::Io { reason, .. }
            | Self::Data(Data::Io { reason, .. })
            | Self::Model(Model::Io { reason, .. }) => exit_code_of(reason),
            Self::Data(_) | Self::Model(_) => BAD_INPUT,
            Self::Core(
                Core::InvalidOption { .. }
                | Core::UnknownOption { .. }
                | Core::UnusableOption { .. },
            ) => BAD_INPUT,
            Self::Core(_) | Self::Failed(_) => FAILED,
            Self::Interrupted { .. } | Self::SweepInterrupted => INTERRUPTED,
        }
    }

    /// The message with those of its causes, as a [`message`](crate::text::message): in one line of
    /// bounded length, in characters that can be seen.
    pub fn line(&self) -> String {
        let mut line = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            let message = error.to_string();
            if !line.contains(&message) {
                line = format!("{line}: {message}");
            }
            source = error.source();
        }
        crate::text::message(&line)
    }
}

/// A file that is not there, or not what it should be, was named wrongly; a full disk was not.
fn exit_code_of(reason: &std::io::Error) -> u8 {
    use std::io::ErrorKind;
    match reason.kind() {
        ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::NotADirectory
        | ErrorKind::AlreadyExists
        | ErrorKind::IsADirectory
        | ErrorKind::ReadOnlyFilesystem
        // A name with a zero byte, and one that is too long.
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidFilename
        | ErrorKind::InvalidData => BAD_INPUT,
        _ => FAILED,
    }
}
