//! Checks used by the tests of every crate: comparisons that NaN cannot pass, and derivatives against
//! finite differences.

use crate::autodiff::{grad, jvp, vjp};
use crate::exec::Workspace;
use crate::graph::{Graph, Var};
use crate::key::Key;
use crate::plan::Program;
use crate::tensor::{Dtype, Tensor};
use rand::RngExt;

/// ‖a − b‖ / ‖b‖, or ‖a‖ when `b` is zero. Not a number if any element is not finite.
pub fn relative_error(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.shape(), b.shape(), "comparing different shapes");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b.iter()).map(|(a, b)| a - b));
    let scale = norm(&mut b.iter());
    if scale > 0.0 { difference / scale } else { difference }
}

/// Panics unless the relative error of `a` against `b` is at most `tolerance`; NaN fails.
#[track_caller]
pub fn assert_close(name: &str, a: &Tensor, b: &Tensor, tolerance: f64) {
    let error = relative_error(a, b);
    assert!(
        error <= tolerance,
        "{name}: relative error {error:e} is over {tolerance:e}\n  got  {a:?}\n  want {b:?}"
    );
}

/// Runs a graph once in double precision.
pub fn evaluate(graph: &Graph, outputs: &[Var<'_>], inputs: &[Tensor]) -> Vec<Tensor> {
    let program = Program::compile(graph, outputs);
    let mut workspace = program.workspace(Dtype::F64);
    run(&program, &mut workspace, inputs)
}

fn run(program: &Program, workspace: &mut Workspace, inputs: &[Tensor]) -> Vec<Tensor> {
    for (i, value) in inputs.iter().enumerate() {
        workspace.set(i, value);
    }
    program.run(workspace);
    (0..program.n_outputs()).map(|i| workspace.output(i)).collect()
}

/// Numbers from the unit normal distribution, scaled.
pub fn random(key: Key, shape: &[usize], scale: f64) -> Tensor {
    let mut rng = key.rng();
    let mut normal = || {
        // Box–Muller; the first number is kept away from zero.
        let (u, v): (f64, f64) = (rng.random::<f64>().max(1e-300), rng.random());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos() * scale
    };
    Tensor::from_f64(shape, (0..shape.iter().product()).map(|_| normal()).collect())
}

/// Checks the derivatives of `f`, up to the given order, at the given point.
///
/// At each order a random direction is drawn and three things are compared: the forward derivative with
/// a central difference, the reverse derivative with the forward one (`⟨J u, v⟩ = ⟨u, Jᵀ v⟩`), and then
/// the gradient of the random functional `⟨f, v⟩` is checked in the same way. Returns the first failure.
pub fn check_derivatives(
    f: impl for<'g> Fn(&[Var<'g>]) -> Vec<Var<'g>>,
    at: &[Tensor],
    order: usize,
    tolerance: f64,
) -> Result<(), String> {
    fn level<'g>(
        graph: &'g Graph,
        inputs: &[Var<'g>],
        ys: Vec<Var<'g>>,
        at: &[Tensor],
        order: usize,
        tolerance: f64,
        key: Key,
    ) -> Result<(), String> {
        // The directions are inputs too, declared behind those of the caller.
        let mut values = at.to_vec();
        let mut declare = |name: &str, shape: &[usize]| {
            let value = random(key.with_stream(name).at(values.len() as u64, 0), shape, 1.0);
            values.push(value);
            graph.input(name, shape)
        };
        let us: Vec<Var<'g>> = inputs.iter().map(|x| declare("direction", &x.shape())).collect();
        let vs: Vec<Var<'g>> = ys.iter().map(|y| declare("functional", &y.shape())).collect();
        let total = |a: &[Var<'g>], b: &[Var<'g>]| {
            a.iter().zip(b).map(|(a, b)| a.dot(*b)).reduce(|a, b| a + b).expect("not empty")
        };
        let forward = total(&jvp(&ys, inputs, &us), &vs);
        let reverse = total(&us, &vjp(&ys, &vs, inputs));
        let value = total(&ys, &vs);
        let got = evaluate(graph, &[forward, reverse], &values);
        let program = Program::compile(graph, &[value]);
        let mut workspace = program.workspace(Dtype::F64);
        let mut moved = |step: f64| {
            let mut point = values.clone();
            for i in 0..inputs.len() {
                let direction = values[at.len() + i].clone();
                for j in 0..direction.len() {
                    let shifted = values[i].get(j) + step * direction.get(j);
                    point[i].set(j, shifted);
                }
            }
            run(&program, &mut workspace, &point)[0].get(0)
        };
        // Fourth-order central difference.
        let h = 1e-3;
        let difference =
            (8.0 * (moved(h) - moved(-h)) - (moved(2.0 * h) - moved(-2.0 * h))) / (12.0 * h);
        let (forward, reverse) = (got[0].get(0), got[1].get(0));
        let close = |a: f64, b: f64, tolerance: f64| {
            b.is_finite() && (a - b).abs() <= tolerance * b.abs().max(1.0)
        };
        if !close(reverse, forward, 1e-10) {
            return Err(format!("order {order}: reverse {reverse:e}, forward {forward:e}"));
        }
        if !close(forward, difference, tolerance) {
            return Err(format!(
                "order {order}: derivative {forward:e}, difference {difference:e}"
            ));
        }
        if order <= 1 {
            return Ok(());
        }
        let gradient = grad(value, inputs);
        // The drawn values stay fixed at the next order; only the caller's inputs move.
        level(graph, inputs, gradient, &values, order - 1, tolerance, key.at(order as u64, 1))
    }

    let graph = Graph::new();
    let inputs: Vec<Var<'_>> = at.iter().map(|x| graph.input("x", x.shape())).collect();
    let ys = f(&inputs);
    level(&graph, &inputs, ys, at, order, tolerance, Key::new(17))
}
