//! Configurations of meta-transfer: those with a section `[transfer]`.
//!
//! `keys.rs` has the sections, `settings.rs` what a run makes of them, `valid.rs` the checks.

mod keys;
mod settings;
mod valid;

use toml::{Table, Value};

use super::{Difference, Kind, kind, setting};
use crate::Result;
pub use keys::{
    AlgorithmSection, DataSection, FamilyName, MethodName, NetworkName, NetworkSection,
    OuterSection, RunSection, SourceSection, TransferConfig,
};
pub use settings::DataSet;

impl TransferConfig {
    /// Reads a preset, or the TOML file at a path, then `section.key=value` overrides in order; another kind of
    /// configuration is refused.
    pub fn load(preset_or_path: &str, sets: &[String]) -> Result<TransferConfig> {
        TransferConfig::checked(kind::load(Kind::Transfer, preset_or_path, sets)?, preset_or_path)
    }

    /// Reads TOML text; `source` names it in messages.
    pub fn parse(text: &str, source: &str) -> Result<TransferConfig> {
        TransferConfig::checked(kind::parse(Kind::Transfer, text, source)?, source)
    }

    /// The whole configuration as TOML, every applicable key written.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration is tables of plain values")
    }

    /// Settings that differ, key by key.
    pub fn differences(&self, other: &TransferConfig) -> Vec<Difference> {
        super::differences(&setting::flat(self), &setting::flat(other))
    }

    /// Defaults that depend on choices are filled in, and everything is checked.
    fn checked(mut self, source: &str) -> Result<TransferConfig> {
        self.fill();
        self.check(source)?;
        Ok(self)
    }
}

/// A layer that has the source's network read does without the settings below for its training.
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
