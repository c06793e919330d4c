use std::sync::Arc;

use innerloop_engine::check::{assert_close, evaluate, random, relative_error};
use innerloop_engine::{Dtype, Graph, Key, Params, Tensor};
use innerloop_meta::{
    Learner, MetaGradient, MetaState, Problem, Setup, Sharing, Strategy, TaskData, TaskResult,
};
use innerloop_nn::{Init, Model, NormStatistics, ResNet, Staged, Vgg, initialise};

use super::*;

const IMAGE: [usize; 3] = [6, 5, 2];
const CLASSES: usize = 3;
const BATCH: usize = 4;

fn source() -> ResNet {
    ResNet::new(IMAGE, (&[3, 4], 1), CLASSES, (Init::He, 1e-5))
}

fn residual() -> Arc<dyn Staged> {
    Arc::new(ResNet::new(IMAGE, (&[2, 3], 1), CLASSES, (Init::He, 1e-5)))
}

fn plain() -> Arc<dyn Staged> {
    Arc::new(Vgg::new(IMAGE, (&[2, 3], &[1, 2]), CLASSES, (Init::He, 1e-5)))
}

fn apart(target: Arc<dyn Staged>) -> Transfer {
    let matching = Matching::all(source().stages(), target.stages(), 0.5);
    Transfer { target, image: IMAGE, batch: BATCH, matching, stage: Stage::Apart }
}

fn rule(sharing: Sharing, meta_gradient: MetaGradient) -> L2tWw {
    L2tWw { lr: 0.05, momentum: 0.9, weight_decay: 0.01, sharing, meta_gradient }
}

/// A batch in double precision; query set and support set are the same images.
fn batch(problem: &Transfer) -> Vec<Tensor> {
    let shapes = problem.support_shapes(BATCH);
    let mut arrays: Vec<Tensor> = shapes
        .iter()
        .enumerate()
        .map(|(i, shape)| random(Key::new(5).at(i as u64, 0), shape, 1.0))
        .collect();
    arrays[1] = Tensor::from_f64(&[BATCH], vec![0.0, 2.0, 1.0, 2.0]);
    arrays
}

/// Meta-networks away from their initial values, and a nonzero velocity.
fn state(problem: &Transfer, rule: &L2tWw, steps: usize) -> MetaState {
    let theta = initialise(&problem.specs(), Key::new(3), Dtype::F64);
    let mut meta = MetaState::new(problem, rule, steps, theta);
    meta.omega = meta.omega.map_named(|name, value| match name.starts_with(META_PREFIX) {
        true => plus(value, &random(Key::new(7).with_stream(name), value.shape(), 0.3), 1.0),
        false => value.clone(),
    });
    meta.inner_state = meta
        .inner_state
        .map_named(|name, value| random(Key::new(8).with_stream(name), value.shape(), 0.1));
    meta
}

fn plus(a: &Tensor, b: &Tensor, scale: f64) -> Tensor {
    Tensor::from_f64(a.shape(), a.iter().zip(b.iter()).map(|(a, b)| a + scale * b).collect())
}

fn run(
    problem: &Transfer,
    rule: &L2tWw,
    steps: usize,
    how: Strategy,
    at: &MetaState,
) -> TaskResult {
    let setup = Setup { strategy: how, ..Setup::new(steps) };
    let learner = Learner::new(problem, rule, setup);
    let arrays = batch(problem);
    let support: Vec<&Tensor> = arrays.iter().collect();
    let task = TaskData { support: &support, query: &support[..2], key: Key::new(0) };
    let mut result = learner.result(Dtype::F64);
    learner.run(&mut learner.worker(Dtype::F64), at, task, &mut result);
    result
}

/// The slope of the outer loss along random meta-parameters, by the gradient and by a fourth-order difference.
fn slopes(problem: &Transfer, rule: &L2tWw, steps: usize, how: Strategy) -> [f64; 2] {
    let at = state(problem, rule, steps);
    let gradient = run(problem, rule, steps, how, &at).gradient;
    let along = gradient.map_named(|name, g| random(Key::new(9).with_stream(name), g.shape(), 1.0));
    let dot = |a: &Tensor, b: &Tensor| a.iter().zip(b.iter()).map(|(a, b)| a * b).sum::<f64>();
    let slope = gradient.zip_map(&along, dot).values().iter().sum();
    let loss = |h: f64| {
        let mut there = at.clone();
        let moved = along.map_named(|name, by| plus(&at.omega[name], by, h));
        there.omega = there.omega.overlay(&moved);
        run(problem, rule, steps, how, &there).query_loss
    };
    // Small, because gradients jump where a ReLU switches.
    let h = 1e-6;
    let difference = (8.0 * (loss(h) - loss(-h)) - (loss(2.0 * h) - loss(-2.0 * h))) / (12.0 * h);
    [slope, difference]
}

