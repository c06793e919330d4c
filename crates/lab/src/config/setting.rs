//! The types that keys can have: how a value is read, with an error if it has another type, and how layers merge.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use toml::{Table, Value};

use super::suggest;
use crate::{Error, Result};

/// A type that a key can have.
pub(super) trait Setting: Sized + Clone {
    /// The value, if it has this type.
    fn parse(value: &Value) -> Option<Self>;

    /// The value to write; `None` leaves the key out.
    fn value(&self) -> Option<Value>;

    /// Describes the type in error messages.
    fn expected() -> String;

    /// The legal names, if the type is a [`Choice`].
    fn names() -> &'static [&'static str] {
        &[]
    }

    /// This value merged over another.
    fn over(self, _under: Self) -> Self {
        self
    }
}

/// An enumeration whose values have names in configurations.
pub(crate) trait Choice: Copy + PartialEq + 'static {
    /// Every value, in the order in which they are documented.
    const ALL: &'static [Self];
    /// Their names.
    const NAMES: &'static [&'static str];

    /// Name in configurations and reports.
    fn name(self) -> &'static str;
}

impl<T: Choice> Setting for T {
    fn parse(value: &Value) -> Option<T> {
        T::ALL.iter().copied().find(|choice| value.as_str() == Some(choice.name()))
    }

    fn value(&self) -> Option<Value> {
        Some(self.name().into())
    }

    fn expected() -> String {
        one_of(T::NAMES)
    }

    fn names() -> &'static [&'static str] {
        T::NAMES
    }
}

/// Names for the values of existing enums.
macro_rules! named {
    ($($name:ident { $($variant:ident = $text:literal,)* })*) => { $(
        impl $crate::config::setting::Choice for $name {
            const ALL: &'static [$name] = &[$($name::$variant),*];
            const NAMES: &'static [&'static str] = &[$($text),*];

            fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    )* };
}

/// Enums whose values have names in configurations.
macro_rules! choices {
    ($($(#[$doc:meta])* $vis:vis $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name {
            $($(#[$vdoc])* $variant,)*
        }

        named! { $name { $($variant = $text,)* } }

        impl $name {
            /// Name in configurations and reports.
            $vis fn name(self) -> &'static str {
                $crate::config::setting::Choice::name(self)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    )* };
}

macro_rules! whole_numbers {
    ($($type:ty)*) => { $(
        impl Setting for $type {
            fn parse(value: &Value) -> Option<$type> {
                <$type>::try_from(value.as_integer()?).ok()
            }

            fn value(&self) -> Option<Value> {
                Some(Value::Integer(i64::try_from(*self).expect("at most 2⁶³ − 1")))
            }

            fn expected() -> String {
                "a whole number, 0 or more".into()
            }
        }
    )* };
}

whole_numbers!(usize u64);

impl Setting for f64 {
    fn parse(value: &Value) -> Option<f64> {
        value.as_float().or(value.as_integer().map(|whole| whole as f64))
    }

    fn value(&self) -> Option<Value> {
        Some((*self).into())
    }

    fn expected() -> String {
        "a number".into()
    }
}

impl Setting for bool {
    fn parse(value: &Value) -> Option<bool> {
        value.as_bool()
    }

    fn value(&self) -> Option<Value> {
        Some((*self).into())
    }

    fn expected() -> String {
        "true or false".into()
    }
}

impl Setting for String {
    fn parse(value: &Value) -> Option<String> {
        value.as_str().map(str::to_string)
    }

    fn value(&self) -> Option<Value> {
        Some(self.as_str().into())
    }

    fn expected() -> String {
        "a string in quotes".into()
    }
}

impl Setting for PathBuf {
    fn parse(value: &Value) -> Option<PathBuf> {
        value.as_str().map(PathBuf::from)
    }

    fn value(&self) -> Option<Value> {
        Some(self.to_string_lossy().into_owned().into())
    }

    fn expected() -> String {
        String::expected()
    }
}

/// A key that may be left out.
impl<T: Setting> Setting for Option<T> {
    fn parse(value: &Value) -> Option<Option<T>> {
        T::parse(value).map(Some)
    }

    fn value(&self) -> Option<Value> {
        self.as_ref().and_then(T::value)
    }

    fn expected() -> String {
        T::expected()
    }

    fn names() -> &'static [&'static str] {
        T::names()
    }

    fn over(self, under: Option<T>) -> Option<T> {
        match (self, under) {
            (Some(over), Some(under)) => Some(over.over(under)),
            (over, under) => over.or(under),
        }
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn parse(value: &Value) -> Option<Vec<T>> {
        value.as_array()?.iter().map(T::parse).collect()
    }

    fn value(&self) -> Option<Value> {
        Some(Value::Array(self.iter().filter_map(T::value).collect()))
    }

    fn expected() -> String {
        format!("a list, each item {}", T::expected())
    }
}

/// Tensor names contain dots, so nested tables are names written without quotes.
impl Setting for BTreeMap<String, f64> {
    fn parse(value: &Value) -> Option<BTreeMap<String, f64>> {
        fn walk(prefix: &str, table: &Table, into: &mut BTreeMap<String, f64>) -> Option<()> {
            for (key, value) in table {
                match value {
                    Value::Table(nested) => walk(&join(prefix, key), nested, into)?,
                    other => drop(into.insert(join(prefix, key), f64::parse(other)?)),
                }
            }
            Some(())
        }
        let mut rates = BTreeMap::new();
        walk("", value.as_table()?, &mut rates)?;
        Some(rates)
    }

    fn value(&self) -> Option<Value> {
        Some(Value::Table(self.iter().map(|(name, &rate)| (name.clone(), rate.into())).collect()))
    }

    fn expected() -> String {
        "a table of tensor names and rates, as in { \"head.weight\" = 0.1 }".into()
    }

    fn over(mut self, under: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
        for (name, rate) in under {
            self.entry(name).or_insert(rate);
        }
        self
    }
}

pub(super) fn setting<T: Setting>(
    table: &Table,
    section: &str,
    key: &str,
    source: &str,
) -> Result<Option<T>> {
    let Some(value) = table.get(key) else { return Ok(None) };
    let parsed = T::parse(value);
    if parsed.is_none() {
        let hint = match value.as_str() {
            Some(word) => suggest::hint(word, T::names().iter().copied()),
            None => String::new(),
        };
        return Err(wrong(source, &join(section, key), value, &(T::expected() + &hint)));
    }
    Ok(parsed)
}

pub(super) fn wrong(source: &str, key: &str, found: &Value, expected: &str) -> Error {
    let found = clip(&found.to_string());
    Error::config(format!("{source}: {key} is {found}, expected {expected}"))
}

/// The text, or its beginning if it is long.
pub(super) fn clip(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

/// Every key of the file with its value as TOML.
pub(super) fn flat(file: &impl Serialize) -> BTreeMap<String, String> {
    fn walk(prefix: &str, value: &Value, into: &mut BTreeMap<String, String>) {
        match value {
            Value::Table(table) => {
                table.iter().for_each(|(key, value)| walk(&join(prefix, key), value, into));
            }
            other => drop(into.insert(prefix.to_string(), other.to_string())),
        }
    }
    let value = Value::try_from(file).expect("a configuration is tables of plain values");
    let mut all = BTreeMap::new();
    walk("", &value, &mut all);
    all
}

/// `one of "a", "b"`.
pub(super) fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("one of {}", quoted.join(", "))
}

/// `section.key`, or the key alone at the top.
pub(super) fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_string() } else { format!("{section}.{key}") }
}
