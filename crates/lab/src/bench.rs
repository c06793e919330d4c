//! Timing of whole meta-iterations, on workloads that can also be timed in other frameworks.
//!
//! The tasks are artificial, with random bytes for images, so that nothing has to be downloaded. An iteration does what
//! training does: sampling, the meta-gradient of every task, an outer step with Adam.

use std::time::Instant;

use innerloop_engine::check::random;
use innerloop_engine::{Dtype, Graph, Key, Program};
use innerloop_tasks::{
    Class, FewShot, ImageClasses, ImageTasks, Rotations, Sinusoid, Sizes, SplitLists, TaskFamily,
};
use rand::Rng;

use crate::trainer::thread_pool;
use crate::{Config, Experiment, Kept, Result, Trainer, peak_memory};

/// A workload by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Short name, as in `benches/peers`.
    pub name: String,
    /// A one-line description.
    pub about: &'static str,
    /// Iterations timed by default.
    pub repetitions: usize,
    config: String,
    image: Option<[usize; 3]>,
}

/// What workloads have in common.
struct Base {
    config: &'static str,
    /// Height, width and channels; tasks of regression have no images.
    image: Option<[usize; 3]>,
}

const SINUSOID: Base = Base {
    image: None,
    config: r#"
[tasks]
family = "sinusoid"
shots = 10
query = 10

[model]
kind = "mlp"
hidden = [40, 40]

[algorithm]
inner_lr = 0.01

[outer]
meta_batch_size = 25
"#,
};

const OMNIGLOT: Base = Base {
    image: Some([28, 28, 1]),
    config: r#"
[tasks]
ways = 5
shots = 1
query = 15

[model]
kind = "conv4"
filters = 64

[outer]
meta_batch_size = 32
"#,
};

const MINI_IMAGENET: Base = Base {
    image: Some([84, 84, 3]),
    config: r#"
[tasks]
ways = 5
shots = 1
query = 15

[model]
kind = "conv4"
filters = 32

[algorithm]
inner_lr = 0.01
adaptation_steps = 5

[outer]
meta_batch_size = 4
"#,
};

/// Every workload, in order; `W6-K` for memory against the number `K` of inner steps, `S1` for counting instructions.
pub fn workloads() -> Vec<Workload> {
    let workload = |name: &str, about, repetitions, base: Base, settings: &[&str]| {
        let mut config = base.config.parse::<toml::Table>().expect("built-in configuration");
        for setting in settings {
            let (path, value) = setting.split_once('=').expect("key=value");
            let (section, key) = path.split_once('.').expect("section.key");
            let value = format!("v = {value}").parse::<toml::Table>().expect("a value");
            let section = config.entry(section).or_insert_with(|| toml::Table::new().into());
            section.as_table_mut().expect("a section").insert(key.into(), value["v"].clone());
        }
        let (config, image) = (config.to_string(), base.image);
        Workload { name: name.into(), about, repetitions, config, image }
    };
    const MLP: &str = "sinusoids, MLP 40-40, 10 points and 10 queries, 25 tasks";
    const CONV4: &str = "Conv4-64, 28×28, 5-way 1-shot, 75 queries, 32 tasks";
    const WAYS20: &str = "Conv4-64, 28×28, 20-way 1-shot, 300 queries, 16 tasks, 5 steps";
    const MINI: &str = "Conv4-32, 84×84×3, 5-way 1-shot, 75 queries, 4 tasks";
    const MINI5: &str = "Conv4-32, 84×84×3, 5-way 5-shot, 75 queries, 2 tasks, 5 steps";
    const SMALL: &str = "Conv4-16, 28×28, 5-way 1-shot, 5 queries, 2 tasks";
    let one = ["algorithm.inner_lr=0.4", "algorithm.adaptation_steps=1"];
    let five = ["algorithm.inner_lr=0.1", "algorithm.adaptation_steps=5"];
    let mut all = vec![
        workload("W1-1", MLP, 2000, SINUSOID, &["algorithm.adaptation_steps=1"]),
        workload("W1-5", MLP, 1000, SINUSOID, &["algorithm.adaptation_steps=5"]),
        workload("W2-1", CONV4, 8, OMNIGLOT, &one),
        workload("W2-5", CONV4, 5, OMNIGLOT, &five),
        workload(
            "W3",
            WAYS20,
            3,
            OMNIGLOT,
            &[five[0], five[1], "tasks.ways=20", "outer.meta_batch_size=16"],
        ),
        workload("W4-1shot", MINI, 8, MINI_IMAGENET, &[]),
        workload(
            "W4-5shot",
            MINI5,
            5,
            MINI_IMAGENET,
            &["tasks.shots=5", "outer.meta_batch_size=2"],
        ),
        workload("W5-fomaml", MINI, 8, MINI_IMAGENET, &["algorithm.name=\"fomaml\""]),
        workload("W5-reptile", MINI, 20, MINI_IMAGENET, &["algorithm.name=\"reptile\""]),
    ];
    for steps in [1, 2, 5, 10, 20, 50] {
        let setting = format!("algorithm.adaptation_steps={steps}");
        all.push(workload(&format!("W6-{steps}"), MINI, 3, MINI_IMAGENET, &[&setting]));
    }
    let small = ["tasks.query=1", "model.filters=16", "outer.meta_batch_size=2"];
    all.push(workload("S1", SMALL, 50, OMNIGLOT, &[one[0], one[1], small[0], small[1], small[2]]));
    all
}

