//! From a configuration to its parts, and values to PyTorch's layouts and back.

use innerloop_engine::{Params, Tensor};
use innerloop_lab::{ErrorKind, Experiment};

use crate::runs::{check_refused, check_same_bits, tiny};

/// All values differ, so that no misplaced element goes unnoticed.
fn numbered(values: &Params<Tensor>) -> Params<Tensor> {
    let mut next = 0.0;
    values.map(|value| {
        let mut numbered = value.clone();
        for i in 0..value.len() {
            numbered.set(i, next);
            next += 1.0;
        }
        numbered
    })
}

#[test]
fn values_go_to_pytorch_and_back() {
    // Maps of 2×2 before a head that sees all of them: its columns are reordered, too.
    let sets = ["model.downsampling=strided", "model.head=flatten"];
    let rates = [&sets[..], &["algorithm.learn_inner_lr=true"]].concat();
    for (preset, sets) in [
        ("strokes-maml", &rates[..]),
        ("strokes-meta-sgd", &sets),
        ("strokes-anil", &sets),
        ("strokes-fine-tune", &sets),
        ("sinusoid-maml", &[]),
    ] {
        let experiment = Experiment::new(tiny(preset, sets)).unwrap();
        let omega = numbered(&experiment.initial_state().omega);
        let torch = experiment.to_torch(&omega);
        check_same_bits(&experiment.from_torch(&torch), &omega);
        assert_eq!(torch.names(), omega.names(), "{preset}");
    }
}

#[test]
fn layouts_are_pytorchs() {
    let sets = ["model.downsampling=strided", "model.head=flatten"];
    let experiment = Experiment::new(tiny("strokes-meta-sgd", &sets)).unwrap();
    let omega = numbered(&experiment.initial_state().omega);
    let torch = experiment.to_torch(&omega);
    let (rows, columns, inputs, outputs) = (3, 3, 4, 4);
    for name in ["features.1.conv.weight", "inner_lr.features.1.conv.weight"] {
        let (here, there) = (&omega[name], &torch[name]);
        assert_eq!(here.shape(), [rows, columns, inputs, outputs], "{name}");
        assert_eq!(there.shape(), [outputs, inputs, rows, columns], "{name}");
        let (y, x, i, o) = (2, 0, 3, 1);
        let at_here = ((y * columns + x) * inputs + i) * outputs + o;
        let at_there = ((o * inputs + i) * rows + y) * columns + x;
        assert_eq!(here.get(at_here), there.get(at_there), "{name}");
    }
    let (height, width, channels) = (2, 2, 4);
    for name in ["head.weight", "inner_lr.head.weight"] {
        let (here, there) = (&omega[name], &torch[name]);
        assert_eq!(here.shape(), [3, height * width * channels], "{name}");
        assert_eq!(there.shape(), here.shape(), "{name}");
        let (row, y, x, c) = (2, 1, 0, 3);
        let at_here = row * 16 + (y * width + x) * channels + c;
        let at_there = row * 16 + (c * height + y) * width + x;
        assert_eq!(here.get(at_here), there.get(at_there), "{name}");
    }
}

#[test]
fn names_must_be_those_of_the_network() {
    let refused = |set: &str, parts: &[&str]| {
        check_refused(Experiment::new(tiny("strokes-maml", &[set])), ErrorKind::Config, parts);
    };
    let known = "features.0.conv.weight";
    refused("algorithm.frozen=[\"body.\"]", &["algorithm.frozen", "\"body.\"", known]);
    let set = "algorithm.inner_lr_of={ \"head.wait\" = 0.1 }";
    refused(set, &["algorithm.inner_lr_of", "\"head.wait\"", known]);
    refused("algorithm.frozen=[\"features.\", \"head.\"]", &["leaves nothing", "to adapt"]);
    Experiment::new(tiny("strokes-maml", &["algorithm.frozen=[\"features.\"]"])).unwrap();
}

#[test]
fn a_seed_names_the_start() {
    let start =
        |seed: &str| Experiment::new(tiny("strokes-maml", &[seed])).unwrap().initial_state().omega;
    check_same_bits(&start("seed=7"), &start("seed=7"));
    let name = "features.0.conv.weight";
    assert_ne!(start("seed=7")[name], start("seed=8")[name]);
}
