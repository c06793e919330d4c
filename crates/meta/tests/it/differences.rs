//! Meta-gradients against central differences of the objectives they belong to.

use innerloop_engine::check::random;
use innerloop_engine::{Dtype, Key, Params, Shape, Tensor};
use innerloop_meta::algorithms::{
    Anil, Boil, Cavia, FineTune, Fomaml, Imaml, InnerLoop, Maml, MetaCurvature, MetaSgd, SignMaml,
};
use innerloop_meta::{
    Adapter, Algorithm, InnerStep, MetaGradient, MetaState, Moved, Setup, Sharing, StepLosses,
    is_of_inner_rule,
};

use crate::algorithms::{adapts_as_trained, learned, maml, multi_step, plus_plus};
use crate::problems::{Case, STRATEGIES, Support, by, mlp, norm, normalised, quadratic, run};

/// Why a meta-gradient is rejected.
#[derive(Debug, PartialEq)]
pub(crate) enum Refusal {
    NotFinite,
    /// The gradient, or its part in a direction, is too small to be conclusive.
    Degenerate,
    Differs,
}

/// Compares the meta-gradient with a fourth-order central difference of `L_Q(φ_K(ω))`, or of the weighted sum of the
/// query losses of all steps, along a random direction in every learned tensor alone and along one in all. The
/// objective is computed by forward programs only: those of adaptation, if it takes the same steps as training.
pub(crate) fn check(case: &Case, algorithm: &dyn Algorithm, setup: Setup) -> Result<(), Refusal> {
    let problem = case.problem.as_ref();
    let learner = case.learner(algorithm, setup);
    let mut meta = case.meta(algorithm, setup.steps);
    // Equal rates would hide an exchange of two steps or elements.
    for (i, name) in meta.omega.names().to_vec().iter().enumerate() {
        if is_of_inner_rule(name) {
            let rate = &mut meta.omega.values_mut()[i];
            (0..rate.len()).for_each(|j| rate.set(j, rate.get(j) * (1.0 + 0.4 * (j as f64).sin())));
        }
    }
    // Uneven, where steps have weights.
    meta.schedule(algorithm, 0.3);
    let task = case.task(0);
    let gradient = run(&learner, &meta, &task).gradient;
    let size = norm(&gradient);
    if !size.is_finite() {
        return Err(Refusal::NotFinite);
    }
    if size < 1e-3 {
        return Err(Refusal::Degenerate);
    }
    let adapter = Adapter::new(problem, algorithm, (setup.steps, setup.steps), setup.batch);
    let mut worker = adapter.worker(Dtype::F64);
    let mut objective = |meta: &MetaState| {
        if !adapts_as_trained(algorithm) {
            return run(&learner, meta, &task).query_loss;
        }
        let mut evaluation = StepLosses::default();
        task.with(|data| adapter.run(&mut worker, meta, data, &mut evaluation, |_| {}));
        let losses = &evaluation.query_losses;
        match algorithm.loss_weights(setup.steps, 0.3) {
            Some(weights) => weights.iter().zip(&losses[1..]).map(|(w, loss)| w * loss).sum(),
            None => losses[setup.steps],
        }
    };
    let direction = |name: &str, x: &Tensor| {
        random(Key::new(83).with_stream(name), x.shape(), 1.0 / (x.len() as f64).sqrt())
    };
    let everywhere = gradient.map_named(direction);
    let mut directions = vec![everywhere.clone()];
    for name in gradient.names() {
        directions.push(everywhere.filter(|other| other == name));
    }
    for direction in directions {
        let slope: f64 = direction
            .iter()
            .map(|(name, d)| d.iter().zip(gradient[name].iter()).map(|(d, g)| d * g).sum::<f64>())
            .sum();
        let mut moved = |by: f64| {
            let mut meta = meta.clone();
            for (name, d) in direction.iter() {
                let at = meta.omega.position(name).expect("what is learned is there");
                let x = &mut meta.omega.values_mut()[at];
                (0..x.len()).for_each(|i| x.set(i, x.get(i) + by * d.get(i)));
            }
            objective(&meta)
        };
        let h = 3e-4;
        let difference =
            (8.0 * (moved(h) - moved(-h)) - (moved(2.0 * h) - moved(-2.0 * h))) / (12.0 * h);
        if !(slope.is_finite() && difference.is_finite()) {
            return Err(Refusal::NotFinite);
        }
        let close = (slope - difference).abs() <= 1e-7 * difference.abs().max(1e-3);
        if !close {
            return Err(Refusal::Differs);
        }
    }
    Ok(())
}

