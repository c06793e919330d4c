//! SHOT's regularizer: its objective by finite differences with the reference held constant, its closed form on
//! quadratics, and its effect on the method it regularizes.

use innerloop_engine::check::{assert_close, random, relative_error};
use innerloop_engine::{Dtype, Key, Params, Shape, Tensor, Var};
use innerloop_meta::algorithms::{
    Anil, Boil, Distance, Fomaml, InnerLoop, InnerOptimizer, Maml, MetaCurvature, Pretraining,
    Reptile, Role, Shot,
};
use innerloop_meta::{
    Adapter, Algorithm, Derivatives, Learner, Loss, Point, Problem, Setup, Sharing, StepLosses,
    is_of_inner_rule,
};

use crate::algorithms::{learned, maml, multi_step, plus_plus};
use crate::problems::{
    Case, STRATEGIES, Support, Task, assert_results, assert_same, by, classes, flat, mlp, norm,
    quadratic, run,
};

/// The end point of an inner loop, evaluated on the query set.
struct Outcome {
    loss: f64,
    output: Tensor,
    phi: Vec<f64>,
}

/// `steps` steps of gradient descent at a rate from θ.
fn outcome(case: &Case, theta: &Params<Tensor>, task: &Task, steps: usize, rate: f64) -> Outcome {
    let algorithm = maml(rate);
    let mut meta = case.meta(&algorithm, steps);
    for (name, value) in theta.iter() {
        let at = meta.omega.position(name).expect("θ is there");
        meta.omega.values_mut()[at].clone_from(value);
    }
    let adapter = Adapter::new(case.problem.as_ref(), &algorithm, (steps, steps), None);
    let mut worker = adapter.worker(Dtype::F64);
    let (mut evaluation, mut output, mut phi) = (StepLosses::default(), None, Vec::new());
    task.with(|data| {
        adapter.run(&mut worker, &meta, data, &mut evaluation, |at| {
            output = Some(at.output.clone());
            phi = at.fast.iter().flat_map(Tensor::iter).collect();
        });
    });
    let output = output.expect("there is a prediction");
    Outcome { loss: evaluation.query_losses[steps], output, phi }
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let all: f64 = row.iter().map(|x| x.exp()).sum();
    row.iter().map(|x| x.exp() / all).collect()
}

/// The distance in plain arithmetic.
fn apart(distance: Distance, target: &Outcome, reference: &Outcome) -> f64 {
    let width = target.output.shape()[1];
    let rows =
        |of: &Outcome| -> Vec<Vec<f64>> { of.output.as_f64().chunks(width).map(softmax).collect() };
    let mean = |f: &dyn Fn(f64, f64) -> f64| {
        let pairs = rows(target).into_iter().flatten().zip(rows(reference).into_iter().flatten());
        pairs.map(|(t, r)| f(t, r)).sum::<f64>() / rows(target).len() as f64
    };
    let square = |a: &mut dyn Iterator<Item = (f64, f64)>| -> f64 {
        a.map(|(a, b)| (a - b) * (a - b)).sum()
    };
    match distance {
        Distance::ReferenceToTarget => mean(&|t, r| r * (r / t).ln()),
        Distance::TargetToReference => mean(&|t, r| t * (t / r).ln()),
        Distance::CrossEntropy => mean(&|t, r| -r * t.ln()),
        Distance::Outputs => {
            let n = target.output.len() as f64;
            square(&mut target.output.iter().zip(reference.output.iter())) / n
        }
        Distance::Parameters => {
            let pairs = target.phi.iter().copied().zip(reference.phi.iter().copied());
            square(&mut pairs.into_iter()) / (target.phi.len() as f64).sqrt()
        }
    }
}

const ALL: [Distance; 5] = [
    Distance::ReferenceToTarget,
    Distance::TargetToReference,
    Distance::CrossEntropy,
    Distance::Outputs,
    Distance::Parameters,
];

/// The slope of an objective along a random direction: by a gradient, and by differences.
fn both(
    theta: &Params<Tensor>,
    gradient: &Params<Tensor>,
    objective: impl Fn(&Params<Tensor>) -> f64,
) -> (f64, f64) {
    let direction =
        theta.map_named(|name, x| random(Key::new(89).with_stream(name), x.shape(), 0.3));
    let slope = flat(&direction).iter().zip(flat(gradient).iter()).map(|(d, g)| d * g).sum();
    let moved = |by: f64| {
        objective(&theta.zip_map(&direction, |x, d| {
            let all = x.iter().zip(d.iter()).map(|(x, d)| x + by * d).collect();
            Tensor::from_f64(x.shape(), all)
        }))
    };
    let h = 1e-3;
    let difference =
        (8.0 * (moved(h) - moved(-h)) - (moved(2.0 * h) - moved(-2.0 * h))) / (12.0 * h);
    (slope, difference)
}

