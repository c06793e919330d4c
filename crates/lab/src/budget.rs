//! How long runs may train, so that methods of different cost can be compared.

use std::time::Instant;

use serde::Serialize;

use crate::{Config, Error, Experiment, Result, Trainer};

/// How long a run trains.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// As configured.
    Configured,
    /// This many outer iterations.
    Iterations(usize),
    /// As many outer iterations as fit into this many seconds, not counting validation. The number is measured before
    /// training and becomes `outer.iterations`, so that a decaying rate decays as in a run configured with this length;
    /// training still stops when the time is up. If the iterations turn out to take much less time than measured, the
    /// run starts over with more of them.
    Seconds(f64),
    /// As configured, or fewer iterations if those take longer than this many seconds; then also with no more than
    /// 600 test and 100 validation tasks, whose time is not counted.
    Within(f64),
}

/// Validations in a run of limited length, for which the configuration gives no number: points of its learning curve.
const VALIDATIONS: usize = 10;
/// Most test tasks of a run cut down to a time: an interval of about one point. Published settings have up to 10,000, on
/// which 50 inner steps each take longer than a short training.
const SCALED_TASKS: usize = 600;
/// Most validation tasks of such a run.
const SCALED_VALIDATION_TASKS: usize = 100;
/// Share of the time spent on measuring how long an iteration takes, and its bounds in seconds.
const PILOT_SHARE: f64 = 0.02;
const PILOT_SECONDS: [f64; 2] = [0.2, 5.0];
/// Iterations that are measured, after those that warm up.
const PILOT_ITERATIONS: [usize; 2] = [3, 500];
const WARM_UP: usize = 2;
/// Share of a time budget that a run should use.
pub(crate) const USED: f64 = 0.95;
/// The share aimed at by a number of iterations measured in a run, which should neither fall short of [`USED`] nor be
/// cut off.
const AIM: f64 = 0.975;
/// How often a run may start over.
pub(crate) const FRESH_STARTS: usize = 2;

impl Budget {
    /// `30 s of training`, for headings.
    pub fn describe(self) -> String {
        match self {
            Budget::Configured => "as configured".into(),
            Budget::Iterations(n) => format!("{n} iterations"),
            Budget::Seconds(s) | Budget::Within(s) => {
                format!("{s} s of training, validation not counted")
            }
        }
    }

    /// Seconds of training after which a run stops.
    pub fn seconds(self) -> Option<f64> {
        match self {
            Budget::Seconds(seconds) | Budget::Within(seconds) => Some(seconds),
            Budget::Configured | Budget::Iterations(_) => None,
        }
    }

    /// Seconds that a run should use up.
    pub(crate) fn to_use(self) -> Option<f64> {
        match self {
            Budget::Seconds(seconds) => Some(seconds),
            Budget::Configured | Budget::Iterations(_) | Budget::Within(_) => None,
        }
    }

    /// The experiment with as many iterations as the budget allows. A run of limited length has no other time limit.
    pub fn fit(self, experiment: Experiment) -> Result<Experiment> {
        let configured = experiment.config.outer.iterations;
        let (mut experiment, iterations) = match self {
            Budget::Configured => return Ok(experiment),
            Budget::Iterations(n) => (experiment, n),
            Budget::Seconds(budget) | Budget::Within(budget) => {
                let (experiment, seconds) = pilot(experiment, budget)?;
                (experiment, (budget / seconds).ceil().clamp(1.0, 1e9) as usize)
            }
        };
        experiment.config = match self {
            Budget::Within(_) if iterations >= configured => return Ok(experiment),
            Budget::Within(_) => scaled(&experiment.config, iterations)?,
            _ => limited(&experiment.config, iterations)?,
        };
        Ok(experiment)
    }
}

/// The number of iterations that fill a time budget, if those configured would leave more than a twentieth of it
/// unused. Checked after an eighth, a quarter, a half and all of them, given the seconds they took so far.
pub(crate) fn more_iterations(budget: f64, (done, all): (u64, u64), seconds: f64) -> Option<usize> {
    let due = [8, 4, 2, 1].into_iter().any(|parts| done == all.div_ceil(parts));
    let one = (seconds / done as f64).max(1e-9);
    let short = due && one * (all as f64) < USED * budget;
    let enough = (AIM * budget / one).min(1e9) as usize;
    Some(enough).filter(|&enough| short && enough as u64 > all)
}

