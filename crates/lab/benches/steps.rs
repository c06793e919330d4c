//! Whole meta-iterations: `cargo bench -p innerloop-lab --bench steps [-- filter]`.
//!
//! An "item" is a floating-point operation in a product, recomputation included: `Gitem/s` are GFLOP/s.
//! `innerloop bench` has the larger workloads, with memory and shares of the machine's peak.

use divan::Bencher;
use divan::counter::ItemsCount;
use innerloop_lab::bench::workloads;

fn main() {
    divan::main();
}

const SMALL: [&str; 4] = ["W1-1", "W1-5", "S1", "W5-reptile"];

#[divan::bench(args = SMALL, sample_count = 20, sample_size = 1)]
fn meta_iteration(bencher: Bencher<'_, '_>, name: &str) {
    let workloads = workloads();
    let workload = workloads.iter().find(|w| w.name == name).expect("a built-in workload");
    let mut trainer = workload.trainer(0).expect("a valid workload");
    trainer.step().expect("finite numbers");
    let flops = (trainer.product_gflop() * 1e9) as u64;
    bencher
        .counter(ItemsCount::new(flops))
        .bench_local(|| trainer.step().expect("finite numbers").gradient_norm);
}
