//! Bounds on values, keys that do not apply with a choice, and the error messages for both.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::layers::{Layers, UNWRITTEN};
use crate::{Error, Result};

/// Largest number of classes, examples or channels: products of a few of them fit a machine word.
pub(super) const MOST: usize = 100_000;
/// Largest number of threads.
pub const MOST_THREADS: usize = 4096;
/// Largest number of iterations, tasks or steps.
pub(super) const LONGEST: usize = 1_000_000_000;
/// Drawings per Omniglot character.
const DRAWINGS: usize = 20;

/// Keys that do not apply with a choice, with the reasons.
pub(super) type Inapplicable = Vec<(&'static str, String)>;

pub(super) fn fixed(inapplicable: &[(&'static str, &str)]) -> Inapplicable {
    inapplicable.iter().map(|&(key, why)| (key, why.to_string())).collect()
}

pub(super) fn bad(source: &str, key: &str, found: impl Display, expected: &str) -> Error {
    Error::config(format!("{source}: {key} is {found}, expected {expected}"))
}

pub(super) fn count(
    source: &str,
    key: &str,
    found: usize,
    range: RangeInclusive<usize>,
) -> Result<usize> {
    let expected = format!("a whole number from {} to {}", range.start(), range.end());
    if range.contains(&found) { Ok(found) } else { Err(bad(source, key, found, &expected)) }
}

pub(super) fn above_zero(source: &str, key: &str, found: f64) -> Result<f64> {
    let fits = found > 0.0 && found.is_finite();
    if fits { Ok(found) } else { Err(bad(source, key, found, "a finite number above 0")) }
}

pub(super) fn not_negative(source: &str, key: &str, found: f64) -> Result<f64> {
    let fits = found >= 0.0 && found.is_finite();
    if fits { Ok(found) } else { Err(bad(source, key, found, "a finite number, 0 or more")) }
}

impl Layers {
    pub(super) fn bad(&self, key: &str, found: impl Display, expected: &str) -> Error {
        bad(self.source(key), key, found, expected)
    }

    /// The source of the first key, or of the second if the first is not set.
    pub(super) fn either(&self, key: &str, other: &str) -> &str {
        match self.source(key) {
            UNWRITTEN => self.source(other),
            source => source,
        }
    }

    pub(super) fn refuse(&self, inapplicable: &Inapplicable) -> Result<()> {
        let Some((key, why)) = inapplicable.iter().find(|(key, _)| self.is_written(key)) else {
            return Ok(());
        };
        let source = self.source(key);
        Err(Error::config(format!("{source}: {key} does not apply: {why}; leave it out")))
    }

    pub(super) fn drawings(
        &self,
        shots_key: &str,
        shots: usize,
        query_key: &str,
        query: usize,
    ) -> Result<()> {
        if shots + query <= DRAWINGS {
            return Ok(());
        }
        let expected =
            format!("at most {DRAWINGS}, the number of drawings of an Omniglot character");
        let source = self.either(shots_key, query_key);
        Err(bad(source, &format!("{shots_key} + {query_key}"), shots + query, &expected))
    }

    pub(super) fn count(
        &self,
        key: &str,
        found: usize,
        range: RangeInclusive<usize>,
    ) -> Result<usize> {
        count(self.source(key), key, found, range)
    }

    pub(super) fn above_zero(&self, key: &str, found: f64) -> Result<f64> {
        above_zero(self.source(key), key, found)
    }

    pub(super) fn not_negative(&self, key: &str, found: f64) -> Result<f64> {
        not_negative(self.source(key), key, found)
    }

    pub(super) fn part(&self, key: &str, found: f64) -> Result<f64> {
        let fits = (0.0..=1.0).contains(&found);
        if fits {
            Ok(found)
        } else {
            Err(self.bad(key, found, "a number from 0 to 1, a fraction of training"))
        }
    }

    pub(super) fn share(&self, key: &str, found: f64) -> Result<f64> {
        let fits = (0.0..1.0).contains(&found);
        if fits { Ok(found) } else { Err(self.bad(key, found, "at least 0 and below 1")) }
    }
}
