//! Sections and files: keys with their defaults, and errors for unknown keys.

use serde::Serialize;
use toml::{Table, Value};

use super::setting::{clip, join, wrong};
use super::suggest;
use crate::{Error, Result};

/// The sections of a kind of file, each with its keys; the top level of the file is the section "".
pub(super) type Sections = &'static [(&'static str, &'static [&'static str])];

/// A table of keys.
pub(super) trait Section: Sized {
    const KEYS: &'static [&'static str];

    /// Reads a section; keys that are missing get their defaults. `section` is its name among `all`.
    fn read(table: &Table, section: &str, all: Sections, source: &str) -> Result<Self>;
}

/// A whole file: [`Section`]s, and keys at the top level.
pub(super) trait Sectioned: Sized + Serialize {
    fn read(table: &Table, source: &str) -> Result<Self>;
}

/// Fails at a key that the section does not have.
pub(super) fn only_known(table: &Table, section: &str, all: Sections, source: &str) -> Result<()> {
    let known = all.iter().find(|(name, _)| *name == section).map_or(&[][..], |(_, keys)| keys);
    let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    // The full name of a key that is in the wrong section.
    let elsewhere = || all.iter().find(|(_, keys)| keys.contains(&key.as_str()));
    let hint = match suggest::nearest(key, known.iter().copied()) {
        Some(name) => format!("; did you mean `{name}`?"),
        None => match elsewhere() {
            Some((place, _)) => format!("; did you mean `{}`?", join(place, key)),
            None if section.is_empty() => format!("; known: {}", known.join(", ")),
            None => format!("; known in [{section}]: {}", known.join(", ")),
        },
    };
    let full = join(section, &clip(key));
    Err(Error::config(format!("{source}: unknown key `{full}`{hint}")))
}

/// Reads the section of that name; a missing one is empty.
pub(super) fn read_section<S: Section>(
    table: &Table,
    section: &str,
    all: Sections,
    source: &str,
) -> Result<S> {
    match table.get(section) {
        None => S::read(&Table::new(), section, all, source),
        Some(Value::Table(found)) => S::read(found, section, all, source),
        Some(other) => Err(wrong(source, section, other, &format!("a section [{section}]"))),
    }
}

/// Sections: a name, and keys with documentation, type and default, which is `None` if not given.
macro_rules! section {
    (@default) => { None };
    (@default $default:expr) => { $default };
    ($($(#[$about:meta])* $vis:vis $name:ident {
        $($(#[$doc:meta])* $key:ident: $type:ty $(= $default:expr)?,)*
    })*) => { $(
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name { $($(#[$doc])* $vis $key: $type,)* }

        impl Default for $name {
            fn default() -> $name {
                $name { $($key: section!(@default $($default)?),)* }
            }
        }

        impl $crate::config::section::Section for $name {
            const KEYS: &'static [&'static str] = &[$(stringify!($key)),*];

            fn read(
                table: &toml::Table,
                section: &str,
                all: $crate::config::section::Sections,
                source: &str,
            ) -> $crate::Result<$name> {
                $crate::config::section::only_known(table, section, all, source)?;
                let mut read = $name::default();
                $(if let Some(value) =
                    $crate::config::setting::setting(table, section, stringify!($key), source)?
                {
                    read.$key = value;
                })*
                Ok(read)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(
                &self,
                to: S,
            ) -> std::result::Result<S::Ok, S::Error> {
                use $crate::config::setting;
                let written = [$((stringify!($key), setting::Setting::value(&self.$key))),*];
                to.collect_map(written.into_iter().filter_map(|(key, value)| Some((key, value?))))
            }
        }
    )* };
}

/// Sections whose keys are all optional, so that they can be layered.
macro_rules! layered {
    ($($name:ident { $($key:ident: $type:ty,)* })*) => { $(
        section! { pub(super) $name { $($key: Option<$type>,)* } }

        impl $name {
            fn clear(&mut self, key: &str) {
                $(if key == stringify!($key) { self.$key = None; })*
            }

            fn over(self, under: $name) -> $name {
                $name { $($key: self.$key.over(under.$key),)* }
            }
        }
    )* };
}

/// A whole file: the seed, and sections by name; the keys after `beside` are not part of the run.
macro_rules! sectioned {
    ($(#[$about:meta])* $vis:vis $name:ident beside [$($beside:literal),*] {
        $(#[$seed_doc:meta])* seed: $seed:ty = $default:expr,
        $($(#[$doc:meta])* $section:ident: $type:ty,)*
    }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        $vis struct $name {
            $(#[$seed_doc])*
            $vis seed: $seed,
            $($(#[$doc])* $vis $section: $type,)*
        }

        impl Default for $name {
            fn default() -> $name {
                $name { seed: $default, $($section: <$type>::default(),)* }
            }
        }

        impl $crate::config::section::Sectioned for $name {
            fn read(table: &toml::Table, source: &str) -> $crate::Result<$name> {
                use $crate::config::section::{Section, Sections, only_known, read_section};
                use $crate::config::setting::setting;
                const ALL: Sections = &[
                    ("", &[$($beside,)* "seed", $(stringify!($section)),*]),
                    $((stringify!($section), <$type>::KEYS),)*
                ];
                only_known(table, "", ALL, source)?;
                Ok($name {
                    seed: setting(table, "", "seed", source)?.unwrap_or($default),
                    $($section: read_section(table, stringify!($section), ALL, source)?,)*
                })
            }
        }
    };
}