#[track_caller]
fn check_slopes([slope, difference]: [f64; 2]) {
    assert!(difference.abs() >= 1e-6, "a degenerate problem: {difference:e}");
    let error = (slope - difference).abs() / difference.abs();
    assert!(error <= 1e-6, "gradient {slope:e}, difference {difference:e}");
}

#[test]
fn meta_gradients_are_those_of_differences() {
    for target in [residual(), plain()] {
        let problem = apart(target);
        let exact = |sharing| rule(sharing, MetaGradient::Exact);
        for how in [Strategy::Unrolled, Strategy::Adjoint] {
            check_slopes(slopes(&problem, &exact(Sharing::None), 3, how));
            // Three steps of the transfer loss in windows of two and one, and the last step.
            check_slopes(slopes(&problem, &exact(Sharing::Forward(2)), 4, how));
        }
    }
}

#[test]
fn differences_tell_when_a_hessian_serves_two_steps() {
    // Backwards windows are an approximation: they take one Hessian for two steps.
    let problem = apart(residual());
    let rule = rule(Sharing::Backward(2), MetaGradient::Exact);
    let [slope, difference] = slopes(&problem, &rule, 3, Strategy::Adjoint);
    let error = (slope - difference).abs() / difference.abs();
    assert!(error > 1e-6 && error <= 0.5, "gradient {slope:e}, difference {difference:e}");
}

#[test]
fn strategies_agree() {
    let problem = apart(residual());
    for sharing in [Sharing::None, Sharing::Forward(3), Sharing::Backward(2)] {
        let rule = rule(sharing, MetaGradient::Exact);
        let at = state(&problem, &rule, 4);
        let [a, b] =
            [Strategy::Unrolled, Strategy::Adjoint].map(|how| run(&problem, &rule, 4, how, &at));
        assert!((a.query_loss - b.query_loss).abs() <= 1e-12);
        for (name, g) in a.gradient.iter() {
            assert!(name.starts_with(META_PREFIX), "{name} is no meta-parameter");
            assert_close(&format!("{sharing:?} {name}"), g, &b.gradient[name], 1e-10);
        }
    }
}

#[test]
fn windows_of_one_step_are_exact() {
    let problem = apart(residual());
    let of = |sharing| {
        let rule = rule(sharing, MetaGradient::Exact);
        run(&problem, &rule, 3, Strategy::Adjoint, &state(&problem, &rule, 3)).gradient
    };
    let exact = of(Sharing::None);
    for sharing in [Sharing::Forward(1), Sharing::Backward(1)] {
        of(sharing).iter().for_each(|(name, g)| assert_eq!(*g, exact[name], "{name}"));
    }
    let wide = of(Sharing::Forward(2));
    assert!(wide.iter().any(|(name, g)| relative_error(g, &exact[name]) > 1e-3));
}

#[test]
fn windows_save_products_but_not_the_last_one() {
    let problem = apart(plain());
    for (sharing, gradients, products) in [
        (Sharing::None, 6, 5),
        (Sharing::Forward(2), 4, 3),
        (Sharing::Forward(4), 3, 2),
        (Sharing::Backward(4), 6, 2),
    ] {
        let rule = rule(sharing, MetaGradient::Exact);
        let learner = Learner::new(&problem, &rule, Setup::new(5));
        let found = learner.derivatives();
        assert_eq!((found.gradients, found.hessian_products), (gradients, products), "{sharing:?}");
    }
}

#[test]
fn first_order_gradients_vanish() {
    let problem = apart(residual());
    for how in [Strategy::Unrolled, Strategy::Adjoint] {
        let rule = rule(Sharing::None, MetaGradient::FirstOrder);
        let gradient = run(&problem, &rule, 3, how, &state(&problem, &rule, 3)).gradient;
        assert!(!gradient.is_empty());
        assert!(gradient.values().iter().all(|g| g.iter().all(|x| x == 0.0)));
    }
}

