//! PyTorch's meta-gradients are reproduced, deviations from them are noticed, and invalid files are reported with the
//! reason.

use std::fs;

use innerloop_engine::Dtype;
use innerloop_lab::checkpoint::tensors;
use innerloop_lab::{ErrorKind, TOLERANCE_F32, TOLERANCE_F64, Verification, verify};
use innerloop_meta::Strategy;

use crate::cases::{ALL, Case, golden, reshape, truncated};
use crate::runs::check_refused;

const BOTH: [Strategy; 2] = [Strategy::Unrolled, Strategy::Adjoint];

/// Verifies a case in double precision with one strategy.
fn one(case: &Case) -> Verification {
    let (_folder, path) = case.write();
    verify(&path, Dtype::F64, &[Strategy::Adjoint], None).unwrap().remove(0)
}

#[test]
fn pytorch_is_reproduced_in_double_precision() {
    for name in ALL {
        let results = verify(&golden(name), Dtype::F64, &BOTH, None).unwrap();
        assert_eq!(results.len(), 2);
        for result in results {
            assert!(result.passed(), "{name}: {result}");
            assert_eq!((result.tolerance, result.flips), (TOLERANCE_F64, None));
            let names: Vec<&str> = result.comparisons.iter().map(|c| c.name.as_str()).collect();
            for array in ["meta_grad in all", "query_loss", "query_logits", "inner_loss", "lr_grad"]
            {
                assert!(names.contains(&array), "{name}: {names:?}");
            }
        }
    }
}

#[test]
fn intermediate_results_beside_a_case_are_compared_too() {
    for name in ["mlp_mse", "conv4_16"] {
        for result in verify(&golden(name), Dtype::F64, &BOTH, None).unwrap() {
            for group in ["fomaml_grad", "task0.support_grad", "task0.hvp_g", "task0.fast"] {
                let found = result.comparisons.iter().find(|c| c.name == format!("{group} in all"));
                assert!(found.is_some_and(|c| c.error <= TOLERANCE_F64), "{name}: {result}");
            }
        }
    }
}

#[test]
fn pytorch_is_reproduced_in_single_precision() {
    for name in ALL {
        for result in verify(&golden(name), Dtype::F32, &BOTH, None).unwrap() {
            assert!(result.passed(), "{name}: {result}");
            let (flips, all) = result.flips.unwrap();
            assert!(all > 0);
            // These cases are far from the edge of any decision.
            assert_eq!((flips, result.tolerance), (0, TOLERANCE_F32), "{name}");
        }
    }
}

/// Names of the arrays that a case expects.
fn expected(case: &Case) -> Vec<String> {
    let names = case.arrays.names().iter().filter(|name| name.starts_with("f64."));
    names.cloned().collect()
}

#[test]
fn a_wrong_number_is_noticed() {
    for name in ["mlp_mse", "conv4_16"] {
        let case = Case::read(name);
        let mut noticed = 0;
        for array in expected(&case) {
            let mut wrong = case.clone();
            for i in 0..wrong.array(&array).len() {
                let value = wrong.array(&array).get(i);
                wrong.array(&array).set(i, value * (1.0 + 1e-9));
            }
            let result = one(&wrong);
            let short = array.trim_start_matches("f64.");
            let comparison = result.comparisons.iter().find(|c| c.name == short).unwrap();
            if !comparison.negligible {
                assert!(!result.passed(), "{name}: {array} is off by 1e-9: {result}");
                assert!((comparison.error - 1e-9).abs() <= 1e-11, "{name}: {comparison}");
                noticed += 1;
            }
        }
        assert!(noticed >= 10, "{name}: {noticed}");
    }
}

#[test]
fn a_tensor_that_should_be_zero_is_held_against_the_whole() {
    // A bias before batch norm has no gradient; claiming one must still be noticed.
    let mut case = Case::read("conv4_16");
    let result = one(&case);
    let bias = result.comparisons.iter().find(|c| c.name == "meta_grad.conv1.bias").unwrap();
    assert!(bias.negligible && bias.error <= TOLERANCE_F64, "{bias}");
    let bias = case.array("f64.meta_grad.conv1.bias");
    (0..bias.len()).for_each(|i| bias.set(i, 1e-6));
    assert!(!one(&case).passed());
}

