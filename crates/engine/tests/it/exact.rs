//! Derivatives of whole networks by several routes to the same number.

use innerloop_engine::check::{assert_close, evaluate};
use innerloop_engine::{Dtype, Graph, Program, Tensor, Var, grad, hvp, jvp};

use crate::nets::{Net, conv_net, mlp};

/// The step of finite differences: short enough that no unit of the conv net crosses a kink at these points.
const STEP: f64 = 1e-5;

fn inner<'g>(a: &[Var<'g>], b: &[Var<'g>]) -> Var<'g> {
    a.iter().zip(b).map(|(a, b)| a.dot(*b)).reduce(|a, b| a + b).expect("not empty")
}

/// All elements in one vector.
fn flat(values: &[Tensor]) -> Tensor {
    let all: Vec<f64> = values.iter().flat_map(Tensor::iter).collect();
    Tensor::from_f64(&[all.len()], all)
}

/// Values at points moved by `step · direction`, in a fourth-order central difference.
fn difference(program: &Program, inputs: &[Tensor], direction: &[Tensor], step: f64) -> Tensor {
    let mut workspace = program.workspace(Dtype::F64);
    let mut at = |offset: f64| -> Vec<f64> {
        for (i, input) in inputs.iter().enumerate() {
            match direction.get(i) {
                Some(direction) => {
                    let moved = input.iter().zip(direction.iter()).map(|(x, u)| x + offset * u);
                    workspace.set(i, &Tensor::from_f64(input.shape(), moved.collect()));
                }
                None => workspace.set(i, input),
            }
        }
        program.run(&mut workspace);
        (0..program.n_outputs())
            .flat_map(|i| workspace.output(i).iter().collect::<Vec<_>>())
            .collect()
    };
    let [far_back, back, ahead, far_ahead] = [-2.0, -1.0, 1.0, 2.0].map(|n| at(n * step));
    let slope =
        |i: usize| (8.0 * (ahead[i] - back[i]) - (far_ahead[i] - far_back[i])) / (12.0 * step);
    Tensor::from_f64(&[ahead.len()], (0..ahead.len()).map(slope).collect())
}

/// Gradient against differences of the loss; `H u` forward over reverse, reverse over reverse, and by
/// differences of the gradient; `⟨v, H u⟩ = ⟨u, H v⟩`.
fn check_second_order(net: &Net) {
    let graph = Graph::new();
    let (parameters, loss) = net.build(&graph);
    let declare = |_| -> Vec<Var<'_>> {
        parameters.iter().map(|p| graph.input("direction", &p.shape())).collect()
    };
    let [u, v] = [0, 1].map(declare);
    let [du, dv] = [net.direction(1), net.direction(2)];
    let mut inputs = net.inputs();
    inputs.extend(du.iter().chain(&dv).cloned());

    let gradient = grad(loss, &parameters);
    let forward = hvp(loss, &parameters, &u, &parameters);
    let reverse = grad(inner(&gradient, &u), &parameters);
    let other = hvp(loss, &parameters, &v, &parameters);
    let value = |vars: &[Var<'_>]| flat(&evaluate(&graph, vars, &inputs));
    let name = |what: &str| format!("{}, {what}", net.name);

    let slopes = value(&gradient);
    let size = slopes.iter().map(|x| x * x).sum::<f64>().sqrt();
    assert!(size >= 1e-3, "{}: the gradient vanishes, the test tests nothing", net.name);
    let along =
        evaluate(&graph, &[inner(&gradient, &u), jvp(&[loss], &parameters, &u)[0]], &inputs);
    let measured = difference(&Program::compile(&graph, &[loss]), &inputs, &du, STEP);
    assert_close(&name("slope"), &flat(&along[..1]), &measured, 1e-8);
    assert_close(&name("forward slope"), &along[1], &along[0], 1e-12);

    let product = value(&forward);
    assert!(product.iter().any(|x| x.abs() >= 1e-3), "{}: no curvature", net.name);
    assert_close(&name("reverse over reverse"), &value(&reverse), &product, 1e-11);
    let measured = difference(&Program::compile(&graph, &gradient), &inputs, &du, STEP);
    assert_close(&name("difference of gradients"), &measured, &product, 1e-8);
    let symmetric = evaluate(&graph, &[inner(&v, &forward), inner(&u, &other)], &inputs);
    assert_close(&name("symmetry"), &symmetric[0], &symmetric[1], 1e-11);
}

/// The third derivative `T(u, v, w)` does not depend on the order of its arguments, nor on the modes it is
/// made with, and is the slope of the second.
fn check_third_order(net: &Net) {
    let graph = Graph::new();
    let (parameters, loss) = net.build(&graph);
    let declare = |_| -> Vec<Var<'_>> {
        parameters.iter().map(|p| graph.input("direction", &p.shape())).collect()
    };
    let d = [0, 1, 2].map(declare);
    let directions = [1, 2, 3].map(|n| net.direction(n));
    let mut inputs = net.inputs();
    directions.iter().for_each(|direction| inputs.extend(direction.iter().cloned()));

    let second = |a: usize, b: usize| inner(&hvp(loss, &parameters, &d[a], &parameters), &d[b]);
    let mut routes = Vec::new();
    for [a, b, c] in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        // Reverse, forward, forward; and reverse, forward, reverse.
        routes.push(jvp(&[second(a, b)], &parameters, &d[c])[0]);
        routes.push(inner(&grad(second(a, b), &parameters), &d[c]));
    }
    // Reverse three times; forward three times.
    let slope = inner(&grad(loss, &parameters), &d[0]);
    let curvature = inner(&grad(slope, &parameters), &d[1]);
    routes.push(inner(&grad(curvature, &parameters), &d[2]));
    let thrice = (0..3).fold(loss, |y, i| jvp(&[y], &parameters, &d[i])[0]);
    routes.push(thrice);
    let got = evaluate(&graph, &routes, &inputs);
    assert!(got[0].get(0).abs() >= 1e-3, "{}: the third derivative vanishes", net.name);
    for (i, route) in got.iter().enumerate() {
        assert_close(&format!("{}, route {i}", net.name), route, &got[0], 1e-9);
    }
    let program = Program::compile(&graph, &[second(0, 1)]);
    let measured = difference(&program, &inputs, &directions[2], STEP);
    assert_close(&format!("{}, difference", net.name), &measured, &flat(&got[..1]), 1e-7);
}

#[test]
fn second_order() {
    check_second_order(&mlp());
    check_second_order(&conv_net());
}

#[test]
fn third_order() {
    check_third_order(&mlp());
    check_third_order(&conv_net());
}

/// Single precision follows double precision.
#[test]
fn single_precision() {
    for net in [mlp(), conv_net()] {
        let graph = Graph::new();
        let (parameters, loss) = net.build(&graph);
        let u: Vec<Var<'_>> = parameters.iter().map(|p| graph.input("u", &p.shape())).collect();
        let mut outputs = grad(loss, &parameters);
        outputs.extend(hvp(loss, &parameters, &u, &parameters));
        let program = Program::compile(&graph, &outputs);
        let mut inputs = net.inputs();
        inputs.extend(net.direction(1));
        let [single, double] = [Dtype::F32, Dtype::F64].map(|dtype| {
            let mut workspace = program.workspace(dtype);
            inputs.iter().enumerate().for_each(|(i, x)| workspace.set(i, x));
            program.run(&mut workspace);
            let outputs: Vec<Tensor> =
                (0..program.n_outputs()).map(|i| workspace.output(i)).collect();
            flat(&outputs)
        });
        assert_close(net.name, &single, &double, 1e-4);
    }
}