#[test]
fn fresh_meta_networks_match_uniformly() {
    let problem = apart(residual());
    let matching = &problem.matching;
    let graph = Graph::new();
    let values = initialise(&matching.parameters(), Key::new(2), Dtype::F64);
    let params = values.map_named(|name, value| graph.input(name, value.shape()));
    let shape = |&[h, w, c]: &[usize; 3]| vec![2, h, w, c];
    let source: Vec<_> = matching.source.iter().map(|m| graph.input("s", &shape(m))).collect();
    let target: Vec<_> = matching.target.iter().map(|m| graph.input("t", &shape(m))).collect();
    let one = Matching { pairs: vec![[1, 1]], ..matching.clone() };
    // Extents are the same, so that the loss is a mean over everything.
    let own = target[1].conv(params["match.1-1.weight"], innerloop_engine::Window::square(1, 1, 0));
    let off = source[1] - own - params["match.1-1.bias"];
    let outputs = [one.loss(&params, &source, &target), (off * off).mean() * 0.5];
    let maps = matching.source.iter().chain(&matching.target).map(shape);
    let maps = maps.enumerate().map(|(i, s)| random(Key::new(4).at(i as u64, 0), &s, 1.0));
    let inputs: Vec<Tensor> = values.values().iter().cloned().chain(maps).collect();
    let got = evaluate(&graph, &outputs, &inputs);
    assert_close("uniform matching", &got[0], &got[1], 1e-12);
}

fn settings() -> Settings {
    Settings {
        iterations: 6,
        batch_size: BATCH,
        lr: 0.05,
        momentum: 0.9,
        weight_decay: 1e-3,
        transfer_steps: 2,
        sharing: Sharing::None,
        strategy: Strategy::Auto,
        meta_lr: 1e-2,
        meta_weight_decay: 0.0,
    }
}

fn course(method: Method, settings: Settings) -> Course {
    let target = residual();
    let matching = Matching::all(source().stages(), target.stages(), 0.5);
    Course::new(method, target, IMAGE, &matching, settings)
}

fn samples() -> Samples {
    let images = random(Key::new(6), &[11, IMAGE[0], IMAGE[1], IMAGE[2]], 1.0).cast(Dtype::F32);
    let labels = (0..11).map(|i| (i % CLASSES) as f32).collect();
    let mut samples = Samples::new(images, Tensor::from_f32(&[11], labels));
    let network = source();
    let values = initialise(network.parameters(), Key::new(1), Dtype::F32);
    let statistics = network.statistics().map_named(|name, shape| {
        Tensor::full(Dtype::F32, shape, f64::from(u8::from(name.ends_with(".var"))))
    });
    let frozen = Frozen::new(&network, IMAGE, true);
    let all = values.values().iter().chain(statistics.values());
    samples.arrays.extend(frozen.run(all, &samples.arrays[0]));
    samples
}

fn trained(course: &Course, stops: &[u64]) -> Trial {
    let (mut trial, samples) = (course.trial(Key::new(1), None), samples());
    for &until in stops {
        course.advance(&mut trial, &samples, until).unwrap();
    }
    trial
}

fn target_of(trial: &Trial) -> Params<Tensor> {
    trial.meta.omega.filter(|name| !name.starts_with(META_PREFIX) && name != L2tWw::RATE)
}

#[test]
fn trials_go_on_where_they_stopped() {
    let course = course(Method::L2tWw, settings());
    let (whole, parts) = (trained(&course, &[6]), trained(&course, &[2, 3, 6]));
    assert_eq!(whole.meta.omega, parts.meta.omega);
    assert_eq!(whole.running, parts.running);
    assert_eq!(whole.optimizer, parts.optimizer);
}

#[test]
fn the_inner_loop_leaves_the_target_where_it_was() {
    let still = Settings { meta_lr: 0.0, ..settings() };
    let learned = trained(&course(Method::L2tWw, still), &[6]);
    let uniform = trained(&course(Method::Uniform, still), &[6]);
    assert_eq!(target_of(&learned), target_of(&uniform));
    assert_eq!(learned.meta.inner_state, uniform.meta.inner_state);
    assert_eq!(learned.running, uniform.running);
    let moves = trained(&course(Method::L2tWw, settings()), &[6]);
    assert_ne!(
        target_of(&moves),
        target_of(&uniform),
        "meta-networks that learn change the target"
    );
    let held = trained(&course(Method::FirstOrder, settings()), &[6]);
    assert_eq!(held.meta.omega, uniform.meta.omega, "nothing moves without a gradient");
}

