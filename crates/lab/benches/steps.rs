//! Whole meta-iterations: `cargo bench -p innerloop-lab --bench steps [-- filter]`.
//!
//! An "item" is a floating-point operation in a product, including recomputation: `Gitem/s` are GFLOP/s. `GHz` are
//! shares of the peak, where 1 is the rate of products of 256×256 matrices on all threads. `innerloop bench` has the
//! larger workloads, with memory.

use std::sync::LazyLock;

use divan::Bencher;
use divan::counter::{CyclesCount, ItemsCount};
use innerloop_lab::bench::{product_peak, workloads};

/// GFLOP/s, which equal operations per nanosecond.
static PEAK: LazyLock<f64> = LazyLock::new(|| product_peak(0).expect("threads"));

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
        // The number of nanoseconds this takes at the peak.
        .counter(CyclesCount::new((flops as f64 / *PEAK) as u64))
        .bench_local(|| trainer.step().expect("finite numbers").gradient_norm);
}
