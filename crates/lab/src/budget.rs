//! How long runs may train, so that methods of different cost can be compared.

use std::time::Instant;

use serde::Serialize;

use crate::{Config, Error, Experiment, Result, Trainer};

/// How long a run trains.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// As its configuration says.
    Configured,
    /// So many outer iterations.
    Iterations(usize),
    /// As many outer iterations as take so many seconds, validation not counted. The number is measured before
    /// training and becomes `outer.iterations`, so that a falling rate falls as it does in a run that was meant
    /// to have this length; training stops when the time is up all the same.
    Seconds(f64),
    /// As the configuration says, or fewer iterations if those take longer than so many seconds.
    Within(f64),
}

/// Validations in a run of limited length, where the configuration does not say how many: points of its learning
/// curve.
const VALIDATIONS: usize = 10;
/// Share of the time that is spent on finding out what an iteration takes, and its bounds in seconds.
const PILOT_SHARE: f64 = 0.02;
const PILOT_SECONDS: [f64; 2] = [0.2, 5.0];
/// Iterations that find out; those before are warming up.
const PILOT_ITERATIONS: [usize; 2] = [3, 500];
const WARM_UP: usize = 2;

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

    /// The experiment with as many iterations as the budget allows. A run of limited length knows no other limit
    /// of time.
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
        if matches!(self, Budget::Within(_)) && iterations >= configured {
            return Ok(experiment);
        }
        experiment.config = limited(&experiment.config, iterations)?;
        Ok(experiment)
    }
}

/// A configuration with another number of iterations, and with validations, checkpoints that suit it.
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

/// What an iteration takes in seconds: the median of a few, which leave no trace.
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