#[test]
fn fine_tuning_starts_at_the_source_but_for_the_head() {
    let course = course(Method::FineTune, settings());
    let source = course.named(&trained(&course, &[3]));
    let trial = course.trial(Key::new(2), Some(&source));
    for (name, value) in source.iter().filter(|(name, _)| !name.starts_with("fc")) {
        let own = trial.meta.omega.get(name).or(trial.running.get(name));
        assert_eq!(own, Some(value), "{name}");
    }
    assert_ne!(trial.meta.omega["fc.weight"], source["fc.weight"]);
}

#[test]
fn losses_that_are_no_numbers_are_reported() {
    let wild = Settings { lr: f64::NAN, ..settings() };
    let course = course(Method::Scratch, wild);
    let found = course.advance(&mut course.trial(Key::new(1), None), &samples(), 6).unwrap_err();
    assert_eq!(found.iteration, 1);
    assert!(found.loss.is_nan() && found.to_string().contains("iteration 1"));
}

#[test]
fn what_was_matched_is_drawn() {
    let course = course(Method::L2tWw, settings());
    let all = course.matched(&trained(&course, &[6]), &samples());
    assert_eq!(
        all.iter().map(|one| one.pair).collect::<Vec<_>>(),
        [[0, 0], [0, 1], [1, 0], [1, 1]]
    );
    for one in &all {
        assert!((one.channels.iter().sum::<f64>() - 1.0).abs() <= 1e-5 && one.weight >= 0.0);
    }
    let svg = picture::matched(&all);
    assert_eq!(svg.matches("<text").count(), 4 + 4);
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
}

#[test]
fn running_statistics_become_those_of_the_images() {
    // Nothing moves, and every batch is all images in another order.
    let still =
        Settings { iterations: 200, batch_size: 11, lr: 1e-30, weight_decay: 0.0, ..settings() };
    let (course, samples) = (course(Method::Scratch, still), samples());
    let trial = trained(&course, &[200]);
    let network = residual();
    let graph = Graph::new();
    let own = trial.meta.omega.filter(|name| name != L2tWw::RATE);
    let params = own.map_named(|name, value| graph.input(name, value.shape()));
    let x = graph.input("x", samples.arrays[0].shape());
    let (batch, _) = network.forward_stages(&params, x, &NormStatistics::Batch { groups: 1 });
    let outputs = [&[batch.output], batch.statistics.values()].concat();
    let inputs: Vec<Tensor> = own.values().iter().chain(&samples.arrays[..1]).cloned().collect();
    let expected = evaluate(&graph, &outputs, &inputs);
    for ((name, running), of_batch) in trial.running.iter().zip(&expected[1..]) {
        assert_close(name, running, of_batch, 1e-5);
    }
    let frozen = Frozen::new(network.as_ref(), IMAGE, false);
    let logits = frozen.run(course.values(&trial), &samples.arrays[0]).remove(0);
    assert_close("logits", &logits, &expected[0], 1e-4);
}

#[test]
fn predictions_do_not_depend_on_the_images_beside() {
    let network = source();
    let values = initialise(network.parameters(), Key::new(1), Dtype::F32);
    let statistics = network.statistics().map_named(|name, shape| {
        plus(&random(Key::new(2).with_stream(name), shape, 0.1), &ones(shape), 1.0).cast(Dtype::F32)
    });
    let all = || values.values().iter().chain(statistics.values());
    let frozen = Frozen::new(&network, IMAGE, true);
    // More than run together, twice over.
    let images = random(Key::new(3), &[130, IMAGE[0], IMAGE[1], IMAGE[2]], 1.0).cast(Dtype::F32);
    let together = frozen.run(all(), &images);
    let size = IMAGE.iter().product::<usize>();
    for row in [0, 49, 50, 101, 129] {
        let one = images.as_f32()[row * size..(row + 1) * size].to_vec();
        let alone = frozen.run(all(), &Tensor::from_f32(&[1, IMAGE[0], IMAGE[1], IMAGE[2]], one));
        for (together, alone) in together.iter().zip(&alone) {
            let n = alone.len();
            assert_eq!(&together.as_f32()[row * n..(row + 1) * n], alone.as_f32(), "image {row}");
        }
    }
}

fn ones(shape: &[usize]) -> Tensor {
    Tensor::full(Dtype::F64, shape, 1.0)
}