/// The meta-gradient is the derivative of query loss plus distance, computed by other programs and in plain arithmetic,
/// while the reference is held constant.
#[test]
fn the_gradient_is_that_of_the_objective() {
    let case = classes();
    let (task, weight, travel) = (case.task(0), 2.0, 1.2);
    for distance in ALL {
        for (role, base_steps, steps) in [
            (Role::Reference, 3, 1),
            (Role::Reference, 3, 2),
            (Role::Target, 1, 2),
            (Role::Target, 2, 5),
        ] {
            let mut algorithm =
                Shot::new(Box::new(maml(case.rate)), weight, distance, (role, steps));
            algorithm.travel = travel;
            let other_rate = case.rate * travel * base_steps as f64 / steps as f64;
            let base = |theta: &Params<Tensor>| outcome(&case, theta, &task, base_steps, case.rate);
            let other = |theta: &Params<Tensor>| outcome(&case, theta, &task, steps, other_rate);
            let held = match role {
                Role::Reference => base(&case.theta),
                Role::Target => other(&case.theta),
            };
            let objective = |theta: &Params<Tensor>| {
                let loss = base(theta).loss;
                let target = match role {
                    Role::Reference => other(theta),
                    Role::Target => base(theta),
                };
                loss + weight * apart(distance, &target, &held)
            };
            for strategy in STRATEGIES {
                let result = case.run(&algorithm, by(strategy, base_steps));
                let name =
                    format!("{distance:?}, {role:?}, {base_steps} and {steps}, {strategy:?}");
                assert!(norm(&result.gradient) >= 1e-3, "{name}: a degenerate problem");
                assert!((result.query_loss - base(&case.theta).loss).abs() <= 1e-12, "{name}");
                let (slope, difference) = both(&case.theta, &result.gradient, objective);
                let close = (slope - difference).abs() <= 1e-7 * difference.abs().max(1e-2);
                assert!(close, "{name}: {slope} and {difference}");
            }
        }
    }
}

/// A problem whose query set includes other inputs for the second inner loop.
struct TwoViews(Box<dyn Problem>);

impl Problem for TwoViews {
    fn parameters(&self) -> Params<Shape> {
        self.0.parameters()
    }

    fn carried(&self) -> Params<Shape> {
        self.0.carried()
    }

    fn statistics(&self) -> Params<Shape> {
        self.0.statistics()
    }

    fn support_shapes(&self, examples: usize) -> Vec<Shape> {
        self.0.support_shapes(examples)
    }

    fn support_examples(&self) -> usize {
        self.0.support_examples()
    }

    fn query_shapes(&self) -> Vec<Shape> {
        let shapes = self.0.query_shapes();
        [shapes.as_slice(), &shapes[..1]].concat()
    }

    fn companion_query<'g>(&self, query: &[Var<'g>]) -> Vec<Var<'g>> {
        vec![query[2], query[1]]
    }

    fn support_loss<'g>(&self, at: &Point<'g>, support: &[Var<'g>]) -> Loss<'g> {
        self.0.support_loss(at, support)
    }

    fn query_loss<'g>(&self, at: &Point<'g>, support: &[Var<'g>], query: &[Var<'g>]) -> Loss<'g> {
        self.0.query_loss(at, support, &query[..2])
    }
}

