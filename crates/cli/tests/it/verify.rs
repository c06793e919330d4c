//! `verify` and `metagrad` on PyTorch's numbers.

use std::collections::BTreeMap;

use innerloop::engine::{Params, Tensor};
use innerloop::lab::checkpoint::tensors;

use crate::command::{Place, golden};

#[test]
fn a_golden_case_is_verified() {
    let place = Place::new();
    let case = golden("mlp_classes");
    let case = case.to_str().unwrap();
    let both = place.run(&["verify", case]).ok();
    for part in
        ["strategy unrolled", "strategy adjoint", "meta_grad in all", "within the tolerance 1e-11"]
    {
        assert!(both.contains(part), "{part}: {both}");
    }
    assert!(both.ends_with("verified\n"), "{both}");
    let one = ["verify", case, "--dtype", "f32", "--strategy", "adjoint", "--out", "g.safetensors"];
    let one = place.run(&one).ok();
    assert!(
        !one.contains("unrolled") && one.contains("decisions flipped by rounding: 0 of"),
        "{one}"
    );
    let (ours, _) = tensors::read(&place.path("g.safetensors")).unwrap();
    assert!(ours.get("f32.meta_grad.fc1.weight").is_some(), "{:?}", ours.names());
}

#[test]
fn a_mismatch_is_1() {
    let place = Place::new();
    let (arrays, metadata) = tensors::read(&golden("mlp_classes")).unwrap();
    let wrong = arrays.map_named(|name, value| {
        let mut value = value.clone();
        if name == "f64.meta_grad.fc2.bias" {
            value.set(0, value.get(0) * (1.0 + 1e-6));
        }
        value
    });
    tensors::write(&place.path("wrong.safetensors"), &wrong, &metadata).unwrap();
    let verified = place.run(&["verify", "wrong.safetensors"]);
    assert!(verified.stdout.contains("NOT within the tolerance"), "{}", verified.stdout);
    let parts =
        ["meta_grad.fc2.bias with strategy unrolled: relative error", "expected at most 1e-11"];
    verified.fails(1, &parts);
}

#[test]
fn a_meta_gradient_is_written() {
    let place = Place::new();
    let (case, metadata) = tensors::read(&golden("mlp_classes")).unwrap();
    let own = [("fc1", "features.0"), ("fc2", "head")];
    let weights: Params<Tensor> = own
        .iter()
        .flat_map(|(theirs, own)| {
            ["weight", "bias"]
                .map(|kind| (format!("param.{theirs}.{kind}"), format!("{own}.{kind}")))
        })
        .map(|(theirs, own)| (own, case[&theirs].clone()))
        .collect();
    tensors::write(&place.path("weights"), &weights, &BTreeMap::new()).unwrap();
    let names = [("support_x", "xs"), ("support_y", "ys"), ("query_x", "xq"), ("query_y", "yq")];
    let episode = names.iter().map(|&(own, theirs)| {
        let all = &case[theirs];
        let shape = &all.shape()[1..];
        let first = (0..shape.iter().product()).map(|i| all.get(i)).collect();
        (own.to_string(), Tensor::from_f64(shape, first))
    });
    tensors::write(&place.path("episode"), &episode.collect(), &BTreeMap::new()).unwrap();
    let run = |strategy: &str, out: &str| {
        let lr = format!("algorithm.inner_lr={}", metadata["lr"]);
        let sets = [
            "tasks.ways=4",
            "model.kind=mlp",
            "model.hidden=[10]",
            "algorithm.adaptation_steps=3",
            &lr,
        ];
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        let files = ["--weights", "weights", "--episode", "episode", "--out", out];
        let how = ["--dtype", "f64", "--strategy", strategy];
        let head = ["metagrad", "--config", "strokes-maml"];
        place.run(&[&head[..], &files, &how, &sets].concat()).ok()
    };
    let shown = run("unrolled", "g.safetensors");
    let loss = format!("query loss                  {:.6}", case["f64.query_loss"].get(0));
    assert!(shown.contains(&loss), "{loss}: {shown}");
    assert!(
        shown.contains("support loss after 3 steps") && shown.contains("norm of the meta-gradient")
    );
    assert!(shown.ends_with("written to g.safetensors\n"), "{shown}");
    assert_eq!(run("adjoint", "h.safetensors").lines().count(), shown.lines().count());
    let (g, _) = tensors::read(&place.path("g.safetensors")).unwrap();
    let (h, _) = tensors::read(&place.path("h.safetensors")).unwrap();
    for (name, value) in g.iter() {
        let apart =
            value.iter().zip(h[name].iter()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart <= 1e-12, "{name}: {apart}");
    }
    let bad = [
        "metagrad",
        "--config",
        "strokes-maml",
        "--weights",
        "episode",
        "--episode",
        "episode",
        "--out",
        "x",
    ];
    let net = ["--set", "model.kind=mlp", "--set", "tasks.ways=4", "--set", "model.hidden=[10]"];
    place.run(&[&bad[..], &net].concat()).fails(5, &["it has no tensor \"features.0.weight\""]);
    assert!(!place.path("x").exists());
}
