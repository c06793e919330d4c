//! The convolutions and matrix products of few-shot networks, each as a program of one step: `cargo bench -p
//! innerloop-engine --bench kernels [-- filter]`.
//!
//! An "item" is a floating-point operation of the direct product, padding included, whichever algorithm is used:
//! `Gitem/s` are GFLOP/s. `GHz` are shares of the peak, where 1 is the rate of the 256×256×256 product, which is
//! measured first. Winograd convolutions need a quarter of the multiplications and can exceed it; double precision can
//! stay below a half.

use std::cell::RefCell;
use std::fmt;
use std::sync::LazyLock;
use std::time::Instant;

use divan::Bencher;
use divan::counter::{CyclesCount, ItemsCount};
use innerloop_engine::check::random;
use innerloop_engine::{Dtype, Graph, Key, Program, Var, Window, vjp};

fn main() {
    divan::main();
}

/// Floating-point operations per nanosecond in the fastest of many products of 256×256 matrices.
static PEAK: LazyLock<f64> = LazyLock::new(|| {
    const N: usize = 256;
    let graph = Graph::new();
    let [a, b] = ["a", "b"].map(|name| graph.input(name, &[N, N]));
    let program = Program::compile(&graph, &[a.matmul(b)]);
    let mut workspace = program.workspace(Dtype::F32);
    for (i, key) in (0..2).zip(1..) {
        workspace.set(i, &random(Key::new(key), &[N, N], 1.0));
    }
    let once = |_| {
        let start = Instant::now();
        program.run(&mut workspace);
        start.elapsed()
    };
    let fastest = (0..300).map(once).min().expect("some runs");
    (2 * N * N * N) as f64 / fastest.as_nanos() as f64
});

fn time(
    bencher: Bencher<'_, '_>,
    flops: usize,
    dtype: Dtype,
    inputs: &[&[usize]],
    build: impl for<'g> Fn(&[Var<'g>]) -> Var<'g>,
) {
    let graph = Graph::new();
    let vars: Vec<Var<'_>> = inputs.iter().map(|shape| graph.input("x", shape)).collect();
    let program = Program::compile(&graph, &[build(&vars)]);
    let workspace = RefCell::new(program.workspace(dtype));
    let values: Vec<_> =
        inputs.iter().zip(0..).map(|(shape, i)| random(Key::new(i), shape, 1.0)).collect();
    // A run may write over its inputs.
    let set = || {
        let mut workspace = workspace.borrow_mut();
        values.iter().enumerate().for_each(|(i, value)| workspace.set(i, value));
    };
    bencher
        .counter(ItemsCount::new(flops))
        // The number of nanoseconds this takes at the peak.
        .counter(CyclesCount::new((flops as f64 / *PEAK) as u64))
        .with_inputs(set)
        .bench_local_values(|()| program.run(&mut workspace.borrow_mut()));
}

/// A 3×3 convolution of `n` square maps.
#[derive(Clone, Copy)]
struct Conv {
    dtype: Dtype,
    extent: usize,
    channels: [usize; 2],
    n: usize,
}

impl fmt::Display for Conv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conv { dtype, extent, channels: [from, to], n } = *self;
        write!(f, "{dtype} {extent}×{extent} {from}→{to} n={n}")
    }
}

fn convolutions() -> Vec<Conv> {
    let maps = [
        (28, [1, 64]),
        (14, [64, 64]),
        (7, [64, 64]),
        (3, [64, 64]),
        (84, [3, 32]),
        (42, [32, 32]),
        (21, [32, 32]),
        (10, [32, 32]),
    ];
    let single = maps.iter().flat_map(|&(extent, channels)| {
        [1, 5, 25].map(|n| Conv { dtype: Dtype::F32, extent, channels, n })
    });
    let double =
        maps.iter().map(|&(extent, channels)| Conv { dtype: Dtype::F64, extent, channels, n: 5 });
    single.chain(double).collect()
}

impl Conv {
    fn time(self, bencher: Bencher<'_, '_>, build: impl for<'g> Fn(&[Var<'g>], Window) -> Var<'g>) {
        let Conv { dtype, extent, channels: [from, to], n } = self;
        let window = Window::square(3, 1, 1);
        let inputs: [&[usize]; 3] =
            [&[n, extent, extent, from], &[3, 3, from, to], &[n, extent, extent, to]];
        let flops = 2 * n * extent * extent * 9 * from * to;
        time(bencher, flops, dtype, &inputs, |v| build(v, window));
    }
}

#[divan::bench(args = convolutions(), sample_size = 1)]
fn conv(bencher: Bencher<'_, '_>, conv: Conv) {
    conv.time(bencher, |v, window| v[0].conv(v[1], window));
}

#[divan::bench(args = convolutions(), sample_size = 1)]
fn conv_input_grad(bencher: Bencher<'_, '_>, conv: Conv) {
    conv.time(bencher, |v, window| vjp(&[v[0].conv(v[1], window)], &[v[2]], &[v[0]])[0]);
}

#[divan::bench(args = convolutions(), sample_size = 1)]
fn conv_weight_grad(bencher: Bencher<'_, '_>, conv: Conv) {
    conv.time(bencher, |v, window| vjp(&[v[0].conv(v[1], window)], &[v[2]], &[v[1]])[0]);
}

/// `batch` products `[m, k] · [k, n]`.
#[derive(Clone, Copy)]
struct Product {
    batch: usize,
    m: usize,
    k: usize,
    n: usize,
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Product { batch, m, k, n } = *self;
        write!(f, "{batch} of {m}×{k}×{n}")
    }
}

const PRODUCTS: [Product; 7] = [
    Product { batch: 25, m: 10, k: 1, n: 40 },
    Product { batch: 25, m: 10, k: 40, n: 40 },
    Product { batch: 25, m: 10, k: 40, n: 1 },
    Product { batch: 1, m: 75, k: 64, n: 5 },
    Product { batch: 1, m: 75, k: 800, n: 5 },
    Product { batch: 13, m: 75, k: 64, n: 5 },
    Product { batch: 1, m: 256, k: 256, n: 256 },
];

impl Product {
    fn time(self, bencher: Bencher<'_, '_>, build: impl for<'g> Fn(&[Var<'g>]) -> Var<'g>) {
        let Product { batch, m, k, n } = self;
        let inputs: [&[usize]; 3] = [&[batch, m, k], &[batch, k, n], &[batch, m, n]];
        time(bencher, 2 * batch * m * k * n, Dtype::F32, &inputs, build);
    }
}

#[divan::bench(args = PRODUCTS, sample_size = 1)]
fn matmul(bencher: Bencher<'_, '_>, product: Product) {
    product.time(bencher, |v| v[0].matmul(v[1]));
}

/// `g · bᵀ`.
#[divan::bench(args = PRODUCTS, sample_size = 1)]
fn matmul_left_grad(bencher: Bencher<'_, '_>, product: Product) {
    product.time(bencher, |v| vjp(&[v[0].matmul(v[1])], &[v[2]], &[v[0]])[0]);
}

/// `aᵀ · g`.
#[divan::bench(args = PRODUCTS, sample_size = 1)]
fn matmul_right_grad(bencher: Bencher<'_, '_>, product: Product) {
    product.time(bencher, |v| vjp(&[v[0].matmul(v[1])], &[v[2]], &[v[1]])[0]);
}
