//! A method, compiled, and the trials that it trains.

use std::fmt;
use std::sync::Arc;

use innerloop_engine::{Dtype, Graph, Key, Params, Program, Tensor};
use innerloop_meta::outer::{self, Optimizer, OptimizerState, Schedule, norm};
use innerloop_meta::{
    Learner, MetaGradient, MetaState, Problem, Setup, Sharing, Strategy, TaskData, TaskResult,
    minibatch,
};
use innerloop_nn::{ParamSpec, Staged, initialise};

use crate::{Frozen, L2tWw, Matching, Samples, Stage, Transfer};

/// How the target is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Alone.
    Scratch,
    /// Alone, with the source's architecture, starting from the source's weights; the head is new.
    FineTune,
    /// With the source's help, all channels and pairs matched equally.
    Uniform,
    /// With the source's help; meta-networks learn what to match and where.
    L2tWw,
    /// The same with first-order meta-gradients, which are zero: a control.
    FirstOrder,
}

impl Method {
    /// Whether the target learns with the source's help.
    pub fn matches(self) -> bool {
        !matches!(self, Method::Scratch | Method::FineTune)
    }
}

/// How long, on what and how fast to train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Iterations per trial.
    pub iterations: u64,
    /// Examples per batch.
    pub batch_size: usize,
    /// α at the start; it decays to zero along half a cosine.
    pub lr: f64,
    /// μ.
    pub momentum: f64,
    /// κ.
    pub weight_decay: f64,
    /// T.
    pub transfer_steps: usize,
    /// How transfer steps share gradients.
    pub sharing: Sharing,
    /// How the meta-gradient is computed.
    pub strategy: Strategy,
    /// Rate of the meta-networks' Adam.
    pub meta_lr: f64,
    /// Its weight decay, added to the gradient.
    pub meta_weight_decay: f64,
}

impl Settings {
    fn rule(&self, sharing: Sharing, meta_gradient: MetaGradient) -> L2tWw {
        let Settings { lr, momentum, weight_decay, .. } = *self;
        L2tWw { lr, momentum, weight_decay, sharing, meta_gradient }
    }

    /// The rule of the target's own step, which is not differentiated.
    fn own_step(&self) -> L2tWw {
        self.rule(Sharing::None, MetaGradient::Displacement)
    }
}

/// A method on a network, compiled.
pub struct Course {
    method: Method,
    settings: Settings,
    joint: Learner,
    outer: Option<Learner>,
    problem: Transfer,
    frozen: Frozen,
}

/// A target in training.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Iterations done.
    pub iteration: u64,
    /// The target's weights, the matching convolutions and the meta-networks; the velocity.
    pub meta: MetaState,
    /// Running statistics of the target's normalising layers.
    pub running: Params<Tensor>,
    /// Moments of the meta-networks' Adam.
    pub optimizer: OptimizerState,
    /// Determines the order of the batches.
    pub key: Key,
}

/// Averages over some iterations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Mean loss of the target's own steps: cross-entropy, and the transfer loss where there is one.
    pub loss: f64,
    /// Mean cross-entropy after the inner loop.
    pub outer_loss: Option<f64>,
    /// Mean norm of the meta-gradient.
    pub gradient_norm: Option<f64>,
}

/// A loss that is not finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Diverged {
    /// The iteration in which it appeared.
    pub iteration: u64,
    /// The loss.
    pub loss: f64,
}

/// What the meta-networks make of a pair, on average.
#[derive(Clone, Debug, PartialEq)]
pub struct Matched {
    /// Source and target layer.
    pub pair: [usize; 2],
    /// Mean of λ.
    pub weight: f64,
    /// Mean weight of each channel of the source layer.
    pub channels: Vec<f64>,
}

/// Share of a batch's statistics in the running ones, as PyTorch's default.
const MOMENTUM: f64 = 0.1;