/// Every exact algorithm, and others that use more of their parts.
fn exact(rate: f64) -> Vec<(&'static str, Box<dyn Algorithm>)> {
    let inner = || InnerLoop::new(rate);
    let without = |frozen: &[&str]| InnerLoop {
        frozen: frozen.iter().map(ToString::to_string).collect(),
        ..inner()
    };
    vec![
        ("maml", Box::new(maml(rate))),
        ("learned rates", Box::new(learned(Maml { inner: inner() }))),
        ("anil", Box::new(Anil { inner: inner(), head: "head".into() })),
        ("anil, learned rates", Box::new(learned(Anil { inner: inner(), head: "head".into() }))),
        ("boil, learned rates", Box::new(learned(Boil { inner: inner(), head: "head".into() }))),
        (
            "cavia, learned rates",
            Box::new(learned(Cavia { inner: inner(), context: "head".into() })),
        ),
        ("maml++", plus_plus(learned(Maml { inner: inner() }))),
        ("anil++", plus_plus(learned(Anil { inner: inner(), head: "head".into() }))),
        ("meta-sgd++", plus_plus(MetaSgd { inner: without(&["features.0.b"]) })),
        ("momentum++", plus_plus(multi_step(inner(), Sharing::None, 0.9))),
        ("cavia", Box::new(Cavia { inner: inner(), context: "head".into() })),
        ("cavia++", plus_plus(Cavia { inner: inner(), context: "head".into() })),
        ("boil", Box::new(Boil { inner: inner(), head: "head".into() })),
        ("sign-maml", Box::new(SignMaml { inner: inner() })),
        ("multi-step", Box::new(multi_step(inner(), Sharing::Forward(2), 0.0))),
        ("momentum", Box::new(multi_step(inner(), Sharing::None, 0.9))),
        ("multi-step, momentum", Box::new(multi_step(inner(), Sharing::Forward(2), 0.9))),
        (
            "frozen momentum",
            Box::new(multi_step(without(&["body.gain", "features.0"]), Sharing::Forward(3), 0.5)),
        ),
        ("meta-curvature", Box::new(MetaCurvature { inner: inner() })),
        ("meta-sgd", Box::new(MetaSgd { inner: inner() })),
        (
            "frozen",
            Box::new(learned(Maml { inner: without(&["body.gain", "features.1", "head.b"]) })),
        ),
        ("frozen meta-sgd", Box::new(MetaSgd { inner: without(&["head", "features.0.b"]) })),
    ]
}

#[test]
fn exact_meta_gradients_are_derivatives() {
    for steps in [0, 1, 3] {
        for case in [mlp(6, 4), normalised(steps), quadratic(3, Support::Quadratic)] {
            for (name, algorithm) in exact(case.rate) {
                for strategy in STRATEGIES {
                    let got = check(&case, algorithm.as_ref(), by(strategy, steps));
                    assert_eq!(got, Ok(()), "{}, {name}, {strategy:?}, {steps} steps", case.name);
                }
            }
        }
    }
}

#[test]
fn exact_meta_gradients_on_minibatches_are_derivatives() {
    for (steps, batch) in [(1, 1), (4, 3)] {
        for case in [mlp(5, 4), normalised(steps)] {
            for (name, algorithm) in exact(case.rate) {
                for strategy in STRATEGIES {
                    let setup = Setup { batch: Some(batch), ..by(strategy, steps) };
                    let got = check(&case, algorithm.as_ref(), setup);
                    assert_eq!(got, Ok(()), "{}, {name}, {strategy:?}, batch {batch}", case.name);
                }
            }
        }
    }
}

/// Pre-training takes no step, so its first-order gradient is the whole gradient; a task's head plays no part in it.
#[test]
fn the_gradient_of_pre_training_is_a_derivative() {
    for case in [mlp(6, 4), normalised(0), quadratic(3, Support::Quadratic)] {
        let inner = InnerLoop::new(case.rate);
        let algorithm = FineTune { inner, head: "head".into(), classifier: "none".into() };
        for strategy in STRATEGIES {
            let setup = by(strategy, 0);
            assert_eq!(check(&case, &algorithm, setup), Ok(()), "{}, {strategy:?}", case.name);
            let learned = case.learner(&algorithm, setup).learned().to_vec();
            assert!(!learned.is_empty() && !learned.iter().any(|name| name.starts_with("head")));
        }
    }
}