#[test]
fn nothing_passes_against_a_nan() {
    for name in ["mlp_classes", "conv4_16"] {
        let case = Case::read(name);
        for array in expected(&case) {
            for value in [f64::NAN, f64::INFINITY] {
                let mut wrong = case.clone();
                wrong.array(&array).set(0, value);
                let result = one(&wrong);
                assert!(!result.passed(), "{name}: {array} with {value}: {result}");
                let worst = result.worst().unwrap();
                let wrong = worst.error.is_nan() || worst.error > result.tolerance;
                assert!(wrong, "{name}: {array}: {worst}");
                assert!(result.to_string().contains("NOT within"), "{result}");
            }
        }
    }
}

#[test]
fn a_first_order_gradient_is_noticed() {
    let mut case = Case::read("mlp_mse");
    let extra = Case::read("mlp_mse_extra");
    for (name, value) in extra.arrays.iter() {
        if let Some(parameter) = name.strip_prefix("f64.fomaml_grad.") {
            *case.array(&format!("f64.meta_grad.{parameter}")) = value.clone();
        }
    }
    let (_folder, path) = case.write();
    for dtype in [Dtype::F64, Dtype::F32] {
        for result in verify(&path, dtype, &BOTH, None).unwrap() {
            assert!(!result.passed(), "{dtype}: {result}");
            assert!(result.worst().unwrap().name.starts_with("meta_grad"), "{result}");
        }
    }
}

#[test]
fn own_results_are_written_under_the_files_names() {
    for name in ["mlp_classes", "conv4_17"] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("ours.safetensors");
        verify(&golden(name), Dtype::F64, &[Strategy::Unrolled], Some(&out)).unwrap();
        let (ours, metadata) = tensors::read(&out).unwrap();
        let case = Case::read(name);
        assert_eq!(metadata, case.metadata);
        for array in expected(&case) {
            let (a, b) = (&ours[&array], &case.arrays[&array]);
            assert_eq!(a.shape(), b.shape(), "{array}");
            let worst = a.iter().zip(b.iter()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst <= 1e-11, "{name}: {array} differs by {worst}");
        }
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let result = verify(&golden("mlp_mse"), Dtype::F64, &BOTH, Some(&file.path().join("x")));
    check_refused(result, ErrorKind::Io, &["cannot write", "a part of the path is a file"]);
}

/// A case that was changed is rejected with a message containing these parts.
#[track_caller]
fn check_bad(name: &str, change: impl FnOnce(&mut Case), parts: &[&str]) {
    let mut case = Case::read(name);
    change(&mut case);
    let (_folder, path) = case.write();
    let result = verify(&path, Dtype::F64, &BOTH, None);
    check_refused(result, ErrorKind::Checkpoint, &[&["case.safetensors"], parts].concat());
}

#[test]
fn files_that_are_none_are_refused() {
    for size in [0, 7, 8, 100, 2000, 8000] {
        let (_folder, path) = truncated("mlp_classes", size);
        let parts = ["is not an intact safetensors file", "copy or make it again"];
        let result = verify(&path, Dtype::F64, &BOTH, None);
        check_refused(result, ErrorKind::Checkpoint, &parts);
    }
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none.safetensors");
    let result = verify(&none, Dtype::F64, &BOTH, None);
    check_refused(result, ErrorKind::Checkpoint, &["there is no file"]);
    let result = verify(folder.path(), Dtype::F64, &BOTH, None);
    check_refused(result, ErrorKind::Checkpoint, &["is a folder"]);
    // A damaged file of intermediate results is not ignored.
    fs::copy(golden("mlp_mse"), folder.path().join("case.safetensors")).unwrap();
    fs::write(folder.path().join("case_extra.safetensors"), "no").unwrap();
    let result = verify(&folder.path().join("case.safetensors"), Dtype::F64, &BOTH, None);
    check_refused(result, ErrorKind::Checkpoint, &["case_extra.safetensors", "is not an intact"]);
}

