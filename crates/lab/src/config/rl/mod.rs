//! Configurations of meta-reinforcement learning: those with a section `[rl]`.
//!
//! `keys.rs` has the sections, `choices.rs` what the method and the outer step make of them, `valid.rs` the checks.

mod choices;
mod keys;
mod valid;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::layers::{self, parse_set, parse_table};
use super::{Difference, file, presets};
use crate::{Error, Result};
pub use keys::{
    ActivationName, AlgorithmSection, DtypeName, Environment, EvaluationSection, MethodName,
    OptimizerName, OuterName, OuterSection, PolicySection, RunSection, SightName, TasksSection,
};

/// A whole run. Every key has a default; keys that do not go with a choice made are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RlConfig {
    /// Source of all random numbers: 0 to 2⁶³ − 1. Default 1.
    pub seed: u64,
    /// `[rl]`
    pub rl: TasksSection,
    /// `[policy]`
    pub policy: PolicySection,
    /// `[algorithm]`
    pub algorithm: AlgorithmSection,
    /// `[outer]`
    pub outer: OuterSection,
    /// `[evaluation]`
    pub evaluation: EvaluationSection,
    /// `[run]`
    pub run: RunSection,
}

impl Default for RlConfig {
    fn default() -> RlConfig {
        RlConfig {
            seed: 1,
            rl: TasksSection::default(),
            policy: PolicySection::default(),
            algorithm: AlgorithmSection::default(),
            outer: OuterSection::default(),
            evaluation: EvaluationSection::default(),
            run: RunSection::default(),
        }
    }
}

impl RlConfig {
    /// Reads a preset, or the TOML file at a path, then `section.key=value` overrides in order; nothing where
    /// that is no configuration of reinforcement learning.
    pub fn load(preset_or_path: &str, sets: &[String]) -> Result<Option<RlConfig>> {
        let mut table = match presets::find_rl(preset_or_path) {
            Some(text) => parse_table(text, preset_or_path)?,
            None if presets::find(preset_or_path).is_some() => return Ok(None),
            None => {
                let table = layers::read(preset_or_path)?;
                if !is_rl(&table) {
                    return Ok(None);
                }
                with_preset(table, preset_or_path)?
            }
        };
        for set in sets {
            let (above, source) = parse_set(set)?;
            // Checked by itself, so that a message names the setting.
            read(&above, &source)?;
            lay(&mut table, above);
        }
        RlConfig::checked(&table, preset_or_path).map(Some)
    }

    /// Reads TOML text; `source` names it in messages.
    pub fn parse(text: &str, source: &str) -> Result<RlConfig> {
        let table = with_preset(parse_table(text, source)?, source)?;
        RlConfig::checked(&table, source)
    }

    /// The whole configuration as TOML, every applicable key written; [`RlConfig::parse`] gives it back.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration is tables of plain values")
    }

    /// Settings that differ, key by key, in order of their names.
    pub fn differences(&self, other: &RlConfig) -> Vec<Difference> {
        super::differences(&file::flat(self), &file::flat(other))
    }

    /// Defaults that depend on choices are filled in, and everything is checked.
    fn checked(table: &Table, source: &str) -> Result<RlConfig> {
        let mut config = read(table, source)?;
        config.fill();
        config.check(source)?;
        Ok(config)
    }
}

/// Whether a file is a configuration of reinforcement learning.
pub(super) fn is_rl(table: &Table) -> bool {
    let preset = table.get("preset").and_then(Value::as_str);
    table.contains_key("rl") || preset.is_some_and(|name| presets::find_rl(name).is_some())
}

fn read(table: &Table, source: &str) -> Result<RlConfig> {
    table.clone().try_into().map_err(|error: toml::de::Error| {
        Error::config(format!("{source}: {}", error.to_string().trim_end().replace('\n', " ")))
    })
}

/// The file over the preset it names.
fn with_preset(mut table: Table, source: &str) -> Result<Table> {
    let Some(preset) = table.remove("preset") else { return Ok(table) };
    let text = preset.as_str().and_then(presets::find_rl).ok_or_else(|| {
        let names: Vec<_> = presets::rl().map(|preset| preset.name).collect();
        Error::config(format!(
            "{source}: preset is {preset}, expected a preset of reinforcement learning: {}",
            names.join(", ")
        ))
    })?;
    let mut below = parse_table(text, source)?;
    lay(&mut below, table);
    Ok(below)
}

/// Lays a table's keys over another's.
fn lay(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay(below, above),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}
