//! What the diagnostics report, on quadratics where all of it is known, and for every algorithm.

use innerloop_engine::Dtype;
use innerloop_meta::algorithms::{
    Cavia, Comparison, FineTune, Fomaml, GradientSimilarity, Imaml, InnerLoop, Maml,
};
use innerloop_meta::diagnostics::{Alignment, Diagnostics, LINE, TaskDiagnosis};
use innerloop_meta::{Adapter, Algorithm, Losses, Setup, StepLosses};

use crate::algorithms::{algorithms, imaml, similarity};
use crate::forms::{Form, Vector, trajectory};
use crate::problems::{Case, N, Support, flat, normalised, quadratic};

fn diagnose(
    case: &Case,
    algorithm: impl Fn() -> Box<dyn Algorithm>,
    steps: usize,
) -> (Vec<String>, TaskDiagnosis) {
    let problem = case.problem.as_ref();
    let diagnostics = Diagnostics::new(problem, &algorithm, Setup::new(steps), N);
    let names = diagnostics.approximations().iter().map(|name| name.to_string()).collect();
    let mut worker = diagnostics.worker(Dtype::F64);
    let meta = case.meta(algorithm().as_ref(), steps);
    let run =
        |data: innerloop_meta::TaskData<'_>| diagnostics.run(problem, &mut worker, &meta, data);
    (names, case.task(0).with(run))
}

fn maml(rate: f64) -> Box<dyn Algorithm> {
    Box::new(Maml { inner: InnerLoop::new(rate) })
}

