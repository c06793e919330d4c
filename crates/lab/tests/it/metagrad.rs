//! The meta-gradient of given weights on a given episode: PyTorch's for a golden case, and clear messages about
//! unusable input.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use innerloop_engine::{Dtype, Params, Tensor};
use innerloop_lab::checkpoint::tensors;
use innerloop_lab::{Computed, Config, ErrorKind, Kept, Result, Which, metagrad, open};
use innerloop_meta::is_of_inner_rule;
use tempfile::TempDir;

use crate::cases::Case;
use crate::runs::{check_refused, complete, load, tiny};

/// A golden case as weights, episodes and a configuration.
struct Given {
    config: Config,
    weights: Params<Tensor>,
    episodes: Vec<Params<Tensor>>,
    case: Case,
}

/// The network's name of a case's parameter; the `fc` layer with the number `last` is the head.
fn own_name(name: &str, last: usize) -> String {
    let (layer, kind) = name.split_once('.').unwrap();
    let index = || layer.trim_start_matches(char::is_alphabetic).parse::<usize>().unwrap() - 1;
    match layer.trim_end_matches(char::is_numeric) {
        "conv" => format!("features.{}.conv.{kind}", index()),
        "bn" => format!("features.{}.norm.{kind}", index()),
        "fc" if index() + 1 != last => format!("features.{}.{kind}", index()),
        _ => format!("head.{kind}"),
    }
}

/// One entry of an array's first axis.
fn entry(array: &Tensor, b: usize) -> Tensor {
    let shape = &array.shape()[1..];
    let n: usize = shape.iter().product();
    let values = (b * n..(b + 1) * n).map(|i| array.get(i)).collect();
    Tensor::from_f64(shape, values)
}

fn given(name: &str) -> Given {
    let case = Case::read(name);
    let (preset, sets): (&str, &[&str]) = match name {
        "mlp_mse" => ("sinusoid-maml", &["model.hidden=[8, 8]", "algorithm.adaptation_steps=5"]),
        "mlp_classes" => {
            let net = ["tasks.ways=4", "model.kind=mlp", "model.hidden=[10]"];
            let inner = ["algorithm.adaptation_steps=3", "algorithm.inner_lr=0.2"];
            ("strokes-maml", &[net.as_slice(), &inner].concat())
        }
        "conv4_16" => {
            let net = ["tasks.ways=2", "model.filters=4"];
            let inner = ["algorithm.adaptation_steps=2", "algorithm.inner_lr=0.1"];
            ("strokes-maml", &[net.as_slice(), &inner].concat())
        }
        "conv4_17" => {
            let net = ["tasks.ways=3", "model.filters=3"];
            let inner = ["algorithm.adaptation_steps=3", "algorithm.inner_lr=0.1"];
            ("strokes-maml", &[net.as_slice(), &inner].concat())
        }
        other => panic!("{other} is no golden case"),
    };
    let last = if name == "mlp_mse" { 3 } else { 2 };
    let parameters = case.arrays.iter().filter_map(|(name, value)| {
        Some((own_name(name.strip_prefix("param.")?, last), value.clone()))
    });
    let names = [("support_x", "xs"), ("support_y", "ys"), ("query_x", "xq"), ("query_y", "yq")];
    let episode = |b: usize| {
        names
            .iter()
            .map(|&(own, theirs)| (own.to_string(), entry(&case.arrays[theirs], b)))
            .collect()
    };
    Given {
        config: load(preset, sets),
        weights: parameters.collect(),
        episodes: (0..case.metadata["batch"].parse().unwrap()).map(episode).collect(),
        case,
    }
}

/// Files in a temporary folder.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Files {
        Files { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, arrays: &Params<Tensor>) -> PathBuf {
        tensors::write(&self.path(name), arrays, &BTreeMap::new()).unwrap();
        self.path(name)
    }

    /// Runs `metagrad`; its return value and what it writes.
    fn run(
        &self,
        config: &Config,
        (weights, episode): (&Params<Tensor>, &Params<Tensor>),
        dtype: Dtype,
    ) -> (Result<Computed>, PathBuf) {
        let out = self.path("out.safetensors");
        let weights = self.write("weights.safetensors", weights);
        let episode = self.write("episode.safetensors", episode);
        (metagrad(config.clone(), (&weights, &episode), dtype, &out), out)
    }
}

fn with_strategy(config: &Config, strategy: &str) -> Config {
    let text = config.to_toml();
    let changed = text.replace("strategy = \"auto\"", &format!("strategy = \"{strategy}\""));
    assert_ne!(text, changed);
    Config::parse(&changed, "config.toml").unwrap()
}

/// ‖a − b‖ / ‖b‖ of numbers taken together.
fn relative(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let whole = norm(&mut b.iter().copied());
    assert!(whole > 1e-6, "a degenerate case: norm {whole}");
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / whole
}

