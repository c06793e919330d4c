//! PNG and JPEG files as arrays of bytes.

use std::borrow::Cow;
use std::io::Cursor;
use std::num::NonZero;
use std::thread;

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageBuffer, ImageFormat, ImageReader};

use crate::cache::{self, Decoding, Images, Reading};
use crate::files::Tree;
use crate::pickle::Array;
use crate::{Class, Error, ErrorKind};

/// Images are not larger than this on a side: larger sizes come from damaged headers.
const LARGEST_SIDE: u32 = 1 << 15;
/// Images moved out of an array before it is cut.
const ROWS_PER_CUT: usize = 256;

/// How images are brought to one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form {
    /// Side of the square that images are resized to, with the Lanczos filter; `None` leaves them as they are.
    pub side: Option<usize>,
    /// What to do with images that are not square when they are resized.
    pub fit: Fit,
    /// 1 for grey, 3 for red, green, blue; `None` leaves them as they are. Transparency is dropped.
    pub channels: Option<usize>,
}

/// How an oblong image becomes square.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fit {
    /// Keep the middle, and the proportions.
    Crop,
    /// Keep everything and change the proportions, as is customary with miniImageNet.
    Stretch,
}

/// A class and the positions of its images among the files of a [`Tree`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) files: Vec<usize>,
}

/// Whether the name is that of an image file.
pub(crate) fn is_image(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    matches!(ending.as_deref(), Some("png" | "jpg" | "jpeg"))
}

/// All images of the classes. Fails unless all have the shape of the first, which is returned.
pub(crate) fn load(
    tree: &Tree,
    classes: &[Listed],
    form: Form,
    reading: Reading,
) -> Result<Images, Error> {
    let sources = (tree, classes, Decoding::Picture(form));
    cache::load(sources, reading, || decode_all(tree, classes, form))
}

/// Decodes all images of the classes.
pub(crate) fn decode_all(tree: &Tree, classes: &[Listed], form: Form) -> Result<Images, Error> {
    let Some(&first) = classes.iter().flat_map(|class| &class.files).next() else {
        let message = format!(
            "{}: no images found: expected .png, .jpg or .jpeg files in a folder for each class",
            tree.place().display()
        );
        return Err(Error::new(ErrorKind::TooFew, message));
    };
    let shape = decode(&mut tree.clone(), first, form)?.0;
    let append = |tree: &mut Tree, file: usize, pixels: &mut Vec<u8>| {
        let (found, image) = decode(tree, file, form)?;
        if found != shape {
            return Err(mixed(tree, (file, found), (first, shape)));
        }
        pixels.extend_from_slice(&image);
        Ok(())
    };
    Ok((shape, append_all(tree, classes, shape.iter().product(), append)?))
}

/// The classes: for each of their files, `append` adds a fixed number of bytes to the class's pixels.
pub(crate) fn append_all(
    tree: &Tree,
    classes: &[Listed],
    size: usize,
    append: impl Fn(&mut Tree, usize, &mut Vec<u8>) -> Result<(), Error> + Sync,
) -> Result<Vec<Class>, Error> {
    let one = |tree: &mut Tree, class: &Listed| -> Result<Class, Error> {
        let mut pixels = Vec::with_capacity(class.files.len() * size);
        class.files.iter().try_for_each(|&file| append(tree, file, &mut pixels))?;
        Ok(Class { name: class.name.clone(), pixels })
    };
    // One contiguous share per thread: the first error does not depend on the number of threads.
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = classes.len().div_ceil(threads).max(1);
    let decode = |mut tree: Tree, share: &[Listed]| -> Result<Vec<Class>, Error> {
        share.iter().map(|class| one(&mut tree, class)).collect()
    };
    let shares: Vec<Result<Vec<Class>, Error>> = thread::scope(|scope| {
        let spawn = |share| {
            let (tree, decode) = (tree.clone(), &decode);
            scope.spawn(move || decode(tree, share))
        };
        let workers: Vec<_> = classes.chunks(share).map(spawn).collect();
        workers.into_iter().map(|w| w.join().expect("decoding reports errors")).collect()
    });
    Ok(shares.into_iter().collect::<Result<Vec<_>, Error>>()?.into_iter().flatten().collect())
}

