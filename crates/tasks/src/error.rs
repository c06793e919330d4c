//! What can go wrong with data.

/// The kind of an [`Error`], for callers that react to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A folder, archive or alphabet is missing.
    NotFound,
    /// A file is there but cannot be decoded.
    Corrupt,
    /// An image has another size or number of channels than its data set.
    Shape,
    /// Too few classes or samples for the episodes asked for.
    TooFew,
    /// A name that is not in the list of known ones.
    Unknown,
    /// A class is in two splits.
    Overlap,
    /// The operating system refused to read.
    Io,
}

/// An error of this crate. Its message says what was found, what was expected, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into() }
    }

    /// What went wrong, in one word.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}