#[test]
fn missing_arrays_are_named() {
    for array in ["xs", "ys", "xq", "yq", "param.conv1.weight", "param.head.bias"] {
        check_bad("conv4_16", |case| case.remove(array), &[array, "missing"]);
    }
    check_bad(
        "conv4_16",
        |case| case.remove("f64.meta_grad.bn2.weight"),
        &["meta_grad.bn2.weight"],
    );
    let no_answer = |case: &mut Case| {
        case.arrays = case.arrays.filter(|name| !name.starts_with("f64."));
    };
    check_bad("mlp_mse", no_answer, &["f64.meta_grad"]);
    let no_gradient = |case: &mut Case| {
        case.arrays = case.arrays.filter(|name| !name.starts_with("f64.meta_grad."));
    };
    check_bad("mlp_mse", no_gradient, &["f64.meta_grad"]);
    let no_metadata = |case: &mut Case| case.metadata.clear();
    check_bad("mlp_mse", no_metadata, &["metadata has no", "docs/verify.md"]);
}

#[test]
fn wrong_shapes_are_named() {
    let shape = |array: &'static str, shape: &'static [usize]| {
        move |case: &mut Case| reshape(case.array(array), shape)
    };
    let scalar = |array: &'static str| {
        move |case: &mut Case| {
            *case.array(array) = innerloop_engine::Tensor::scalar(Dtype::F32, 1.0)
        }
    };
    check_bad("conv4_16", shape("xs", &[2, 2, 16, 16]), &["xs has shape [2, 2, 16, 16]", "5 axes"]);
    check_bad("conv4_16", shape("xs", &[2, 2, 1, 8, 32]), &["xs has shape", "[2, 2, 1, 16, 16]"]);
    check_bad("conv4_16", shape("xs", &[1, 4, 1, 16, 16]), &["xs has shape", "the first 2"]);
    check_bad("conv4_16", shape("yq", &[4, 2]), &["yq has shape [4, 2], expected [2, 4]"]);
    check_bad(
        "conv4_16",
        shape("param.head.weight", &[4, 2]),
        &["param.head.weight has shape [4, 2]"],
    );
    check_bad("conv4_16", shape("param.bn1.bias", &[2, 2]), &["param.bn1.bias has shape [2, 2]"]);
    for array in ["xs", "ys", "xq", "yq", "param.bn1.bias"] {
        check_bad("conv4_16", scalar(array), &[array, "has shape []"]);
    }
    // An answer of another shape is not an error of the file's format, but never correct.
    let mut case = Case::read("mlp_mse");
    reshape(case.array("f64.query_loss"), &[1, 2]);
    assert!(!one(&case).passed());
    reshape(case.array("f64.query_loss"), &[2]);
    reshape(case.array("f64.meta_grad.fc1.weight"), &[1, 8]);
    assert!(!one(&case).passed());
}

#[test]
fn wrong_numbers_in_the_data_are_named() {
    let put =
        |array: &'static str, value: f64| move |case: &mut Case| case.array(array).set(1, value);
    check_bad("conv4_16", put("ys", 2.0), &["ys of task 0 holds label 2, expected 0 to 1"]);
    check_bad("conv4_16", put("yq", -1.0), &["yq of task 0 holds label -1"]);
    check_bad("mlp_classes", put("ys", 0.5), &["ys of task 0 holds label 0.5"]);
    check_bad("mlp_classes", put("xq", f64::NAN), &["xq of task 0 holds NaN at 1"]);
    check_bad("mlp_mse", put("ys", f64::INFINITY), &["ys of task 0 holds inf at 1"]);
    check_bad("mlp_mse", put("param.fc2.bias", f64::NAN), &["param.fc2.bias", "not finite"]);
}

