//! Configurations of meta-reinforcement learning: those with a section `[rl]`.
//!
//! `keys.rs` has the sections, `settings.rs` what the method and the outer step make of them, `valid.rs` the checks.

mod keys;
mod settings;
mod valid;

use super::{Difference, Kind, kind, setting};
use crate::Result;
pub use keys::{
    AlgorithmSection, Environment, EvaluationSection, MethodName, OptimizerName, OuterName,
    OuterSection, PolicySection, RunSection, SightName, TasksSection,
};
pub use settings::LearnerConfig;

sectioned! {
    /// A whole run. Every key has a default; keys that do not go with a choice made are refused.
    pub RlConfig beside ["preset"] {
        /// Source of all random numbers: 0 to 2⁶³ − 1. Default 1.
        seed: u64 = 1,
        /// `[rl]`
        rl: TasksSection,
        /// `[policy]`
        policy: PolicySection,
        /// `[algorithm]`
        algorithm: AlgorithmSection,
        /// `[outer]`
        outer: OuterSection,
        /// `[evaluation]`
        evaluation: EvaluationSection,
        /// `[run]`
        run: RunSection,
    }
}

impl RlConfig {
    /// Reads a preset, or the TOML file at a path, then `section.key=value` overrides in order; another kind of
    /// configuration is refused.
    pub fn load(preset_or_path: &str, sets: &[String]) -> Result<RlConfig> {
        RlConfig::checked(kind::load(Kind::Rl, preset_or_path, sets)?, preset_or_path)
    }

    /// Reads TOML text; `source` names it in messages.
    pub fn parse(text: &str, source: &str) -> Result<RlConfig> {
        RlConfig::checked(kind::parse(Kind::Rl, text, source)?, source)
    }

    /// The whole configuration as TOML, every applicable key written; [`RlConfig::parse`] gives it back.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration is tables of plain values")
    }

    /// Settings that differ, key by key, in order of their names.
    pub fn differences(&self, other: &RlConfig) -> Vec<Difference> {
        super::differences(&setting::flat(self), &setting::flat(other))
    }

    /// Defaults that depend on choices are filled in, and everything is checked.
    fn checked(mut config: RlConfig, source: &str) -> Result<RlConfig> {
        config.fill();
        config.check(source)?;
        Ok(config)
    }
}