/// The error of the mean gradient over a case's tasks, and the largest of their losses.
fn errors(name: &str, strategy: &str, dtype: Dtype) -> (f64, f64) {
    let given = given(name);
    let config = with_strategy(&given.config, strategy);
    let (mut gradients, mut losses): (Vec<Vec<f64>>, Vec<f64>) = (Vec::new(), Vec::new());
    for episode in &given.episodes {
        let files = Files::new();
        let (result, out) = files.run(&config, (&given.weights, episode), dtype);
        let result = result.unwrap();
        let (written, _) = tensors::read(&out).unwrap();
        let read: Vec<f64> = written["support_losses"].iter().collect();
        assert_eq!(read, result.support_losses);
        assert_eq!(written["query_loss"].get(0), result.query_loss);
        losses.extend(&result.support_losses);
        let names = given.weights.names().iter();
        gradients.push(names.flat_map(|name| written[name].iter().collect::<Vec<_>>()).collect());
        let norm = gradients.last().unwrap().iter().map(|x| x * x).sum::<f64>().sqrt();
        assert!((result.norm - norm).abs() <= 1e-12 * norm, "{} and {norm}", result.norm);
    }
    let n = gradients.len() as f64;
    let mean: Vec<f64> = (0..gradients[0].len())
        .map(|i| gradients.iter().map(|gradient| gradient[i]).sum::<f64>() / n)
        .collect();
    let arrays = &given.case.arrays;
    let expected =
        arrays.iter().filter(|(name, _)| name.starts_with("param.")).flat_map(|(name, _)| {
            let name = name.replace("param.", "f64.meta_grad.");
            arrays[&name].iter().collect::<Vec<_>>()
        });
    let gradient_error = relative(&mean, &expected.collect::<Vec<_>>());
    (gradient_error, relative(&losses, &arrays["f64.inner_loss"].iter().collect::<Vec<_>>()))
}

#[test]
fn the_golden_meta_gradients_come_out() {
    for name in crate::cases::ALL {
        for strategy in ["unrolled", "adjoint"] {
            let (gradient, losses) = errors(name, strategy, Dtype::F64);
            assert!(
                gradient <= 1e-11 && losses <= 1e-11,
                "{name}, {strategy}: {gradient} {losses}"
            );
        }
        let (gradient, losses) = errors(name, "unrolled", Dtype::F32);
        assert!(gradient <= 2e-5 && losses <= 2e-5, "{name}: {gradient} {losses}");
    }
}

#[test]
fn a_checkpoint_gives_the_weights() {
    for (preset, learned) in [
        ("strokes-meta-sgd", "inner_lr.features.0.conv.weight"),
        ("strokes-meta-curvature", "curvature.features.0.conv.weight.mode0"),
        ("strokes-lstm", "lstm.layer.bias"),
    ] {
        check_checkpoint(preset, learned);
    }
}

/// What changes in the course of training is as at the checkpoint, and for plain weights as at the end: MAML++ begins
/// with first derivatives and the losses of all steps, and ends as MAML with learned rates.
#[test]
fn the_gradient_is_of_its_time() {
    let run = tempfile::tempdir().unwrap();
    let sets = ["outer.iterations=4", "algorithm.multi_step_loss_until=0.75"];
    let late = ["algorithm.second_order_from=0.75", "evaluation.validate_every=0"];
    let config =
        tiny("strokes-maml-plus-plus", &[&sets[..], &late, &["run.snapshot_every=2"]].concat());
    complete(&config, run.path());
    let files = Files::new();
    let episode = three_classes();
    let at = files.write("episode.safetensors", &episode);
    let out = files.path("out.safetensors");
    let of = |config: &Config, weights: &Path| {
        metagrad(config.clone(), (weights, &at), Dtype::F64, &out).unwrap();
        tensors::read(&out).unwrap().0
    };
    let maml = ["algorithm.multi_step_loss_until=0", "algorithm.second_order_from=0"];
    let maml = config.with(&maml.map(String::from)).unwrap();
    let middle = run.path().join("snapshots/2.safetensors");
    assert_ne!(of(&config, &middle), of(&maml, &middle));
    let last = run.path().join("last.safetensors");
    assert_eq!(of(&config, &last), of(&maml, &last));
    let trainer = open(run.path(), Which::Last).unwrap();
    let plain = files.write("plain.safetensors", &trainer.experiment.to_torch(&trainer.meta.omega));
    assert_eq!(of(&config, &plain), of(&config, &last));
}

