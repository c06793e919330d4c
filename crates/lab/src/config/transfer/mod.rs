//! Configurations of meta-transfer: those with a section `[transfer]`.
//!
//! `keys.rs` defines the sections, `settings.rs` turns them into the settings of a run, `valid.rs` has the checks.

mod keys;
mod settings;
mod valid;

use toml::{Table, Value};

use super::kind::{self, OfKind};
use super::{Kept, Kind};
use crate::Result;
pub use keys::{
    AlgorithmSection, DataSection, FamilyName, MethodName, NetworkName, NetworkSection,
    OuterSection, RunSection, SourceSection, TransferConfig,
};
pub use settings::DataSet;

impl TransferConfig {
    /// Reads a preset, or the TOML file at a path, then `section.key=value` overrides in order; another kind of
    /// configuration is rejected.
    pub fn load(preset_or_path: &str, sets: &[String]) -> Result<TransferConfig> {
        kind::load(preset_or_path, sets)
    }
}

impl Kept for TransferConfig {
    fn parse(text: &str, source: &str) -> Result<TransferConfig> {
        kind::parse(text, source)
    }
}

impl OfKind for TransferConfig {
    const KIND: Kind = Kind::Transfer;

    fn checked(mut self, source: &str) -> Result<TransferConfig> {
        self.fill();
        self.check(source)?;
        Ok(self)
    }
}

/// If a layer loads the source's network from a file, the layers below lose the settings for training it.
pub(super) fn make_way(below: &mut Table, above: &Table) {
    let weights = above.get("source").and_then(|source| source.get("weights"));
    if let (Some(Value::String(file)), Some(Value::Table(source))) =
        (weights, below.get_mut("source"))
        && !file.is_empty()
    {
        for key in ["iterations", "batch_size", "lr"] {
            source.remove(key);
        }
    }
}