/// Each inner loop is evaluated on its own view of the queries, the method's query loss on the method's view.
#[test]
fn the_two_inner_loops_may_see_different_views() {
    let (case, steps, weight) = (classes(), 3, 2.0);
    let task = case.task(0);
    let other =
        Task { query: vec![case.task(1).query[0].clone(), task.query[1].clone()], ..task.clone() };
    let viewed = Task {
        query: vec![task.query[0].clone(), task.query[1].clone(), other.query[0].clone()],
        ..task.clone()
    };
    let problem = TwoViews(classes().problem);
    for (role, other_steps) in [(Role::Reference, 1), (Role::Target, 6)] {
        let other_rate = case.rate * steps as f64 / other_steps as f64;
        let base = |theta: &Params<Tensor>| outcome(&case, theta, &task, steps, case.rate);
        let beside =
            |theta: &Params<Tensor>| outcome(&case, theta, &other, other_steps, other_rate);
        let held = match role {
            Role::Reference => base(&case.theta),
            Role::Target => beside(&case.theta),
        };
        let objective = |theta: &Params<Tensor>| {
            let here = base(theta);
            let distance = match role {
                Role::Reference => apart(Distance::ReferenceToTarget, &beside(theta), &held),
                Role::Target => apart(Distance::ReferenceToTarget, &here, &held),
            };
            here.loss + weight * distance
        };
        let shot = Shot::new(
            Box::new(maml(case.rate)),
            weight,
            Distance::ReferenceToTarget,
            (role, other_steps),
        );
        for strategy in STRATEGIES {
            let learner = Learner::new(&problem, &shot, by(strategy, steps));
            let gradient = run(&learner, &case.meta(&shot, steps), &viewed).gradient;
            let (slope, difference) = both(&case.theta, &gradient, objective);
            assert!(difference.abs() > 1e-3, "a degenerate problem: {difference}");
            let close = (slope - difference).abs() <= 1e-7 * difference.abs();
            assert!(close, "{role:?}, {strategy:?}: {slope} and {difference}");
        }
    }
}

/// KL with a constant reference is cross-entropy minus a constant: the gradients are the same.
#[test]
fn divergence_and_cross_entropy_have_one_gradient() {
    let case = classes();
    for strategy in STRATEGIES {
        let [kl, cross] = [Distance::ReferenceToTarget, Distance::CrossEntropy].map(|distance| {
            let shot = Shot::new(Box::new(maml(case.rate)), 1.0, distance, (Role::Reference, 1));
            case.run(&shot, by(strategy, 3)).gradient
        });
        assert_same("gradients", &cross, &kl, 1e-11);
    }
}

#[test]
fn no_weight_is_the_base_method() {
    for case in [classes(), mlp(6, 4)] {
        let bases = || -> [Box<dyn Algorithm>; 4] {
            let inner = || InnerLoop::new(case.rate);
            [
                Box::new(maml(case.rate)),
                Box::new(Fomaml { inner: inner() }),
                Box::new(Anil { inner: inner(), head: "head".into() }),
                Box::new(Boil { inner: inner(), head: "head".into() }),
            ]
        };
        for (plain, base) in bases().into_iter().zip(bases()) {
            let shot =
                |base, weight| Shot::new(base, weight, Distance::Outputs, (Role::Reference, 1));
            let none = shot(base, 0.0);
            for strategy in STRATEGIES {
                let want = case.run(plain.as_ref(), by(strategy, 3));
                assert_results(none.name(), &case.run(&none, by(strategy, 3)), &want, 0.0);
            }
        }
        for (plain, base) in bases().into_iter().zip(bases()) {
            let some = Shot::new(base, 5.0, Distance::Outputs, (Role::Reference, 1));
            for strategy in STRATEGIES {
                let want = case.run(plain.as_ref(), by(strategy, 3));
                let got = case.run(&some, by(strategy, 3));
                assert_same("adaptation stays", &got.fast, &want.fast, 0.0);
                let off = relative_error(&flat(&got.gradient), &flat(&want.gradient));
                assert!(off >= 1e-4, "{}: {off}", some.name());
            }
        }
    }
}

/// If the gradient does not change along the path, target and reference arrive at the same point.
#[test]
fn a_straight_path_costs_nothing() {
    let case = quadratic(2, Support::Linear);
    for strategy in STRATEGIES {
        let want = case.run(&maml(case.rate), by(strategy, 4));
        for distance in [Distance::Outputs, Distance::Parameters] {
            let shot = Shot::new(Box::new(maml(case.rate)), 10.0, distance, (Role::Reference, 1));
            let got = case.run(&shot, by(strategy, 4));
            assert_same("linear support loss", &got.gradient, &want.gradient, 1e-11);
        }
        // With momentum four steps go further than one at four times the rate.
        let heavy = || multi_step(InnerLoop::new(case.rate), Sharing::None, 0.7);
        let want = case.run(&heavy(), by(strategy, 4));
        let shot = Shot::new(Box::new(heavy()), 10.0, Distance::Parameters, (Role::Reference, 2));
        let got = case.run(&shot, by(strategy, 4));
        assert_same("momentum", &got.gradient, &want.gradient, 1e-11);
    }
}

