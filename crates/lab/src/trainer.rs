//! The outer loop: sample a meta-batch, run every task, average in task order, step.
//!
//! ```text
//! for iteration:
//!     for task in meta-batch: meta_gradient(task(seed, iteration, task))      in parallel
//!     g = mean over tasks, in task order
//!     ω, state = optimizer(clip(g), rate(iteration), ω, state)
//! ```

use std::array::from_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use innerloop_engine::{Key, Params, Sum, Tensor};
use innerloop_meta::outer::OptimizerState;
use innerloop_meta::{
    Grouping, Learner, Losses, MetaGradient, MetaState, TaskData, TaskResult, Worker,
};
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
    report: StepReport,
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
        let report = StepReport {
            iteration: 0,
            support_losses: Vec::new(),
            query_loss: None,
            gradient_norm: 0.0,
            rate: 0.0,
        };
        Ok(Trainer {
            report,
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
    pub fn step(&mut self) -> Result<&StepReport> {
        let done = self.iteration as f64 / self.experiment.config.outer.iterations as f64;
        self.meta.schedule(self.experiment.algorithm.as_ref(), done);
        self.run_tasks();
        self.check_losses()?;
        let norm = self.outer.clip.apply(&mut self.gradient);
        if !norm.is_finite() {
            return Err(self.diverged("the meta-gradient", norm));
        }
        let rate = self.outer.schedule.rate(self.iteration);
        self.outer.optimizer.step(&mut self.meta.omega, &self.gradient, rate, &mut self.optimizer);
        self.carry_on();
        self.iteration += 1;
        let report = &mut self.report;
        (report.iteration, report.gradient_norm, report.rate) = (self.iteration, norm, rate);
        Ok(report)
    }

    /// Runs the tasks of the meta-batch on all threads, and averages their gradients and losses.
    fn run_tasks(&mut self) {
        let Trainer { experiment, learner, meta, groups, seats, pool, .. } = self;
        let (sum, gradient, report) = (&mut self.sum, &mut self.gradient, &mut self.report);
        let (groups, iteration) = (&groups[..], self.iteration);
        let seed = experiment.config.seed;
        let pretrains = iteration < experiment.pretraining();
        let queries = if experiment.train.views { 3 } else { 2 };
        let next = AtomicUsize::new(0);
        let (last, shared) = groups.split_last().expect("a meta-batch has tasks");
        // Takes one group after another. It makes no difference to the bits which worker runs a group.
        let work = |seat: &Mutex<Seat>, mut first: Option<&Mutex<Group>>| {
            let mut seat = seat.lock().expect("no worker panicked");
            let Seat { worker, tasks, sum } = &mut *seat;
            let mut take =
                || first.take().or_else(|| shared.get(next.fetch_add(1, Ordering::Relaxed)));
            while let Some(group) = take() {
                let mut group = group.lock().expect("no worker panicked");
                let Group { first, results, .. } = &mut *group;
                let n = results.len();
                let key =
                    |i: usize| episode_key(seed, Split::Train, iteration, (*first + i) as u64);
                for (i, task) in tasks[..n].iter_mut().enumerate() {
                    task.draw(experiment, key(i), pretrains);
                }
                // Arrays, which need no allocation; places beyond the group repeat its last task.
                let arrays: [_; Grouping::MOST] = from_fn(|i| tasks[i.min(n - 1)].arrays());
                let data: [TaskData<'_>; Grouping::MOST] = from_fn(|i| {
                    let (support, query) = &arrays[i];
                    TaskData { support, query: &query[..queries], key: key(i) }
                });
                learner.run_group(worker, meta, &data[..n], results);
                group.add_up(sum);
            }
        };
        // The first thread begins with the last group, which is the smallest, because it spins while waiting for the
        // others. They keep spinning too while it averages: a thread of the pool that finds no work for some ten
        // microseconds falls asleep, and waking it takes as long as a small meta-iteration.
        let helpers = seats.len().min(groups.len()) - 1;
        let (ready, averaged) = (AtomicUsize::new(0), AtomicBool::new(false));
        let help = |seat: &Mutex<Seat>| {
            work(seat, None);
            ready.fetch_add(1, Ordering::Release);
            wait_a_little(|| averaged.load(Ordering::Acquire));
        };
        let (first, others) = seats[..=helpers].split_first().expect("there is a thread");
        let mut average = || average(groups, sum, gradient, report);
        let lead = || {
            work(first, Some(last));
            let all_ready = wait_a_little(|| ready.load(Ordering::Acquire) == helpers);
            if all_ready {
                average();
            }
            averaged.store(true, Ordering::Release);
            all_ready
        };
        let (done, ()) = pool.join(lead, || on_each(others, &help));
        if !done {
            average();
        }
    }

    fn diverged(&self, what: &str, value: f64) -> Error {
        Error::diverged(format!(
            "training diverged at iteration {}: {what} is {value}, expected a finite number; lower \
             algorithm.inner_lr or outer.lr, or set outer.clip_norm; the last checkpoint, if there is one, is intact",
            self.iteration + 1
        ))
    }

    /// Fails where a loss is not finite. A method without a query set has no query loss.
    fn check_losses(&mut self) -> Result<()> {
        if self.experiment.algorithm.meta_gradient() == MetaGradient::Displacement {
            self.report.query_loss = None;
        }
        let mut losses = self.report.support_losses.iter().chain(&self.report.query_loss);
        match losses.find(|loss| !loss.is_finite()) {
            Some(&loss) => Err(self.diverged("a loss in the inner loop", loss)),
            None => Ok(()),
        }
    }

    /// Updates the values carried along without a gradient: the inner optimizer's state, and running statistics.
    fn carry_on(&mut self) {
        let Trainer { experiment, meta, groups, sum, .. } = self;
        let tasks = experiment.config.outer.meta_batch_size as f64;
        if experiment.algorithm.keeps_state() {
            for (i, out) in meta.inner_state.values_mut().iter_mut().enumerate() {
                sum.of(results(groups).map(|r| &r.inner_state.values()[i]), tasks, out);
            }
        }
        let momentum = experiment.train.momentum;
        let per_step = experiment.train.batch_norm == BatchNorm::PerStep;
        // Without a query pass its row was not filled: the last support pass stands in for it.
        let query = experiment.algorithm.meta_gradient() != MetaGradient::Displacement;
        for (i, out) in meta.carried.values_mut().iter_mut().enumerate() {
            let first = results(groups).next().expect("a meta-batch has tasks");
            let rows = first.statistics.values()[i].shape()[0];
            let passes = if query { rows } else { rows - 1 };
            let n = out.len() / if per_step { rows } else { 1 };
            for j in 0..out.len() {
                // With per-step statistics each pass has its own row; otherwise all passes are averaged.
                let of_task = |t: &Tensor| match per_step {
                    true => t.get((j / n).min(passes - 1) * n + j % n),
                    false => (0..passes).map(|p| t.get(p * n + j)).sum::<f64>() / passes as f64,
                };
                let sum: f64 = results(groups).map(|r| of_task(&r.statistics.values()[i])).sum();
                out.set(j, (1.0 - momentum) * out.get(j) + momentum * (sum / tasks));
            }
        }
    }
}