/// A configuration with another number of iterations, and with validations and checkpoints to suit.
pub(crate) fn limited(config: &Config, iterations: usize) -> Result<Config> {
    let mut config = config.clone();
    if config.outer.warmup >= iterations && config.outer.warmup > 0 {
        return Err(Error::config(format!(
            "outer.warmup is {}, expected less than the {iterations} iterations of this budget",
            config.outer.warmup
        )));
    }
    config.outer.iterations = iterations;
    config.run.minutes = 0.0;
    if config.evaluation.validate_every > 0 {
        config.evaluation.validate_every = iterations.div_ceil(VALIDATIONS);
    }
    config.run.checkpoint_every = iterations.div_ceil(VALIDATIONS);
    Ok(config)
}

/// A [`limited`] configuration with a bounded evaluation.
pub(crate) fn scaled(config: &Config, iterations: usize) -> Result<Config> {
    let mut config = limited(config, iterations)?;
    let evaluation = &mut config.evaluation;
    evaluation.tasks = evaluation.tasks.min(SCALED_TASKS);
    evaluation.validation_tasks = evaluation.validation_tasks.min(SCALED_VALIDATION_TASKS);
    Ok(config)
}

/// Seconds per iteration: the median of a few, which leave no trace.
fn pilot(experiment: Experiment, budget: f64) -> Result<(Experiment, f64)> {
    let seconds = (PILOT_SHARE * budget).clamp(PILOT_SECONDS[0], PILOT_SECONDS[1]);
    let mut trainer = Trainer::new(experiment)?;
    for _ in 0..WARM_UP {
        trainer.step()?;
    }
    let (mut times, start) = (Vec::new(), Instant::now());
    while times.len() < PILOT_ITERATIONS[0]
        || times.len() < PILOT_ITERATIONS[1] && start.elapsed().as_secs_f64() < seconds
    {
        let start = Instant::now();
        trainer.step()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok((trainer.experiment, times[times.len() / 2].max(1e-9)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_too_short_where_much_of_the_time_would_be_left() {
        // 80 iterations were measured as 20 s; they take 11.7 s.
        let after = |done: u64| more_iterations(20.0, (done, 80), done as f64 * 11.7 / 80.0);
        for done in [10, 20, 40, 80] {
            assert_eq!(after(done), Some(133), "{done}");
            let seconds = 133.0 * 11.7 / 80.0;
            assert!((USED * 20.0..=20.0).contains(&seconds), "{seconds}");
        }
        assert_eq!(after(11), None, "checked only at some iterations");
        // Long enough; and too long, which stops by itself.
        assert_eq!(more_iterations(20.0, (10, 80), 2.4), None);
        assert_eq!(more_iterations(20.0, (80, 80), 19.1), None);
        assert_eq!(more_iterations(20.0, (10, 80), 9.0), None);
        assert_eq!(more_iterations(1.0, (1, 1), 0.6), None, "two would take too long");
        assert_eq!(more_iterations(20.0, (1, 1), 0.0), Some(1_000_000_000));
    }

    #[test]
    fn a_run_cut_down_is_tested_on_fewer_tasks() {
        let sets = ["evaluation.tasks=10000", "evaluation.validation_tasks=30"];
        let config = Config::load("sinusoid-maml", &sets.map(String::from)).unwrap();
        let of = |budget: Budget| {
            let fitted = budget.fit(Experiment::new(config.clone()).unwrap()).unwrap().config;
            let evaluation = &fitted.evaluation;
            let cut = fitted.outer.iterations < config.outer.iterations;
            (cut, evaluation.tasks, evaluation.validation_tasks)
        };
        assert_eq!(of(Budget::Within(1e-3)), (true, 600, 30));
        assert_eq!(of(Budget::Within(1e9)), (false, 10_000, 30));
        assert_eq!(of(Budget::Iterations(3)), (true, 10_000, 30));
    }
}
