//! The outer loop: sample a meta-batch, run every task, average in task order, step.
//!
//! ```text
//! for iteration:
//!     for task in meta-batch: meta_gradient(task(seed, iteration, task))      in parallel
//!     g = mean over tasks, in task order
//!     ω, state = optimizer(clip(g), rate(iteration), ω, state)
//! ```

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use innerloop_engine::{Key, Params, Sum, Tensor};
use innerloop_meta::outer::OptimizerState;
use innerloop_meta::{Learner, Losses, MetaGradient, MetaState, TaskData, TaskResult, Worker};
use innerloop_nn::BatchNorm;
use innerloop_tasks::{Episode, Split, draw_view, episode_key};
use rayon::ThreadPool;
use serde::Serialize;

use crate::experiment::{Experiment, Outer};
use crate::{Error, Result};

/// What one outer iteration measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Iterations done, this one included.
    pub iteration: u64,
    /// Mean support loss over tasks before each inner step.
    pub support_losses: Vec<f64>,
    /// Mean query loss over tasks at φ_K; `None` for algorithms without a query set.
    pub query_loss: Option<f64>,
    /// Norm of the meta-gradient before clipping.
    pub gradient_norm: f64,
    /// Outer learning rate used.
    pub rate: f64,
}

/// A run in memory: meta-parameters, optimizer, and everything needed for the next step.
pub struct Trainer {
    /// What is trained.
    pub experiment: Experiment,
    /// Meta-parameters and values carried along with them.
    pub meta: MetaState,
    /// The outer optimizer's state.
    pub optimizer: OptimizerState,
    /// Iterations done.
    pub iteration: u64,
    outer: Outer,
    learner: Learner,
    pool: Arc<ThreadPool>,
    seats: Vec<Mutex<Seat>>,
    groups: Vec<Mutex<Group>>,
    gradient: Params<Tensor>,
    sum: Sum,
}

/// The resources of one thread: memory to run a group of tasks in, and the tasks it is running.
struct Seat {
    worker: Worker,
    tasks: Vec<Drawn>,
    sum: Sum,
}

/// A task of the meta-batch.
#[derive(Clone)]
struct Drawn {
    episode: Episode,
    /// Two views of its queries, if the problem asks for a second one, which is then used.
    views: Option<[Tensor; 2]>,
}

/// Tasks of the meta-batch that run together.
struct Group {
    /// The number of the first task.
    first: usize,
    results: Vec<TaskResult>,
    /// The sum of their gradients, if there are several.
    sum: Option<Params<Tensor>>,
}

impl Group {
    /// Adds up the gradients while they are in the cache of the core that computed them.
    fn add_up(&mut self, sum: &mut Sum) {
        let Some(gradient) = &mut self.sum else { return };
        for (i, out) in gradient.values_mut().iter_mut().enumerate() {
            sum.of(self.results.iter().map(|r| &r.gradient.values()[i]), 1.0, out);
        }
    }

    /// The sum of the tasks' gradients.
    fn gradient(&self) -> &Params<Tensor> {
        self.sum.as_ref().unwrap_or(&self.results[0].gradient)
    }
}

impl Drawn {
    fn zeros(experiment: &Experiment) -> Drawn {
        let episode = Episode::zeros(&experiment.train.spec);
        let view = || episode.query_x.clone();
        let views = experiment.train.views.then(|| [view(), view()]);
        Drawn { episode, views }
    }

    /// Samples the task of a key, with two views of its queries if requested.
    fn draw(&mut self, experiment: &Experiment, key: Key, in_two_views: bool) {
        let Drawn { episode, views } = self;
        experiment.family.sample_into(Split::Train, key, episode);
        let Some([one, other]) = views else { return };
        if in_two_views {
            draw_view(&episode.query_x, key.with_stream("view"), one);
            draw_view(&episode.query_x, key.with_stream("other view"), other);
            std::mem::swap(one, &mut episode.query_x);
        } else {
            other.as_f32_mut().copy_from_slice(episode.query_x.as_f32());
        }
    }

    /// Support set and query set; only those query arrays that the problem has are used.
    fn arrays(&self) -> ([&Tensor; 2], [&Tensor; 3]) {
        let Episode { support_x, support_y, query_x, query_y } = &self.episode;
        let other = self.views.as_ref().map_or(query_x, |[_, other]| other);
        ([support_x, support_y], [query_x, query_y, other])
    }
}

impl Trainer {
    /// A run at its start. Fails when its threads cannot be started.
    pub fn new(experiment: Experiment) -> Result<Trainer> {
        let config = &experiment.config;
        let dtype = config.run.dtype;
        let pool = Arc::new(thread_pool(config.run.threads)?);
        let batch = config.outer.meta_batch_size;
        let setup = experiment.setup(Losses::Training);
        let learner = Learner::new(&experiment.train, experiment.algorithm.as_ref(), setup);
        let meta = experiment.initial_state();
        let drawn = Drawn::zeros(&experiment);
        let result = learner.result(dtype);
        let group = |first: usize| {
            let n = learner.group().min(batch - first);
            let sum = (n > 1).then(|| result.gradient.clone());
            Group { first, results: vec![result.clone(); n], sum }
        };
        let seat = || Seat {
            worker: learner.worker(dtype),
            tasks: vec![drawn.clone(); learner.group().min(batch)],
            sum: Sum::new(),
        };
        let gradient = learner.result(dtype).gradient;
        Ok(Trainer {
            seats: (0..pool.current_num_threads()).map(|_| Mutex::new(seat())).collect(),
            groups: (0..batch).step_by(learner.group()).map(|i| Mutex::new(group(i))).collect(),
            optimizer: OptimizerState::new(&gradient),
            outer: Outer::new(config),
            gradient,
            sum: Sum::new(),
            learner,
            pool,
            meta,
            iteration: 0,
            experiment,
        })
    }

