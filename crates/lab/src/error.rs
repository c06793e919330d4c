//! What can go wrong in a run, and the matching exit code.

use std::io;
use std::path::Path;

use innerloop_tasks as tasks;

/// The kind of an [`Error`], for callers that react to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A comparison exceeded its tolerance.
    Mismatch,
    /// The command was called wrongly: an unknown preset, a folder that holds another run.
    Usage,
    /// A setting is unknown, malformed or incompatible with another one.
    Config,
    /// A data set is missing, damaged or too small.
    Data,
    /// A file of weights or a checkpoint is missing, damaged or of another format.
    Checkpoint,
    /// Numbers stopped being finite.
    Diverged,
    /// The operating system refused to read or write.
    Io,
    /// Stopped from outside; the progress is saved.
    Interrupted,
}

impl ErrorKind {
    /// Exit code of the command: 1 for a mismatch, 130 for an interrupt, 2 to 7 for the rest.
    pub fn exit_code(self) -> u8 {
        match self {
            ErrorKind::Mismatch => 1,
            ErrorKind::Usage => 2,
            ErrorKind::Config => 3,
            ErrorKind::Data => 4,
            ErrorKind::Checkpoint => 5,
            ErrorKind::Diverged => 6,
            ErrorKind::Io => 7,
            ErrorKind::Interrupted => 130,
        }
    }
}

/// An error of this crate. Its message says what was found, what was expected, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// Shorthand of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of any kind. The message ends without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into() }
    }

    /// [`ErrorKind::Mismatch`].
    pub fn mismatch(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Mismatch, message)
    }

    /// [`ErrorKind::Usage`].
    pub fn usage(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Usage, message)
    }

    /// [`ErrorKind::Config`].
    pub fn config(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Config, message)
    }

    /// [`ErrorKind::Data`].
    pub fn data(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Data, message)
    }

    /// [`ErrorKind::Checkpoint`].
    pub fn checkpoint(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Checkpoint, message)
    }

    /// [`ErrorKind::Diverged`].
    pub fn diverged(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Diverged, message)
    }

    /// [`ErrorKind::Interrupted`].
    pub fn interrupted(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Interrupted, message)
    }

    /// [`ErrorKind::Io`]: `io("write", path, cause)` reads "cannot write path: cause", followed by advice where the
    /// cause suggests any.
    pub fn io(action: &str, path: &Path, cause: &io::Error) -> Error {
        let advice = match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "; free some space and try again"
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "; choose another place or change its permissions"
            }
            io::ErrorKind::NotADirectory => "; a part of the path is a file, expected folders",
            _ => "",
        };
        Error::new(ErrorKind::Io, format!("cannot {action} {}: {cause}{advice}", path.display()))
    }

    /// What went wrong, in one word.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// [`ErrorKind::exit_code`] of the kind.
    pub fn exit_code(&self) -> u8 {
        self.kind.exit_code()
    }

    /// The same error, with what was being done before its message.
    pub fn context(self, doing: impl std::fmt::Display) -> Error {
        Error { kind: self.kind, message: format!("{doing}: {}", self.message) }
    }
}

impl From<tasks::Error> for Error {
    fn from(error: tasks::Error) -> Error {
        match error.kind() {
            tasks::ErrorKind::Unknown => Error::config(error.to_string()),
            tasks::ErrorKind::Io => Error::new(ErrorKind::Io, error.to_string()),
            _ => Error::data(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_distinct_and_not_zero() {
        use ErrorKind::*;
        let kinds = [Mismatch, Usage, Config, Data, Checkpoint, Diverged, Io, Interrupted];
        let mut codes = kinds.map(ErrorKind::exit_code);
        codes.sort_unstable();
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 130]);
    }

    #[test]
    fn an_io_error_says_what_was_tried_and_advises() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = Error::io("write", Path::new("a/b"), &full);
        assert_eq!(error.kind(), ErrorKind::Io);
        let message = error.to_string();
        assert!(message.starts_with("cannot write a/b: "), "{message}");
        assert!(message.ends_with("; free some space and try again"), "{message}");
        let message = error.context("iteration 7").to_string();
        assert!(message.starts_with("iteration 7: cannot write"), "{message}");
    }
}