impl Course {
    /// Compiles a method for images `[h, w, c]`. `matching` is used only by methods that match.
    pub fn new(
        method: Method,
        target: Arc<dyn Staged>,
        image: [usize; 3],
        matching: &Matching,
        settings: Settings,
    ) -> Course {
        let problem = |stage| Transfer {
            target: target.clone(),
            image,
            batch: settings.batch_size,
            matching: if method.matches() { matching.clone() } else { Matching::none() },
            stage,
        };
        let outer = match method {
            Method::L2tWw => Some(MetaGradient::Exact),
            Method::FirstOrder => Some(MetaGradient::FirstOrder),
            Method::Scratch | Method::FineTune | Method::Uniform => None,
        };
        let joint = problem(Stage::Joint);
        let setup = |steps| Setup { strategy: settings.strategy, ..Setup::new(steps) };
        Course {
            method,
            settings,
            joint: Learner::new(&joint, &settings.own_step(), setup(1)),
            outer: outer.map(|kind| {
                let setup = setup(settings.transfer_steps + 1);
                let rule = settings.rule(settings.sharing, kind);
                Learner::new(&problem(Stage::Apart), &rule, setup)
            }),
            frozen: Frozen::new(target.as_ref(), image, false),
            problem: joint,
        }
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// All parameters of a trial.
    pub fn specs(&self) -> Vec<ParamSpec> {
        self.problem.specs()
    }

    /// The learner that computes the meta-gradient, if there is one.
    pub fn outer(&self) -> Option<&Learner> {
        self.outer.as_ref()
    }

    /// Bytes of memory that a trial works in.
    pub fn workspace_bytes(&self) -> usize {
        let learners = [Some(&self.joint), self.outer.as_ref()].into_iter().flatten();
        learners.map(|learner| learner.worker(Dtype::F32).bytes()).sum()
    }

    /// A fresh trial. Fine-tuning starts from `source`, weights and running statistics by name, except for its head,
    /// which is the last two parameters.
    pub fn trial(&self, key: Key, source: Option<&Params<Tensor>>) -> Trial {
        let specs = self.problem.specs();
        let rule = self.settings.own_step();
        let theta = initialise(&specs, key.with_stream("target"), Dtype::F32);
        let mut meta = MetaState::new(&self.problem, &rule, 1, theta);
        let mut running = self.problem.target.statistics().map_named(|name, shape| {
            let start = if name.ends_with(".var") { 1.0 } else { 0.0 };
            Tensor::full(Dtype::F32, shape, start)
        });
        if let Some(source) = source {
            let own = self.problem.target.parameters();
            let body: Vec<&str> =
                own[..own.len() - 2].iter().map(|spec| spec.name.as_str()).collect();
            meta.omega = meta.omega.overlay(&source.filter(|name| body.contains(&name)));
            running = running.map_named(|name, _| source[name].clone());
        }
        let learned = meta.omega.filter(|name| name.starts_with(crate::META_PREFIX));
        Trial { iteration: 0, meta, running, optimizer: OptimizerState::new(&learned), key }
    }

    /// Trains up to an iteration.
    pub fn advance(
        &self,
        trial: &mut Trial,
        samples: &Samples,
        until: u64,
    ) -> Result<Progress, Diverged> {
        let Settings { batch_size, meta_lr, .. } = self.settings;
        let (mut worker, mut result) =
            (self.joint.worker(Dtype::F32), self.joint.result(Dtype::F32));
        let mut outer = self
            .outer
            .as_ref()
            .map(|outer| (outer, outer.worker(Dtype::F32), outer.result(Dtype::F32), [0.0, 0.0]));
        let zeros = |shape: &Vec<usize>| Tensor::zeros(Dtype::F32, shape);
        let mut batch: Vec<Tensor> =
            self.problem.support_shapes(batch_size).iter().map(zeros).collect();
        let (first, mut sum) = (trial.iteration, 0.0);
        while trial.iteration < until {
            let rows = minibatch(trial.key, samples.len(), batch_size, trial.iteration as usize);
            samples.gather(&rows, &mut batch);
            let support: Vec<&Tensor> = batch.iter().collect();
            let task = TaskData { support: &support, query: &support[..2], key: trial.key };
            trial.set_rate(self.schedule().rate(trial.iteration));
            self.joint.run(&mut worker, &trial.meta, task, &mut result);
            let mut loss = result.support_losses[0];
            sum += loss;
            trial.take_over(&result);
            if let Some((outer, worker, result, sums)) = &mut outer {
                // The trial itself is not updated: that is the rollback.
                outer.run(worker, &trial.meta, task, result);
                sums[0] += result.query_loss;
                sums[1] += norm(&result.gradient);
                loss += result.query_loss;
                let optimizer = &mut trial.optimizer;
                self.adam().step(&mut trial.meta.omega, &result.gradient, meta_lr, optimizer);
            }
            if !loss.is_finite() {
                return Err(Diverged { iteration: trial.iteration, loss });
            }
            trial.iteration += 1;
        }
        let n = (trial.iteration - first).max(1) as f64;
        Ok(Progress {
            loss: sum / n,
            outer_loss: outer.as_ref().map(|(.., sums)| sums[0] / n),
            gradient_norm: outer.as_ref().map(|(.., sums)| sums[1] / n),
        })
    }

    /// Fraction of samples that a trial classifies correctly.
    pub fn accuracy(&self, trial: &Trial, samples: &Samples) -> f64 {
        self.frozen.accuracy(self.values(trial), samples)
    }

    /// The target's weights and running statistics.
    pub fn values<'a>(&self, trial: &'a Trial) -> impl Iterator<Item = &'a Tensor> {
        let own = self.problem.target.parameters().len();
        trial.meta.omega.values()[..own].iter().chain(trial.running.values())
    }

    /// The same by name.
    pub fn named(&self, trial: &Trial) -> Params<Tensor> {
        let own = self.problem.target.parameters();
        let weights = own.iter().map(|spec| spec.name.clone()).zip(trial.meta.omega.values());
        weights
            .map(|(name, value)| (name, value.clone()))
            .collect::<Params<_>>()
            .merge(&trial.running)
    }

    /// What a trial's meta-networks make of the samples.
    pub fn matched(&self, trial: &Trial, samples: &Samples) -> Vec<Matched> {
        let matching = &self.problem.matching;
        let graph = Graph::new();
        let params = trial.meta.omega.map_named(|name, value| graph.input(name, value.shape()));
        let maps: Vec<_> =
            samples.arrays[2..].iter().map(|maps| graph.input("maps", maps.shape())).collect();
        let mut outputs = Vec::new();
        for &[m, n] in &matching.pairs {
            let say = matching.say(&params, [m, n], maps[m]);
            outputs.extend([say.pair.mean(), say.channels.mean_to(&[1, say.channels.shape()[1]])]);
        }
        let program = Program::compile(&graph, &outputs);
        let mut workspace = program.workspace(Dtype::F32);
        for (i, value) in trial.meta.omega.values().iter().chain(&samples.arrays[2..]).enumerate() {
            workspace.set(i, value);
        }
        program.run(&mut workspace);
        let of = |(i, &pair): (usize, &[usize; 2])| Matched {
            pair,
            weight: workspace.read_scalar(2 * i),
            channels: workspace.output(2 * i + 1).iter().collect(),
        };
        matching.pairs.iter().enumerate().map(of).collect()
    }

    fn schedule(&self) -> Schedule {
        let Settings { lr, iterations, .. } = self.settings;
        Schedule { start: lr, end: 0.0, warmup: 0, iterations, course: outer::Course::Cosine }
    }

    fn adam(&self) -> Optimizer {
        Optimizer::Adam {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: self.settings.meta_weight_decay,
            decoupled: false,
        }
    }
}

