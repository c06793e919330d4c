//! The original archive's folder `cifar-100-python`. Its pickles `train` and `test` have `data`, an array `[n, 3072]`
//! of bytes, planes of red, green and blue one after the other, and `fine_labels`, positions in the alphabetical list
//! of classes. `meta` has that list, `fine_label_names`, which is compared with the built-in one if it is there.

use std::path::Path;

use serde_pickle::Value;

use super::{SIDE, classes};
use crate::pickle::{self, Array, array, take, text};
use crate::{Class, Error, ErrorKind};

const AGAIN: &str = "unpack cifar-100-python.tar.gz again";
/// The files in the folder, in the order in which their images are stored.
const FILES: [&str; 2] = ["train", "test"];

/// Whether the folder holds the images.
pub(super) fn is_in(folder: &Path) -> bool {
    FILES.iter().all(|name| folder.join(name).is_file())
}

/// The classes in alphabetical order, images of the training part first.
pub(super) fn read(folder: &Path) -> Result<Vec<Class>, Error> {
    let meta = folder.join("meta");
    if meta.is_file() {
        check_names(&meta)?;
    }
    let class = |name: &str| Class { name: name.to_string(), pixels: Vec::new() };
    let mut all: Vec<Class> = classes::names().into_iter().map(class).collect();
    for name in FILES {
        add(&folder.join(name), &mut all)?;
    }
    Ok(all)
}

/// Fails unless the labels mean what the built-in list says.
fn check_names(path: &Path) -> Result<(), Error> {
    let corrupt = |found: String| {
        let message = format!(
            "{}: {found}: expected a pickled dictionary with fine_label_names, the 100 classes of CIFAR-100 from apple \
             to worm; {AGAIN}",
            path.display()
        );
        Error::new(ErrorKind::Corrupt, message)
    };
    let mut dictionary = pickle::dictionary(path, &corrupt)?;
    let Some(Value::List(names)) = take(&mut dictionary, "fine_label_names") else {
        return Err(corrupt("fine_label_names is missing or not a list".into()));
    };
    let names: Vec<String> = names.iter().map(|name| text(name).unwrap_or_default()).collect();
    match names == classes::names() {
        true => Ok(()),
        false => Err(corrupt(format!("the classes are {}", names.join(", ")))),
    }
}

fn add(path: &Path, all: &mut [Class]) -> Result<(), Error> {
    let plane = SIDE * SIDE;
    let corrupt = |found: String| {
        let message = format!(
            "{}: {found}: expected a pickled dictionary with data, an array [n, {}] of bytes, and fine_labels, n numbers \
             below {}; {AGAIN}",
            path.display(),
            3 * plane,
            all.len()
        );
        Error::new(ErrorKind::Corrupt, message)
    };
    let mut dictionary = pickle::dictionary(path, &corrupt)?;
    let Some(Array { shape, bytes }) = take(&mut dictionary, "data")
        .and_then(array)
        .filter(|data| data.shape.len() == 2 && data.shape[1] == 3 * plane)
    else {
        return Err(corrupt("data is missing or not such an array".into()));
    };
    let labels = match take(&mut dictionary, "fine_labels") {
        Some(Value::List(labels)) if labels.len() == shape[0] => labels,
        _ => {
            let found = format!("fine_labels is missing or not a list of {} labels", shape[0]);
            return Err(corrupt(found));
        }
    };
    let classes = all.len();
    let labels: Vec<usize> = labels
        .iter()
        .map(|label| {
            let index = pickle::index(label).filter(|&index| index < classes);
            index.ok_or_else(|| corrupt(format!("a label is {label:?}")))
        })
        .collect::<Result<_, Error>>()?;
    for (label, image) in labels.into_iter().zip(bytes.chunks_exact(3 * plane)) {
        let pixels =
            (0..plane).flat_map(|at| [image[at], image[plane + at], image[2 * plane + at]]);
        all[label].pixels.extend(pixels);
    }
    Ok(())
}