/// An episode of three classes of drawn characters' size.
fn three_classes() -> Params<Tensor> {
    let mut episode = Params::new();
    let pixels =
        |n: usize| (0..n * 784).map(|i| f64::from(i as u32 * 7919 % 101) / 100.0).collect();
    episode.push("support_x", Tensor::from_f64(&[3, 1, 28, 28], pixels(3)));
    episode.push("support_y", Tensor::from_f64(&[3], vec![0.0, 1.0, 2.0]));
    episode.push("query_x", Tensor::from_f64(&[6, 1, 28, 28], pixels(6)));
    episode.push("query_y", Tensor::from_f64(&[6], vec![0.0, 0.0, 1.0, 1.0, 2.0, 2.0]));
    episode
}

/// A checkpoint's weights, and what it has learned of the inner rule, which includes a tensor of this name, are used.
fn check_checkpoint(preset: &str, learned: &str) {
    let run = tempfile::tempdir().unwrap();
    let config = tiny(preset, &["outer.iterations=2", "evaluation.validate_every=0"]);
    complete(&config, run.path());
    let episode = three_classes();
    let files = Files::new();
    let at = files.write("episode.safetensors", &episode);
    let out = files.path("out.safetensors");
    let weights = run.path().join("last.safetensors");
    metagrad(config.clone(), (&weights, &at), Dtype::F32, &out).unwrap();
    let (written, _) = tensors::read(&out).unwrap();
    assert!(written.get(learned).is_some(), "{:?}", written.names());

    // What is learned beside the weights counts: the same weights without it give something else.
    let trainer = open(run.path(), Which::Last).unwrap();
    let omega = trainer.experiment.to_torch(&trainer.meta.omega);
    let (result, same) = files.run(&config, (&omega, &episode), Dtype::F32);
    result.unwrap();
    assert_eq!(tensors::read(&same).unwrap().0, written);
    let theta = omega.filter(|name| !is_of_inner_rule(name));
    let (result, other) = files.run(&config, (&theta, &episode), Dtype::F32);
    result.unwrap();
    assert_ne!(tensors::read(&other).unwrap().0, written);
}

/// A golden case with its weights or its first episode changed is rejected with this kind and these parts.
#[track_caller]
fn check_bad(
    name: &str,
    change: impl FnOnce(&mut Params<Tensor>, &mut Params<Tensor>),
    kind: ErrorKind,
    parts: &[&str],
) {
    let Given { config, mut weights, mut episodes, .. } = given(name);
    change(&mut weights, &mut episodes[0]);
    let files = Files::new();
    let (result, out) = files.run(&config, (&weights, &episodes[0]), Dtype::F64);
    check_refused(result, kind, parts);
    assert!(!out.exists(), "nothing is written after an error");
}

fn array<'a>(of: &'a mut Params<Tensor>, name: &str) -> &'a mut Tensor {
    let at = of.position(name).unwrap();
    &mut of.values_mut()[at]
}

#[test]
fn wrong_weights_are_named() {
    use ErrorKind::Checkpoint;
    let file = "weights.safetensors";
    check_bad(
        "conv4_16",
        |weights, _| *weights = weights.filter(|name| name != "head.bias"),
        Checkpoint,
        &[file, "it has no tensor \"head.bias\""],
    );
    check_bad(
        "conv4_16",
        |weights, _| *array(weights, "head.bias") = Tensor::zeros(Dtype::F32, &[3]),
        Checkpoint,
        &[file, "head.bias has shape [3], expected [2]"],
    );
    check_bad(
        "conv4_16",
        |weights, _| array(weights, "features.2.norm.bias").set(3, f64::NAN),
        Checkpoint,
        &[file, "features.2.norm.bias", "not finite"],
    );
    check_bad(
        "conv4_16",
        |weights, _| weights.push("inner_lr.tail", Tensor::zeros(Dtype::F32, &[2])),
        Checkpoint,
        &[file, "inner_lr.tail", "a meta-parameter this algorithm does not have"],
    );
    check_bad(
        "conv4_16",
        |weights, _| weights.push("curvature.head.bias", Tensor::zeros(Dtype::F32, &[2])),
        Checkpoint,
        &[file, "curvature.head.bias", "a meta-parameter this algorithm does not have"],
    );
    check_bad(
        "conv4_16",
        |weights, _| weights.push("inner_lr.head.bias", Tensor::zeros(Dtype::F32, &[7])),
        Checkpoint,
        &[file, "inner_lr.head.bias has shape [7], expected [2]"],
    );
    check_bad(
        "conv4_16",
        |weights, _| weights.push("inner_lr.head.bias", Tensor::full(Dtype::F32, &[2], f64::NAN)),
        Checkpoint,
        &[file, "inner_lr.head.bias", "not finite"],
    );
    check_bad(
        "conv4_16",
        |weights, _| weights.push("omega/head.bias", Tensor::zeros(Dtype::F32, &[2])),
        Checkpoint,
        &[file, "head.bias", "twice"],
    );
}