impl Trial {
    fn set_rate(&mut self, rate: f64) {
        let at = self.meta.omega.position(L2tWw::RATE).expect("the rate is a meta-parameter");
        self.meta.omega.values_mut()[at].set(0, rate);
    }

    /// Adopts the step with these results.
    fn take_over(&mut self, result: &TaskResult) {
        let MetaState { omega, inner_state, .. } = &mut self.meta;
        for (name, value) in result.fast.iter() {
            let at = omega.position(name).expect("weights that move are meta-parameters");
            copy(&mut omega.values_mut()[at], value);
        }
        let state = inner_state.values_mut().iter_mut();
        state.zip(result.inner_state.values()).for_each(|(to, from)| copy(to, from));
        self.follow(&result.statistics);
    }

    /// Moves the running statistics towards those of a step, in the first row. Variances are biased.
    fn follow(&mut self, statistics: &Params<Tensor>) {
        for (running, of_steps) in self.running.values_mut().iter_mut().zip(statistics.values()) {
            for i in 0..running.len() {
                running.set(i, (1.0 - MOMENTUM) * running.get(i) + MOMENTUM * of_steps.get(i));
            }
        }
    }
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the loss is {} in iteration {}", self.loss, self.iteration)
    }
}

/// Copies single-precision values into a tensor of the same shape.
fn copy(to: &mut Tensor, from: &Tensor) {
    to.as_f32_mut().copy_from_slice(from.as_f32());
}
