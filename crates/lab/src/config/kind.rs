//! The kinds of configurations, and how those kinds whose keys all have defaults are read: a preset, or a file over the
//! preset that it names, with overrides on top.

use std::fmt;
use std::fs;
use std::path::Path;

use toml::{Table, Value};

use super::layers::{self, parse_set, parse_table};
use super::section::Sectioned;
use super::{presets, transfer};
use crate::{Error, Result};

/// What a configuration describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Config`](super::Config)
    FewShot,
    /// [`RlConfig`](super::RlConfig): a section `[rl]`, or a preset of this kind.
    Rl,
    /// [`TransferConfig`](super::TransferConfig): a section `[transfer]`, or a preset of this kind.
    Transfer,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::FewShot => "few-shot learning",
            Kind::Rl => "reinforcement learning",
            Kind::Transfer => "meta-transfer",
        })
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::FewShot, Kind::Rl, Kind::Transfer];

    /// The kind of a preset, or of the TOML file at a path.
    pub fn named(preset_or_path: &str) -> Result<Kind> {
        match Kind::of_preset(preset_or_path) {
            Some(kind) => Ok(kind),
            None => layers::read(preset_or_path).map(|table| Kind::of(&table)),
        }
    }

    /// The kind of the run in a folder, where there is one that can be read.
    pub fn of_run(folder: &Path) -> Option<Kind> {
        let text = fs::read_to_string(folder.join("config.toml")).ok()?;
        text.parse().ok().map(|table| Kind::of(&table))
    }

    pub(super) fn of_preset(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|&kind| presets::find_of(kind, name).is_some())
    }

    pub(super) fn of(table: &Table) -> Kind {
        let preset = table.get("preset").and_then(Value::as_str);
        match () {
            _ if table.contains_key("rl") => Kind::Rl,
            _ if table.contains_key("transfer") => Kind::Transfer,
            _ => preset.and_then(Kind::of_preset).unwrap_or(Kind::FewShot),
        }
    }

    /// The error for a configuration of this kind where another kind was expected.
    pub(super) fn instead_of(self, expected: Kind, source: &str) -> Error {
        let only = match self {
            Kind::FewShot => "",
            Kind::Rl | Kind::Transfer => ", which only train and evaluate take",
        };
        let found = format!("{source} is a configuration of {self}{only}");
        Error::usage(format!("{found}; expected a configuration of {expected}"))
    }
}

/// A configuration of a kind whose keys all have defaults.
pub(super) trait OfKind: Sectioned {
    const KIND: Kind;

    /// Fills in the defaults that depend on other keys, and checks everything.
    fn checked(self, source: &str) -> Result<Self>;
}

/// A preset, or the TOML file at a path, with overrides applied in order.
pub(super) fn load<C: OfKind>(preset_or_path: &str, sets: &[String]) -> Result<C> {
    let file = match presets::find_of(C::KIND, preset_or_path) {
        Some(text) => parse_table(text, preset_or_path)?,
        None => {
            let found = Kind::named(preset_or_path)?;
            if found != C::KIND {
                return Err(found.instead_of(C::KIND, preset_or_path));
            }
            layers::read(preset_or_path)?
        }
    };
    let mut table = with_preset(C::KIND, file, preset_or_path)?;
    let mut above = Table::new();
    for set in sets {
        let (setting, source) = parse_set(set)?;
        // Read on its own, so that an error names the override.
        C::read(&setting, &source)?;
        lay(&mut above, setting);
    }
    lay_layer(C::KIND, &mut table, above);
    C::read(&table, preset_or_path)?.checked(preset_or_path)
}

/// A configuration from TOML text; `source` names it in messages.
pub(super) fn parse<C: OfKind>(text: &str, source: &str) -> Result<C> {
    let table = with_preset(C::KIND, parse_table(text, source)?, source)?;
    C::read(&table, source)?.checked(source)
}

/// A file merged over the preset that it names, which may itself be based on another.
fn with_preset(kind: Kind, mut table: Table, source: &str) -> Result<Table> {
    let Some(preset) = table.remove("preset") else { return Ok(table) };
    let text = preset.as_str().and_then(|name| presets::find_of(kind, name)).ok_or_else(|| {
        let names: Vec<_> = presets::of(kind).map(|preset| preset.name).collect();
        Error::config(format!(
            "{source}: preset is {preset}, expected a preset of {kind}: {}",
            names.join(", ")
        ))
    })?;
    let mut below = with_preset(kind, parse_table(text, source)?, source)?;
    lay_layer(kind, &mut below, table);
    Ok(below)
}

/// Merges a layer over those below, after dropping the keys below that its choices make inapplicable.
fn lay_layer(kind: Kind, below: &mut Table, above: Table) {
    if kind == Kind::Transfer {
        transfer::make_way(below, &above);
    }
    lay(below, above);
}

/// Merges a table over another, key by key.
fn lay(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay(below, above),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}
