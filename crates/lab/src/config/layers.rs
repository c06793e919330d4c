//! Presets, files and overrides, merged in layers. Each layer is checked on its own, so that an error names the place a
//! value came from.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use toml::{Table, Value};

use super::file::*;
use super::section::Sectioned;
use super::setting::{clip, join, wrong};
use super::{Kind, LeftOut, WindowConfig, presets, suggest};
use crate::{Error, Result};

/// Source of a value that is set nowhere.
pub(super) const UNWRITTEN: &str = "configuration";

/// Files and overrides, later ones over earlier ones, and where each key was last set.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) file: ConfigFile,
    sources: BTreeMap<String, String>,
}

impl Layers {
    pub(super) fn open(preset_or_path: &str) -> Result<Layers> {
        if presets::find(preset_or_path).is_some() {
            let mut layers = Layers::default();
            layers.preset(preset_or_path, "")?;
            return Ok(layers);
        }
        if let Some(kind) = Kind::of_preset(preset_or_path) {
            return Err(kind.instead_of(Kind::FewShot, preset_or_path));
        }
        Layers::from_table(&read(preset_or_path)?, preset_or_path)
    }

    pub(super) fn parse(text: &str, source: &str) -> Result<Layers> {
        Layers::from_table(&parse_table(text, source)?, source)
    }

    fn from_table(table: &Table, source: &str) -> Result<Layers> {
        let kind = Kind::of(table);
        if kind != Kind::FewShot {
            return Err(kind.instead_of(Kind::FewShot, source));
        }
        let mut layers = Layers::default();
        layers.with_preset(table, source)?;
        Ok(layers)
    }

    /// `section.key=value`.
    pub(super) fn set(&mut self, set: &str) -> Result<()> {
        let (table, source) = parse_set(set)?;
        self.add(&table, &source)
    }

    /// Overrides that are meant for several configurations. Those that do not apply with the choices made here,
    /// including the choices of the overrides themselves, are left out and returned.
    pub(super) fn set_shared(&mut self, sets: &[String]) -> Result<Vec<LeftOut>> {
        let mut keys = Vec::new();
        for set in sets {
            let (table, source) = parse_set(set)?;
            self.add(&table, &source)?;
            keys.extend(written(&table));
        }
        let file = &self.file;
        let inapplicable = [
            file.tasks.family.unwrap_or(FamilyName::Strokes).inapplicable_keys(),
            file.network().inapplicable_keys(),
            file.method().inapplicable_keys(),
            file.algorithm.regularizer.unwrap_or(RegularizerName::None).inapplicable_keys(),
            file.optimizer().inapplicable_keys(),
            file.schedule().inapplicable_keys(),
            WindowConfig::inapplicable_keys(file),
        ];
        let mut left_out: Vec<LeftOut> = Vec::new();
        for (key, why) in inapplicable.into_iter().flatten() {
            if keys.iter().any(|given| given == key) && self.is_written(key) {
                self.forget(key);
                left_out.push(LeftOut { key: key.into(), why });
            }
        }
        Ok(left_out)
    }

    fn forget(&mut self, key: &str) {
        self.sources.remove(key);
        self.file.clear(key);
    }

    /// Where a key was last set; [`UNWRITTEN`] if nowhere.
    pub(super) fn source(&self, key: &str) -> &str {
        self.sources.get(key).map_or(UNWRITTEN, String::as_str)
    }

    pub(super) fn is_written(&self, key: &str) -> bool {
        self.sources.contains_key(key)
    }

    fn preset(&mut self, name: &str, within: &str) -> Result<()> {
        let text = presets::find(name).ok_or_else(|| unknown_preset(name, within))?;
        let source = format!("preset {name}");
        self.with_preset(&parse_table(text, &source)?, &source)
    }

    /// Adds the preset that a table names at its top, which may itself be based on another, and then the table.
    fn with_preset(&mut self, table: &Table, source: &str) -> Result<()> {
        match table.get("preset") {
            None => {}
            Some(Value::String(name)) => self.preset(name, &format!("{source}: "))?,
            Some(other) => return Err(wrong(source, "preset", other, "the name of a preset")),
        }
        self.add(table, source)
    }

    fn add(&mut self, table: &Table, source: &str) -> Result<()> {
        let file = ConfigFile::read(table, source)?;
        self.drop_inapplicable(&file);
        self.file = file.over(std::mem::take(&mut self.file));
        self.sources.extend(written(table).map(|key| (key, source.to_string())));
        Ok(())
    }

