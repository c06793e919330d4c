//! Checkpoints and files of named tensors, in the safetensors format.
//!
//! A checkpoint is a safetensors file whose tensors are called `group/name` and whose metadata says `format =
//! "innerloop-checkpoint"` and `format_version = "1"`; any program that knows the format can read its numbers. Equal
//! contents give equal bytes. Saving is atomic: after a failure, such as a full disk, the previous file is untouched.

pub(crate) mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use innerloop_engine::{Params, Tensor};

use crate::{Error, Result};

/// Magic word of the metadata.
pub const FORMAT: &str = "innerloop-checkpoint";
/// Version written, and the only one read.
pub const FORMAT_VERSION: &str = "1";

/// Metadata keys that belong to the format.
const RESERVED: [&str; 3] = ["format", "format_version", "groups"];

/// State of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// Named sets of tensors, such as `omega`, `carried`, `optimizer.first`, in order. Group names are not empty and
    /// contain no `/`.
    pub groups: Vec<(String, Params<Tensor>)>,
    /// Everything that is not a tensor, as text: iteration, best score. The keys `format`, `format_version` and
    /// `groups` belong to the format.
    pub metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// The tensors of a group, if the group is there.
    pub fn group(&self, name: &str) -> Option<&Params<Tensor>> {
        self.groups.iter().find(|(group, _)| group == name).map(|(_, params)| params)
    }
}

/// Writes a checkpoint atomically. Fails, before anything is written, if a value is not finite, since such a file could
/// not be loaded. Panics on group names that [`Checkpoint::groups`] forbids.
#[track_caller]
pub fn save(path: &Path, checkpoint: &Checkpoint) -> Result<()> {
    let mut tensors = Params::new();
    let mut names = Vec::new();
    for (group, params) in &checkpoint.groups {
        assert!(!group.is_empty() && !group.contains('/'), "{group:?} cannot name a group");
        assert!(!names.contains(&group), "two groups are named {group}");
        names.push(group);
        for (name, tensor) in params.iter() {
            if let Some((at, value)) = not_finite(tensor) {
                return Err(Error::diverged(format!(
                    "{group}/{name} holds {value} at element {at}, expected finite values; {} is left as it was",
                    path.display()
                )));
            }
            tensors.push(format!("{group}/{name}"), tensor.clone());
        }
    }
    let mut metadata = checkpoint.metadata.clone();
    for key in RESERVED {
        assert!(!metadata.contains_key(key), "metadata key {key} belongs to the format");
    }
    metadata.insert("format".into(), FORMAT.into());
    metadata.insert("format_version".into(), FORMAT_VERSION.into());
    metadata.insert("groups".into(), serde_json::to_string(&names).expect("a list of strings"));
    tensors::write(path, &tensors, &metadata)
}

/// Reads a checkpoint and checks its format, its version and that every value is finite.
pub fn load(path: &Path) -> Result<Checkpoint> {
    let (tensors, mut metadata) = tensors::read(path)?;
    let place = path.display();
    match metadata.remove("format").as_deref() {
        Some(FORMAT) => {}
        found => {
            let found = found.map_or("no format".into(), |format| format!("format {format:?}"));
            return Err(Error::checkpoint(format!(
                "{place} has {found} in its metadata, expected {FORMAT:?}; it is a tensor file of another \
                 program, name a checkpoint written by innerloop"
            )));
        }
    }
    match metadata.remove("format_version").as_deref() {
        Some(FORMAT_VERSION) => {}
        found => {
            let found = found.unwrap_or("missing");
            return Err(Error::checkpoint(format!(
                "{place} has checkpoint format version {found}, expected {FORMAT_VERSION}; use the version of \
                 innerloop that wrote it, or train again"
            )));
        }
    }
    let damaged = |cause: String| {
        Error::checkpoint(format!(
            "{place} is damaged: {cause}; use another checkpoint or train again"
        ))
    };
    let listed = metadata.remove("groups").unwrap_or_default();
    let listed: Vec<String> = serde_json::from_str(&listed).map_err(|_| {
        damaged(format!("its list of groups is {listed:?}, expected a list of names"))
    })?;
    let mut groups: Vec<(String, Params<Tensor>)> = Vec::new();
    for group in listed {
        if groups.iter().any(|(other, _)| *other == group) {
            return Err(damaged(format!("it lists group {group:?} twice")));
        }
        groups.push((group, Params::new()));
    }
    for (full, tensor) in tensors.iter() {
        let (group, name) = full.split_once('/').unwrap_or(("", full));
        let Some((_, params)) = groups.iter_mut().find(|(listed, _)| listed == group) else {
            return Err(damaged(format!("tensor {full:?} is in none of its groups")));
        };
        if let Some((at, value)) = not_finite(tensor) {
            return Err(damaged(format!(
                "tensor {full:?} holds {value} at element {at}, expected finite values"
            )));
        }
        params.push(name, tensor.clone());
    }
    Ok(Checkpoint { groups, metadata })
}

