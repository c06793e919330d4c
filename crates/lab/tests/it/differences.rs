//! Meta-gradients of whole configurations, with the networks that the methods change, against central differences.

use innerloop_engine::Key;
use innerloop_engine::check::random;
use innerloop_lab::Experiment;
use innerloop_meta::is_of_inner_rule;

use crate::runs::{first_task, tiny};

/// Compares the gradient of the query loss with its differences along a random direction in each learned tensor. The tensors
/// whose names begin with one of `telling` must have a part in it.
fn check(preset: &str, sets: &[&str], telling: &[&str]) {
    let strategies: &[&[&str]] = match preset.ends_with("protonet") {
        true => &[&[]],
        false => &[&["algorithm.strategy=unrolled"], &["algorithm.strategy=adjoint"]],
    };
    for strategy in strategies {
        let sets = [&["run.dtype=f64"], sets, strategy].concat();
        let experiment = Experiment::new(tiny(preset, &sets)).unwrap();
        let mut run = first_task(&experiment);
        let mut meta = experiment.initial_state();
        // Learned factors of gradients start alike: moved apart, an exchange of two is seen.
        for (i, name) in meta.omega.names().to_vec().iter().enumerate() {
            let value = &mut meta.omega.values_mut()[i];
            if is_of_inner_rule(name) {
                let by = random(Key::new(5).with_stream(name), value.shape(), 0.2);
                (0..value.len()).for_each(|j| value.set(j, value.get(j) + by.get(j)));
            }
        }
        let gradient = run(&meta).gradient;
        for (name, of) in gradient.iter() {
            let size = 1.0 / (of.len() as f64).sqrt();
            let direction = random(Key::new(7).with_stream(name), of.shape(), size);
            let slope: f64 = direction.iter().zip(of.iter()).map(|(d, g)| d * g).sum();
            let tensor = meta.omega.position(name).expect("what is learned is there");
            let start = meta.omega.values()[tensor].clone();
            // A short step, so that no ReLU or pooling of the inner loop changes its branch.
            let mut loss = |by: f64| {
                let value = &mut meta.omega.values_mut()[tensor];
                (0..value.len()).for_each(|j| value.set(j, start.get(j) + by * direction.get(j)));
                run(&meta).query_loss
            };
            let difference = (loss(1e-7) - loss(-1e-7)) / 2e-7;
            loss(0.0);
            let error = (slope - difference).abs();
            let case = format!("{preset}, {strategy:?}, {name}: {slope} and {difference}");
            assert!(error <= 1e-7 + 1e-6 * difference.abs(), "{case}");
            let is_telling = telling.iter().any(|beginning| name.starts_with(beginning));
            assert!(!is_telling || slope.abs() > 1e-5, "{case}: nothing depends on it");
        }
        for beginning in telling {
            assert!(gradient.names().iter().any(|name| name.starts_with(beginning)), "{beginning}");
        }
    }
}

/// Means of the support set's embeddings, and distances to them.
#[test]
fn the_gradient_of_prototypes_is_a_derivative() {
    let several = ["tasks.shots=3"];
    let all = ["features.0.conv.weight", "features.3.conv.weight", "features.2.norm"];
    check("strokes-protonet", &[], &all);
    check("strokes-protonet", &several, &all);
    check("strokes-protonet", &["tasks.ways=2", "tasks.train_ways=4"], &all);
    let smooth = ["model.kind=mlp", "model.hidden=[6, 5]", "model.activation=tanh"];
    check("strokes-protonet", &[&smooth[..], &several].concat(), &["features"]);
}

/// A kernel has a factor along its positions, its inputs and its outputs, here none of them the identity.
#[test]
fn factors_of_kernels_are_differentiated() {
    let factors: Vec<String> = (0..3)
        .flat_map(|mode| [1, 2].map(|block| (mode, block)))
        .map(|(mode, block)| format!("curvature.features.{block}.conv.weight.mode{mode}"))
        .collect();
    let mut telling: Vec<&str> = factors.iter().map(String::as_str).collect();
    telling.extend(["curvature.head.weight.mode0", "features.1.conv.weight"]);
    check("strokes-maml", &["algorithm.name=meta_curvature"], &telling);
    // Maps of 2x2 that a strided network leaves.
    let strided = ["algorithm.name=meta_curvature", "model.downsampling=strided"];
    check("strokes-maml", &strided, &telling);
}

/// The context moves scales and shifts of channels, or is an input; the network around it is what is learned.
#[test]
fn contexts_are_differentiated_through() {
    let all = ["film.weight", "film.bias", "features.0.conv.weight", "head.weight"];
    check("strokes-cavia", &[], &all);
    check("sinusoid-cavia", &["model.hidden=[6, 5]", "model.activation=tanh"], &["features"]);
    check("sinusoid-cavia", &["model.hidden=[6, 5]"], &["features"]);
}