/// The measurements.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// Milliseconds of each iteration.
    pub milliseconds: Vec<f64>,
    /// Milliseconds from the configuration to the first iteration: tracing, compiling, memory.
    pub compile_ms: f64,
    /// Arithmetic of products in an iteration, in GFLOP, including recomputation.
    pub gflop: f64,
    /// Threads that ran it.
    pub threads: usize,
    /// The process's peak memory in bytes, if the system reports it.
    pub peak_memory: Option<u64>,
}

impl Timing {
    /// The median iteration.
    pub fn median(&self) -> f64 {
        let mut sorted = self.milliseconds.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        }
    }
}

impl Workload {
    /// The configuration it runs.
    pub fn config(&self) -> Result<Config> {
        Config::parse(&self.config, &self.name)
    }

    /// A trainer for it. `threads` is 0 for one per core.
    pub fn trainer(&self, threads: usize) -> Result<Trainer> {
        let mut config = self.config()?;
        config.run.threads = threads;
        let family = self.family(&config)?;
        Trainer::new(Experiment::with_family(config, family)?)
    }

    /// Runs two iterations to warm up, then `repetitions`. `threads` is 0 for one per core.
    pub fn run(&self, repetitions: usize, threads: usize) -> Result<Timing> {
        let start = Instant::now();
        let mut trainer = self.trainer(threads)?;
        let compile_ms = start.elapsed().as_secs_f64() * 1e3;
        let pool = trainer.pool().clone();
        let milliseconds = pool.install(|| -> Result<Vec<f64>> {
            for _ in 0..2 {
                trainer.step()?;
            }
            let mut milliseconds = Vec::with_capacity(repetitions);
            for _ in 0..repetitions {
                let start = Instant::now();
                trainer.step()?;
                milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
            }
            Ok(milliseconds)
        })?;
        Ok(Timing {
            milliseconds,
            compile_ms,
            gflop: trainer.product_gflop(),
            threads: trainer.pool().current_num_threads(),
            peak_memory: peak_memory(),
        })
    }

    fn family(&self, config: &Config) -> Result<Box<dyn TaskFamily>> {
        let tasks = &config.tasks;
        let sizes = Sizes {
            shots: tasks.shots,
            query: tasks.query,
            train_shots: tasks.train_shots,
            train_query: tasks.train_query,
        };
        let Some(shape) = self.image else { return Ok(Box::new(Sinusoid { sizes })) };
        let images = noise(shape, tasks.ways, sizes.shots + sizes.query)?;
        let few_shot = FewShot::with_sizes(tasks.ways, sizes);
        Ok(Box::new(ImageTasks::new("noise", images, few_shot, Rotations::None)?))
    }
}

/// Images of random bytes: one more class than a task has in training, and as few as possible elsewhere.
fn noise(shape: [usize; 3], ways: usize, samples: usize) -> Result<ImageClasses> {
    let mut rng = Key::new(0).with_stream("noise").rng();
    let bytes = shape.iter().product::<usize>() * samples;
    let mut class = |i: usize| {
        let mut pixels = vec![0; bytes];
        rng.fill_bytes(&mut pixels);
        Class { name: format!("class {i}"), pixels }
    };
    let train = ways + 1;
    let all = (0..train + 2 * ways).map(&mut class).collect();
    let splits = SplitLists {
        train: (0..train).collect(),
        validation: (train..train + ways).collect(),
        test: (train + ways..train + 2 * ways).collect(),
    };
    Ok(ImageClasses::new(shape, all, splits)?)
}

/// GFLOP/s of single-precision products of 256×256 matrices, which stay in the cache, on `threads` threads at a time
/// (0: one per core): within a few percent of what the machine's multiply-add units can do. The best of thirty runs.
pub fn product_peak(threads: usize) -> Result<f64> {
    const N: usize = 256;
    // A fixed number rather than a time, so that instructions can be counted.
    const RUNS: usize = 30;
    let graph = Graph::new();
    let product = graph.input("a", &[N, N]).matmul(graph.input("b", &[N, N]));
    let program = Program::compile(&graph, &[product]);
    let seconds = || {
        let mut workspace = program.workspace(Dtype::F32);
        (0..2).for_each(|i| workspace.set(i, &random(Key::new(i as u64), &[N, N], 1.0)));
        let mut best = f64::INFINITY;
        for _ in 0..RUNS {
            let run = Instant::now();
            program.run(&mut workspace);
            best = best.min(run.elapsed().as_secs_f64());
        }
        best
    };
    let each = thread_pool(threads)?.broadcast(|_| seconds());
    Ok(each.iter().map(|seconds| (2 * N * N * N) as f64 / seconds / 1e9).sum())
}