fn not_finite(tensor: &Tensor) -> Option<(usize, f64)> {
    if tensor.is_finite() {
        return None;
    }
    tensor.iter().enumerate().find(|(_, value)| !value.is_finite())
}

/// Any safetensors file.
pub mod tensors {
    use innerloop_engine::Dtype;
    use safetensors::SafeTensors;
    use safetensors::tensor::{Dtype as Stored, TensorInfo};

    use super::*;

    /// The largest integer up to which f64 represents all integers.
    const EXACT: i64 = 1 << 53;

    /// Tensors and metadata of a file, with tensors in the order of their position in it (empty ones, which share a
    /// position, by name). `F32` and `F64` are kept; `I64`, `I32` and `U8`, as used for labels, become f64; other types
    /// are rejected by name. Values need not be finite.
    pub fn read(path: &Path) -> Result<(Params<Tensor>, BTreeMap<String, String>)> {
        let place = path.display();
        let bytes = fs::read(path).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => {
                Error::checkpoint(format!("there is no file {place}; expected a safetensors file"))
            }
            io::ErrorKind::IsADirectory => {
                Error::checkpoint(format!("{place} is a folder, expected a safetensors file"))
            }
            _ => Error::io("read", path, &cause),
        })?;
        let damaged = |cause: &dyn std::fmt::Display| {
            let size = bytes.len();
            Error::checkpoint(format!(
                "{place} is not an intact safetensors file: {cause} ({size} bytes); copy or make it again"
            ))
        };
        let (header, info) = SafeTensors::read_metadata(&bytes).map_err(|cause| damaged(&cause))?;
        let data = &bytes[size_of::<u64>() + header..];
        let infos = info.tensors();
        let mut places: Vec<(&String, &&TensorInfo)> = infos.iter().collect();
        places.sort_by_key(|(name, info)| (info.data_offsets, *name));
        let mut tensors = Params::new();
        for (name, info) in places {
            let (start, end) = info.data_offsets;
            let tensor = convert(info.dtype, &info.shape, &data[start..end])
                .map_err(|cause| Error::checkpoint(format!("{place}: tensor {name:?} {cause}")))?;
            tensors.push(name, tensor);
        }
        let metadata = info.metadata().iter().flatten();
        Ok((tensors, metadata.map(|(key, value)| (key.clone(), value.clone())).collect()))
    }

    /// Writes tensors and metadata atomically: first those of type f64, then those of type f32, each in the given
    /// order, so that every tensor is aligned. Equal contents give equal bytes.
    pub fn write(
        path: &Path,
        tensors: &Params<Tensor>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<()> {
        let bytes = encode(tensors, metadata);
        write_atomic(path, |file| file.write_all(&bytes))
    }

    /// Eight bytes of header length, the header as JSON padded with spaces, then the numbers. Encoded here and not by
    /// the library, whose header order changes from run to run.
    fn encode(tensors: &Params<Tensor>, metadata: &BTreeMap<String, String>) -> Vec<u8> {
        let json = |text: &str| serde_json::to_string(text).expect("a string");
        let mut entries = Vec::new();
        if !metadata.is_empty() {
            let metadata = serde_json::to_string(metadata).expect("a map of strings");
            entries.push(format!("\"__metadata__\":{metadata}"));
        }
        let mut data: Vec<u8> = Vec::new();
        for dtype in [Dtype::F64, Dtype::F32] {
            for (name, tensor) in tensors.iter().filter(|(_, tensor)| tensor.dtype() == dtype) {
                let start = data.len();
                let stored = match dtype {
                    Dtype::F64 => {
                        data.extend(tensor.as_f64().iter().flat_map(|x| x.to_le_bytes()));
                        "F64"
                    }
                    Dtype::F32 => {
                        data.extend(tensor.as_f32().iter().flat_map(|x| x.to_le_bytes()));
                        "F32"
                    }
                };
                entries.push(format!(
                    "{}:{{\"dtype\":\"{stored}\",\"shape\":{},\"data_offsets\":[{start},{}]}}",
                    json(name),
                    serde_json::to_string(tensor.shape()).expect("a list of numbers"),
                    data.len()
                ));
            }
        }
        let mut header = format!("{{{}}}", entries.join(","));
        while !header.len().is_multiple_of(8) {
            header.push(' ');
        }
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.into_bytes());
        bytes.extend(data);
        bytes
    }

    fn convert(dtype: Stored, shape: &[usize], data: &[u8]) -> std::result::Result<Tensor, String> {
        fn each<const N: usize, T>(data: &[u8], number: fn([u8; N]) -> T) -> Vec<T> {
            data.as_chunks::<N>().0.iter().map(|&bytes| number(bytes)).collect()
        }
        let whole = |values: Vec<i64>| -> std::result::Result<Tensor, String> {
            if let Some(large) = values.iter().find(|value| value.unsigned_abs() > EXACT as u64) {
                return Err(format!(
                    "holds {large}, expected whole numbers that f64 can hold, to ±2^53"
                ));
            }
            Ok(Tensor::from_f64(shape, values.into_iter().map(|value| value as f64).collect()))
        };
        match dtype {
            Stored::F32 => Ok(Tensor::from_f32(shape, each(data, f32::from_le_bytes))),
            Stored::F64 => Ok(Tensor::from_f64(shape, each(data, f64::from_le_bytes))),
            Stored::I64 => whole(each(data, i64::from_le_bytes)),
            Stored::I32 => whole(each(data, |bytes| i64::from(i32::from_le_bytes(bytes)))),
            Stored::U8 => whole(data.iter().map(|&byte| i64::from(byte)).collect()),
            other => Err(format!(
                "has type {other}, expected F32, F64, I64, I32 or U8; convert it before saving"
            )),
        }
    }
}