    /// Drops settings of the layers below that belong to a family, network, method, regularizer, optimizer or
    /// schedule that the layer above replaces.
    fn drop_inapplicable(&mut self, above: &ConfigFile) {
        let choices = [
            above.tasks.family.map(FamilyName::inapplicable_keys),
            above.model.kind.map(NetworkName::inapplicable_keys),
            above.algorithm.name.map(MethodName::inapplicable_keys),
            above.algorithm.regularizer.map(RegularizerName::inapplicable_keys),
            above.outer.optimizer.map(OptimizerName::inapplicable_keys),
            above.outer.schedule.map(ScheduleName::inapplicable_keys),
        ];
        for (full, _) in choices.into_iter().flatten().flatten() {
            self.forget(full);
        }
        // Only its window distinguishes multi_step from MAML, so a window set below belongs to it.
        let is_left = above.algorithm.name.is_some_and(|name| name != MethodName::MultiStep);
        if is_left && self.file.method() == MethodName::MultiStep {
            self.forget("algorithm.window");
            self.forget("algorithm.window_mode");
        }
    }
}

/// Full names of the keys in a table.
fn written(table: &Table) -> impl Iterator<Item = String> {
    table.iter().flat_map(|(name, value)| match value {
        Value::Table(section) => section.keys().map(|key| join(name, key)).collect(),
        _ => vec![name.clone()],
    })
}

/// The TOML file at a path.
pub(super) fn read(preset_or_path: &str) -> Result<Table> {
    let path = Path::new(preset_or_path);
    if path.is_dir() {
        let found = format!("{preset_or_path} is a folder, expected a preset or a .toml file");
        return Err(Error::usage(found));
    }
    let looks_like_a_file = preset_or_path.ends_with(".toml") || path.components().count() > 1;
    let text = fs::read_to_string(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound if looks_like_a_file => Error::usage(format!(
            "there is no file {preset_or_path}; expected a .toml file or one of the presets {}",
            presets::names().join(", ")
        )),
        io::ErrorKind::NotFound => unknown_preset(preset_or_path, ""),
        io::ErrorKind::InvalidData => {
            Error::config(format!("{preset_or_path} is not UTF-8 text, expected a TOML file"))
        }
        _ => Error::io("read", path, &cause),
    })?;
    parse_table(&text, preset_or_path)
}

/// `section.key=value` as a table, and the name of its source in messages.
pub(super) fn parse_set(set: &str) -> Result<(Table, String)> {
    let source = format!("--set {}", clip(set));
    let shape =
        || Error::usage(format!("{source}: expected section.key=value, as in outer.lr=0.01"));
    let (key, value) = split_at_equals(set).ok_or_else(shape)?;
    // A value that is not valid TOML, and does not begin like a TOML string, array or table, is a bare word.
    let document = |value: &str| format!("{key} = {value}").parse::<Table>();
    let one_pair = !set.contains(['\n', '\r']) && !key.contains(['#', '[', ']']);
    let bare = !value.is_empty() && !value.starts_with(['"', '\'', '[', '{']);
    let table = match document(value) {
        Ok(table) if one_pair => table,
        Err(_) if one_pair && bare => {
            document(&Value::from(value).to_string()).map_err(|_| shape())?
        }
        _ => return Err(shape()),
    };
    if table.contains_key("preset") {
        let advice = "name the preset as the source, or at the top of a file";
        return Err(Error::usage(format!("{source}: a preset cannot be set; {advice}")));
    }
    if table.contains_key("published") {
        return Err(Error::usage(format!("{source}: the [published] table cannot be set")));
    }
    Ok((table, source))
}

pub(super) fn parse_table(text: &str, source: &str) -> Result<Table> {
    text.parse::<Table>().map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        Error::config(format!(
            "{source}, line {line}: {}, expected TOML",
            error.message().trim_end()
        ))
    })
}

fn unknown_preset(name: &str, within: &str) -> Error {
    let hint = suggest::hint(name, presets::names());
    let known = presets::names().join(", ");
    let name = clip(name);
    Error::usage(format!("{within}no preset is named `{name}`{hint}; presets: {known}"))
}

/// Key and value around the first `=` that is not inside quotes.
fn split_at_equals(set: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    let at = set.char_indices().find_map(|(at, c)| {
        match (quote, c) {
            (None, '=') => return Some(at),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        None
    })?;
    let (key, value) = (set[..at].trim(), set[at + 1..].trim());
    (!key.is_empty()).then_some((key, value))
}
