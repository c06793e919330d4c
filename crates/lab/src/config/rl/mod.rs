//! Configurations of meta-reinforcement learning: those with a section `[rl]`.
//!
//! `keys.rs` defines the sections, `settings.rs` turns them into the settings of a learner, `valid.rs` has the checks.

mod keys;
mod settings;
mod valid;

use super::kind::{self, OfKind};
use super::{Kept, Kind};
use crate::Result;
pub use keys::{
    AlgorithmSection, Environment, EvaluationSection, MethodName, OptimizerName, OuterName,
    OuterSection, PolicySection, RunSection, TasksSection,
};
pub use settings::LearnerConfig;

sectioned! {
    /// A whole run. Every key has a default; keys that do not apply with the choices made are rejected.
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
    /// configuration is rejected.
    pub fn load(preset_or_path: &str, sets: &[String]) -> Result<RlConfig> {
        kind::load(preset_or_path, sets)
    }
}

impl Kept for RlConfig {
    fn parse(text: &str, source: &str) -> Result<RlConfig> {
        kind::parse(text, source)
    }
}

impl OfKind for RlConfig {
    const KIND: Kind = Kind::Rl;

    fn checked(mut self, source: &str) -> Result<RlConfig> {
        self.fill();
        self.check(source)?;
        Ok(self)
    }
}