#[test]
fn wrong_episodes_are_named() {
    use ErrorKind::Data;
    let file = "episode.safetensors";
    for name in ["support_x", "support_y", "query_x", "query_y"] {
        let lost = |_: &mut Params<Tensor>, e: &mut Params<Tensor>| *e = e.filter(|n| n != name);
        check_bad("conv4_16", lost, Data, &[file, "it has no array", name]);
        let put = |value: Tensor| {
            move |_: &mut Params<Tensor>, e: &mut Params<Tensor>| *array(e, name) = value
        };
        check_bad("conv4_16", put(Tensor::zeros(Dtype::F32, &[0])), Data, &[file, name, "empty"]);
        check_bad("conv4_16", put(Tensor::scalar(Dtype::F32, 1.0)), Data, &[file, "has shape []"]);
        check_bad("mlp_mse", put(Tensor::scalar(Dtype::F32, 1.0)), Data, &[file, "has shape []"]);
        check_bad(
            "mlp_mse",
            put(Tensor::zeros(Dtype::F32, &[2, 3, 4])),
            Data,
            &[file, "has shape"],
        );
        let nan = |_: &mut Params<Tensor>, e: &mut Params<Tensor>| array(e, name).set(0, f64::NAN);
        check_bad("conv4_16", nan, Data, &[file, name, "not finite"]);
    }
    let put = |name: &'static str, value: f64| {
        move |_: &mut Params<Tensor>, e: &mut Params<Tensor>| array(e, name).set(1, value)
    };
    check_bad(
        "conv4_16",
        put("support_y", 2.0),
        Data,
        &["support_y holds label 2, expected 0 to 1"],
    );
    check_bad("conv4_16", put("query_y", -1.0), Data, &["query_y holds label -1"]);
    check_bad("mlp_classes", put("query_y", 0.5), Data, &["query_y holds label 0.5"]);
    let shape = |name: &'static str, shape: &'static [usize]| {
        move |_: &mut Params<Tensor>, e: &mut Params<Tensor>| {
            *array(e, name) = Tensor::zeros(Dtype::F32, shape);
        }
    };
    check_bad("conv4_16", shape("support_x", &[2, 256]), Data, &["expected images [n, c, h, w]"]);
    check_bad(
        "conv4_16",
        shape("query_x", &[4, 1, 8, 8]),
        Data,
        &["query_x has shape [4, 8, 8, 1]"],
    );
    check_bad("conv4_16", shape("query_y", &[3]), Data, &["query_y has shape [3]", "expected [4]"]);
    check_bad("conv4_16", shape("support_y", &[2, 1]), Data, &["support_y", "expected labels [n]"]);
    check_bad(
        "mlp_mse",
        shape("support_y", &[10]),
        Data,
        &["support_y", "expected targets [n, d]"],
    );
    check_bad("mlp_mse", shape("query_y", &[10, 2]), Data, &["query_y has shape [10, 2]"]);
    let small = |_: &mut Params<Tensor>, e: &mut Params<Tensor>| {
        *array(e, "support_x") = Tensor::zeros(Dtype::F32, &[2, 1, 8, 8]);
        *array(e, "query_x") = Tensor::zeros(Dtype::F32, &[4, 1, 8, 8]);
    };
    check_bad("conv4_16", small, ErrorKind::Config, &["8×8", "needs 16×16"]);
    // Inputs of another width do not fit the weights.
    let wide = |_: &mut Params<Tensor>, e: &mut Params<Tensor>| {
        *array(e, "support_x") = Tensor::zeros(Dtype::F32, &[10, 2]);
        *array(e, "query_x") = Tensor::zeros(Dtype::F32, &[10, 2]);
    };
    check_bad("mlp_mse", wide, ErrorKind::Checkpoint, &["features.0.weight has shape [8, 1]"]);
}

#[test]
fn places_and_divergence_are_named() {
    let Given { config, weights, episodes, .. } = given("mlp_mse");
    let files = Files::new();
    let at = files.write("weights.safetensors", &weights);
    let episode = files.write("episode.safetensors", &episodes[0]);
    let none = files.path("none.safetensors");
    let out = files.path("out.safetensors");
    let run = |weights: &Path, episode: &Path, out: &Path| {
        metagrad(config.clone(), (weights, episode), Dtype::F64, out)
    };
    check_refused(run(&none, &episode, &out), ErrorKind::Checkpoint, &["there is no file"]);
    check_refused(run(&at, &none, &out), ErrorKind::Checkpoint, &["there is no file"]);
    let nowhere = at.join("out.safetensors");
    check_refused(run(&at, &episode, &nowhere), ErrorKind::Io, &["a part of the path is a file"]);

    let mut config = config.clone();
    config.algorithm.inner_lr = 1e200;
    let diverged = metagrad(config, (&at, &episode), Dtype::F64, &out);
    check_refused(diverged, ErrorKind::Diverged, &["diverged", "lower algorithm.inner_lr"]);
    assert!(!out.exists());
}
