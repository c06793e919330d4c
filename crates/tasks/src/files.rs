//! Files as they lie: in a folder, or in a zip archive that is read in place.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, ErrorKind};

/// What lies in a folder, sorted by name.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let listing = fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
    });
    let mut paths = listing.map_err(|cause| cannot_read(folder, &cause))?;
    paths.sort();
    Ok(paths)
}

/// The operating system refused.
pub(crate) fn cannot_read(path: &Path, cause: &std::io::Error) -> Error {
    let message = format!(
        "{}: cannot be read ({cause}): expected a file or folder this user may read; check its \
         permissions",
        path.display()
    );
    Error::new(ErrorKind::Io, message)
}
