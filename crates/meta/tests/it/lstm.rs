//! The LSTM meta-learner: gradient descent in disguise, and its derivative where gradients really are constant.

use innerloop_engine::{Key, Params, Shape, Tensor};
use innerloop_meta::algorithms::{Fomaml, InnerLoop, Lstm};
use innerloop_meta::{Algorithm, Derivatives, InnerStep, MetaGradient, MetaState, Moved, Setup};

use crate::algorithms::lstm;
use crate::differences::{Refusal, check};
use crate::problems::{
    Case, STRATEGIES, Support, assert_same, by, classes, mlp, norm, quadratic, run,
};

/// Sets all elements of one of the cells' weights.
fn set(meta: &mut MetaState, name: &str, value: f64) {
    let at = meta.omega.position(&format!("lstm.{name}")).expect("a weight");
    let weight = &mut meta.omega.values_mut()[at];
    (0..weight.len()).for_each(|i| weight.set(i, value));
}

fn start(case: &Case, steps: usize, biases: (f64, f64)) -> MetaState {
    let mut meta = case.meta(&lstm(&[]), steps);
    set(&mut meta, "forget.weight", 0.0);
    set(&mut meta, "input.weight", 0.0);
    set(&mut meta, "forget.bias", biases.0);
    set(&mut meta, "input.bias", biases.1);
    meta
}

/// With zero weights and nothing forgotten, a cell is a step of gradient descent at the rate σ(b_I); the gradient for θ
/// is first-order MAML's.
#[test]
fn a_cell_without_weights_is_gradient_descent() {
    for case in [mlp(6, 4), quadratic(3, Support::Quadratic)] {
        for strategy in STRATEGIES {
            let setup = by(strategy, 3);
            let meta = start(&case, 3, (60.0, -2.0));
            let got = run(&case.learner(&lstm(&[]), setup), &meta, &case.task(0));
            let rate = 1.0 / (1.0 + 2.0_f64.exp());
            let want = case.run(&Fomaml { inner: InnerLoop::new(rate) }, setup);
            assert_same("fast weights", &got.fast, &want.fast, 1e-12);
            let of_theta = got.gradient.filter(|name| case.theta.get(name).is_some());
            assert_same("gradient", &of_theta, &want.gradient, 1e-12);
            // With b_F = 0 and no rate, half of everything is forgotten at each step.
            let meta = start(&case, 3, (0.0, -60.0));
            let got = run(&case.learner(&lstm(&[]), setup), &meta, &case.task(0));
            let eighth = case
                .theta
                .map(|x| Tensor::from_f64(x.shape(), x.iter().map(|x| 0.125 * x).collect()));
            assert_same("forgetting", &got.fast, &eighth, 1e-12);
        }
    }
}

/// The meta-learner with cells that ignore the loss, which moves with the parameters.
struct Deaf(Lstm);

impl Algorithm for Deaf {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn adapts(&self, name: &str) -> bool {
        self.0.adapts(name)
    }

    fn rates(&self, adapted: &Params<Shape>, steps: usize) -> Params<Tensor> {
        self.0.rates(adapted, steps).map_named(|name, x| {
            let scale = if name.ends_with("layer.loss") { 0.0 } else { 20.0 };
            match name.ends_with("bias") {
                true => x.clone(),
                false => Tensor::from_f64(x.shape(), x.iter().map(|x| scale * x).collect()),
            }
        })
    }

    fn learns_rates(&self) -> bool {
        true
    }

    fn state(&self, adapted: &Params<Shape>) -> Params<Shape> {
        self.0.state(adapted)
    }

    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> {
        self.0.advance(step)
    }

    fn meta_gradient(&self) -> MetaGradient {
        self.0.meta_gradient()
    }
}

/// On a linear support loss inner gradients are constant, so holding them constant gives the exact derivative with
/// respect to θ and every weight of the cells.
#[test]
fn the_gradient_is_a_derivative_where_inner_gradients_are_constant() {
    for steps in [1, 2, 4] {
        for strategy in STRATEGIES {
            let linear = quadratic(3, Support::Linear);
            let got = check(&linear, &Deaf(lstm(&[])), by(strategy, steps));
            assert_eq!(got, Ok(()), "{steps} steps, {strategy:?}");
            let part = check(&linear, &Deaf(lstm(&["body"])), by(strategy, steps));
            assert_eq!(part, Ok(()), "{steps} steps, {strategy:?}, a frozen body");
            let curved = quadratic(3, Support::Quadratic);
            let got = check(&curved, &Deaf(lstm(&[])), by(strategy, steps));
            assert_eq!(got, Err(Refusal::Differs), "{steps} steps, {strategy:?}");
        }
    }
}

/// The loss reaches the cells, as a number that is held constant.
#[test]
fn cells_hear_the_loss() {
    let case = classes();
    for strategy in STRATEGIES {
        let learner = case.learner(&lstm(&[]), by(strategy, 2));
        let mut meta = case.meta(&lstm(&[]), 2);
        set(&mut meta, "layer.gradient", 0.3);
        set(&mut meta, "layer.hidden", 0.1);
        set(&mut meta, "input.weight", 0.5);
        let without = run(&learner, &meta, &case.task(0));
        set(&mut meta, "layer.loss", 1.0);
        let with = run(&learner, &meta, &case.task(0));
        assert_ne!(without.fast, with.fast);
        assert!(norm(&with.gradient.filter(|name| name.ends_with("layer.loss"))) > 1e-6);
    }
}

#[test]
fn cells_start_as_published_and_take_no_second_derivative() {
    let case = mlp(6, 4);
    let weights = lstm(&[]).rates(&case.problem.parameters(), 3);
    let within = |name: &str, low: f64, high: f64| {
        let weight = &weights[&format!("lstm.{name}")];
        assert!(weight.iter().all(|x| (low..=high).contains(&x)), "{name}: {weight:?}");
    };
    within("layer.hidden", -0.01, 0.01);
    within("forget.bias", 4.0, 5.0);
    within("input.bias", -5.0, -4.0);
    let other = Lstm { frozen: Vec::new(), key: Key::new(98) };
    assert_ne!(weights, other.rates(&case.problem.parameters(), 3));
    let derivatives = case.learner(&lstm(&[]), Setup::new(3)).derivatives();
    assert_eq!(derivatives, Derivatives { gradients: 4, hessian_products: 0 });
}
