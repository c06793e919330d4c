//! Corner cases found by reading the planner and the derivatives.

use innerloop_engine::check::{assert_close, evaluate, random};
use innerloop_engine::{Dtype, Graph, Isa, Key, Program, Tensor, Var, Window, grad, jvp, vjp};

fn vector(values: &[f64]) -> Tensor {
    Tensor::from_f64(&[values.len()], values.to_vec())
}

/// The message of a panic while `build` runs.
fn panic_of(build: fn(&Graph)) -> String {
    let panic = std::panic::catch_unwind(|| build(&Graph::new())).expect_err("must panic");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().expect("a message").to_string(),
    }
}

#[test]
fn wrong_shapes_are_refused_while_building() {
    let message = panic_of(|g| {
        g.input("x", &[2, 0, 3]);
    });
    assert!(message.contains("[2, 0, 3]") && message.contains("empty"), "{message}");
    let message = panic_of(|g| {
        g.input("x", &[1; 9]);
    });
    assert!(message.contains("9 axes"), "{message}");
    let message = panic_of(|g| {
        let _ = g.input("x", &[2, 3]) + g.input("y", &[2]);
    });
    assert!(message.contains("[2, 3]"), "{message}");
    let message = panic_of(|g| {
        g.input("a", &[2, 3]).matmul(g.input("b", &[2, 2]));
    });
    assert!(message.contains("[2, 2]"), "{message}");
}

#[test]
fn values_of_two_graphs_do_not_mix() {
    let message = panic_of(|g| {
        let other = Graph::new();
        let (x, y) = (g.input("x", &[2]), other.input("y", &[2]));
        let _ = x.dot(y);
    });
    assert!(message.contains("two graphs"), "{message}");
}

#[test]
#[should_panic(expected = "another program")]
fn a_workspace_belongs_to_its_program() {
    let graph = Graph::new();
    let x = graph.input("x", &[100]);
    let small = Program::compile(&graph, &[x.sum()]);
    let large = Program::compile(&graph, &[x.exp(), x.sin()]);
    small.run(&mut large.workspace(Dtype::F64));
}

#[test]
fn eight_axes_are_moved_about() {
    let shape = [2, 1, 2, 3, 1, 2, 2, 3];
    let x = random(Key::new(1), &shape, 1.0);
    let graph = Graph::new();
    let v = graph.input("x", &shape);
    let order = [7, 0, 5, 2, 3, 6, 1, 4];
    // Kept and repeated axes alternate, so no loop can take the sum.
    let sum = v.sum_to(&[2, 1, 1, 3, 1, 1, 2, 1]);
    let back = sum.expand(&shape).sum();
    let got = evaluate(&graph, &[v.transpose(&order), back], std::slice::from_ref(&x));
    assert_close("transposed", &got[0], &x.permuted(&order), 0.0);
    let total: f64 = x.iter().sum();
    assert_close("sum", &got[1], &Tensor::scalar(Dtype::F64, 12.0 * total), 1e-12);
}

/// `wrt` may hold a value and another that is computed from it: each is then an independent variable, in both modes.
#[test]
fn a_value_and_what_it_is_made_of() {
    let graph = Graph::new();
    let x = graph.input("x", &[]);
    let (u, v) = (graph.input("u", &[]), graph.input("v", &[]));
    let b = x * x;
    let y = b * x; // ∂y/∂x at fixed b is b = 4, ∂y/∂b is x = 2
    let gradient = grad(y, &[x, b]);
    let forward = jvp(&[y], &[x, b], &[u, v])[0];
    let cotangents = vjp(&[y, b], &[u, v], &[x, b]); // b is a variable: it passes v on, x gets none
    let inputs = [2.0, 10.0, 100.0].map(|value| Tensor::scalar(Dtype::F64, value));
    let all = [gradient[0], gradient[1], forward, cotangents[0], cotangents[1]];
    let got: Vec<f64> = evaluate(&graph, &all, &inputs).iter().map(|t| t.get(0)).collect();
    assert_eq!(got, [4.0, 2.0, 240.0, 40.0, 120.0]);
}

#[test]
fn derivatives_of_a_value_by_itself_and_by_a_stranger() {
    let graph = Graph::new();
    let (x, other) = (graph.input("x", &[]), graph.input("other", &[3]));
    let y = x.exp();
    let g = grad(y, &[y, other]);
    let got = evaluate(&graph, &g, &[Tensor::scalar(Dtype::F64, 0.5), vector(&[1.0, 2.0, 3.0])]);
    assert_eq!((got[0].get(0), got[1].iter().collect::<Vec<_>>()), (1.0, vec![0.0; 3]));
}