/// On a quadratic with Hessian `A`, a target of one step and the distance of the parameters:
/// `G = (I − αA)^K v + (2λ/√n) (I − αKA) (φᵗ − φʳ)`.
#[test]
fn a_quadratic_has_a_closed_form() {
    let case = quadratic(1, Support::Quadratic);
    let task = case.task(0);
    let (n, steps, weight) = (5, 3, 0.7);
    let theta = flat(&case.theta);
    let gradient = |x: &[f64], of: &[Tensor]| -> Vec<f64> {
        (0..n)
            .map(|i| (0..n).map(|j| of[0].get(i * n + j) * x[j]).sum::<f64>() - of[1].get(i))
            .collect()
    };
    let minus = |x: &[f64], r: f64, y: &[f64]| -> Vec<f64> {
        x.iter().zip(y).map(|(x, y)| x - r * y).collect()
    };
    // A u is the difference of two gradients.
    let hessian =
        |u: &[f64]| minus(&gradient(u, &task.support), 1.0, &gradient(&[0.0; 5], &task.support));
    let mut reference: Vec<f64> = theta.iter().collect();
    for _ in 0..steps {
        reference = minus(&reference, case.rate, &gradient(&reference, &task.support));
    }
    let far = case.rate * steps as f64;
    let target = minus(theta.as_f64(), far, &gradient(theta.as_f64(), &task.support));
    let mut u = gradient(&reference, &task.query);
    for _ in 0..steps {
        u = minus(&u, case.rate, &hessian(&u));
    }
    let off = minus(&target, 1.0, &reference);
    let pulled = minus(&off, far, &hessian(&off));
    let want = minus(&u, -2.0 * weight / (n as f64).sqrt(), &pulled);
    let shot =
        Shot::new(Box::new(maml(case.rate)), weight, Distance::Parameters, (Role::Reference, 1));
    for strategy in STRATEGIES {
        let got = flat(&case.run(&shot, by(strategy, steps)).gradient);
        let want = Tensor::from_f64(&[n], want.clone());
        assert_close("gradient", &got, &want, 1e-12);
    }
}

/// A one-step target adds a gradient and, if the method is exact, a Hessian product; a reference that is held constant
/// adds gradients only.
#[test]
fn it_costs_what_it_says() {
    let case = classes();
    let count = |base: Box<dyn Algorithm>, role, steps| {
        let shot = Shot::new(base, 0.1, Distance::Outputs, (role, steps));
        case.learner(&shot, Setup::new(3)).derivatives()
    };
    let of = |gradients, hessian_products| Derivatives { gradients, hessian_products };
    let fomaml = || Box::new(Fomaml { inner: InnerLoop::new(case.rate) });
    assert_eq!(count(Box::new(maml(case.rate)), Role::Reference, 1), of(5, 4));
    assert_eq!(count(Box::new(maml(case.rate)), Role::Target, 6), of(10, 3));
    assert_eq!(count(fomaml(), Role::Reference, 1), of(5, 0));
    let shot = Shot::new(
        reptile(&case, InnerOptimizer::Sgd),
        0.1,
        Distance::Parameters,
        (Role::Reference, 2),
    );
    assert_eq!(case.learner(&shot, Setup::new(3)).derivatives(), of(5, 0));
}

fn reptile(case: &Case, optimizer: InnerOptimizer) -> Box<Reptile> {
    Box::new(Reptile { inner: InnerLoop::new(case.rate), optimizer })
}

