//! MNIST's own files: big-endian numbers, then one byte per pixel or label; plain or compressed with gzip.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use super::SIDE;
use crate::{Error, ErrorKind};

/// Number of images of the two parts.
const COUNTS: [(&str, usize); 2] = [("train", 60_000), ("t10k", 10_000)];
/// SHA-256 of the four files, decompressed, as distributed by Yann LeCun.
const OFFICIAL: [(&str, &str); 4] = [
    ("train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    ("train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    ("t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    ("t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
];
const AGAIN: &str = "download it again: MNIST is four files, {train,t10k}-images-idx3-ubyte and \
                     {train,t10k}-labels-idx1-ubyte, each plain or with .gz";

/// The images of each digit, training part first, in the files' order.
pub(super) struct Digits {
    /// The folder they come from.
    pub(super) folder: PathBuf,
    /// `[n, 28, 28]`, ink 255 on 0.
    pub(super) images: [Vec<u8>; 10],
}

impl Digits {
    /// Number of images of a digit.
    pub(super) fn count(&self, digit: usize) -> usize {
        self.images[digit].len() / (SIDE * SIDE)
    }

    /// One image.
    pub(super) fn image(&self, digit: usize, index: usize) -> &[u8] {
        &self.images[digit][index * SIDE * SIDE..(index + 1) * SIDE * SIDE]
    }

    /// Reads the four files in `dir`, or below it where other libraries unpack them.
    pub(super) fn load(dir: &Path) -> Result<Digits, Error> {
        Digits::load_counted(dir, &COUNTS)
    }

    /// As [`Digits::load`], for parts of other sizes.
    pub(super) fn load_counted(dir: &Path, parts: &[(&str, usize)]) -> Result<Digits, Error> {
        let folder = find_folder(dir)?;
        let mut images: [Vec<u8>; 10] = Default::default();
        for &(part, count) in parts {
            let pixels = read(&folder, &format!("{part}-images-idx3-ubyte"), &[count, SIDE, SIDE])?;
            let name = format!("{part}-labels-idx1-ubyte");
            let labels = read(&folder, &name, &[count])?;
            for (at, (&label, image)) in
                labels.iter().zip(pixels.chunks_exact(SIDE * SIDE)).enumerate()
            {
                let Some(digit) = images.get_mut(usize::from(label)) else {
                    let message = format!(
                        "{}: label {at} is {label}: expected a digit, 0 to 9; {AGAIN}",
                        folder.join(name).display()
                    );
                    return Err(Error::new(ErrorKind::Corrupt, message));
                };
                digit.extend_from_slice(image);
            }
        }
        let digits = Digits { folder, images };
        if let Some(digit) = (0..10).find(|&digit| digits.count(digit) == 0) {
            let place = digits.folder.display();
            let message =
                format!("{place}: no image has the label {digit}: expected some; {AGAIN}");
            return Err(Error::new(ErrorKind::TooFew, message));
        }
        Ok(digits)
    }
}

/// A sentence for each file that, decompressed, differs from the official one.
pub(super) fn unofficial(folder: &Path) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for (name, expected) in OFFICIAL {
        let Some(path) = find(folder, name) else { continue };
        let mut bytes = Vec::new();
        open(&path)?
            .read_to_end(&mut bytes)
            .map_err(|cause| crate::files::cannot_read(&path, &cause))?;
        let hash = Sha256::digest(&bytes);
        let actual: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        if actual != expected {
            found.push(format!(
                "{}: SHA-256 of its decompressed bytes is {actual}, that of the official file {expected}",
                path.display()
            ));
        }
    }
    Ok(found)
}

fn find_folder(dir: &Path) -> Result<PathBuf, Error> {
    let places = [dir.to_path_buf(), dir.join("mnist"), dir.join("MNIST").join("raw")];
    let holds_data = |place: &&PathBuf| find(place, "train-images-idx3-ubyte").is_some();
    if let Some(place) = places.iter().find(holds_data) {
        return Ok(place.clone());
    }
    let found = if dir.is_dir() { "holds no train-images-idx3-ubyte" } else { "is not a folder" };
    let message = format!(
        "MNIST not found: {} {found}: expected {{train,t10k}}-images-idx3-ubyte and \
         {{train,t10k}}-labels-idx1-ubyte, each plain or with .gz, there or in mnist or MNIST/raw below it",
        dir.display()
    );
    Err(Error::new(ErrorKind::NotFound, message))
}

/// The plain file or, failing that, the compressed one.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let places = [folder.join(name), folder.join(format!("{name}.gz"))];
    places.into_iter().find(|place| place.is_file())
}

/// The contents of a file, decompressed if necessary.
fn open(path: &Path) -> Result<Box<dyn Read>, Error> {
    let file = fs::File::open(path).map_err(|cause| crate::files::cannot_read(path, &cause))?;
    let compressed = path.extension().is_some_and(|extension| extension == "gz");
    Ok(if compressed { Box::new(GzDecoder::new(file)) } else { Box::new(file) })
}

/// The bytes after the header, which must declare an array of bytes of this shape.
fn read(folder: &Path, name: &str, shape: &[usize]) -> Result<Vec<u8>, Error> {
    let Some(path) = find(folder, name) else {
        let place = folder.display();
        let message = format!("{place}: {name} is missing, with or without .gz; {AGAIN}");
        return Err(Error::new(ErrorKind::NotFound, message));
    };
    let header = 4 + 4 * shape.len();
    let expected = header + shape.iter().product::<usize>();
    let mut bytes = Vec::with_capacity(expected + 1);
    // Reading one byte more than expected shows that there is more; nothing beyond it is kept.
    let limit = expected as u64 + 1;
    let result = open(&path)?.take(limit).read_to_end(&mut bytes);
    let corrupt = |found: String| {
        Error::new(ErrorKind::Corrupt, format!("{}: {found}; {AGAIN}", path.display()))
    };
    if let Err(cause) = result {
        let found = format!("cannot be read to its end ({cause}): expected {expected} bytes");
        return Err(corrupt(found));
    }
    let number =
        |at: usize| bytes.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    // 8: unsigned bytes.
    let magic = 0x800 + shape.len() as u32;
    if number(0) != Some(magic) {
        let found = number(0).map_or("fewer than 4 bytes".to_string(), |found| found.to_string());
        return Err(corrupt(format!(
            "begins with {found}: expected the number {magic} of this format"
        )));
    }
    let stated: Vec<Option<u32>> = (0..shape.len()).map(|axis| number(4 + 4 * axis)).collect();
    if stated.iter().zip(shape).any(|(stated, &extent)| *stated != Some(extent as u32)) {
        let stated: Vec<u32> = stated.into_iter().flatten().collect();
        return Err(corrupt(format!("holds an array of shape {stated:?}: expected {shape:?}")));
    }
    if bytes.len() != expected {
        let more = if bytes.len() > expected { " or more" } else { "" };
        return Err(corrupt(format!("{}{more} bytes: expected {expected}", bytes.len())));
    }
    Ok(bytes.split_off(header))
}
