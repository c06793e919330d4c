//! `innerloop evaluate`

use std::path::PathBuf;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use innerloop::lab::config::{Kind, MOST_THREADS};
use innerloop::lab::{Evaluator, Protocol, Which, ensemble, open_with, rl, transfer};
use innerloop::tasks::Split;

use super::{of_iterations, print_accuracies, print_report, print_returns};

#[derive(Args)]
pub(crate) struct Evaluate {
    /// Folder of the run
    run: PathBuf,
    /// Number of tasks [default: as configured]
    #[arg(long)]
    tasks: Option<usize>,
    /// Inner steps [default: as configured]
    #[arg(long)]
    steps: Option<usize>,
    /// Which classes to test on
    #[arg(long, value_enum, default_value = "test")]
    split: SplitName,
    /// Which checkpoint to evaluate
    #[arg(long, value_enum, default_value = "best")]
    checkpoint: CheckpointName,
    /// Threads, which do not affect the results; 0 for one per core [default: as configured]
    #[arg(long)]
    threads: Option<usize>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum SplitName {
    Train,
    Validation,
    Test,
}

impl From<SplitName> for Split {
    fn from(name: SplitName) -> Split {
        match name {
            SplitName::Train => Split::Train,
            SplitName::Validation => Split::Validation,
            SplitName::Test => Split::Test,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum CheckpointName {
    Best,
    Last,
}

impl Evaluate {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match Kind::of_run(&self.run) {
            Some(Kind::Rl) => return self.run_rl(),
            Some(Kind::Transfer) => return self.run_transfer(),
            Some(Kind::FewShot) | None => {}
        }
        let which = match self.checkpoint {
            CheckpointName::Best => Which::Best,
            CheckpointName::Last => Which::Last,
        };
        let split = Split::from(self.split);
        let trainer = open_with(&self.run, which, self.threads()?)?;
        let experiment = &trainer.experiment;
        let settings = &experiment.config.evaluation;
        let tasks = self.tasks.unwrap_or(settings.tasks);
        let steps = self.steps.unwrap_or(settings.steps);
        ensure!(tasks >= 2, "--tasks is {tasks}, expected at least 2 for an interval");
        ensure!(steps <= 10_000, "--steps is {steps}, expected at most 10000");
        ensure!(
            split != Split::Train || experiment.family.spec(split) == experiment.evaluate.spec,
            "training episodes of this run have other sizes than its evaluation; use --split test"
        );
        let evaluator = Evaluator::new(experiment, steps, trainer.pool().current_num_threads());
        let ensemble = match which {
            Which::Best => ensemble(&self.run, experiment)?,
            _ => Vec::new(),
        };
        let members: Vec<_> = match ensemble.is_empty() {
            true => vec![&trainer.meta],
            false => ensemble.iter().map(|(_, meta)| meta).collect(),
        };
        let report = trainer
            .pool()
            .install(|| evaluator.run_ensemble(experiment, &members, split, tasks))?;
        let iterations: Vec<u64> = ensemble.iter().map(|(at, _)| *at).collect();
        let protocol = Protocol::new(experiment, split, steps);
        if self.json {
            let result = serde_json::json!({
                "protocol": protocol, "iteration": trainer.iteration, "ensemble": iterations,
                "report": report
            });
            say!("{}", serde_json::to_string_pretty(&result)?);
            return Ok(report.check(split)?);
        }
        say!(
            "{}; {}; {}; split {split}; {tasks} tasks; order {}; batch norm {}; seed {}",
            protocol.algorithm,
            of_iterations(trainer.iteration, &iterations),
            protocol.tasks,
            protocol.order(),
            protocol.batch_norm,
            protocol.seed
        );
        print_report(&report);
        Ok(report.check(split)?)
    }

    /// Bounded like `run.threads`.
    fn threads(&self) -> anyhow::Result<Option<usize>> {
        if let Some(threads) = self.threads {
            ensure!(
                threads <= MOST_THREADS,
                "--threads is {threads}, expected at most {MOST_THREADS}"
            );
        }
        Ok(self.threads)
    }

    /// Reinforcement learning: mean returns on fresh episodes of the test tasks.
    fn run_rl(self) -> anyhow::Result<()> {
        ensure!(
            matches!(self.split, SplitName::Test),
            "runs of reinforcement learning have test tasks only; leave --split out"
        );
        let (config, learner) = rl::open(&self.run, self.threads()?)?;
        let tasks = self.tasks.unwrap_or(config.evaluation.tasks);
        let steps = self.steps.unwrap_or(config.evaluation.steps);
        let trajectories = config.test_trajectories();
        ensure!(tasks >= 2, "--tasks is {tasks}, expected at least 2 for an interval");
        ensure!(steps <= 10_000, "--steps is {steps}, expected at most 10000");
        let returns = rl::evaluate(&learner, tasks, steps, trajectories)?;
        if self.json {
            let result = serde_json::json!({
                "algorithm": config.algorithm.name.name(), "seed": config.seed, "tasks": tasks,
                "trajectories": trajectories, "iteration": learner.iteration(), "returns": returns
            });
            say!("{}", serde_json::to_string_pretty(&result)?);
            return Ok(());
        }
        say!(
            "{} on {}; iteration {}; seed {}",
            config.algorithm.name.name(),
            config.rl.environment.title(),
            learner.iteration(),
            config.seed
        );
        print_returns(&returns, tasks, trajectories);
        Ok(())
    }

    /// Meta-transfer: accuracies of all trials on their test images.
    fn run_transfer(self) -> anyhow::Result<()> {
        ensure!(
            matches!(self.split, SplitName::Test)
                && self.tasks.or(self.steps).or(self.threads).is_none(),
            "runs of meta-transfer have no tasks or steps, and test images alone, which one thread sees; leave --tasks, \
             --steps, --split and --threads out"
        );
        let outcome = transfer::evaluate(&self.run)?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&outcome)?);
            return Ok(());
        }
        say!(
            "source network: accuracy {:.2} % on its own classes",
            100.0 * outcome.source_accuracy
        );
        print_accuracies(&outcome);
        Ok(())
    }
}