/// Writes a file at `path` completely or not at all: the old file is replaced once the new one is on the disk.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomic(path, |file| file.write_all(bytes))
}

/// Writes a file at `path` completely or not at all: `write` fills a temporary file beside it, which is flushed to the
/// disk and then replaces the old file. A link stays, and the file it leads to is replaced; a device or a pipe is written
/// to.
pub(crate) fn write_atomic(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let failed = |cause: io::Error| Error::io("write", path, &cause);
    let Some(name) = path.file_name() else {
        return Err(failed(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path ends in no file name",
        )));
    };
    let linked;
    let (path, name) = match fs::canonicalize(path) {
        Ok(there) if !there.is_file() && !there.is_dir() => {
            let mut file = OpenOptions::new().write(true).open(&there).map_err(failed)?;
            return write(&mut file).map_err(failed);
        }
        Ok(there) if path.is_symlink() => {
            linked = there;
            (linked.as_path(), linked.file_name().unwrap_or(name))
        }
        _ => (path, name),
    };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}-{number}.tmp", std::process::id()));
    let temporary = Temporary(folder.join(hidden));
    let replace = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).open(&temporary.0)?;
        write(&mut file)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary.0, path)?;
        sync_folder(folder)
    };
    replace().map_err(failed)
}

/// A file that is removed unless it has been moved away, even when writing it panics.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a success there is nothing left to remove, and a failure cannot be handled here.
        let _ = fs::remove_file(&self.0);
    }
}

/// Makes a rename survive a power cut. Only Unix allows opening folders for that.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
