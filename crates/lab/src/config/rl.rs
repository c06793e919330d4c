//! Configurations of meta-reinforcement learning: those with a section `[rl]`.

use std::path::PathBuf;

use innerloop_engine::Dtype;
use innerloop_meta::outer::Optimizer;
use innerloop_rl::{Advantage, EsMaml, InnerLoop, Method, Outer, Settings, Trpo};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::layers::{self, parse_set, parse_table};
use super::{Difference, file, presets};
use crate::{Error, Result};

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

/// Environment and samples: `[rl]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TasksSection {
    /// Default `nav2d`.
    pub environment: Environment,
    /// File of the robot's MuJoCo model, with a robot alone. Default: Gymnasium's name for it, in the folder that
    /// the environment variable `INNERLOOP_MUJOCO_MODELS` names, or in `mujoco/` of the data folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// `position` (default): the state alone, or `goal` for an oracle that sees the task's goal too.
    pub sight: SightName,
    /// Episodes of a task for each gradient. Default 20.
    pub trajectories: usize,
    /// γ. Default 0.99.
    pub discount: f64,
    /// λ of generalised advantage estimation. Default 1.
    pub gae_lambda: f64,
}

/// An environment's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// [`Navigation2d`](innerloop_rl::Navigation2d)
    Nav2d,
    /// HalfCheetah, forward or backward.
    HalfCheetahDir,
    /// HalfCheetah at a speed.
    HalfCheetahVel,
    /// Ant, forward or backward.
    AntDir,
    /// Ant at a speed.
    AntVel,
}

/// What is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SightName {
    /// The state alone.
    Position,
    /// The goal too.
    Goal,
}

/// The policy: `[policy]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicySection {
    /// Sizes of the hidden layers. Default [100, 100].
    pub hidden: Vec<usize>,
    /// `relu` (default) or `tanh`.
    pub activation: ActivationName,
}

/// Function between layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivationName {
    /// max(x, 0)
    Relu,
    /// tanh x
    Tanh,
}

/// The inner loop: `[algorithm]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlgorithmSection {
    /// `maml` (default), `fomaml`, `anil`, `reptile`, `multi_step` or `es_maml`.
    pub name: MethodName,
    /// α. Default 0.5.
    pub inner_lr: f64,
    /// Inner steps in training; 0 trains one policy on all tasks. Default 1.
    pub adaptation_steps: usize,
    /// Steps that share a gradient, with `multi_step` alone. Default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// `es_maml`: σ of the perturbations of both loops. Default 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigma: Option<f64>,
    /// `es_maml`: perturbations of an adaptation step, an episode each. Default 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queries: Option<usize>,
}

/// A method's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MethodName {
    /// [`Method::Maml`]
    Maml,
    /// [`Method::Fomaml`]
    Fomaml,
    /// [`Method::Anil`]
    Anil,
    /// [`Method::Reptile`]
    Reptile,
    /// [`Method::MultiStep`]
    MultiStep,
    /// [`EsMaml`]: one return of one episode is all it sees, so that `rl.trajectories`, `rl.discount`,
    /// `rl.gae_lambda`, `outer.meta_batch_size`, `evaluation.trajectories` and `run.dtype` have no meaning.
    EsMaml,
}

/// The outer loop: `[outer]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OuterSection {
    /// `trpo` (default), `ppo` or `plain`; `es` with ES-MAML.
    pub method: OuterName,
    /// Tasks in one outer step. Default 40.
    pub meta_batch_size: usize,
    /// Outer steps; 0 evaluates a fresh policy. Default 100.
    pub iterations: usize,
    /// `trpo`: largest mean divergence of the adapted policies. Default 0.01.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_divergence: Option<f64>,
    /// `trpo`: steps of conjugate gradients. Default 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cg_steps: Option<usize>,
    /// `trpo`: added to the Hessian's diagonal. Default 1e-5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cg_damping: Option<f64>,
    /// `trpo`: factor from one step of the line search to the next, in (0, 1). Default 0.8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backtrack: Option<f64>,
    /// `trpo`: steps tried. Default 15.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tries: Option<usize>,
    /// `ppo`: the ratio is clipped to 1 ± this. Default 0.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// `ppo`: steps on the same trajectories. Default 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// `ppo`, `plain`: `adam` (default) or `sgd` (default for Reptile).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<OptimizerName>,
    /// `ppo`, `plain`, `es`: step size. Default 0.01, but 1 with `sgd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// `es`: pairs of perturbations. Default 150.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perturbations: Option<usize>,
}

/// How θ moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OuterName {
    /// [`Outer::Trpo`]
    Trpo,
    /// [`Outer::Ppo`]
    Ppo,
    /// [`Outer::Plain`]
    Plain,
    /// Evolution.
    Es,
}

