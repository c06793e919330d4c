//! Decoded images, kept on disk so that the next run need not decode thousands of files again.
//!
//! ```text
//! magic, version         "innerloop images", u32
//! key                    SHA-256 of where the sources lie, of their names, sizes and times of modification, of an
//!                        archive's list of contents, of the classes, and of how files became bytes
//! h, w, c, classes       u32 each
//! of each class          length of its name (u32), name, bytes of its images (u64)
//! images                 one after another
//! checksum               CRC-32 of all before it, u32
//! ```
//!
//! Numbers are little-endian. A file with another key or a wrong checksum is decoded again and replaced. An archive's
//! list has the CRC-32 of every file, so that changed contents are noticed whatever the clock says. In a folder, a
//! changed file with the same size and time of modification goes unnoticed: detecting it would mean reading every file,
//! as `data verify` does, and as a run does after the cache is deleted. The cache never makes a run fail: a failure to
//! write it is noted on standard error.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crc32fast::Hasher;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::Class;
use crate::files::{Tree, stamp};
use crate::picture::{Form, Listed};

/// Environment variable that names the folder; if it is empty, nothing is kept.
const VARIABLE: &str = "INNERLOOP_CACHE";
/// Fewer images are decoded in less than about 0.3 seconds.
const WORTHWHILE: usize = 10_000;
const MAGIC: &[u8; 16] = b"innerloop images";
/// Raise this with every change of the format or of how images are decoded.
const VERSION: u32 = 2;

/// Whether images decoded in an earlier run may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// They may; newly decoded images are kept.
    Kept,
    /// They may not: the files themselves must be read.
    Anew,
}

/// How files are decoded. Images from one decoding are never used for another of the same files.
#[derive(Clone, Copy)]
pub(crate) enum Decoding {
    /// The decoding of [`crate::picture`].
    Picture(Form),
    /// Omniglot's, which has only one form.
    Omniglot,
}

impl Decoding {
    fn name(self) -> String {
        match self {
            Decoding::Picture(form) => format!("{form:?}"),
            Decoding::Omniglot => "Omniglot".into(),
        }
    }
}

/// Files, which of them belong to each class, and how they are decoded.
pub(crate) type Sources<'a> = (&'a Tree, &'a [Listed], Decoding);

/// Extents of an image, and the classes.
pub(crate) type Images = ([usize; 3], Vec<Class>);

/// The images of some sources: kept ones, if they may be used, or else those that `decode` makes.
pub(crate) fn load<E>(
    sources: Sources<'_>,
    reading: Reading,
    decode: impl FnOnce() -> Result<Images, E>,
) -> Result<Images, E> {
    let images = sources.1.iter().map(|class| class.files.len()).sum();
    let folder = (reading == Reading::Kept).then(|| folder(images)).flatten();
    let Some(folder) = folder else { return decode() };
    let (images, note) = through(&folder, sources, decode);
    if let Some(note) = note {
        eprintln!("note: {note}");
    }
    images
}

/// The cache folder for a set of `images` images, if caching is worthwhile and there is a folder.
fn folder(images: usize) -> Option<PathBuf> {
    if images < WORTHWHILE {
        return None;
    }
    match std::env::var_os(VARIABLE) {
        Some(folder) => (!folder.is_empty()).then(|| PathBuf::from(folder)),
        None => dirs::cache_dir().map(|folder| folder.join("innerloop")),
    }
}

/// The images kept in a folder, or else those that `decode` makes, which are then kept. The second value says why they
/// could not be kept.
pub(crate) fn through<E>(
    folder: &Path,
    sources: Sources<'_>,
    decode: impl FnOnce() -> Result<Images, E>,
) -> (Result<Images, E>, Option<String>) {
    let Ok((name, key)) = identify(sources, sources.0.stamp()) else { return (decode(), None) };
    let path = folder.join(name);
    if let Ok(images) = read(&path, &key) {
        return (Ok(images), None);
    }
    let decoded = decode();
    let Ok((shape, classes)) = &decoded else { return (decoded, None) };
    // If sources changed in the meantime, it is unknown what was decoded.
    let is_unchanged =
        identify(sources, stamp(sources.0.place()).ok()).is_ok_and(|(_, now)| now == key);
    let kept = match is_unchanged {
        true => fs::create_dir_all(folder).and_then(|()| write(&path, &key, *shape, classes)),
        false => Err(io::Error::other("files changed while they were read")),
    };
    let note = kept.err().map(|cause| {
        format!(
            "{}: decoded images are not kept ({cause}); they will be decoded again next time; {VARIABLE} names another \
             folder, or none if it is empty",
            path.display()
        )
    });
    (decoded, note)
}

