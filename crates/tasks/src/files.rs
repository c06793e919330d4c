//! Files in a folder, or in a zip archive that is read in place.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use crate::{Error, ErrorKind};

/// No file of a data set is larger, except archives; this limits what a damaged header can claim.
const LARGEST_FILE: u64 = 1 << 28;

/// All files below a folder, or in a zip archive. Clones share the archive's file.
#[derive(Clone)]
pub(crate) struct Tree {
    place: PathBuf,
    store: Store,
    /// Stamp from before the archive was read.
    stamp: Option<[u8; 24]>,
    /// Names relative to the place with `/` between folders, sorted, each with its position in the archive.
    files: Vec<(String, usize)>,
    /// Names of all folders below the place, including empty ones, sorted.
    folders: BTreeSet<String>,
}

#[derive(Clone)]
enum Store {
    Zip(ZipArchive<SharedFile>),
    Folder,
}

/// A file that is read in pieces. Each clone has its own position.
#[derive(Clone)]
struct SharedFile {
    file: Arc<Mutex<File>>,
    length: u64,
    at: u64,
    /// The last piece read, and its offset.
    piece: Vec<u8>,
    begin: u64,
}

impl SharedFile {
    /// Bytes per piece: more than a header, about an image file.
    const PIECE: u64 = 1 << 14;

    fn open(path: &Path) -> io::Result<SharedFile> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(SharedFile { file: Arc::new(Mutex::new(file)), length, at: 0, piece: vec![], begin: 0 })
    }
}

impl Read for SharedFile {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let piece = self.begin..self.begin + self.piece.len() as u64;
        if !piece.contains(&self.at) {
            self.piece.clear();
            self.begin = self.at;
            // A reader that panicked leaves only a position behind, which is set again here.
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(self.at))?;
            (&mut *file).take(SharedFile::PIECE).read_to_end(&mut self.piece)?;
        }
        let n = (&self.piece[(self.at - self.begin) as usize..]).read(into)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for SharedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

impl Tree {
    /// A folder, or a zip archive. Files and folders whose names begin with a dot, and the shadow copies in
    /// archives made on a Mac, are not listed.
    pub(crate) fn open(place: &Path) -> Result<Tree, Error> {
        let (mut files, mut folders) = (Vec::new(), BTreeSet::new());
        let stamp = stamp(place).ok();
        let store = if place.is_dir() {
            walk(place, "", (&mut files, &mut folders))?;
            Store::Folder
        } else {
            let zip = open_zip(place)?;
            for index in 0..zip.len() {
                let Some(Ok(name)) = zip.name_for_index(index) else { continue };
                let name = name.replace('\\', "/");
                if !is_listed(&name) {
                    continue;
                }
                // Most archives list only empty folders.
                let slashes = name.match_indices('/').filter(|&(at, _)| at > 0);
                folders.extend(slashes.map(|(at, _)| name[..at].to_string()));
                if !name.ends_with('/') {
                    files.push((name, index));
                }
            }
            Store::Zip(zip)
        };
        files.sort();
        Ok(Tree { place: place.to_path_buf(), store, stamp, files, folders })
    }

    /// Where it is.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// Size and time of modification of an archive before it was read.
    pub(crate) fn stamp(&self) -> Option<[u8; 24]> {
        self.stamp
    }

    /// SHA-256 of an archive's list of contents, which holds the CRC-32 of every file; `None` for a folder.
    pub(crate) fn contents(&self) -> io::Result<Option<[u8; 32]>> {
        let Store::Zip(zip) = &self.store else { return Ok(None) };
        let mut file = zip.clone().into_inner();
        file.seek(SeekFrom::Start(zip.central_directory_start()))?;
        let (mut hash, mut part) = (Sha256::new(), [0; SharedFile::PIECE as usize]);
        loop {
            match file.read(&mut part)? {
                0 => return Ok(Some(hash.finalize().into())),
                n => hash.update(&part[..n]),
            }
        }
    }

