//! Python pickles of dictionaries with NumPy arrays of bytes.
//!
//! A pickled array is read from the state that NumPy restores it from: a version, the shape, the kind of its elements,
//! whether columns come first, and the bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde_pickle::value::{HashableValue, Value};
use serde_pickle::{DeOptions, value_from_reader};

use crate::Error;
use crate::files::cannot_read;

pub(crate) type Dictionary = BTreeMap<HashableValue, Value>;

/// The dictionary in a file; `corrupt` makes an error from a description of what was found instead.
pub(crate) fn dictionary(
    path: &Path,
    corrupt: &impl Fn(String) -> Error,
) -> Result<Dictionary, Error> {
    let file = File::open(path).map_err(|cause| cannot_read(path, &cause))?;
    let options = DeOptions::new().replace_unresolved_globals();
    match value_from_reader(BufReader::new(file), options) {
        Ok(Value::Dict(dictionary)) => Ok(dictionary),
        Ok(_) => Err(corrupt("holds no dictionary".into())),
        Err(cause) => Err(corrupt(format!("cannot be read to its end ({cause})"))),
    }
}

/// The value of a key, which Python 2 writes as bytes.
pub(crate) fn take(dictionary: &mut Dictionary, key: &str) -> Option<Value> {
    dictionary
        .remove(&HashableValue::String(key.into()))
        .or_else(|| dictionary.remove(&HashableValue::Bytes(key.into())))
}

/// A key that is text, or Python 2's bytes.
pub(crate) fn key_text(key: &HashableValue) -> Option<String> {
    match key {
        HashableValue::String(text) => Some(text.clone()),
        HashableValue::Bytes(bytes) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    }
}

/// A value that is text, or Python 2's bytes.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bytes(bytes) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    }
}

/// A non-negative integer.
pub(crate) fn index(value: &Value) -> Option<usize> {
    match value {
        Value::I64(number) => usize::try_from(*number).ok(),
        _ => None,
    }
}

/// An array of bytes in row-major order.
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Array {
    /// The array itself, if its shape is `[n, h, w, 3]`.
    pub(crate) fn of_colour_images(self) -> Option<Array> {
        matches!(self.shape.as_slice(), [_, _, _, 3]).then_some(self)
    }

    /// Its first extent.
    pub(crate) fn count(&self) -> usize {
        self.shape[0]
    }
}

/// The array restored from a NumPy state.
pub(crate) fn array(value: Value) -> Option<Array> {
    let Value::Tuple(state) = value else { return None };
    let [_, Value::Tuple(shape), _, Value::Bool(false), Value::Bytes(bytes)] =
        <[Value; 5]>::try_from(state).ok()?
    else {
        return None;
    };
    let shape: Vec<usize> = shape.iter().map(index).collect::<Option<_>>()?;
    let size = shape.iter().try_fold(1_usize, |size, &extent| size.checked_mul(extent))?;
    (size > 0 && bytes.len() == size).then_some(Array { shape, bytes })
}
