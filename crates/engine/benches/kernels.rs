//! GFLOP/s of the convolutions and matrix products that few-shot networks are made of, each as a program
//! of one step: `cargo bench -p innerloop-engine --bench kernels [-- filter]`.
//!
//! The operations counted are those of the direct product, padding included, whatever way is taken.

#![allow(clippy::print_stdout, reason = "a benchmark reports on the terminal")]

use std::time::{Duration, Instant};

use innerloop_engine::check::random;
use innerloop_engine::{Dtype, Graph, Key, Program, Tensor, Var, Window, vjp};

/// The best of many runs, within a fixed time.
fn seconds(
    inputs: &[&[usize]],
    dtype: Dtype,
    build: impl for<'g> Fn(&[Var<'g>]) -> Var<'g>,
) -> f64 {
    let graph = Graph::new();
    let vars: Vec<Var<'_>> = inputs.iter().map(|shape| graph.input("x", shape)).collect();
    let program = Program::compile(&graph, &[build(&vars)]);
    let mut workspace = program.workspace(dtype);
    let values: Vec<Tensor> =
        inputs.iter().zip(0..).map(|(shape, i)| random(Key::new(i), shape, 1.0)).collect();
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < Duration::from_millis(60) {
        values.iter().enumerate().for_each(|(i, value)| workspace.set(i, value));
        let run = Instant::now();
        program.run(&mut workspace);
        best = best.min(run.elapsed().as_secs_f64());
    }
    best
}

fn main() {
    let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let wanted = |name: &str| filter.iter().all(|part| name.contains(part.as_str()));
    let maps = [
        (28, 1, 64),
        (14, 64, 64),
        (7, 64, 64),
        (3, 64, 64),
        (84, 3, 32),
        (42, 32, 32),
        (21, 32, 32),
        (10, 32, 32),
    ];
    println!("{:<44} {:>8} {:>8} {:>8}", "3×3 convolution, GFLOP/s", "forward", "input", "weight");
    for dtype in [Dtype::F32, Dtype::F64] {
        for (extent, c, o) in maps {
            for n in [1, 5, 25] {
                let name = format!("conv {dtype} {extent}×{extent} {c}→{o} n={n}");
                if !wanted(&name) || dtype == Dtype::F64 && n > 5 {
                    continue;
                }
                let window = Window::square(3, 1, 1);
                let (x, w): ([usize; 4], [usize; 4]) = ([n, extent, extent, c], [3, 3, c, o]);
                let inputs: [&[usize]; 3] = [&x, &w, &[n, extent, extent, o]];
                let work = (2 * n * extent * extent * 9 * c * o) as f64;
                let times = [
                    seconds(&inputs, dtype, |v| v[0].conv(v[1], window)),
                    seconds(&inputs, dtype, |v| {
                        vjp(&[v[0].conv(v[1], window)], &[v[2]], &[v[0]])[0]
                    }),
                    seconds(&inputs, dtype, |v| {
                        vjp(&[v[0].conv(v[1], window)], &[v[2]], &[v[1]])[0]
                    }),
                ];
                let [a, b, c] = times.map(|time| work / time * 1e-9);
                println!("{name:<44} {a:8.1} {b:8.1} {c:8.1}");
            }
        }
    }
    println!("{:<44} {:>8} {:>8} {:>8}", "a·b, GFLOP/s", "a·b", "g·bᵀ", "aᵀ·g");
    let products = [
        (25, 10, 1, 40),
        (25, 10, 40, 40),
        (25, 10, 40, 1),
        (1, 75, 64, 5),
        (1, 75, 800, 5),
        (13, 75, 64, 5),
        (1, 256, 256, 256),
    ];
    for (batch, m, k, n) in products {
        let name = format!("matmul {batch} of {m}×{k}×{n}");
        if !wanted(&name) {
            continue;
        }
        let inputs: [&[usize]; 3] = [&[batch, m, k], &[batch, k, n], &[batch, m, n]];
        let work = (2 * batch * m * k * n) as f64;
        let times = [
            seconds(&inputs, Dtype::F32, |v| v[0].matmul(v[1])),
            seconds(&inputs, Dtype::F32, |v| vjp(&[v[0].matmul(v[1])], &[v[2]], &[v[0]])[0]),
            seconds(&inputs, Dtype::F32, |v| vjp(&[v[0].matmul(v[1])], &[v[2]], &[v[1]])[0]),
        ];
        let [a, b, c] = times.map(|time| work / time * 1e-9);
        println!("{name:<44} {a:8.1} {b:8.1} {c:8.1}");
    }
}