    /// The threads that tasks run on. Steps taken on one of them, as by `pool().install(..)`, find the others awake.
    pub fn pool(&self) -> &Arc<ThreadPool> {
        &self.pool
    }

    /// The compiled meta-gradient.
    pub fn learner(&self) -> &Learner {
        &self.learner
    }

    /// Bytes of all workers' workspaces.
    pub fn bytes(&self) -> usize {
        let bytes = |seat: &Mutex<Seat>| seat.lock().expect("no worker panicked").worker.bytes();
        self.seats.iter().map(bytes).sum()
    }

    /// Arithmetic of matrix products and convolutions in an iteration, in GFLOP, including recomputation.
    pub fn product_gflop(&self) -> f64 {
        let programs = self.learner.programs();
        let flops: u64 =
            programs.iter().map(|(_, cost, runs)| cost.product_flops * *runs as u64).sum();
        let tasks = self.experiment.config.outer.meta_batch_size as f64;
        flops as f64 * tasks / self.learner.group() as f64 / 1e9
    }

    /// Continues from other meta-parameters, with a fresh optimizer.
    pub fn restart(&mut self, meta: MetaState) {
        self.meta = meta;
        self.optimizer = OptimizerState::new(&self.gradient);
    }

    /// Runs one outer iteration. Fails when a loss or the meta-gradient is not finite; then nothing has changed.
    pub fn step(&mut self) -> Result<StepReport> {
        let done = self.iteration as f64 / self.experiment.config.outer.iterations as f64;
        self.meta.schedule(self.experiment.algorithm.as_ref(), done);
        let (experiment, learner, meta) = (&self.experiment, &self.learner, &self.meta);
        let (seats, iteration) = (&self.seats, self.iteration);
        let seed = experiment.config.seed;
        let pretrains = iteration < experiment.pretraining();
        let queries = if experiment.train.views { 3 } else { 2 };
        let next = AtomicUsize::new(0);
        let (last, shared) = self.groups.split_last().expect("a meta-batch has tasks");
        // Takes one group after another. It makes no difference to the bits which worker runs a group.
        let work = |seat: &Mutex<Seat>, first: Option<&Mutex<Group>>| {
            let mut seat = seat.lock().expect("no worker panicked");
            let Seat { worker, tasks, sum } = &mut *seat;
            let mut first = first;
            let mut take =
                || first.take().or_else(|| shared.get(next.fetch_add(1, Ordering::Relaxed)));
            while let Some(group) = take() {
                let mut group = group.lock().expect("no worker panicked");
                let Group { first, results, .. } = &mut *group;
                let tasks = &mut tasks[..results.len()];
                let key =
                    |i: usize| episode_key(seed, Split::Train, iteration, (*first + i) as u64);
                for (i, task) in tasks.iter_mut().enumerate() {
                    task.draw(experiment, key(i), pretrains);
                }
                let arrays: Vec<_> = tasks.iter().map(Drawn::arrays).collect();
                let tasks: Vec<_> = arrays
                    .iter()
                    .enumerate()
                    .map(|(i, (support, query))| TaskData {
                        support,
                        query: &query[..queries],
                        key: key(i),
                    })
                    .collect();
                learner.run_group(worker, meta, &tasks, results);
                group.add_up(sum);
            }
        };
        // This thread works too, so that all threads of the pool are used. It begins with the last group, which is the
        // smallest, because it spins while waiting for the others. They keep spinning too while it averages: a thread
        // of the pool that finds no work for some ten microseconds falls asleep, and waking it takes as long as a small
        // meta-iteration.
        let helpers = seats.len().min(self.groups.len()) - 1;
        let (ready, averaged) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (sum, gradient) = (&mut self.sum, &mut self.gradient);
        let losses = self.pool.in_place_scope(|scope| {
            let (work, ready, averaged) = (&work, &ready, &averaged);
            for seat in &seats[1..=helpers] {
                scope.spawn(move |_| {
                    work(seat, None);
                    ready.fetch_add(1, Ordering::Release);
                    wait_a_little(|| averaged.load(Ordering::Acquire));
                });
            }
            work(&seats[0], Some(last));
            let all_ready = wait_a_little(|| ready.load(Ordering::Acquire) == helpers);
            let losses = all_ready.then(|| reduce(&self.groups, sum, gradient));
            averaged.store(true, Ordering::Release);
            losses
        });
        let losses = losses.unwrap_or_else(|| reduce(&self.groups, sum, gradient));
        let mut report = self.report(losses)?;
        let clipped_from = self.outer.clip.apply(&mut self.gradient);
        report.gradient_norm = clipped_from;
        report.rate = self.outer.schedule.rate(self.iteration);
        if !clipped_from.is_finite() {
            return Err(self.diverged("the meta-gradient", clipped_from));
        }
        self.outer.optimizer.step(
            &mut self.meta.omega,
            &self.gradient,
            report.rate,
            &mut self.optimizer,
        );
        self.carry_on();
        self.iteration += 1;
        report.iteration = self.iteration;
        Ok(report)
    }