    /// Names of all files, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(name, _)| name.as_str())
    }

    /// Names of all folders, sorted.
    pub(crate) fn folders(&self) -> impl Iterator<Item = &str> {
        self.folders.iter().map(String::as_str)
    }

    /// The file's name preceded by the place, for messages.
    pub(crate) fn full_name(&self, file: usize) -> String {
        format!("{}: {}", self.place.display(), self.files[file].0)
    }

    /// The bytes of the file at a position among the names.
    pub(crate) fn read(&mut self, file: usize) -> Result<Vec<u8>, Error> {
        self.bytes(file).map_err(|cause| {
            let message = format!(
                "{}: cannot be read ({cause}): expected an intact file that this user may read; copy or \
                 download it again",
                self.full_name(file)
            );
            Error::new(ErrorKind::Corrupt, message)
        })
    }

    /// The same, for callers with their own advice.
    pub(crate) fn bytes(&mut self, file: usize) -> io::Result<Vec<u8>> {
        let (name, index) = &self.files[file];
        let mut bytes = Vec::new();
        match &mut self.store {
            Store::Zip(zip) => zip.by_index(*index)?.take(LARGEST_FILE).read_to_end(&mut bytes)?,
            Store::Folder => {
                let file = File::open(self.place.join(name))?;
                file.take(LARGEST_FILE).read_to_end(&mut bytes)?
            }
        };
        Ok(bytes)
    }

    /// The text of the file at a position among the names; one that ends in `.gz` is unpacked.
    pub(crate) fn text(&mut self, file: usize) -> Result<String, Error> {
        let name = self.full_name(file);
        unpacked(&name, self.read(file)?)
    }

    /// The lines of a text file, without those that are empty.
    pub(crate) fn lines(&mut self, file: usize) -> Result<Vec<String>, Error> {
        let text = self.text(file)?;
        Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }
}

/// Size and time of modification of a file.
pub(crate) fn stamp(path: &Path) -> std::io::Result<[u8; 24]> {
    let about = fs::metadata(path)?;
    let age = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&about.len().to_le_bytes());
    bytes[8..].copy_from_slice(&age.as_nanos().to_le_bytes());
    Ok(bytes)
}

/// A file's text; one that ends in `.gz` is unpacked.
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    let file = fs::File::open(path).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::NotFound => {
            let message = format!("{}: not found: expected a text file", path.display());
            Error::new(ErrorKind::NotFound, message)
        }
        _ => cannot_read(path, &cause),
    })?;
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE).read_to_end(&mut bytes).map_err(|cause| cannot_read(path, &cause))?;
    unpacked(&path.display().to_string(), bytes)
}

fn unpacked(name: &str, bytes: Vec<u8>) -> Result<String, Error> {
    if !name.ends_with(".gz") {
        return text(name, bytes);
    }
    let mut plain = Vec::new();
    GzDecoder::new(bytes.as_slice()).take(LARGEST_FILE).read_to_end(&mut plain).map_err(|cause| {
        let message = format!(
            "{name}: cannot be unpacked to its end ({cause}): expected an intact gzip file; copy or download it again"
        );
        Error::new(ErrorKind::Corrupt, message)
    })?;
    text(name, plain)
}

fn text(name: &str, bytes: Vec<u8>) -> Result<String, Error> {
    let text = String::from_utf8(bytes).map_err(|cause| {
        let at = cause.utf8_error().valid_up_to();
        let message =
            format!("{name}: byte {at} is not UTF-8: expected a text file; save it as UTF-8");
        Error::new(ErrorKind::Corrupt, message)
    })?;
    // Spreadsheet programs begin files with a byte order mark, which is not part of the text.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// A zip archive, of which only the list of contents is in memory.
fn open_zip(place: &Path) -> Result<ZipArchive<SharedFile>, Error> {
    let file = SharedFile::open(place).map_err(|cause| cannot_read(place, &cause))?;
    let size = file.length;
    let other = other_format(file.clone()).map_err(|cause| cannot_read(place, &cause))?;
    ZipArchive::new(file).map_err(|cause| {
        if let Some(other) = other {
            let message = format!(
                "{}: {other}: expected a folder or a zip archive; unpack it, and give the resulting folder",
                place.display()
            );
            return Error::new(ErrorKind::Unknown, message);
        }
        let message = format!(
            "{}: {size} bytes that are not an intact zip archive ({cause}): probably truncated during the \
             download; download it again",
            place.display()
        );
        Error::new(ErrorKind::Corrupt, message)
    })
}

/// The format of a file packed in another way, by its first bytes.
fn other_format(file: SharedFile) -> io::Result<Option<&'static str>> {
    const TAR: (usize, &[u8]) = (257, b"ustar");
    const FORMATS: [(&str, (usize, &[u8])); 4] = [
        ("a gzip file, as .tar.gz and .tgz are", (0, b"\x1f\x8b")),
        ("a bzip2 file, as .tar.bz2 is", (0, b"BZh")),
        ("an xz file, as .tar.xz is", (0, b"\xfd7zXZ\0")),
        ("a tar archive", TAR),
    ];
    let mut head = Vec::new();
    file.take((TAR.0 + TAR.1.len()) as u64).read_to_end(&mut head)?;
    let is = |(at, magic): (usize, &[u8])| head.get(at..).is_some_and(|h| h.starts_with(magic));
    Ok(FORMATS.into_iter().find(|&(_, magic)| is(magic)).map(|(name, _)| name))
}