#[test]
fn wrong_metadata_is_named() {
    let set = |key: &'static str, value: &'static str| move |case: &mut Case| case.set(key, value);
    let bad = |name: &str, key: &'static str, value: &'static str, part: &str| {
        check_bad(name, set(key, value), &[key, value, part]);
    };
    bad("conv4_16", "net", "resnet", "expected \"conv4\" or \"mlp\"");
    bad("conv4_16", "loss", "hinge", "expected \"cross_entropy\" or \"mse\"");
    bad("conv4_16", "lr", "fast", "expected a number");
    bad("conv4_16", "lr", "NaN", "expected");
    bad("conv4_16", "lr", "inf", "expected");
    bad("conv4_16", "steps", "-1", "expected a number");
    bad("conv4_16", "steps", "2.5", "expected a number");
    bad("conv4_16", "steps", "100001", "at most 100000");
    bad("conv4_16", "batch", "0", "expected 1 to");
    bad("conv4_16", "batch", "1e9", "expected a number");
    bad("conv4_16", "filters", "0", "expected 1 to");
    bad("conv4_16", "filters", "99999999999999999999", "expected a number");
    bad("conv4_16", "size", "15", "needs 16");
    bad("conv4_16", "bn_eps", "small", "expected a number");
    bad("mlp_mse", "sizes", "[1, 8, 0, 1]", "expected sizes");
    bad("mlp_mse", "sizes", "[1, -8, 1]", "expected sizes");
    bad("mlp_mse", "sizes", "one", "expected sizes");
    bad("mlp_mse", "sizes", "[]", "expected sizes");
    bad("mlp_mse", "sizes", "[1]", "at least input and output");
    bad("mlp_classes", "ways", "5", "4");
    check_bad("conv4_16", set("ways", "3"), &["param.head.weight has shape", "[3, 4]"]);
    check_bad("conv4_16", set("batch", "3"), &["xs has shape", "the first 3"]);
    check_bad("conv4_16", set("size", "32"), &["expected"]);
    check_bad("conv4_16", set("ch", "1048576"), &["param.conv1.weight has shape"]);
    check_bad("conv4_16", set("filters", "1048576"), &["has shape"]);
    check_bad("mlp_mse", set("sizes", "[1, 8, 1]"), &["param_order"]);
    check_bad("mlp_mse", set("sizes", "[1, 8, 9, 1]"), &["has shape"]);
    check_bad("mlp_mse", set("sizes", "[1, 99999999999999, 99999999999999, 1]"), &["has shape"]);
    check_bad("mlp_mse", set("net", "conv4"), &["size"]);
    check_bad("mlp_mse", set("loss", "cross_entropy"), &["ys has shape"]);
    check_bad("conv4_16", |case| drop(case.metadata.remove("lr")), &["metadata has no \"lr\""]);
    // Another number of steps than that of the answers gives other answers.
    let mut case = Case::read("mlp_mse");
    case.set("steps", "4");
    assert!(!one(&case).passed());
    case.set("steps", "0");
    assert!(!one(&case).passed());
}

#[test]
fn the_order_of_parameters_is_checked_and_used() {
    let order = |change: fn(Vec<&str>) -> Vec<&str>| {
        move |case: &mut Case| {
            let old = case.metadata["param_order"].clone();
            let new = change(old.split(',').collect()).join(",");
            case.set("param_order", &new);
        }
    };
    let parts = ["param_order is", "expected the parameters of the network"];
    check_bad("mlp_mse", order(|names| names[1..].to_vec()), &parts);
    check_bad("mlp_mse", order(|names| [&names[..], &["fc4.bias"]].concat()), &parts);
    check_bad("mlp_mse", order(|names| [&names[1..], &names[1..2]].concat()), &parts);
    check_bad("mlp_mse", order(|_| vec![""]), &parts);
    // Another order is allowed, and means other columns of lr_grad.
    let mut case = Case::read("mlp_mse");
    order(|names| names.into_iter().rev().collect())(&mut case);
    let result = one(&case);
    let wrong: Vec<&str> = result
        .comparisons
        .iter()
        .filter(|c| c.error > result.tolerance)
        .map(|c| c.name.as_str())
        .collect();
    assert_eq!(wrong, ["lr_grad"]);
    // Without an order, that of the network is used.
    let mut case = Case::read("mlp_mse");
    case.metadata.remove("param_order");
    assert!(one(&case).passed());
}
