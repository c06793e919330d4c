//! `innerloop inspect`

use clap::Args;
use innerloop::engine::Cost;
use innerloop::lab::Experiment;
use innerloop::meta::{Learner, Losses};

use super::Source;

#[derive(Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    source: Source,
    /// Print the programs' graphs, one node per line
    #[arg(long)]
    graph: bool,
}

impl Inspect {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let experiment = Experiment::new(self.source.load()?)?;
        say!("{}", experiment.family.describe());
        say!("parameters (shape here, shape in PyTorch)");
        let mut total = 0;
        for spec in experiment.train.model.parameters() {
            total += spec.shape.iter().product::<usize>();
            let (here, torch) = (format!("{:?}", spec.shape), format!("{:?}", spec.torch_shape()));
            say!("  {:<28} {here:<20} {torch}", spec.name);
        }
        say!("  {total} in all");
        let setup = experiment.setup(Losses::Training);
        let learner = Learner::new(&experiment.train, experiment.algorithm.as_ref(), setup);
        let dtype = experiment.config.run.dtype;
        let size = if dtype == innerloop::engine::Dtype::F32 { 4 } else { 8 };
        let group = match learner.group() {
            1 => "one task".to_string(),
            n => format!("{n} tasks together"),
        };
        say!("programs of {group} ({}, {:?})", experiment.algorithm.name(), learner.strategy());
        say!(
            "  {:<10} {:>5} {:>7} {:>12} {:>14} {:>10} {:>10}",
            "program",
            "runs",
            "steps",
            "MFLOP a run",
            "elementwise M",
            "MB moved",
            "arena MiB"
        );
        let mut flops = 0;
        for (name, cost, runs) in learner.programs() {
            flops += cost.product_flops * runs as u64;
            let Cost { product_flops, elementwise_ops, moved_elements, arena_elements, steps } =
                cost;
            say!(
                "  {name:<10} {runs:>5} {steps:>7} {:>12.3} {:>14.3} {:>10.3} {:>10.3}",
                product_flops as f64 / 1e6,
                elementwise_ops as f64 / 1e6,
                (moved_elements * size) as f64 / 1e6,
                (arena_elements * size) as f64 / (1 << 20) as f64
            );
        }
        let of = learner.derivatives();
        say!(
            "a task takes {} gradients and {} Hessian-vector products",
            of.gradients,
            of.hessian_products
        );
        let batch = experiment.config.outer.meta_batch_size;
        let runs = batch.div_ceil(learner.group()) as u64;
        say!(
            "a meta-iteration of {batch} tasks: {:.3} GFLOP in products",
            (flops * runs) as f64 / 1e9
        );
        let worker = learner.worker(dtype).bytes();
        say!("a worker holds {:.2} MiB", worker as f64 / (1 << 20) as f64);
        if self.graph {
            for (name, graph) in learner.graphs() {
                say!("graph {name}\n{graph}");
            }
        }
        Ok(())
    }
}