/// The cache file's name, which follows from where the sources lie, and the key, which follows from their state. An
/// archive is identified by a stamp and by its list of contents.
fn identify(
    (tree, classes, decoding): Sources<'_>,
    archive: Option<[u8; 24]>,
) -> io::Result<(String, [u8; 32])> {
    let place = fs::canonicalize(tree.place())?;
    let mut place = place.into_os_string().into_encoded_bytes();
    place.extend(format!(" {}", decoding.name()).into_bytes());
    let name: String =
        Sha256::digest(&place).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let mut hash = Sha256::new();
    // Each part with its length, so that different lists of parts never give the same bytes.
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(&VERSION.to_le_bytes());
    add(&place);
    let is_folder = tree.place().is_dir();
    if !is_folder {
        add(&archive.ok_or_else(|| io::Error::other("not known when it was written"))?);
    }
    if let Some(contents) = tree.contents()? {
        add(&contents);
    }
    let names: Vec<&str> = tree.names().collect();
    for class in classes {
        add(class.name.as_bytes());
        add(&(class.files.len() as u64).to_le_bytes());
        for &file in &class.files {
            add(names[file].as_bytes());
            if is_folder {
                add(&stamp(&tree.place().join(names[file]))?);
            }
        }
    }
    Ok((format!("{name}.images"), hash.finalize().into()))
}

fn write(path: &Path, key: &[u8; 32], shape: [usize; 3], classes: &[Class]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Replaces the old file once it is complete; removed if anything fails.
    let mut file = NamedTempFile::new_in(folder)?;
    let inner = BufWriter::new(file.as_file_mut());
    let mut out = Summed { inner, sum: Hasher::new(), done: 0 };
    out.put(MAGIC)?;
    out.put(&VERSION.to_le_bytes())?;
    out.put(key)?;
    for number in shape.into_iter().chain([classes.len()]) {
        out.put_number(number)?;
    }
    for class in classes {
        out.put_number(class.name.len())?;
        out.put(class.name.as_bytes())?;
        out.put(&(class.pixels.len() as u64).to_le_bytes())?;
    }
    classes.iter().try_for_each(|class| out.put(&class.pixels))?;
    let sum = out.sum.clone().finalize();
    out.put(&sum.to_le_bytes())?;
    out.inner.flush()?;
    drop(out);
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// The images, if the file is intact and has this key.
fn read(path: &Path, key: &[u8; 32]) -> io::Result<Images> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut input = Summed { inner: BufReader::new(file), sum: Hasher::new(), done: 0 };
    let is_ours = input.array()? == *MAGIC
        && input.array()? == VERSION.to_le_bytes()
        && input.array()? == *key;
    ensure(is_ours)?;
    let mut shape = [0; 3];
    for extent in &mut shape {
        *extent = input.number()?;
    }
    let mut names = Vec::new();
    let mut total = 0_u64;
    for _ in 0..input.number()? {
        let size = input.number()?;
        // Sizes claimed by a damaged file are not trusted.
        ensure(size as u64 <= length)?;
        let name = String::from_utf8(input.vec(size)?).map_err(io::Error::other)?;
        let size = u64::from_le_bytes(input.array()?);
        total = total.checked_add(size).ok_or_else(|| io::Error::other("too large"))?;
        names.push((name, size));
    }
    ensure(length.checked_sub(input.done + 4) == Some(total))?;
    let mut classes = Vec::with_capacity(names.len());
    for (name, size) in names {
        classes.push(Class { name, pixels: input.vec(size as usize)? });
    }
    let sum = input.sum.clone().finalize();
    ensure(input.array()? == sum.to_le_bytes())?;
    Ok((shape, classes))
}

fn ensure(holds: bool) -> io::Result<()> {
    if holds { Ok(()) } else { Err(io::Error::other("not what is looked for")) }
}

/// A file whose bytes are counted and checksummed as they pass.
struct Summed<T> {
    inner: T,
    sum: Hasher,
    done: u64,
}

impl<T> Summed<T> {
    fn pass(&mut self, bytes: &[u8]) {
        self.sum.update(bytes);
        self.done += bytes.len() as u64;
    }
}

impl<T: Write> Summed<T> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pass(bytes);
        self.inner.write_all(bytes)
    }

    fn put_number(&mut self, number: usize) -> io::Result<()> {
        let number = u32::try_from(number).map_err(io::Error::other)?;
        self.put(&number.to_le_bytes())
    }
}

impl<T: Read> Summed<T> {
    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes)?;
        self.pass(&bytes);
        Ok(bytes)
    }

    fn vec(&mut self, size: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; size];
        self.inner.read_exact(&mut bytes)?;
        self.pass(&bytes);
        Ok(bytes)
    }

    fn number(&mut self) -> io::Result<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }
}

#[cfg(test)]
mod tests;