/// What takes an outer step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerName {
    /// Adam with its usual settings.
    Adam,
    /// Gradient descent.
    Sgd,
}

/// How results are measured: `[evaluation]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationSection {
    /// Policy-gradient steps, the first with α, later ones with α/2. Default 3.
    pub steps: usize,
    /// Test tasks. Default 40.
    pub tasks: usize,
    /// Episodes of a task for each step. Default 40.
    pub trajectories: usize,
}

/// The machine and the records: `[run]`. Threads never change a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSection {
    /// `f32` (default) or `f64`.
    pub dtype: DtypeName,
    /// Worker threads; 0, the default, is one for each core.
    pub threads: usize,
    /// Iterations between checkpoints. Default 10.
    pub checkpoint_every: usize,
    /// Minutes of wall clock after which training stops; 0, the default, is no limit.
    pub minutes: f64,
    /// Iterations between lines of `metrics.jsonl`. Default 1.
    pub log_every: usize,
}

/// An element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DtypeName {
    /// Single precision.
    F32,
    /// Double precision.
    F64,
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

impl Default for TasksSection {
    fn default() -> TasksSection {
        TasksSection {
            environment: Environment::Nav2d,
            model: None,
            sight: SightName::Position,
            trajectories: 20,
            discount: 0.99,
            gae_lambda: 1.0,
        }
    }
}

impl Default for PolicySection {
    fn default() -> PolicySection {
        PolicySection { hidden: vec![100, 100], activation: ActivationName::Relu }
    }
}

impl Default for AlgorithmSection {
    fn default() -> AlgorithmSection {
        AlgorithmSection {
            name: MethodName::Maml,
            inner_lr: 0.5,
            adaptation_steps: 1,
            window: None,
            sigma: None,
            queries: None,
        }
    }
}

impl Default for OuterSection {
    fn default() -> OuterSection {
        OuterSection {
            method: OuterName::Trpo,
            meta_batch_size: 40,
            iterations: 100,
            max_divergence: None,
            cg_steps: None,
            cg_damping: None,
            backtrack: None,
            tries: None,
            clip: None,
            epochs: None,
            optimizer: None,
            lr: None,
            perturbations: None,
        }
    }
}

impl Default for EvaluationSection {
    fn default() -> EvaluationSection {
        EvaluationSection { steps: 3, tasks: 40, trajectories: 40 }
    }
}

