//! The pickles `mini-imagenet-cache-{train,val,test}.pkl`, dictionaries with `image_data`, an array `[n, 84, 84, 3]` of
//! bytes, and `class_dict`, the rows of each class; and MetaOptNet's
//! `miniImageNet_category_split_{train_phase_train,val,test}.pickle` with `data` and `labels`. The additional images of
//! training classes in MetaOptNet's `train_phase_val` and `train_phase_test` are not among the 600 per class.

use std::path::{Path, PathBuf};

use serde_pickle::Value;

use crate::pickle::{self, Array, array, key_text, take};
use crate::{Class, Error, ErrorKind, SplitLists, pickled_splits, picture};

/// The three files of one layout.
pub(super) enum Files {
    /// With rows by class name.
    Rows([PathBuf; 3]),
    /// With a label for each image.
    Labels([PathBuf; 3]),
}

/// The files, if any of them is in the folder. Fails when a layout is incomplete.
pub(super) fn find(folder: &Path) -> Result<Option<Files>, Error> {
    let name = |split: &str| format!("mini-imagenet-cache-{split}.pkl");
    let parts = [&["train"][..], &["val", "validation"], &["test"]];
    if let Some(files) = pickled_splits::find(folder, parts, name)? {
        return Ok(Some(Files::Rows(files)));
    }
    let name = |split: &str| format!("miniImageNet_category_split_{split}.pickle");
    let parts = [&["train_phase_train"][..], &["val"], &["test"]];
    Ok(pickled_splits::find(folder, parts, name)?.map(Files::Labels))
}

/// The classes in order of their splits and names, resized to a side.
pub(super) fn read(files: &Files, side: usize) -> Result<(Vec<Class>, SplitLists), Error> {
    match files {
        Files::Rows(files) => pickled_splits::read(files, |path| read_rows(path, side)),
        Files::Labels(files) => pickled_splits::read_labelled(files, side),
    }
}

fn read_rows(path: &Path, side: usize) -> Result<Vec<Class>, Error> {
    let corrupt = |found: String| {
        let message = format!(
            "{}: {found}: expected a pickled dictionary with image_data, an array [n, h, w, 3] of bytes, and class_dict, \
             lists of its rows; copy or download it again",
            path.display()
        );
        Error::new(ErrorKind::Corrupt, message)
    };
    let mut dictionary = pickle::dictionary(path, &corrupt)?;
    let images = take(&mut dictionary, "image_data").and_then(array);
    let Some(images) = images.and_then(Array::of_colour_images) else {
        return Err(corrupt("image_data is missing or not such an array".into()));
    };
    let Some(Value::Dict(rows)) = take(&mut dictionary, "class_dict") else {
        return Err(corrupt("class_dict is missing or not a dictionary".into()));
    };
    let n = images.count();
    let mut used = vec![false; n];
    let mut classes = Vec::new();
    for (name, rows) in rows {
        let (Some(name), Value::List(rows)) = (key_text(&name), rows) else {
            return Err(corrupt("class_dict holds something other than lists by name".into()));
        };
        let mut indices = Vec::with_capacity(rows.len());
        for row in rows {
            let index = pickle::index(&row).filter(|&index| index < n);
            let Some(index) = index.filter(|&index| !std::mem::replace(&mut used[index], true))
            else {
                let found = format!(
                    "class {name} has a row {row:?}, which is not below {n} or is used twice"
                );
                return Err(corrupt(found));
            };
            indices.push(index);
        }
        classes.push((name, indices));
    }
    classes.sort();
    Ok(picture::sort_out(images, side, classes))
}