fn dot(a: &Vector, b: &Vector) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn cosine(a: &Vector, b: &Vector) -> f64 {
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn minus(a: &Vector, by: f64, b: &Vector) -> Vector {
    std::array::from_fn(|i| a[i] - by * b[i])
}

#[track_caller]
fn close(what: &str, got: f64, want: f64) {
    let error = (got - want).abs();
    assert!(error <= 1e-9 * want.abs().max(1.0), "{what}: {got}, expected {want}");
}

/// Largest eigenvalue of a positive `A + shift·I`, minus the shift, by the power method.
fn top(form: &Form, sign: f64, shift: f64) -> f64 {
    let mut x: Vector = std::array::from_fn(|i| 1.0 + i as f64 / 7.0);
    let mut value = 0.0;
    for _ in 0..20_000 {
        let ax = form.times(&x);
        let next: Vector = std::array::from_fn(|i| sign * ax[i] + shift * x[i]);
        value = dot(&next, &x) / dot(&x, &x);
        let size = dot(&next, &next).sqrt();
        x = next.map(|v| v / size);
    }
    value - shift
}

#[test]
fn steps_and_path_of_a_quadratic() {
    let case = quadratic(3, Support::Quadratic);
    let steps = 4;
    let (_, got) = diagnose(&case, || maml(case.rate), steps);
    let task = case.task(0);
    let (form, phi, _) = trajectory(&case, &task, &vec![[case.rate; N]; steps]);
    let value = |x: &Vector| 0.5 * dot(x, &form.times(x)) - dot(x, &form.b);
    let trace: f64 = (0..N).map(|i| form.a[i][i]).sum();
    let (largest, smallest) = (top(&form, 1.0, 0.0), -top(&form, -1.0, trace));
    let way = minus(&phi[0], 1.0, &phi[steps]);
    let first = form.gradient(&phi[0]);
    for (k, step) in got.steps.iter().enumerate() {
        let g = form.gradient(&phi[k]);
        let hg = form.times(&g);
        close("support loss", step.support_loss, value(&phi[k]));
        close("gradient", step.gradient_norm, dot(&g, &g).sqrt());
        close("H g", step.hessian_gradient_norm, dot(&hg, &hg).sqrt());
        close("gᵀ H g", step.gradient_hessian_gradient, dot(&g, &hg));
        close("curvature", step.curvature, dot(&g, &hg) / dot(&g, &g));
        close("largest eigenvalue", step.top_eigenvalue, largest);
        close("smallest eigenvalue", step.bottom_eigenvalue, smallest);
        close("cosine with the first", step.cosine_with_first, cosine(&g, &first));
        close("cosine with the path", step.cosine_with_path, cosine(&way, &g));
        assert!(step.curvature <= step.top_eigenvalue && step.curvature >= step.bottom_eigenvalue);
        assert!(step.support_query_cosine.abs() <= 1.0);
    }
    let length = |v: &Vector| dot(v, v).sqrt();
    let path: f64 = phi.windows(2).map(|pair| length(&minus(&pair[1], 1.0, &pair[0]))).sum();
    close("path", got.path_length, path);
    close("displacement", got.displacement, length(&way));
    close("straightness", got.straightness, length(&way) / path);
    assert!(got.straightness < 1.0 - 1e-6, "a degenerate path");
    for (t, line) in LINE.iter().zip(&got.lines) {
        // The first step is α g long.
        close(
            "support loss down the gradient",
            line[0],
            value(&minus(&phi[0], t * case.rate, &first)),
        );
    }
    let origin = LINE.iter().position(|&t| t == 0.0).unwrap();
    close("both lines start at θ", got.lines[origin][2], got.lines[origin][0]);
}

#[test]
fn approximations_of_the_gradient_on_a_quadratic() {
    let case = quadratic(3, Support::Quadratic);
    let (steps, rate) = (2, case.rate);
    let (names, got) = diagnose(&case, || maml(rate), steps);
    let (form, phi, v) = trajectory(&case, &case.task(0), &vec![[rate; N]; steps]);
    // (I − αA) u
    let back = |u: &Vector, rate: f64| minus(u, rate, &form.times(u));
    let exact = back(&back(&v, rate), rate);
    // One window of two steps is one step of twice the rate.
    let (_, wide, wide_v) = trajectory(&case, &case.task(0), &[[2.0 * rate; N]]);
    let expected: Vec<(&str, Vector)> = vec![
        ("first order", v),
        ("displacement", minus(&phi[0], 1.0, &phi[steps])),
        ("differences, epsilon 1", exact),
        ("differences, epsilon 0.01", exact),
        ("differences, epsilon 0.001", exact),
        ("truncated to the last step", back(&v, rate)),
        ("binomial of degree 1", back(&v, 2.0 * rate)),
        ("multi-step, windows of 2", back(&wide_v, 2.0 * rate)),
        ("multi-step, backward 2", back(&v, 2.0 * rate)),
    ];
    assert_ne!(wide[1], phi[steps]);
    assert_eq!(names.len(), expected.len() + 1, "{names:?}");
    let of = |name: &str| got.alignments[names.iter().position(|other| other == name).unwrap()];
    for (name, gradient) in expected {
        let Alignment { cosine: c, ratio } = of(name);
        close(name, c, cosine(&gradient, &exact));
        close(name, ratio, (dot(&gradient, &gradient) / dot(&exact, &exact)).sqrt());
    }
    assert!(of("first order").cosine < 1.0 - 1e-6, "a degenerate problem");
    let by_default = GradientSimilarity {
        strength: 0.5,
        comparison: Comparison::PerTensor,
        ..similarity(InnerLoop::new(rate))
    };
    let corrected = case.run(&by_default, Setup::new(steps));
    let corrected: Vec<f64> = flat(&corrected.gradient).iter().collect();
    let corrected: Vector = corrected.try_into().unwrap();
    close("similarity", of("gradient similarity, 0.5").cosine, cosine(&corrected, &exact));
}

/// CAVIA's context is not learned: it is part of no cosine and no norm.
#[test]
fn a_start_that_is_not_learned_is_not_compared() {
    let case = quadratic(3, Support::Quadratic);
    let inner = || InnerLoop::new(case.rate);
    let cavia = || Cavia { inner: inner(), context: "head".into() };
    let (names, got) = diagnose(&case, || Box::new(cavia()), 2);
    let gradient = |algorithm: &dyn Algorithm| -> Vec<f64> {
        flat(&case.run(algorithm, Setup::new(2)).gradient).iter().collect()
    };
    let exact = gradient(&cavia());
    // To first order.
    let first =
        gradient(&FineTune { inner: inner(), head: "head".into(), classifier: "body".into() });
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let at = names.iter().position(|name| name == "first order").unwrap();
    let Alignment { cosine, ratio } = got.alignments[at];
    close(
        "cosine",
        cosine,
        dot(&first, &exact) / (dot(&first, &first) * dot(&exact, &exact)).sqrt(),
    );
    close("ratio", ratio, (dot(&first, &first) / dot(&exact, &exact)).sqrt());
    assert!(cosine < 1.0 - 1e-6, "a degenerate problem");
    let of_what_moves = |name: &String| name == "displacement" || name.contains("similarity");
    assert!(!names.iter().any(of_what_moves), "{names:?}");
}

/// The reference is also differentiated through the steps' dependence on θ, like an implicit gradient's minimum.
#[test]
fn an_implicit_gradient_is_compared_with_that_through_its_steps() {
    let case = quadratic(3, Support::Quadratic);
    let (rate, task) = (case.rate, case.task(0));
    let (form, ..) = trajectory(&case, &task, &[[rate; N]]);
    for steps in [3, 60] {
        let algorithm = || Imaml { iterations: N, ..imaml(InnerLoop::new(rate)) };
        let proximal = algorithm().proximal;
        let run = case.run(&algorithm(), Setup::new(steps));
        let vector = |of| -> Vector { flat(of).iter().collect::<Vec<_>>().try_into().unwrap() };
        let (implicit, end) = (vector(&run.gradient), vector(&run.fast));
        let query = Form {
            a: std::array::from_fn(|i| std::array::from_fn(|j| task.query[0].get(i * N + j))),
            b: std::array::from_fn(|i| task.query[1].get(i)),
        };
        let v = query.gradient(&end);
        // φ' = φ − α (A φ − b + λ (φ − θ)), backwards.
        let (mut u, mut held) = (v, [0.0; N]);
        for _ in 0..steps {
            held = minus(&held, -rate * proximal, &u);
            u = minus(&minus(&u, rate, &form.times(&u)), rate * proximal, &u);
        }
        let exact = minus(&u, -1.0, &held);
        let (names, got) = diagnose(&case, || Box::new(algorithm()), steps);
        assert_eq!(&names[..2], ["as trained (imaml)", "first order"]);
        for (gradient, alignment) in [implicit, v].iter().zip(&got.alignments) {
            close("cosine", alignment.cosine, cosine(gradient, &exact));
            let ratio = (dot(gradient, gradient) / dot(&exact, &exact)).sqrt();
            close("ratio", alignment.ratio, ratio);
        }
        // At the minimum the two agree.
        let trained = got.alignments[0];
        let off = (trained.cosine - 1.0).abs().max((trained.ratio - 1.0).abs());
        assert_eq!(off <= 1e-4, steps == 60, "{steps} steps: {trained:?}");
    }
}

#[test]
fn without_a_hessian_every_path_is_straight() {
    let case = quadratic(2, Support::Linear);
    let (names, got) = diagnose(&case, || maml(case.rate), 3);
    close("straightness", got.straightness, 1.0);
    for step in &got.steps {
        close("curvature", step.curvature, 0.0);
        close("largest eigenvalue", step.top_eigenvalue, 0.0);
        close("cosine with the path", step.cosine_with_path, 1.0);
    }
    let exact = ["first order", "truncated to the last step", "binomial of degree 1"];
    for (name, alignment) in names.iter().zip(&got.alignments) {
        if exact.contains(&name.as_str()) {
            close(name, alignment.cosine, 1.0);
            close(name, alignment.ratio, 1.0);
        }
    }
}

/// At the end of the inner loop the query set has its own row, and the support set uses the last step's.
#[test]
fn what_depends_on_the_step_is_that_of_training() {
    let steps = 3;
    let case = normalised(steps);
    let (_, got) = diagnose(&case, || maml(case.rate), steps);
    let algorithm = maml(case.rate);
    let setup = Setup { losses: Losses::All, ..Setup::new(steps) };
    let trained = case.run(algorithm.as_ref(), setup);
    for (k, step) in got.steps.iter().enumerate() {
        close("support loss", step.support_loss, trained.support_losses[k]);
    }
    close("query loss of training", got.steps[steps].query_loss, trained.query_loss);
    let adapter = Adapter::new(case.problem.as_ref(), algorithm.as_ref(), (steps, steps), None);
    let mut evaluation = StepLosses::default();
    let mut worker = adapter.worker(Dtype::F64);
    let meta = case.meta(algorithm.as_ref(), steps);
    case.task(0).with(|task| adapter.run(&mut worker, &meta, task, &mut evaluation, |_| ()));
    for (k, step) in got.steps.iter().enumerate() {
        close("query loss", step.query_loss, evaluation.query_losses[k]);
    }
}

#[test]
fn what_was_trained_is_told_apart_from_what_is_exact() {
    let case = quadratic(1, Support::Quadratic);
    let fomaml = || Box::new(Fomaml { inner: InnerLoop::new(case.rate) }) as Box<dyn Algorithm>;
    let (names, got) = diagnose(&case, fomaml, 2);
    assert_eq!(&names[..2], ["as trained (fomaml)", "first order"]);
    assert_eq!(got.alignments[0], got.alignments[1]);
    let (names, got) = diagnose(&case, || maml(case.rate), 0);
    assert!(names.is_empty() && got.alignments.is_empty() && got.straightness.is_nan());
}

#[test]
fn every_algorithm_can_be_diagnosed() {
    let case = quadratic(3, Support::Quadratic);
    for (i, (name, _)) in algorithms(case.rate).into_iter().enumerate() {
        let algorithm = || algorithms(case.rate).swap_remove(i).1;
        if name == "protonet" {
            assert!(diagnose(&case, algorithm, 0).0.is_empty(), "no path, nothing to compare");
            continue;
        }
        let (names, got) = diagnose(&case, algorithm, 3);
        assert_eq!(names.len(), got.alignments.len(), "{name}");
        assert!(names.iter().any(|name| name == "first order"), "{name}: {names:?}");
        for (approximation, Alignment { cosine, ratio }) in names.iter().zip(&got.alignments) {
            let whole = cosine.is_finite() && ratio.is_finite();
            assert!(whole, "{name}: {approximation} has cosine {cosine}, ratio {ratio}");
        }
        assert!(got.straightness <= 1.0 && got.path_length > 0.0, "{name}");
    }
}