/// `G = (θ − φ_K) + (2λ/√n) (φᵗ − φʳ)`, on top of the displacement the same as what first-order MAML's gradient gains.
#[test]
fn on_reptile_it_pulls_the_target_to_the_reference() {
    let (case, weight, travel) = (mlp(6, 4), 2.0, 1.2);
    let theta = flat(&case.theta);
    let n = theta.len() as f64;
    for (role, base_steps, steps) in
        [(Role::Reference, 3, 1), (Role::Reference, 4, 2), (Role::Target, 2, 5)]
    {
        let on = |base: Box<dyn Algorithm>| {
            let mut shot = Shot::new(base, weight, Distance::Parameters, (role, steps));
            shot.travel = travel;
            shot
        };
        let far = case.rate * travel * base_steps as f64 / steps as f64;
        let base = outcome(&case, &case.theta, &case.task(0), base_steps, case.rate).phi;
        let other = outcome(&case, &case.theta, &case.task(0), steps, far).phi;
        let (target, reference) = match role {
            Role::Reference => (&other, &base),
            Role::Target => (&base, &other),
        };
        let slope = |i: usize| 2.0 * weight / n.sqrt() * (target[i] - reference[i]);
        let slopes = Tensor::from_f64(theta.shape(), (0..theta.len()).map(slope).collect());
        let fomaml = || Box::new(Fomaml { inner: InnerLoop::new(case.rate) });
        for strategy in STRATEGIES {
            let setup = by(strategy, base_steps);
            let name = format!("{role:?}, {base_steps} and {steps}, {strategy:?}");
            let gains = |plain: Box<dyn Algorithm>, shot: Shot| {
                let (plain, got) = (case.run(plain.as_ref(), setup), case.run(&shot, setup));
                assert_same(&name, &got.fast, &plain.fast, 0.0);
                let (got, plain) = (flat(&got.gradient), flat(&plain.gradient));
                let off = got.iter().zip(plain.iter()).map(|(got, plain)| got - plain);
                Tensor::from_f64(theta.shape(), off.collect())
            };
            let sgd = || reptile(&case, InnerOptimizer::Sgd);
            let gained = gains(sgd(), on(sgd()));
            assert!(gained.iter().any(|x| x.abs() >= 1e-4), "{name}: a degenerate problem");
            assert_close(&name, &gained, &slopes, 1e-10);
            assert_close(&name, &gains(fomaml(), on(fomaml())), &slopes, 1e-10);
        }
    }
}

#[test]
fn on_reptile_a_straight_path_or_no_weight_is_reptile() {
    let straight = quadratic(2, Support::Linear);
    for strategy in STRATEGIES {
        for (case, weight, tolerance) in [(&straight, 10.0, 1e-11), (&mlp(6, 4), 0.0, 0.0)] {
            let sgd = || reptile(case, InnerOptimizer::Sgd);
            let want = case.run(sgd().as_ref(), by(strategy, 4));
            for (role, steps) in [(Role::Reference, 1), (Role::Target, 6)] {
                let shot = Shot::new(sgd(), weight, Distance::Parameters, (role, steps));
                let got = case.run(&shot, by(strategy, 4));
                assert_results(shot.name(), &got, &want, tolerance);
            }
        }
    }
}

#[test]
#[should_panic(expected = "reptile+shot: a method without a query set has no such penalty")]
fn on_reptile_outputs_are_not_compared() {
    let case = classes();
    let base = reptile(&case, InnerOptimizer::Sgd);
    case.learner(&Shot::new(base, 0.1, Distance::Outputs, (Role::Reference, 1)), Setup::new(3));
}

#[test]
#[should_panic(expected = "reptile+shot: a method without a query set has no such penalty")]
fn reptile_is_not_pretrained() {
    let case = classes();
    let base = reptile(&case, InnerOptimizer::Sgd);
    let mut shot = Shot::new(base, 0.1, Distance::Parameters, (Role::Reference, 1));
    shot.pretraining = Some(Pretraining { until: 0.5, projector: None });
    case.learner(&shot, Setup::new(3));
}

#[test]
#[should_panic(expected = "a second inner loop has no part in a state that outlives the task")]
fn adams_state_is_of_one_inner_loop() {
    let case = classes();
    let base = reptile(&case, InnerOptimizer::Adam { beta2: 0.9, eps: 1e-3 });
    case.learner(&Shot::new(base, 0.1, Distance::Parameters, (Role::Reference, 1)), Setup::new(3));
}

/// Learned rates are differentiated through both inner loops.
#[test]
fn learned_rates_feel_the_target() {
    let case = classes();
    let with = |weight| {
        let base = Box::new(learned(Maml { inner: InnerLoop::new(case.rate) }));
        let shot = Shot::new(base, weight, Distance::ReferenceToTarget, (Role::Reference, 1));
        STRATEGIES.map(|strategy| case.run(&shot, by(strategy, 3)).gradient)
    };
    let ([a, b], [plain, _]) = (with(1.0), with(0.0));
    assert_same("strategies", &a, &b, 1e-12);
    let rates = |of: &Params<Tensor>| flat(&of.filter(|name| name.starts_with("inner_lr.")));
    assert!(relative_error(&rates(&a), &rates(&plain)) >= 1e-3);
}