    fn diverged(&self, what: &str, value: f64) -> Error {
        Error::diverged(format!(
            "training diverged at iteration {}: {what} is {value}, expected a finite number; lower \
             algorithm.inner_lr or outer.lr, or set outer.clip_norm; the last checkpoint is intact",
            self.iteration + 1
        ))
    }

    /// What an iteration has measured so far. Fails where a loss is not finite.
    fn report(&self, (support_losses, query_loss): (Vec<f64>, f64)) -> Result<StepReport> {
        let query = self.experiment.algorithm.meta_gradient() != MetaGradient::Displacement;
        let query_loss = query.then_some(query_loss);
        for &loss in support_losses.iter().chain(&query_loss) {
            if !loss.is_finite() {
                return Err(self.diverged("a loss in the inner loop", loss));
            }
        }
        Ok(StepReport {
            iteration: self.iteration,
            support_losses,
            query_loss,
            gradient_norm: 0.0,
            rate: 0.0,
        })
    }

    /// Updates the values carried along without a gradient: the inner optimizer's state, and running statistics.
    fn carry_on(&mut self) {
        let groups = locked(&self.groups);
        let results: Vec<&TaskResult> = groups.iter().flat_map(|group| &group.results).collect();
        if self.experiment.algorithm.keeps_state() {
            for (i, out) in self.meta.inner_state.values_mut().iter_mut().enumerate() {
                let parts = results.iter().map(|r| &r.inner_state.values()[i]);
                self.sum.of(parts, results.len() as f64, out);
            }
        }
        let momentum = self.experiment.train.momentum;
        let per_step = self.experiment.train.batch_norm == BatchNorm::PerStep;
        // Without a query pass its row was not filled: the last support pass stands in for it.
        let query = self.experiment.algorithm.meta_gradient() != MetaGradient::Displacement;
        for (i, out) in self.meta.carried.values_mut().iter_mut().enumerate() {
            let rows = results[0].statistics.values()[i].shape()[0];
            let passes = if query { rows } else { rows - 1 };
            let n = out.len() / if per_step { rows } else { 1 };
            for j in 0..out.len() {
                // With per-step statistics each pass has its own row; otherwise all passes are averaged.
                let of_task = |t: &Tensor| match per_step {
                    true => t.get((j / n).min(passes - 1) * n + j % n),
                    false => (0..passes).map(|p| t.get(p * n + j)).sum::<f64>() / passes as f64,
                };
                let sum: f64 = results.iter().map(|r| of_task(&r.statistics.values()[i])).sum();
                let batch = sum / results.len() as f64;
                out.set(j, (1.0 - momentum) * out.get(j) + momentum * batch);
            }
        }
    }
}

/// Averages gradients and losses over the tasks, in task order: the losses of the support set and that of the query
/// set.
fn reduce(
    groups: &[Mutex<Group>],
    sum: &mut Sum,
    gradient: &mut Params<Tensor>,
) -> (Vec<f64>, f64) {
    let groups = locked(groups);
    let results: Vec<&TaskResult> = groups.iter().flat_map(|group| &group.results).collect();
    let n = results.len() as f64;
    for (i, out) in gradient.values_mut().iter_mut().enumerate() {
        sum.of(groups.iter().map(|group| &group.gradient().values()[i]), n, out);
    }
    let mean = |f: &dyn Fn(&TaskResult) -> f64| results.iter().map(|r| f(r)).sum::<f64>() / n;
    let steps = results[0].support_losses.len();
    ((0..steps).map(|k| mean(&|r| r.support_losses[k])).collect(), mean(&|r| r.query_loss))
}

/// Spins up to 4,096 times and returns whether `happened` became true. Spinning longer than that would cost more than
/// sleeping and waking. It takes a tenth of a millisecond on an AMD EPYC (median of 2,001, with the atomic load); the
/// duration of a spin depends on the processor.
fn wait_a_little(happened: impl Fn() -> bool) -> bool {
    (0..1 << 12).any(|_| {
        std::hint::spin_loop();
        happened()
    })
}

fn locked(groups: &[Mutex<Group>]) -> Vec<MutexGuard<'_, Group>> {
    groups.iter().map(|group| group.lock().expect("no worker panicked")).collect()
}

/// A pool of the given number of threads; zero for one per core.
pub fn thread_pool(threads: usize) -> Result<ThreadPool> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|cause| {
        Error::new(
            crate::ErrorKind::Io,
            format!("cannot start {threads} threads: {cause}; set run.threads"),
        )
    })
}