/// An implicit gradient is the derivative of the query loss where inner loop and conjugate gradients have converged,
/// also for a body that the inner loop leaves alone.
#[test]
fn implicit_gradients_are_derivatives_at_the_minimum() {
    let steps = 40;
    for case in [mlp(6, 4), quadratic(3, Support::Quadratic)] {
        for prefix in ["nothing", "features.0", "body"] {
            let inner = InnerLoop { frozen: vec![prefix.into()], ..InnerLoop::new(case.rate) };
            let algorithm = Imaml { inner, proximal: 6.0, iterations: 12, damping: 0.0 };
            for strategy in STRATEGIES {
                let got = check(&case, &algorithm, by(strategy, steps));
                assert_eq!(got, Ok(()), "{}, {prefix} frozen, {strategy:?}", case.name);
            }
            let hasty = Imaml { iterations: 1, ..algorithm };
            let got = check(&case, &hasty, by(STRATEGIES[1], steps));
            assert_eq!(got, Err(Refusal::Differs), "{}, {prefix} frozen", case.name);
        }
    }
}

/// MAML with a deliberate error.
struct Wrong {
    maml: Maml,
    slip: Slip,
}

#[derive(Clone, Copy, Debug)]
enum Slip {
    /// No derivative through the inner gradient.
    FirstOrder,
    /// Half of the derivative through the inner gradient.
    HalfFirstOrder,
    /// No derivative through the rates.
    ConstantRates,
    /// Claims that the steps do not depend on ω.
    SaysFirstOrder,
    /// Claims that the displacement is the gradient.
    SaysDisplacement,
    NotANumber,
    /// A step to a fixed point: the query loss does not depend on θ.
    Constant,
}

impl Algorithm for Wrong {
    fn name(&self) -> &str {
        "wrong"
    }

    fn adapts(&self, name: &str) -> bool {
        self.maml.adapts(name)
    }

    fn rates(&self, adapted: &Params<Shape>, steps: usize) -> Params<Tensor> {
        self.maml.rates(adapted, steps)
    }

    fn learns_rates(&self) -> bool {
        matches!(self.slip, Slip::ConstantRates)
    }

    fn state(&self, adapted: &Params<Shape>) -> Params<Shape> {
        self.maml.state(adapted)
    }

    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> {
        let gradient = step.gradient.map(|&g| match self.slip {
            Slip::FirstOrder => g.stop_gradient(),
            Slip::HalfFirstOrder => g * 0.5 + g.stop_gradient() * 0.5,
            Slip::NotANumber => g * f64::NAN,
            _ => g,
        });
        let rates = step.rates.map(|&rate| match self.slip {
            Slip::ConstantRates => rate.stop_gradient(),
            _ => rate,
        });
        let phi = match self.slip {
            Slip::Constant => step.phi.map(|&phi| (phi + 1.0).stop_gradient()),
            _ => step.phi.clone(),
        };
        let gradient = match self.slip {
            Slip::Constant => gradient.map(|&g| g.stop_gradient()),
            _ => gradient,
        };
        self.maml.advance(&InnerStep { phi, gradient, rates, ..step.clone() })
    }

    fn meta_gradient(&self) -> MetaGradient {
        match self.slip {
            Slip::SaysFirstOrder => MetaGradient::FirstOrder,
            Slip::SaysDisplacement => MetaGradient::Displacement,
            _ => MetaGradient::Exact,
        }
    }
}

#[test]
fn the_check_refuses_what_is_wrong() {
    let case = mlp(6, 4);
    for strategy in STRATEGIES {
        let setup = by(strategy, 2);
        let slips = [
            (Slip::FirstOrder, Refusal::Differs),
            (Slip::HalfFirstOrder, Refusal::Differs),
            (Slip::ConstantRates, Refusal::Differs),
            (Slip::SaysFirstOrder, Refusal::Differs),
            (Slip::SaysDisplacement, Refusal::Differs),
            (Slip::NotANumber, Refusal::NotFinite),
            (Slip::Constant, Refusal::Degenerate),
        ];
        for (slip, refusal) in slips {
            let wrong = Wrong { maml: maml(case.rate), slip };
            assert_eq!(check(&case, &wrong, setup), Err(refusal), "{slip:?}, {strategy:?}");
        }
        let fomaml = Fomaml { inner: InnerLoop::new(case.rate) };
        assert_eq!(check(&case, &fomaml, setup), Err(Refusal::Differs), "{strategy:?}");
        assert_eq!(check(&case, &fomaml, by(strategy, 0)), Ok(()), "no step, no second order");
    }
}
