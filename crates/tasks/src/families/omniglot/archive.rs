//! Reading one part of the data set, from its zip archive or its folder.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::alphabets::Alphabet;
use super::splits::class_name;
use super::{PUBLISHED, Part, SAMPLES};
use crate::files::{SharedFile, entries, open_zip};
use crate::{Error, ErrorKind};

/// No published image comes near this many bytes; what a damaged header claims is not believed.
const LARGEST_FILE: u64 = 1 << 20;
const AGAIN: &str = "download it again from github.com/brendenlake/omniglot (folder python)";

/// An open archive or folder. Clones share the bytes.
#[derive(Clone)]
pub(super) struct Archive {
    part: Part,
    place: PathBuf,
    store: Store,
}

#[derive(Clone)]
enum Store {
    Zip(ZipArchive<SharedFile>),
    Folder,
}

/// One class and where its images are, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Character {
    /// `Alphabet/characterNN`.
    pub(super) name: String,
    /// Its 20 images, by file name.
    pub(super) images: Vec<Image>,
}

/// Where one image is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Image {
    /// `Alphabet/characterNN/IIII_DD.png`.
    name: String,
    /// Position in the zip archive.
    index: usize,
}

/// The archive or, failing that, the folder of a part below `root`.
pub(super) fn find(root: &Path, part: Part) -> Option<PathBuf> {
    let archive = root.join(format!("{}.zip", part.folder()));
    let folder = root.join(part.folder());
    if archive.is_file() { Some(archive) } else { folder.is_dir().then_some(folder) }
}

impl Archive {
    pub(super) fn open(root: &Path, part: Part) -> Result<Archive, Error> {
        let Some(place) = find(root, part) else {
            let name = part.folder();
            let message = format!(
                "{}: {name} not found: expected {name}.zip or the folder it unpacks to; download it \
                 from github.com/brendenlake/omniglot (folder python)",
                root.display()
            );
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        if place.is_dir() {
            return Ok(Archive { part, place, store: Store::Folder });
        }
        let zip = open_zip(&place)?;
        Ok(Archive { part, place, store: Store::Zip(zip) })
    }

    /// Where it was found.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// The characters of this part's alphabets in the table, in its order, after checking that they
    /// are all there with 20 images each.
    pub(super) fn characters(&self, table: &[Alphabet]) -> Result<Vec<Character>, Error> {
        let mut found: BTreeMap<String, Vec<Image>> = BTreeMap::new();
        for image in self.images()? {
            if let Some((class, _)) = image.name.rsplit_once('/') {
                found.entry(class.to_owned()).or_default().push(image);
            }
        }
        let mut characters = Vec::new();
        for alphabet in table.iter().filter(|alphabet| alphabet.part == self.part) {
            let prefix = format!("{}/", alphabet.name);
            let count = found.keys().filter(|class| class.starts_with(&prefix)).count();
            if count != alphabet.characters() {
                return Err(self.wrong_alphabet(alphabet, count));
            }
            for number in 1..=count {
                let name = class_name(alphabet.name, number);
                let mut images = found.remove(&name).unwrap_or_default();
                if images.len() != SAMPLES {
                    return Err(self.wrong_samples(&name, images.len()));
                }
                images.sort();
                characters.push(Character { name, images });
            }
        }
        match found.into_keys().next() {
            Some(class) => Err(self.unknown_class(&class)),
            None => Ok(characters),
        }
    }

    /// Decodes one image: `[105, 105]`, ink 0 on 255.
    pub(super) fn read(&mut self, image: &Image) -> Result<Vec<u8>, Error> {
        let name = format!("{}: {}", self.place.display(), image.name);
        let mut bytes = Vec::new();
        let result = match &mut self.store {
            Store::Zip(zip) => zip
                .by_index(image.index)
                .map_err(std::io::Error::from)
                .and_then(|f| f.take(LARGEST_FILE).read_to_end(&mut bytes)),
            Store::Folder => fs::File::open(self.place.join(&image.name))
                .and_then(|f| f.take(LARGEST_FILE).read_to_end(&mut bytes)),
        };
        match result {
            Ok(_) => decode(&name, &bytes),
            Err(cause) => {
                let message = format!(
                    "{name}: cannot be read ({cause}): the archive is probably damaged; {AGAIN}"
                );
                Err(Error::new(ErrorKind::Corrupt, message))
            }
        }
    }

    fn images(&self) -> Result<Vec<Image>, Error> {
        let mut images = Vec::new();
        match &self.store {
            Store::Zip(zip) => {
                let names = (0..zip.len()).map(|index| (index, zip.name_for_index(index)));
                for (index, name) in names {
                    let Some(Ok(name)) = name else { continue };
                    // Archives made on a Mac hold a shadow copy of every file.
                    if name.ends_with(".png") && !name.starts_with("__MACOSX") {
                        images.push(Image { name: last_three(&name), index });
                    }
                }
            }
            Store::Folder => {
                for alphabet in entries(&self.place)?.iter().filter(|path| path.is_dir()) {
                    for character in entries(alphabet)?.iter().filter(|path| path.is_dir()) {
                        for file in entries(character)? {
                            if file.extension().is_some_and(|extension| extension == "png") {
                                let name = last_three(&file.to_string_lossy().replace('\\', "/"));
                                images.push(Image { name, index: 0 });
                            }
                        }
                    }
                }
            }
        }
        Ok(images)
    }

    fn wrong_alphabet(&self, alphabet: &Alphabet, count: usize) -> Error {
        let place = self.place.display();
        let Alphabet { name, .. } = alphabet;
        let expected = alphabet.characters();
        let (kind, found) = match count {
            0 => (ErrorKind::NotFound, format!("alphabet {name} is missing")),
            _ => (ErrorKind::TooFew, format!("alphabet {name} has {count} characters")),
        };
        Error::new(kind, format!("{place}: {found}: expected its {expected} characters; {AGAIN}"))
    }

    fn wrong_samples(&self, class: &str, found: usize) -> Error {
        let place = self.place.display();
        let message =
            format!("{place}: class {class} has {found} images: expected {SAMPLES}; {AGAIN}");
        Error::new(ErrorKind::TooFew, message)
    }

    fn unknown_class(&self, class: &str) -> Error {
        let message = format!(
            "{}: found class {class}: expected the published alphabets and nothing else; keep other \
             images elsewhere",
            self.place.display()
        );
        Error::new(ErrorKind::Unknown, message)
    }
}

/// `Alphabet/characterNN/file.png`, whatever stands before it.
fn last_three(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    parts[parts.len().saturating_sub(3)..].join("/")
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
    // The published files have one bit a pixel; copies may hold grey as bytes, palette or colours.
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
