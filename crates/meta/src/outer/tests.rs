use innerloop_engine::{Params, Tensor};

use super::*;

fn one(x: f64) -> Params<Tensor> {
    [("w".to_string(), Tensor::from_f64(&[1], vec![x]))].into_iter().collect()
}

/// Value of the single parameter after some steps on the gradient `w ↦ w − 3`.
fn descend(optimizer: Optimizer, steps: usize, rate: f64) -> f64 {
    let mut omega = one(5.0);
    let mut state = OptimizerState::new(&omega);
    for _ in 0..steps {
        let gradient = one(omega["w"].get(0) - 3.0);
        optimizer.step(&mut omega, &gradient, rate, &mut state);
    }
    omega["w"].get(0)
}

const ADAM: Optimizer =
    Optimizer::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: false };

#[test]
fn first_steps_have_their_closed_forms() {
    let sgd = Optimizer::Sgd { momentum: 0.5, weight_decay: 0.0 };
    // v = 2, w = 5 − 0.2 = 4.8; v = 1 + 1.8 = 2.8, w = 4.8 − 0.28.
    assert!((descend(sgd, 2, 0.1) - 4.52).abs() <= 1e-12);
    // Adam's first step is the rate times the gradient's sign, up to ε.
    assert!((descend(ADAM, 1, 0.1) - 4.9).abs() <= 1e-8);
    let decayed = Optimizer::Sgd { momentum: 0.0, weight_decay: 0.1 };
    assert!((descend(decayed, 1, 0.1) - (5.0 - 0.1 * 2.5)).abs() <= 1e-12);
    let adamw =
        Optimizer::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, decoupled: true };
    // Decay first: 5 − 0.1 · 0.1 · 5, then the sign step.
    assert!((descend(adamw, 1, 0.1) - 4.85).abs() <= 1e-8);
}

#[test]
fn all_converge_on_a_parabola() {
    for optimizer in [ADAM, Optimizer::Sgd { momentum: 0.9, weight_decay: 0.0 }] {
        assert!((descend(optimizer, 800, 0.05) - 3.0).abs() <= 1e-3, "{optimizer:?}");
    }
}

#[test]
fn schedules_meet_their_ends() {
    let schedule = |course| Schedule { start: 1.0, end: 0.1, warmup: 4, iterations: 104, course };
    for course in [Course::Constant, Course::Linear, Course::Cosine] {
        let s = schedule(course);
        assert_eq!(s.rate(0), 0.25, "{course:?}");
        assert_eq!(s.rate(4), 1.0, "{course:?}");
        let end = if course == Course::Constant { 1.0 } else { 0.1 };
        assert!((s.rate(104) - end).abs() <= 1e-15 && s.rate(1000) == s.rate(104), "{course:?}");
    }
    assert!((schedule(Course::Cosine).rate(54) - 0.55).abs() <= 1e-15);
    assert!((schedule(Course::Linear).rate(54) - 0.55).abs() <= 1e-15);
}

#[test]
fn steps_multiply_the_rate() {
    let course = Course::Step { every: 5000, factor: 0.9 };
    let s = Schedule { start: 0.001, end: 0.0, warmup: 0, iterations: 60_000, course };
    assert_eq!([s.rate(0), s.rate(4999)], [0.001; 2]);
    for (t, changes) in [(5000, 1), (9999, 1), (10_000, 2), (59_999, 11), (60_000, 12)] {
        assert!((s.rate(t) / (0.001 * 0.9f64.powi(changes)) - 1.0).abs() <= 1e-14, "{t}");
    }
    // Counted from the end of warm-up.
    let s = Schedule { warmup: 10, ..s };
    assert_eq!([s.rate(4), s.rate(9), s.rate(5009)], [0.0005, 0.001, 0.001]);
    assert!((s.rate(5010) - 0.0009).abs() <= 1e-17);
}

#[test]
fn clipping_bounds_values_then_the_norm() {
    let mut g: Params<Tensor> =
        [("w".to_string(), Tensor::from_f64(&[2], vec![30.0, -4.0]))].into_iter().collect();
    let before = Clip { value: 3.0, norm: 0.0 }.apply(&mut g);
    assert_eq!(before, 916_f64.sqrt());
    assert_eq!(g["w"].iter().collect::<Vec<_>>(), [3.0, -3.0]);
    Clip { value: 0.0, norm: 1.0 }.apply(&mut g);
    assert!((g["w"].get(0) - 0.5_f64.sqrt()).abs() <= 1e-15);
}
