//! What is rejected.

use super::RlConfig;
use super::keys::{Environment, MethodName, OuterName};
use crate::config::bounds;
use crate::{Error, Result};

/// Larger values are taken for mistakes.
const MOST: usize = 100_000;

impl RlConfig {
    pub(super) fn check(&self, source: &str) -> Result<()> {
        let bad = |key: &str, found: &dyn std::fmt::Display, expected: &str| {
            Err(bounds::bad(source, key, found, expected))
        };
        let RlConfig { rl, policy, algorithm, outer, evaluation, run, .. } = self;
        for (key, found, least) in [
            ("rl.trajectories", rl.trajectories.unwrap_or(2), 2),
            ("outer.meta_batch_size", outer.meta_batch_size.unwrap_or(1), 1),
            ("outer.iterations", outer.iterations, 0),
            ("outer.cg_steps", outer.cg_steps.unwrap_or(1), 1),
            ("outer.line_search_steps", outer.line_search_steps.unwrap_or(1), 1),
            ("outer.epochs", outer.epochs.unwrap_or(1), 1),
            ("algorithm.adaptation_steps", algorithm.adaptation_steps, 0),
            ("algorithm.window", algorithm.window.unwrap_or(1), 1),
            ("algorithm.queries", algorithm.queries.unwrap_or(2), 2),
            ("outer.perturbations", outer.perturbations.unwrap_or(2), 2),
            ("evaluation.steps", evaluation.steps, 0),
            ("evaluation.tasks", evaluation.tasks, 2),
            ("evaluation.trajectories", evaluation.trajectories.unwrap_or(2), 2),
            ("run.checkpoint_every", run.checkpoint_every, 1),
            ("run.log_every", run.log_every, 1),
            ("run.threads", run.threads, 0),
        ] {
            bounds::count(source, key, found, least..=MOST)?;
        }
        for (i, &size) in policy.hidden.iter().enumerate() {
            bounds::count(source, &format!("policy.hidden[{i}]"), size, 1..=MOST)?;
        }
        for (key, found) in [
            ("algorithm.inner_lr", algorithm.inner_lr),
            ("outer.max_kl", outer.max_kl.unwrap_or(1.0)),
            ("algorithm.sigma", algorithm.sigma.unwrap_or(1.0)),
            ("outer.clip", outer.clip.unwrap_or(1.0)),
            ("outer.lr", outer.lr.unwrap_or(1.0)),
        ] {
            bounds::above_zero(source, key, found)?;
        }
        for (key, found) in
            [("outer.cg_damping", outer.cg_damping.unwrap_or(0.0)), ("run.minutes", run.minutes)]
        {
            bounds::not_negative(source, key, found)?;
        }
        for (key, found) in [("rl.discount", rl.discount), ("rl.gae_lambda", rl.gae_lambda)] {
            if let Some(found) = found.filter(|found| !(0.0..=1.0).contains(found)) {
                return bad(key, &found, "a number from 0 to 1");
            }
        }
        if let Some(found) = outer.backtrack_factor.filter(|share| !(*share > 0.0 && *share < 1.0))
        {
            return bad("outer.backtrack_factor", &found, "a number above 0 and below 1");
        }
        let evolution = algorithm.name == MethodName::EsMaml;
        if evolution != (outer.method == OuterName::Es) {
            let expected = match evolution {
                true => "\"es\" with es_maml",
                false => "\"trpo\", \"ppo\" or \"plain\": only es_maml goes with \"es\"",
            };
            return bad("outer.method", &format!("\"{}\"", outer.method), expected);
        }
        if algorithm.name == MethodName::Reptile && outer.method != OuterName::Plain {
            return bad(
                "outer.method",
                &format!("\"{}\"", outer.method),
                "\"plain\" with reptile, whose outer step has no loss to bound",
            );
        }
        if algorithm.name == MethodName::Reptile && algorithm.adaptation_steps == 0 {
            return bad(
                "algorithm.adaptation_steps",
                &0,
                "1 or more with reptile, which moves towards the adapted policy",
            );
        }
        self.refuse_inapplicable(source)
    }

    /// Rejects keys that do not apply to the method or the outer step.
    fn refuse_inapplicable(&self, source: &str) -> Result<()> {
        let RlConfig { rl, algorithm, outer, evaluation, .. } = self;
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
            ("rl.trajectories", rl.trajectories.is_some(), !es, GRADIENTS),
            ("rl.discount", rl.discount.is_some(), !es, GRADIENTS),
            ("rl.gae_lambda", rl.gae_lambda.is_some(), !es, GRADIENTS),
            ("outer.meta_batch_size", outer.meta_batch_size.is_some(), !es, GRADIENTS),
            ("evaluation.trajectories", evaluation.trajectories.is_some(), !es, GRADIENTS),
            ("algorithm.sigma", algorithm.sigma.is_some(), es, ES),
            ("algorithm.queries", algorithm.queries.is_some(), es, ES),
            ("outer.perturbations", outer.perturbations.is_some(), es, ES),
            ("outer.max_kl", outer.max_kl.is_some(), trpo, TRPO),
            ("outer.cg_steps", outer.cg_steps.is_some(), trpo, TRPO),
            ("outer.cg_damping", outer.cg_damping.is_some(), trpo, TRPO),
            ("outer.backtrack_factor", outer.backtrack_factor.is_some(), trpo, TRPO),
            ("outer.line_search_steps", outer.line_search_steps.is_some(), trpo, TRPO),
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
const GRADIENTS: &str = "a method of policy gradients";
