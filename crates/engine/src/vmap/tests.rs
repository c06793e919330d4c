//! A mapped computation gives what running example by example gives. Every operation is covered: the derivative cases,
//! which are complete, are mapped too.

use proptest::prelude::*;

use super::vmap;
use crate::autodiff::{grad, hvp, vjp};
use crate::check::{assert_close, evaluate, random};
use crate::graph::{Graph, Var, Window};
use crate::key::Key;
use crate::tensor::Tensor;

const EXAMPLES: usize = 3;

/// Maps a function and its vector-Jacobian products over every choice of its inputs and compares with one example after
/// another. Only operations that multiply with kernels may have no mapped form.
#[track_caller]
pub(crate) fn check_mapped(shapes: &[&[usize]], f: impl for<'g> Fn(&[Var<'g>]) -> Vec<Var<'g>>) {
    let graph = Graph::new();
    let inputs: Vec<Var<'_>> = shapes.iter().map(|s| graph.input("x", s)).collect();
    let mut outputs = f(&inputs);
    let cotangents: Vec<Var<'_>> = outputs.iter().map(|&y| y * 0.5).collect();
    outputs.extend(vjp(&outputs, &cotangents, &inputs));
    for choice in 0..1_usize << shapes.len() {
        let mapped: Vec<bool> = (0..shapes.len()).map(|i| choice >> i & 1 == 1).collect();
        let can = |y: &Var<'_>| match vmap(&Graph::new(), &[*y], &mapped, EXAMPLES) {
            Ok(_) => true,
            Err(error) => {
                assert!(error.op.starts_with("conv"), "{error}");
                false
            }
        };
        let able: Vec<Var<'_>> = outputs.iter().copied().filter(can).collect();
        let values = |example: usize| -> Vec<Tensor> {
            let key =
                |i: usize| Key::new(7).at(if mapped[i] { example as u64 } else { 0 }, i as u64);
            shapes.iter().enumerate().map(|(i, shape)| random(key(i), shape, 0.7)).collect()
        };
        compare(&able, &mapped, &[0, 1, 2].map(values));
    }
}

/// The mapped outputs are the examples' outputs joined, where each example has its own values of all inputs.
#[track_caller]
fn compare(outputs: &[Var<'_>], mapped: &[bool], examples: &[Vec<Tensor>; EXAMPLES]) {
    let Some(first) = outputs.first() else { return };
    let many = Graph::new();
    let results = vmap(&many, outputs, mapped, EXAMPLES).unwrap();
    let input = |i: usize| match mapped[i] {
        true => stack(examples, i),
        false => examples[0][i].clone(),
    };
    let inputs: Vec<Tensor> = (0..mapped.len()).map(input).collect();
    let alone = examples.each_ref().map(|values| evaluate(first.graph(), outputs, values));
    for (i, got) in evaluate(&many, &results, &inputs).iter().enumerate() {
        assert_close(&format!("output {i}, mapped {mapped:?}"), got, &stack(&alone, i), 1e-12);
    }
}

/// Tensor `i` of every example, stacked along a new first axis.
fn stack(examples: &[Vec<Tensor>; EXAMPLES], i: usize) -> Tensor {
    let shape = [&[EXAMPLES], examples[0][i].shape()].concat();
    Tensor::from_f64(&shape, examples.iter().flat_map(|values| values[i].iter()).collect())
}

#[test]
fn what_is_shared_is_computed_once() {
    let graph = Graph::new();
    let (x, w) = (graph.input("x", &[2, 3]), graph.input("w", &[3, 3]));
    let many = Graph::new();
    let y = vmap(&many, &[x.matmul(w.tanh())], &[true, false], 4).unwrap();
    let text = many.print(&y);
    assert!(text.contains("[3, 3] = tanh") && text.contains("[8, 3] = matmul"), "{text}");
    let many = Graph::new();
    let constant = vmap(&many, &[graph.full(&[2], 3.0)], &[true, false], 4).unwrap();
    assert_eq!(constant[0].shape(), [4, 2], "every result has the leading axis");
}

#[test]
fn what_has_no_mapped_form() {
    let graph = Graph::new();
    let (x, w) = (graph.input("x", &[1, 3, 3, 1]), graph.input("w", &[2, 2, 1, 1]));
    let y = x.conv(w, Window::square(2, 1, 0));
    let error = vmap(&Graph::new(), &[y], &[true, true], 2).unwrap_err();
    assert_eq!(error.to_string(), "conv cannot be computed for many examples at once");
    let dw = grad((y * y).sum(), &[w])[0];
    assert_eq!(vmap(&Graph::new(), &[dw], &[true, false], 2).unwrap_err().op, "conv_weight_grad");
    let deep = graph.input("deep", &[1, 1, 1, 1, 1, 1, 1, 2]).exp();
    let mapped = [false, false, true];
    assert_eq!(vmap(&Graph::new(), &[deep], &mapped, 2).unwrap_err().op, "input#2");
}

proptest! {
    /// Perceptrons of any size, with first and second derivatives, and any choice of mapped inputs.
    #[test]
    fn perceptrons(
        sizes in prop::collection::vec(1_usize..5, 2..5),
        rows in 1_usize..5,
        choice in any::<u32>(),
    ) {
        let graph = Graph::new();
        let mut shapes = vec![vec![rows, sizes[0]]];
        shapes.extend(sizes.windows(2).flat_map(|pair| [vec![pair[1], pair[0]], vec![pair[1]]]));
        let inputs: Vec<Var<'_>> = shapes.iter().map(|s| graph.input("x", s)).collect();
        let (x, weights) = inputs.split_first().unwrap();
        let hidden = weights.chunks(2).fold(*x, |h, w| (h.matmul_t(w[0]) + w[1]).tanh());
        let loss = (hidden * hidden).mean();
        let gradient = grad(loss, weights);
        let second = hvp(loss, weights, &gradient, weights);
        let mut outputs = vec![loss, hidden];
        outputs.extend(gradient.iter().chain(&second));
        let mapped: Vec<bool> = (0..shapes.len()).map(|i| choice >> i & 1 == 1).collect();
        let values = |e: usize| -> Vec<Tensor> {
            let key = |i: usize| Key::new(9).at(if mapped[i] { e as u64 } else { 0 }, i as u64);
            shapes.iter().enumerate().map(|(i, shape)| random(key(i), shape, 0.7)).collect()
        };
        compare(&outputs, &mapped, &[0, 1, 2].map(values));
    }
}