/// The results of all tasks, in task order.
fn results(groups: &mut [Mutex<Group>]) -> impl Iterator<Item = &TaskResult> {
    groups.iter_mut().flat_map(|group| &group.get_mut().expect("no worker panicked").results)
}

/// Averages gradients and losses over the tasks, in task order.
fn average(
    groups: &[Mutex<Group>],
    sum: &mut Sum,
    gradient: &mut Params<Tensor>,
    report: &mut StepReport,
) {
    let each = || groups.iter().map(|group| group.lock().expect("no worker panicked"));
    let tasks = each().map(|group| group.results.len()).sum::<usize>() as f64;
    for (i, out) in gradient.values_mut().iter_mut().enumerate() {
        sum.begin(out.len());
        each().for_each(|group| sum.add(&group.gradient().values()[i]));
        sum.write(tasks, out);
    }
    let mean = |loss: &dyn Fn(&TaskResult) -> f64| {
        let mut total = 0.0;
        each().for_each(|group| group.results.iter().for_each(|result| total += loss(result)));
        total / tasks
    };
    let steps = each().next().map_or(0, |group| group.results[0].support_losses.len());
    report.support_losses.resize(steps, 0.0);
    for (k, out) in report.support_losses.iter_mut().enumerate() {
        *out = mean(&|result| result.support_losses[k]);
    }
    report.query_loss = Some(mean(&|result| result.query_loss));
}

/// Calls `work` for each seat, on as many threads as are free. Unlike a scope's jobs, those of `join` are not allocated.
fn on_each(seats: &[Mutex<Seat>], work: &(impl Fn(&Mutex<Seat>) + Sync)) {
    match seats {
        [] => {}
        [seat] => work(seat),
        _ => {
            let (some, others) = seats.split_at(seats.len() / 2);
            rayon::join(|| on_each(some, work), || on_each(others, work));
        }
    }
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

/// A pool of the given number of threads; zero for one per core.
pub fn thread_pool(threads: usize) -> Result<ThreadPool> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|cause| {
        Error::new(
            crate::ErrorKind::Io,
            format!("cannot start {threads} threads: {cause}; set run.threads"),
        )
    })
}