/// A long chain of single-use values is planned without recursion.
#[test]
fn chains_of_any_length() {
    let graph = Graph::new();
    let x = graph.input("x", &[3]);
    let deep = (0..100_000).fold(x, |y, _| -(y + 1.0));
    let got = evaluate(&graph, &[deep], &[vector(&[1.0, 2.0, 3.0])]);
    assert_eq!(got[0].as_f64(), [1.0, 2.0, 3.0]); // −(−(y + 1) + 1) = y
}

/// Outputs may be inputs, constants, views of one another, or the same value twice.
#[test]
fn outputs_of_every_kind() {
    let graph = Graph::new();
    let x = graph.input("x", &[2, 3]);
    let unused = graph.input("unused", &[4]);
    let e = x.exp();
    let outputs = [
        x,
        x.reshape(&[6]),
        graph.full(&[2], 7.0),
        e,
        e.stop_gradient().reshape(&[3, 2]),
        e,
        unused,
    ];
    let program = Program::compile(&graph, &outputs[..6]);
    let mut workspace = program.workspace(Dtype::F64);
    let value = Tensor::from_f64(&[2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    for _ in 0..2 {
        workspace.set(0, &value);
        workspace.set(1, &Tensor::zeros(Dtype::F64, &[4])); // no output needs it: ignored
        program.run(&mut workspace);
        let exp: Vec<f64> = value.iter().map(f64::exp).collect();
        assert_eq!(workspace.output(0), value);
        assert_eq!(workspace.output(1), value.clone().reshaped(&[6]));
        assert_eq!(workspace.output(2), vector(&[7.0, 7.0]));
        assert_eq!(workspace.output(3).as_f64(), exp);
        assert_eq!(workspace.output(4), Tensor::from_f64(&[3, 2], exp.clone()));
        assert_eq!(workspace.output(5).as_f64(), exp);
    }
}

/// Rows longer than a tile, tiles that do not divide the rows, groups: every way of repeating a smaller value over a
/// loop, against plain indexing.
#[test]
fn repeated_values_over_uneven_tiles() {
    // TILE is 512: a row is longer than one or two tiles, just fits, or many rows fit.
    for shape in [[3, 4, 1300], [3, 5, 512], [3, 5, 513], [4, 200, 7], [2, 1025, 1], [70, 2, 3]] {
        let [a, b, c] = shape;
        let x = random(Key::new(2), &shape, 1.0);
        let smalls = [
            vec![c],
            vec![b, 1],
            vec![a, 1, 1],
            vec![b, c],
            vec![a, 1, c],
            vec![a, b, 1],
            vec![],
            vec![1, b, 1],
            vec![1, 1, c],
        ];
        for small in &smalls {
            let s = random(Key::new(3), small, 1.0);
            let graph = Graph::new();
            let (vx, vs) = (graph.input("x", &shape), graph.input("s", small));
            // A second pattern in the same loop cuts its domain further.
            let sums =
                [(vx * vs).sum_to(small), (vx + vs).sum_to(&[c]), (vx - vs).sum_to(&[a, 1, 1])];
            let got =
                evaluate(&graph, &[vx * vs, sums[0], sums[1], sums[2]], &[x.clone(), s.clone()]);
            let at = |i: usize, j: usize, k: usize| {
                let full: Vec<usize> =
                    std::iter::repeat_n(1, 3 - small.len()).chain(small.iter().copied()).collect();
                let pick = |i: usize, n: usize| if n == 1 { 0 } else { i };
                (pick(i, full[0]) * full[1] + pick(j, full[1])) * full[2] + pick(k, full[2])
            };
            let mut product = vec![0.0; x.len()];
            let mut totals = [vec![0.0; s.len()], vec![0.0; c], vec![0.0; a]];
            for i in 0..a {
                for j in 0..b {
                    for k in 0..c {
                        let n = (i * b + j) * c + k;
                        let (x, s) = (x.get(n), s.get(at(i, j, k)));
                        product[n] = x * s;
                        totals[0][at(i, j, k)] += x * s;
                        totals[1][k] += x + s;
                        totals[2][i] += x - s;
                    }
                }
            }
            assert_eq!(got[0].as_f64(), product, "{shape:?} by {small:?}");
            for (got, want) in got[1..].iter().zip(totals) {
                let want = Tensor::from_f64(got.shape(), want);
                assert_close(&format!("sum of {shape:?} by {small:?}"), got, &want, 1e-12);
            }
        }
    }
}

/// Two patterns in one expression that no loop can nest: one of them is stored first.
#[test]
fn patterns_that_conflict() {
    let (a, b) = (random(Key::new(4), &[6, 1], 1.0), random(Key::new(5), &[3, 1, 4], 1.0));
    let graph = Graph::new();
    let (va, vb) = (graph.input("a", &[6, 1]), graph.input("b", &[3, 1, 4]));
    let wide = va.expand(&[6, 4]).reshape(&[3, 2, 4]); // cut at 4
    let odd = vb.expand(&[3, 2, 4]).reshape(&[2, 12]); // cuts at 8 and 4
    let column = graph.input("c", &[12, 1]).expand(&[12, 2]).reshape(&[2, 12]); // cut at 2
    let y = (wide.reshape(&[2, 12]) * odd + column).tanh();
    let c = random(Key::new(6), &[12, 1], 1.0);
    let got = evaluate(&graph, &[y, y.sum_to(&[12])], &[a.clone(), b.clone(), c.clone()]);
    let want: Vec<f64> =
        (0..24).map(|n| (a.get(n / 4) * b.get(n / 8 * 4 + n % 4) + c.get(n / 2)).tanh()).collect();
    assert_eq!(got[0].as_f64(), want);
    let sums: Vec<f64> = (0..12).map(|n| want[n] + want[n + 12]).collect();
    assert_eq!(got[1].as_f64(), sums);
}

/// A NaN shows in every result it should reach.
#[test]
fn nan_is_not_lost() {
    let nan = f64::NAN;
    let graph = Graph::new();
    let x = graph.input("x", &[1, 4, 4, 1]);
    let window = Window::square(2, 2, 0);
    let row = x.reshape(&[4, 4]);
    let outputs: [Var<'_>; 6] = [
        x.relu(),
        x.max_pool(window),
        x.avg_pool(window),
        row.sum_last(),
        row.max_last(),
        row.log_softmax(),
    ];
    let program = Program::compile(&graph, &outputs);
    for isa in [Isa::Portable, Isa::detect()] {
        for at in 0..16 {
            let mut values: Vec<f64> = (0..16).map(|i| f64::from(i * 7 % 16) - 8.0).collect();
            values[at] = nan;
            let mut workspace = program.workspace_for(Dtype::F64, isa);
            workspace.set(0, &Tensor::from_f64(&[1, 4, 4, 1], values));
            program.run(&mut workspace);
            let lost = |output: usize| !workspace.output(output).iter().any(f64::is_nan);
            let lost: Vec<usize> = (0..outputs.len()).filter(|&i| lost(i)).collect();
            assert!(lost.is_empty(), "NaN at {at} is lost by outputs {lost:?}, {isa:?}");
        }
    }
    // Folding agrees with running.
    assert!(evaluate(&graph, &[graph.scalar(nan).relu()], &[])[0].get(0).is_nan());
    // The index of a NaN, as in NumPy.
    let v = graph.input("v", &[3]);
    let zeros = Tensor::zeros(Dtype::F64, &[1, 4, 4, 1]);
    let got = evaluate(&graph, &[v.argmax()], &[zeros, vector(&[2.0, nan, 9.0])]);
    assert_eq!(got[0].get(0), 1.0);
}

/// Signs of images are not those of channels, even if there are as many images as channels.
#[test]
fn pooling_of_images_with_signs_of_their_own() {
    let x = random(Key::new(1), &[2, 2, 2, 2], 1.0);
    let scale = Tensor::from_f64(&[2, 1, 1, 1], vec![1.0, -1.0]);
    let graph = Graph::new();
    let image = graph.input("x", x.shape());
    let scales = graph.input("scale", scale.shape());
    let pooled = (image * scales).max_pool(Window::square(2, 2, 0));
    let got = evaluate(&graph, &[pooled], &[x.clone(), scale.clone()]);
    let want = (0..4).map(|i| {
        let (n, c) = (i / 2, i % 2);
        let pixels = (0..4).map(|pixel| scale.get(n) * x.get(n * 8 + pixel * 2 + c));
        pixels.fold(f64::NEG_INFINITY, f64::max)
    });
    assert_eq!(got[0].as_f64(), want.collect::<Vec<_>>());
}
