//! The case files in `golden/`, unchanged or with something changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use innerloop_engine::{Params, Tensor};
use innerloop_lab::checkpoint::tensors;
use tempfile::TempDir;

/// Every case.
pub(crate) const ALL: [&str; 4] = ["mlp_mse", "mlp_classes", "conv4_16", "conv4_17"];

/// Path of a golden file.
pub(crate) fn golden(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden");
    root.join(format!("{name}.safetensors"))
}

/// A golden file's content.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) arrays: Params<Tensor>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Case {
    pub(crate) fn read(name: &str) -> Case {
        let (arrays, metadata) = tensors::read(&golden(name)).unwrap();
        Case { arrays, metadata }
    }

    /// Changes an array.
    pub(crate) fn array(&mut self, name: &str) -> &mut Tensor {
        let at = self.arrays.position(name).unwrap_or_else(|| panic!("there is no array {name}"));
        &mut self.arrays.values_mut()[at]
    }

    /// Changes an entry of the metadata.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.metadata.insert(key.into(), value.into());
    }

    /// Removes an array.
    pub(crate) fn remove(&mut self, name: &str) {
        assert!(self.arrays.get(name).is_some(), "there is no array {name}");
        self.arrays = self.arrays.filter(|other| other != name);
    }

    /// Writes the case to a temporary folder.
    pub(crate) fn write(&self) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("case.safetensors");
        tensors::write(&path, &self.arrays, &self.metadata).unwrap();
        (folder, path)
    }
}

/// A copy of a golden file, truncated to its first bytes.
pub(crate) fn truncated(name: &str, size: usize) -> (TempDir, PathBuf) {
    let bytes = fs::read(golden(name)).unwrap();
    assert!(size < bytes.len());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("case.safetensors");
    fs::write(&path, &bytes[..size]).unwrap();
    (folder, path)
}

/// The same values in another shape.
pub(crate) fn reshape(array: &mut Tensor, shape: &[usize]) {
    *array = array.clone().reshaped(shape);
}