fn mixed(
    tree: &Tree,
    (file, [h, w, c]): (usize, [usize; 3]),
    (first, [height, width, channels]): (usize, [usize; 3]),
) -> Error {
    let advice = match c == channels {
        true => "set size to resize all of them",
        false => "set channels, 1 for grey or 3 for colour, to convert all of them",
    };
    let message = format!(
        "{}: the image is {w}x{h} with {c} channels: expected {width}x{height} with {channels}, as {}; \
         {advice}",
        tree.full_name(file),
        tree.full_name(first)
    );
    Error::new(ErrorKind::Shape, message)
}

/// Images `[n, h, w, 3]` as classes, each with a name and its rows, stretched to a side if they have another one.
///
/// They are moved from the last to the first, and the array is cut as they go, so that memory never holds much more
/// than one copy of all images.
pub(crate) fn sort_out(
    images: Array,
    side: usize,
    classes: Vec<(String, Vec<usize>)>,
) -> Vec<Class> {
    let Array { shape, mut bytes } = images;
    let (size, target) = (shape[1] * shape[2] * 3, side * side * 3);
    let mut places = vec![None; shape[0]];
    for (class, (_, rows)) in classes.iter().enumerate() {
        rows.iter().enumerate().for_each(|(rank, &row)| places[row] = Some((class, rank)));
    }
    let counts: Vec<usize> = classes.iter().map(|(_, rows)| rows.len()).collect();
    let empty = |(name, _)| Class { name, pixels: Vec::new() };
    let mut classes: Vec<Class> = classes.into_iter().map(empty).collect();
    for (row, place) in places.into_iter().enumerate().rev() {
        if let Some((class, rank)) = place {
            let image = &bytes[row * size..(row + 1) * size];
            let image = stretched(image, [shape[1], shape[2]], side);
            let pixels = &mut classes[class].pixels;
            if pixels.is_empty() {
                *pixels = vec![0; counts[class] * target];
            }
            pixels[rank * target..(rank + 1) * target].copy_from_slice(&image);
        }
        if row % ROWS_PER_CUT == 0 {
            bytes.truncate(row * size);
            bytes.shrink_to_fit();
        }
    }
    classes
}

/// An image of shape `[h, w, 3]`, stretched to a side if it has another one.
fn stretched(image: &[u8], [h, w]: [usize; 2], side: usize) -> Cow<'_, [u8]> {
    if [h, w] == [side; 2] {
        return image.into();
    }
    let view: ImageBuffer<image::Rgb<u8>, &[u8]> =
        ImageBuffer::from_raw(w as u32, h as u32, image).expect("three bytes a pixel");
    imageops::resize(&view, side as u32, side as u32, FilterType::Lanczos3).into_raw().into()
}

/// The image's shape `[h, w, c]` and its bytes.
fn decode(tree: &mut Tree, file: usize, form: Form) -> Result<([usize; 3], Vec<u8>), Error> {
    let bytes = tree.read(file)?;
    let corrupt = |cause: &dyn std::fmt::Display| {
        let message = format!(
            "{}: {} bytes that are not a whole PNG or JPEG image ({cause}): copy or download it again",
            tree.full_name(file),
            bytes.len()
        );
        Error::new(ErrorKind::Corrupt, message)
    };
    let mut reader = ImageReader::new(Cursor::new(bytes.as_slice()));
    // By the contents: file extensions are often wrong.
    match image::guess_format(&bytes) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => reader.set_format(format),
        Ok(other) => return Err(corrupt(&format!("it is {other:?}"))),
        Err(cause) => return Err(corrupt(&cause)),
    }
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    reader.limits(limits);
    let image = reader.decode().map_err(|cause| corrupt(&cause))?;
    Ok(shaped(image, form))
}

fn shaped(image: DynamicImage, form: Form) -> ([usize; 3], Vec<u8>) {
    let grey = match form.channels {
        Some(channels) => channels == 1,
        None => !image.color().has_color(),
    };
    let image: DynamicImage = match grey {
        true => image.into_luma8().into(),
        false => image.into_rgb8().into(),
    };
    let image = match form.side.map(|side| side as u32) {
        Some(side) if (image.width(), image.height()) != (side, side) => match form.fit {
            Fit::Crop => image.resize_to_fill(side, side, FilterType::Lanczos3),
            Fit::Stretch => image.resize_exact(side, side, FilterType::Lanczos3),
        },
        _ => image,
    };
    let channels = if grey { 1 } else { 3 };
    ([image.height() as usize, image.width() as usize, channels], image.into_bytes())
}

#[cfg(test)]
mod tests;