/// Lists files and folders below a folder, with a prefix to their names.
fn walk(
    folder: &Path,
    prefix: &str,
    (files, folders): (&mut Vec<(String, usize)>, &mut BTreeSet<String>),
) -> Result<(), Error> {
    for path in entries(folder)? {
        let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else { continue };
        let name = format!("{prefix}{name}");
        match path.is_dir() {
            _ if !is_listed(&name) => {}
            true => {
                walk(&path, &format!("{name}/"), (files, folders))?;
                folders.insert(name);
            }
            false => files.push((name, 0)),
        }
    }
    Ok(())
}

fn is_listed(name: &str) -> bool {
    !name.split('/').any(|part| part.starts_with('.') || part == "__MACOSX")
}

/// The entries of a folder, sorted by name.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let listing = fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
    });
    let mut paths = listing.map_err(|cause| cannot_read(folder, &cause))?;
    paths.sort();
    Ok(paths)
}

/// The error for a file or folder that the operating system does not let us read.
pub(crate) fn cannot_read(path: &Path, cause: &std::io::Error) -> Error {
    let message = format!(
        "{}: cannot be read ({cause}): expected a file or folder this user may read; check its \
         permissions",
        path.display()
    );
    Error::new(ErrorKind::Io, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_file_read_it_each_from_its_place() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, &bytes).unwrap();
        let mut file = SharedFile::open(&path).unwrap();
        let mut other = file.clone();
        let read = |file: &mut SharedFile, to, n: usize| {
            let at = file.seek(to).unwrap() as usize;
            let mut into = vec![0; n];
            file.read_exact(&mut into).unwrap();
            assert!(into == bytes[at..at + n], "{n} bytes from {at}");
        };
        read(&mut file, SeekFrom::Start(90_000), 10);
        read(&mut other, SeekFrom::Start(16_380), 40_000);
        read(&mut file, SeekFrom::Current(-100), 500);
        read(&mut other, SeekFrom::End(-7), 7);
        assert_eq!(other.read(&mut [0; 9]).unwrap(), 0, "nothing follows the end");
        assert!(other.seek(SeekFrom::End(-100_001)).is_err());
        read(&mut file, SeekFrom::Start(0), bytes.len());
    }

    #[test]
    fn what_is_packed_in_another_way_is_called_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let check = |bytes: &[u8], kind, words: &[&str]| {
            fs::write(&path, bytes).unwrap();
            crate::check_failure(Tree::open(&path).map(drop), kind, words);
        };
        // The header of a tar archive with a file `a`, as far as it matters.
        let mut tar = vec![0; 1024];
        tar[0] = b'a';
        tar[257..265].copy_from_slice(b"ustar\x0000");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &tar).unwrap();
        let advice = "expected a folder or a zip archive; unpack it, and give the resulting folder";
        check(&tar, ErrorKind::Unknown, &["data: a tar archive", advice]);
        check(&gzip.finish().unwrap(), ErrorKind::Unknown, &["a gzip file, as .tar.gz", advice]);
        check(b"BZh91AY&SY", ErrorKind::Unknown, &["a bzip2 file", advice]);
        check(b"\xfd7zXZ\0\0", ErrorKind::Unknown, &["an xz file", advice]);
        // The beginning of a zip archive, and nothing.
        check(b"PK\x03\x04", ErrorKind::Corrupt, &["4 bytes", "probably truncated"]);
        check(b"", ErrorKind::Corrupt, &["0 bytes", "probably truncated"]);
    }
}
