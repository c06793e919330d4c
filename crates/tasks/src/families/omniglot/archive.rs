//! One part of the data set, in its zip archive or its folder.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use super::alphabets::Alphabet;
use super::splits::class_name;
use super::{PUBLISHED, Part, SAMPLES, SIDE};
use crate::cache::Images;
use crate::files::Tree;
use crate::picture::{self, Listed};
use crate::resize::Shrink;
use crate::{Error, ErrorKind};

const AGAIN: &str = "download it again from github.com/brendenlake/omniglot (folder python)";

/// The archive or, failing that, the folder of a part below `root`.
pub(super) fn find(root: &Path, part: Part) -> Option<PathBuf> {
    let archive = root.join(format!("{}.zip", part.folder()));
    let folder = root.join(part.folder());
    if archive.is_file() { Some(archive) } else { folder.is_dir().then_some(folder) }
}

/// The files of a part below `root`.
pub(super) fn open(root: &Path, part: Part) -> Result<Tree, Error> {
    let Some(place) = find(root, part) else {
        let name = part.folder();
        let message = format!(
            "{}: {name} not found: expected {name}.zip or the folder it unpacks to; download it \
             from github.com/brendenlake/omniglot (folder python)",
            root.display()
        );
        return Err(Error::new(ErrorKind::NotFound, message));
    };
    Tree::open(&place)
}

/// The characters `Alphabet/characterNN` of a part's alphabets in the table, in its order, after checking that they are
/// all there with 20 images each, and nothing else besides.
pub(super) fn list(tree: &Tree, part: Part, table: &[Alphabet]) -> Result<Vec<Listed>, Error> {
    let mut found: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (file, name) in tree.names().enumerate().filter(|(_, name)| name.ends_with(".png")) {
        let Some(class) = class_of(name) else { return Err(misplaced(tree, name)) };
        found.entry(class).or_default().push(file);
    }
    let beside = |name: &&str| class_of(name).is_some_and(|class| found.contains_key(class));
    if let Some(name) = tree.names().filter(|name| !name.ends_with(".png")).find(beside) {
        return Err(misplaced(tree, name));
    }
    let mut classes = Vec::new();
    for alphabet in table.iter().filter(|alphabet| alphabet.part == part) {
        let prefix = format!("{}/", alphabet.name);
        let count = found.keys().filter(|class| class.starts_with(&prefix)).count();
        if count != alphabet.characters() {
            return Err(wrong_alphabet(tree, alphabet, count));
        }
        for number in 1..=count {
            let name = class_name(alphabet.name, number);
            let files = found.remove(name.as_str()).unwrap_or_default();
            if files.len() != SAMPLES {
                return Err(wrong_samples(tree, &name, files.len()));
            }
            classes.push(Listed { name, files });
        }
    }
    match found.into_keys().next() {
        Some(class) => Err(unknown_class(tree, class)),
        None => Ok(classes),
    }
}

/// `Alphabet/characterNN` of `Alphabet/characterNN/file.png`, whatever stands before it.
fn class_of(name: &str) -> Option<&str> {
    let (folder, _) = name.rsplit_once('/')?;
    let start = folder.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
    Some(&folder[start..])
}

fn wrong_alphabet(tree: &Tree, alphabet: &Alphabet, count: usize) -> Error {
    let place = tree.place().display();
    let Alphabet { name, .. } = alphabet;
    let expected = alphabet.characters();
    let (kind, found) = match count {
        0 => (ErrorKind::NotFound, format!("alphabet {name} is missing")),
        _ => (ErrorKind::TooFew, format!("alphabet {name} has {count} characters")),
    };
    Error::new(kind, format!("{place}: {found}: expected its {expected} characters; {AGAIN}"))
}

fn wrong_samples(tree: &Tree, class: &str, found: usize) -> Error {
    let place = tree.place().display();
    let message = format!("{place}: class {class} has {found} images: expected {SAMPLES}; {AGAIN}");
    Error::new(ErrorKind::TooFew, message)
}

fn unknown_class(tree: &Tree, class: &str) -> Error {
    let message = format!(
        "{}: found class {class}: expected the published alphabets and nothing else; keep other \
         images elsewhere",
        tree.place().display()
    );
    Error::new(ErrorKind::Unknown, message)
}

fn misplaced(tree: &Tree, name: &str) -> Error {
    let message = format!(
        "{}: found {name}: expected the published images, <alphabet>/<character>/<image>.png, and nothing else beside \
         them; keep other files elsewhere",
        tree.place().display()
    );
    Error::new(ErrorKind::Unknown, message)
}

/// The classes' images as `[28, 28, 1]`, ink 255 on 0.
pub(super) fn decode_all(tree: &Tree, classes: &[Listed]) -> Result<Images, Error> {
    let shrink = Shrink::new(PUBLISHED, SIDE);
    let append = |tree: &mut Tree, file: usize, pixels: &mut Vec<u8>| -> Result<(), Error> {
        let mut published = read(tree, file)?;
        published.iter_mut().for_each(|pixel| *pixel = 255 - *pixel);
        shrink.append(&published, pixels);
        Ok(())
    };
    let classes = picture::append_all(tree, classes, SIDE * SIDE, append)?;
    Ok(([SIDE, SIDE, 1], classes))
}

/// One image: `[105, 105]`, ink 0 on 255.
fn read(tree: &mut Tree, file: usize) -> Result<Vec<u8>, Error> {
    let result = tree.bytes(file);
    let name = tree.full_name(file);
    match result {
        Ok(bytes) => decode(&name, &bytes),
        Err(cause) => {
            let message = format!(
                "{name}: cannot be read ({cause}): the archive is probably damaged; {AGAIN}"
            );
            Err(Error::new(ErrorKind::Corrupt, message))
        }
    }
}

fn decode(name: &str, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let corrupt = |cause: png::DecodingError| {
        let message = format!(
            "{name}: {} bytes that are not a whole PNG image ({cause}); {AGAIN}",
            bytes.len()
        );
        Error::new(ErrorKind::Corrupt, message)
    };
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    let header = decoder.read_header_info().map_err(corrupt)?;
    let (width, height) = (header.width as usize, header.height as usize);
    if [width, height] != [PUBLISHED; 2] {
        let message = format!(
            "{name}: the image is {width}x{height}: expected {PUBLISHED}x{PUBLISHED}, as published; \
             use the original files, they are resized while loading"
        );
        return Err(Error::new(ErrorKind::Shape, message));
    }
    // The published files have one bit per pixel; copies may store grey bytes, a palette or colours.
    let as_published =
        header.color_type == png::ColorType::Grayscale && header.bit_depth == png::BitDepth::One;
    if !as_published {
        decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    }
    let mut reader = decoder.read_info().map_err(corrupt)?;
    let channels = reader.output_color_type().0.samples();
    let mut data = vec![0; PUBLISHED * PUBLISHED * channels];
    reader.next_frame(&mut data).map_err(corrupt)?;
    if as_published {
        let mut pixels = vec![0; PUBLISHED * PUBLISHED];
        let bytes_a_row = PUBLISHED.div_ceil(8);
        for (row, packed) in pixels.chunks_exact_mut(PUBLISHED).zip(data.chunks_exact(bytes_a_row))
        {
            for (eight, byte) in row.chunks_mut(8).zip(packed) {
                for (at, pixel) in eight.iter_mut().enumerate() {
                    *pixel = 255 * (byte >> (7 - at) & 1);
                }
            }
        }
        return Ok(pixels);
    }
    Ok(data.into_iter().step_by(channels).collect())
}