impl Default for RunSection {
    fn default() -> RunSection {
        RunSection {
            dtype: DtypeName::F32,
            threads: 0,
            checkpoint_every: 10,
            minutes: 0.0,
            log_every: 1,
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

    /// What fixes the numbers of the run.
    pub fn settings(&self) -> Settings {
        Settings {
            seed: self.seed,
            dtype: self.dtype(),
            meta_batch_size: self.outer.meta_batch_size,
            trajectories: self.rl.trajectories,
            advantage: Advantage { discount: self.rl.discount, gae_lambda: self.rl.gae_lambda },
            inner: InnerLoop {
                method: self.algorithm.method(),
                rate: self.algorithm.inner_lr,
                steps: self.algorithm.adaptation_steps,
            },
            outer: self.outer.outer(),
        }
    }

    /// What fixes the numbers of ES-MAML, beside the seed.
    pub fn evolution(&self) -> EsMaml {
        let default = EsMaml::default();
        EsMaml {
            sigma: self.algorithm.sigma.unwrap_or(default.sigma),
            queries: self.algorithm.queries.unwrap_or(default.queries),
            inner_rate: self.algorithm.inner_lr,
            perturbations: self.outer.perturbations.unwrap_or(default.perturbations),
            outer_rate: self.outer.lr.unwrap_or(default.outer_rate),
            steps: self.algorithm.adaptation_steps,
        }
    }

    /// Element type of parameters and programs.
    pub fn dtype(&self) -> Dtype {
        match self.run.dtype {
            DtypeName::F32 => Dtype::F32,
            DtypeName::F64 => Dtype::F64,
        }
    }

    /// Defaults that depend on choices are filled in, and everything is checked.
    fn checked(table: &Table, source: &str) -> Result<RlConfig> {
        let mut config = read(table, source)?;
        config.fill();
        config.check(source)?;
        Ok(config)
    }

    fn fill(&mut self) {
        let RlConfig { algorithm, outer, .. } = self;
        if algorithm.name == MethodName::MultiStep {
            algorithm.window.get_or_insert(2);
        }
        match outer.method {
            OuterName::Trpo => {
                let trpo = Trpo::default();
                outer.max_divergence.get_or_insert(trpo.max_divergence);
                outer.cg_steps.get_or_insert(trpo.cg_steps);
                outer.cg_damping.get_or_insert(trpo.damping);
                outer.backtrack.get_or_insert(trpo.backtrack);
                outer.tries.get_or_insert(trpo.tries);
            }
            OuterName::Es => {
                let es = EsMaml::default();
                algorithm.sigma.get_or_insert(es.sigma);
                algorithm.queries.get_or_insert(es.queries);
                outer.perturbations.get_or_insert(es.perturbations);
                outer.lr.get_or_insert(es.outer_rate);
            }
            OuterName::Ppo | OuterName::Plain => {
                if outer.method == OuterName::Ppo {
                    outer.clip.get_or_insert(0.2);
                    outer.epochs.get_or_insert(5);
                }
                let default = match algorithm.name {
                    MethodName::Reptile => OptimizerName::Sgd,
                    _ => OptimizerName::Adam,
                };
                let optimizer = *outer.optimizer.get_or_insert(default);
                outer.lr.get_or_insert(if optimizer == OptimizerName::Adam { 0.01 } else { 1.0 });
            }
        }
    }

    fn check(&self, source: &str) -> Result<()> {
        let bad = |key: &str, found: &dyn std::fmt::Display, expected: &str| {
            Err(Error::config(format!("{source}: {key} is {found}, expected {expected}")))
        };
        let RlConfig { rl, policy, algorithm, outer, evaluation, run, .. } = self;
        if self.seed > i64::MAX as u64 {
            return bad("seed", &self.seed, "at most 2^63 − 1");
        }
        for (key, found, least) in [
            ("rl.trajectories", rl.trajectories, 2),
            ("outer.meta_batch_size", outer.meta_batch_size, 1),
            ("outer.iterations", outer.iterations, 0),
            ("outer.cg_steps", outer.cg_steps.unwrap_or(1), 1),
            ("outer.tries", outer.tries.unwrap_or(1), 1),
            ("outer.epochs", outer.epochs.unwrap_or(1), 1),
            ("algorithm.adaptation_steps", algorithm.adaptation_steps, 0),
            ("algorithm.window", algorithm.window.unwrap_or(1), 1),
            ("algorithm.queries", algorithm.queries.unwrap_or(2), 2),
            ("outer.perturbations", outer.perturbations.unwrap_or(2), 2),
            ("evaluation.steps", evaluation.steps, 0),
            ("evaluation.tasks", evaluation.tasks, 2),
            ("evaluation.trajectories", evaluation.trajectories, 2),
            ("run.checkpoint_every", run.checkpoint_every, 1),
            ("run.log_every", run.log_every, 1),
            ("run.threads", run.threads, 0),
        ] {
            if !(least..=100_000).contains(&found) {
                let expected = format!("a whole number from {least} to 100000");
                return bad(key, &found, &expected);
            }
        }
        for (i, &size) in policy.hidden.iter().enumerate() {
            if !(1..=100_000).contains(&size) {
                return bad(
                    &format!("policy.hidden[{i}]"),
                    &size,
                    "a whole number from 1 to 100000",
                );
            }
        }
        for (key, found) in [
            ("algorithm.inner_lr", algorithm.inner_lr),
            ("outer.max_divergence", outer.max_divergence.unwrap_or(1.0)),
            ("algorithm.sigma", algorithm.sigma.unwrap_or(1.0)),
            ("outer.clip", outer.clip.unwrap_or(1.0)),
            ("outer.lr", outer.lr.unwrap_or(1.0)),
        ] {
            if !(found > 0.0 && found.is_finite()) {
                return bad(key, &found, "a finite number above 0");
            }
        }
        for (key, found) in
            [("outer.cg_damping", outer.cg_damping.unwrap_or(0.0)), ("run.minutes", run.minutes)]
        {
            if !(found >= 0.0 && found.is_finite()) {
                return bad(key, &found, "a finite number, 0 or more");
            }
        }
        for (key, found) in [("rl.discount", rl.discount), ("rl.gae_lambda", rl.gae_lambda)] {
            if !(0.0..=1.0).contains(&found) {
                return bad(key, &found, "a number from 0 to 1");
            }
        }
        if let Some(found) = outer.backtrack.filter(|share| !(*share > 0.0 && *share < 1.0)) {
            return bad("outer.backtrack", &found, "a number above 0 and below 1");
        }
        let evolution = algorithm.name == MethodName::EsMaml;
        if evolution != (outer.method == OuterName::Es) {
            let expected =
                if evolution { "\"es\" with es_maml" } else { "\"es\" with es_maml alone" };
            let found = Value::try_from(outer.method).expect("a name");
            return bad("outer.method", &found, expected);
        }
        if algorithm.name == MethodName::Reptile && outer.method != OuterName::Plain {
            return bad(
                "outer.method",
                &Value::try_from(outer.method).expect("a name"),
                "\"plain\" with reptile, whose outer step has no loss to bound",
            );
        }
        if algorithm.name == MethodName::Reptile && algorithm.adaptation_steps == 0 {
            return bad(
                "algorithm.adaptation_steps",
                &0,
                "1 or more with reptile, which follows them",
            );
        }
        self.refuse_strangers(source)
    }

    /// Keys that do not go with the method or the outer step.
    fn refuse_strangers(&self, source: &str) -> Result<()> {
        let RlConfig { rl, algorithm, outer, .. } = self;
        let robot = rl.environment != Environment::Nav2d;
        let (trpo, ppo) = (outer.method == OuterName::Trpo, outer.method == OuterName::Ppo);
        let es = outer.method == OuterName::Es;
        let optimizer = matches!(outer.method, OuterName::Ppo | OuterName::Plain);
        let multi_step = algorithm.name == MethodName::MultiStep;
        for (key, written, applies, with) in [
            ("rl.model", rl.model.is_some(), robot, "an environment of MuJoCo"),
            (
                "algorithm.window",
                algorithm.window.is_some(),
                multi_step,
                "algorithm.name = \"multi_step\"",
            ),
            ("algorithm.sigma", algorithm.sigma.is_some(), es, ES),
            ("algorithm.queries", algorithm.queries.is_some(), es, ES),
            ("outer.perturbations", outer.perturbations.is_some(), es, ES),
            ("outer.max_divergence", outer.max_divergence.is_some(), trpo, TRPO),
            ("outer.cg_steps", outer.cg_steps.is_some(), trpo, TRPO),
            ("outer.cg_damping", outer.cg_damping.is_some(), trpo, TRPO),
            ("outer.backtrack", outer.backtrack.is_some(), trpo, TRPO),
            ("outer.tries", outer.tries.is_some(), trpo, TRPO),
            ("outer.clip", outer.clip.is_some(), ppo, "outer.method = \"ppo\""),
            ("outer.epochs", outer.epochs.is_some(), ppo, "outer.method = \"ppo\""),
            (
                "outer.optimizer",
                outer.optimizer.is_some(),
                optimizer,
                "outer.method = \"ppo\" or \"plain\"",
            ),
            ("outer.lr", outer.lr.is_some(), !trpo, "outer.method = \"ppo\", \"plain\" or \"es\""),
        ] {
            if written && !applies {
                return Err(Error::config(format!(
                    "{source}: {key} does not apply: it goes with {with}; leave it out"
                )));
            }
        }
        Ok(())
    }
}

const TRPO: &str = "outer.method = \"trpo\"";
const ES: &str = "algorithm.name = \"es_maml\"";

impl MethodName {
    /// Name in configurations and reports.
    pub fn name(self) -> &'static str {
        match self {
            MethodName::Maml => "maml",
            MethodName::Fomaml => "fomaml",
            MethodName::Anil => "anil",
            MethodName::Reptile => "reptile",
            MethodName::MultiStep => "multi_step",
            MethodName::EsMaml => "es_maml",
        }
    }
}

impl AlgorithmSection {
    fn method(&self) -> Method {
        match self.name {
            // Evolution has no method of gradients; [`RlConfig::evolution`] is its own.
            MethodName::Maml | MethodName::EsMaml => Method::Maml,
            MethodName::Fomaml => Method::Fomaml,
            MethodName::Anil => Method::Anil,
            MethodName::Reptile => Method::Reptile,
            MethodName::MultiStep => Method::MultiStep { window: self.window.unwrap_or(1) },
        }
    }
}

impl OuterSection {
    fn outer(&self) -> Outer {
        let default = Trpo::default();
        let optimizer = match self.optimizer {
            None | Some(OptimizerName::Adam) => Optimizer::Adam {
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                weight_decay: 0.0,
                decoupled: false,
            },
            Some(OptimizerName::Sgd) => Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 },
        };
        let rate = self.lr.unwrap_or(0.01);
        match self.method {
            OuterName::Trpo => Outer::Trpo(Trpo {
                max_divergence: self.max_divergence.unwrap_or(default.max_divergence),
                cg_steps: self.cg_steps.unwrap_or(default.cg_steps),
                damping: self.cg_damping.unwrap_or(default.damping),
                backtrack: self.backtrack.unwrap_or(default.backtrack),
                tries: self.tries.unwrap_or(default.tries),
            }),
            OuterName::Ppo => Outer::Ppo {
                clip: self.clip.unwrap_or(0.2),
                epochs: self.epochs.unwrap_or(5),
                optimizer,
                rate,
            },
            OuterName::Plain | OuterName::Es => Outer::Plain { optimizer, rate },
        }
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