/// If rates differ from step to step, the target travels as far as all of them together.
#[test]
fn uneven_rates_are_travelled_in_sum() {
    let case = quadratic(2, Support::Linear);
    for strategy in STRATEGIES {
        let gradient = |weight| {
            let base = Box::new(learned(maml(case.rate)));
            let shot = Shot::new(base, weight, Distance::Parameters, (Role::Reference, 1));
            let mut meta = case.meta(&shot, 3);
            for (i, name) in meta.omega.names().to_vec().iter().enumerate() {
                if name.starts_with("inner_lr.") {
                    meta.omega.values_mut()[i] = Tensor::from_f64(&[3], vec![0.02, 0.3, 0.1]);
                }
            }
            run(&case.learner(&shot, by(strategy, 3)), &meta, &case.task(0)).gradient
        };
        assert_same("a straight path", &gradient(10.0), &gradient(0.0), 1e-11);
    }
}

/// Factors that are several identity matrices change nothing: the target travels as far as that of MAML.
#[test]
fn meta_curvature_travels_as_maml_does() {
    let case = classes();
    let with = |base: Box<dyn Algorithm>, strategy| {
        let shot = Shot::new(base, 1.0, Distance::ReferenceToTarget, (Role::Reference, 1));
        case.run(&shot, by(strategy, 3)).gradient.filter(|name| !is_of_inner_rule(name))
    };
    for strategy in STRATEGIES {
        let curved = Box::new(MetaCurvature { inner: InnerLoop::new(case.rate) });
        let (got, want) = (with(curved, strategy), with(Box::new(maml(case.rate)), strategy));
        assert_same("θ", &got, &want, 1e-12);
    }
}

/// During pre-training the objective is only the distance to the projected reference; afterwards it is the base
/// method's.
#[test]
fn pretraining_is_on_the_distance_alone() {
    let case = classes();
    let (task, steps) = (case.task(0), 3);
    let project = |algorithm: &Shot, outcome: &Outcome| {
        let weights = algorithm.scheduled(0.0);
        let n = outcome.output.shape()[1];
        let layer = |x: &[f64], layer: usize| -> Vec<f64> {
            let of = |what: &str| &weights[&format!("shot.projector.{layer}.{what}")];
            let (w, b) = (of("weight"), of("bias"));
            let row = |i: usize| (0..n).map(|j| w.get(i * n + j) * x[j]).sum::<f64>() + b.get(i);
            (0..n).map(row).collect()
        };
        let two = |x: &[f64]| {
            let hidden: Vec<f64> = layer(x, 0).into_iter().map(|x| x.max(0.0)).collect();
            layer(&hidden, 1)
        };
        let rows = outcome.output.as_f64().chunks(n).flat_map(two).collect();
        let output = Tensor::from_f64(outcome.output.shape(), rows);
        Outcome { loss: outcome.loss, output, phi: outcome.phi.clone() }
    };
    for (weight, projector) in
        [(0.0, None), (0.0, Some((Key::new(3), 3))), (0.5, Some((Key::new(3), 3)))]
    {
        let mut algorithm = Shot::new(
            plus_plus(maml(case.rate)),
            weight,
            Distance::ReferenceToTarget,
            (Role::Reference, 1),
        );
        algorithm.pretraining = Some(Pretraining { until: 0.25, projector });
        let reference = outcome(&case, &case.theta, &task, steps, case.rate);
        let held = match projector {
            Some(_) => project(&algorithm, &reference),
            None => reference,
        };
        let objective = |theta: &Params<Tensor>| {
            let target = outcome(&case, theta, &task, 1, case.rate * steps as f64);
            apart(Distance::ReferenceToTarget, &target, &held)
        };
        for strategy in STRATEGIES {
            let setup = by(strategy, steps);
            let at = |algorithm: &dyn Algorithm, done: f64| {
                let mut meta = case.meta(algorithm, steps);
                meta.schedule(algorithm, done);
                run(&case.learner(algorithm, setup), &meta, &task).gradient
            };
            let gradient = at(&algorithm, 0.2);
            let (slope, difference) = both(&case.theta, &gradient, objective);
            assert!(difference.abs() > 1e-4, "a degenerate problem: {difference}");
            let close = (slope - difference).abs() <= 1e-7 * difference.abs().max(1e-2);
            assert!(close, "{projector:?}, {strategy:?}: {slope} and {difference}");
            let ordinary = Shot::new(
                plus_plus(maml(case.rate)),
                weight,
                Distance::ReferenceToTarget,
                (Role::Reference, 1),
            );
            assert_same("after", &at(&algorithm, 0.25), &at(&ordinary, 0.25), 1e-12);
        }
    }
}
