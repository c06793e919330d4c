//! Every operation: derivatives to order 3 against finite differences, and a check against the op enum that finds
//! operations without a case.

use std::collections::BTreeSet;

use super::{grad, hvp, jvp, vjp};
use crate::check::{check_derivatives, evaluate, random};
use crate::graph::{Binary, Graph, Op, Unary, Var, Window, live};
use crate::key::Key;
use crate::tensor::{Dtype, Tensor};
use crate::vmap::tests::check_mapped;

/// Names every kind of operation. The match has no wildcard, so a new variant does not build until it is
/// listed here, and a listed kind without a case fails `every_operation_has_a_case`.
macro_rules! kinds {
    ($($pattern:pat => $name:literal),* $(,)?) => {
        const KINDS: &[&str] = &[$($name),*];

        fn kind(op: &Op) -> &'static str {
            match op {
                $($pattern => $name),*
            }
        }
    };
}

kinds! {
    Op::Input(_) => "input",
    Op::Const(_) => "const",
    Op::StopGradient(..) => "stop_gradient",
    Op::Unary(Unary::Neg, _) => "neg",
    Op::Unary(Unary::Exp, _) => "exp",
    Op::Unary(Unary::Log, _) => "log",
    Op::Unary(Unary::Sqrt, _) => "sqrt",
    Op::Unary(Unary::Recip, _) => "recip",
    Op::Unary(Unary::Tanh, _) => "tanh",
    Op::Unary(Unary::Sin, _) => "sin",
    Op::Unary(Unary::Cos, _) => "cos",
    Op::Unary(Unary::Relu, _) => "relu",
    Op::Unary(Unary::Step, _) => "step",
    Op::Unary(Unary::Sign, _) => "sign",
    Op::Binary(Binary::Add, ..) => "add",
    Op::Binary(Binary::Sub, ..) => "sub",
    Op::Binary(Binary::Mul, ..) => "mul",
    Op::Reshape(_) => "reshape",
    Op::Transpose(..) => "transpose",
    Op::Expand(_) => "expand",
    Op::SumTo(_) => "sum_to",
    Op::Deviation(_) => "deviation",
    Op::Slice(..) => "slice",
    Op::Pad(..) => "pad",
    Op::Concat(..) => "concat",
    Op::MatMul { ta: false, tb: false, .. } => "matmul",
    Op::MatMul { ta: true, tb: false, .. } => "matmul_ta",
    Op::MatMul { ta: false, tb: true, .. } => "matmul_tb",
    Op::MatMul { ta: true, tb: true, .. } => "matmul_ta_tb",
    Op::Conv { .. } => "conv",
    Op::ConvInputGrad { .. } => "conv_input_grad",
    Op::ConvWeightGrad { .. } => "conv_weight_grad",
    Op::PoolArgmax { .. } => "pool_argmax",
    Op::PoolPick { .. } => "pool_pick",
    Op::PoolPut { .. } => "pool_put",
    Op::PoolSum { .. } => "pool_sum",
    Op::PoolSpread { .. } => "pool_spread",
    Op::ArgMax(_) => "argmax",
    Op::OneHot(_) => "one_hot",
}

/// The kinds of operation whose derivatives have been checked.
#[derive(Default)]
struct Checked(BTreeSet<&'static str>);

impl Checked {
    /// Derivatives to order 3 at a random point of the given shapes; and the mapped form.
    #[track_caller]
    fn case(&mut self, shapes: &[&[usize]], f: impl for<'g> Fn(&[Var<'g>]) -> Vec<Var<'g>>) {
        let graph = Graph::new();
        let inputs: Vec<Var<'_>> = shapes.iter().map(|s| graph.input("x", s)).collect();
        let ids: Vec<_> = f(&inputs).iter().map(|y| y.id).collect();
        let nodes = graph.nodes();
        self.0.extend(live(&nodes, &ids).into_iter().map(|id| kind(&nodes[id as usize].op)));
        drop(nodes);
        check_derivatives(&f, &point(shapes), 3, 1e-6).unwrap();
        check_mapped(shapes, &f);
    }
}

fn point(shapes: &[&[usize]]) -> Vec<Tensor> {
    shapes.iter().enumerate().map(|(i, s)| random(Key::new(5).at(0, i as u64), s, 0.7)).collect()
}

fn elementwise(checked: &mut Checked) {
    checked.case(&[&[7]], |v| vec![-v[0]]);
    checked.case(&[&[7]], |v| vec![v[0].exp()]);
    checked.case(&[&[7]], |v| vec![(v[0] * v[0] + 1.0).log()]);
    checked.case(&[&[7]], |v| vec![(v[0] * v[0] + 1.0).sqrt()]);
    checked.case(&[&[7]], |v| vec![(v[0] * v[0] + 1.0).recip()]);
    checked.case(&[&[7]], |v| vec![v[0].tanh()]);
    checked.case(&[&[7]], |v| vec![v[0].sin()]);
    checked.case(&[&[7]], |v| vec![v[0].cos()]);
    checked.case(&[&[7]], |v| vec![v[0].sigmoid()]);
    checked.case(&[&[7]], |v| vec![v[0].relu() * v[0]]);
    checked.case(&[&[7]], |v| vec![v[0].step() * v[0], v[0].sign() * v[0]]);
    checked.case(&[&[7], &[7]], |v| vec![v[0] + v[1], v[0] - v[1], v[0] * v[1]]);
    checked.case(&[&[7], &[7]], |v| vec![v[0] / (v[1] * v[1] + 1.0)]);
    // What is stopped here does not vary, so the derivative is whole; see also `stopped_gradients`.
    checked.case(&[&[7]], |v| vec![v[0] * v[0].full_like(2.0).stop_gradient() * v[0]]);
}

fn broadcasting(checked: &mut Checked) {
    checked.case(&[&[2, 3, 4], &[4]], |v| vec![v[0] * v[1] * v[0]]);
    checked.case(&[&[2, 3, 4], &[3, 1]], |v| vec![v[0] * v[1] * v[0]]);
    checked.case(&[&[2, 3, 4], &[2, 1, 4]], |v| vec![v[0] * v[1] * v[0]]);
    checked.case(&[&[2, 3, 4], &[]], |v| vec![v[0] * v[1] * v[1]]);
    checked.case(&[&[2, 3, 4, 2], &[3, 1, 2]], |v| vec![v[0] * v[1] * v[1]]);
    checked.case(&[&[2, 3, 2, 3, 2], &[2, 1, 2, 1, 2]], |v| vec![(v[0] * v[1]).tanh()]);
    checked.case(&[&[2, 3, 4], &[1, 3, 1], &[2, 1, 4]], |v| vec![v[0] * v[1] * v[2]]);
}

fn sums(checked: &mut Checked) {
    for to in [&[][..], &[4], &[3, 1], &[2, 1, 4], &[2, 1, 1], &[1, 3, 1]] {
        checked.case(&[&[2, 3, 4]], |v| vec![(v[0] * v[0] * v[0]).sum_to(to)]);
        checked.case(&[&[2, 3, 4]], |v| vec![v[0].tanh().deviation_to(to).sqrt()]);
    }
    checked.case(&[&[2, 3, 2, 3, 2]], |v| vec![(v[0] * v[0] * v[0]).sum_to(&[2, 1, 2, 1, 2])]);
    checked.case(&[&[2, 3, 2, 3, 2]], |v| vec![v[0].tanh().deviation_to(&[2, 1, 2, 1, 2])]);
    checked.case(&[&[2, 3]], |v| vec![v[0].tanh().mean() * v[0].sum(), v[0].dot(v[0].exp())]);
}

fn shapes(checked: &mut Checked) {
    checked.case(&[&[2, 3, 4]], |v| vec![v[0].reshape(&[6, 4]).tanh()]);
    checked.case(&[&[2, 3, 4]], |v| vec![v[0].transpose(&[2, 0, 1]).tanh()]);
    checked.case(&[&[4, 5]], |v| vec![v[0].slice(&[1, 2], &[2, 3]).tanh()]);
    checked.case(&[&[2, 3]], |v| vec![(v[0].pad(&[1, 2], &[4, 6]) + 0.3).tanh()]);
    checked.case(&[&[2, 3], &[2, 1], &[2, 2]], |v| {
        vec![v[0].graph().concat(&[v[0], v[1], v[2], v[0]], 1).tanh()]
    });
    checked.case(&[&[2, 3], &[1, 3]], |v| vec![v[0].graph().concat(v, 0).tanh()]);
}

fn matrix_products(checked: &mut Checked) {
    checked.case(&[&[3, 4], &[4, 2]], |v| vec![v[0].matmul(v[1]).tanh()]);
    checked.case(&[&[3, 4], &[2, 4]], |v| vec![v[0].matmul_t(v[1]).tanh()]);
    checked.case(&[&[2, 3, 4], &[2, 4, 2]], |v| vec![v[0].matmul(v[1]).tanh()]);
    // Derivatives of derivatives visit every combination of transpositions.
    checked.case(&[&[3, 3]], |v| vec![v[0].matmul(v[0]).matmul_t(v[0])]);
    for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
        let (a, b) =
            (if ta { [2, 4, 3] } else { [2, 3, 4] }, if tb { [2, 2, 4] } else { [2, 4, 2] });
        checked.case(&[&a, &b], |v| vec![v[0].matmul_with(v[1], ta, tb).tanh()]);
    }
}

fn convolutions(checked: &mut Checked) {
    let windows = [
        Window::square(3, 1, 1),
        Window::square(1, 1, 0),
        Window::square(2, 2, 0),
        Window { size: [3, 2], stride: [2, 3], pad: [[1, 0], [0, 2]] },
    ];
    for window in windows {
        let [kh, kw] = window.size;
        let [oh, ow] = window.output([5, 6]);
        let (x, w, g) = ([2, 5, 6, 2], [kh, kw, 2, 3], [2, oh, ow, 3]);
        checked.case(&[&x, &w], |v| vec![v[0].conv(v[1], window).tanh()]);
        checked.case(&[&g, &w], |v| vec![v[0].conv_input_grad(v[1], window, [5, 6]).tanh()]);
        checked.case(&[&x, &g], |v| vec![v[0].conv_weight_grad(v[1], window).tanh()]);
    }
    // A stride longer than the kernel leaves pixels that nothing reads.
    let sparse = Window::square(1, 3, 0);
    checked.case(&[&[1, 5, 5, 9], &[1, 1, 9, 2]], |v| vec![v[0].conv(v[1], sparse).tanh()]);
    let same = Window::same(3, 2, [7, 6]);
    checked.case(&[&[1, 7, 6, 9], &[3, 3, 9, 1]], |v| vec![v[0].conv(v[1], same).tanh()]);
}

fn pooling(checked: &mut Checked) {
    for window in [Window::square(2, 2, 0), Window::square(3, 2, 1), Window::square(2, 1, 0)] {
        // Maxima must be far enough apart for a difference, so the point is not squeezed first.
        checked
            .case(&[&[1, 5, 4, 1]], |v| vec![v[0].max_pool(window).tanh() * v[0].avg_pool(window)]);
        checked.case(&[&[2, 5, 4, 3]], |v| vec![v[0].tanh().avg_pool(window) * 2.0]);
        let [oh, ow] = window.output([5, 4]);
        checked.case(&[&[2, oh, ow, 3]], |v| vec![v[0].tanh().pool_spread(window, [5, 4]).tanh()]);
        // Positions 0, 1, 2, … within each window.
        let at = Tensor::from_f64(&[1, oh, ow, 1], (0..oh * ow).map(|i| (i % 4) as f64).collect());
        checked.case(&[&[1, oh, ow, 1], &[1, 5, 4, 1]], |v| {
            let at = literal(v[0].graph(), &at);
            vec![v[0].tanh().pool_put(at, window, [5, 4]).tanh(), v[1].tanh().pool_pick(at, window)]
        });
    }
}

fn indices(checked: &mut Checked) {
    checked.case(&[&[3, 4]], |v| vec![v[0].log_softmax()]);
    checked.case(&[&[3, 4]], |v| vec![v[0].max_last() * v[0]]);
    checked.case(&[&[3, 4]], |v| vec![v[0].argmax().one_hot(4) * v[0]]);
}

/// A constant with any elements.
fn literal<'g>(graph: &'g Graph, value: &Tensor) -> Var<'g> {
    let elements: Vec<Var<'g>> = value.iter().map(|x| graph.full(&[1], x)).collect();
    graph.concat(&elements, 0).reshape(value.shape())
}

/// One test per group, so that they run in parallel, and one that sees them all.
macro_rules! groups {
    ($($group:ident),*) => {
        mod derivatives {
            $(
                #[test]
                fn $group() {
                    super::$group(&mut super::Checked::default());
                }
            )*
        }

        #[test]
        fn every_operation_has_a_case() {
            let mut checked = Checked::default();
            $($group(&mut checked);)*
            let all = BTreeSet::from_iter(KINDS.iter().copied());
            let missing: Vec<_> = all.difference(&checked.0).collect();
            assert!(missing.is_empty(), "operations without a derivative case: {missing:?}");
        }
    };
}

groups!(elementwise, broadcasting, sums, shapes, matrix_products, convolutions, pooling, indices);

/// Forward values with their closed form, and derivatives that are zero by definition.
#[test]
fn literals() {
    let graph = Graph::new();
    let x = graph.input("x", &[5]);
    let at = Tensor::from_f64(&[5], vec![-2.0, -0.5, 0.0, 0.5, 2.0]);
    let outputs = [x.relu(), x.step(), x.sign(), x.relu().sum(), -x, x.sigmoid()];
    let got = evaluate(&graph, &outputs, std::slice::from_ref(&at));
    assert_eq!(got[0].as_f64(), [0.0, 0.0, 0.0, 0.5, 2.0]); // max(x, 0)
    assert_eq!(got[1].as_f64(), [0.0, 0.0, 0.0, 1.0, 1.0]); // 1 where x > 0
    assert_eq!(got[2].as_f64(), [-1.0, -1.0, 0.0, 1.0, 1.0]); // sign x
    assert_eq!(got[3].as_f64(), [2.5]);
    assert_eq!(got[4].as_f64(), [2.0, 0.5, -0.0, -0.5, -2.0]);
    let sigmoid: Vec<f64> = at.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
    crate::check::assert_close("sigmoid", &got[5], &Tensor::from_f64(&[5], sigmoid), 1e-15);
    for flat in [x.step().sum(), x.sign().sum(), x.argmax(), x.argmax().one_hot(5).sum()] {
        let zeros = evaluate(&graph, &grad(flat, &[x]), std::slice::from_ref(&at));
        assert_eq!(zeros[0].as_f64(), [0.0; 5]);
    }
    // The derivative of relu at 0 is 0.
    let slope = evaluate(&graph, &grad(x.relu().sum(), &[x]), &[at]);
    assert_eq!(slope[0].as_f64(), [0.0, 0.0, 0.0, 1.0, 1.0]);
}

#[test]
fn stopped_gradients() {
    // x · stop(x): one of the two factors varies, so the derivative is x and the second one zero.
    let graph = Graph::new();
    let (x, u) = (graph.input("x", &[]), graph.input("u", &[]));
    let y = x * x.stop_gradient();
    let forward = jvp(&[y], &[x], &[u])[0];
    let reverse = vjp(&[y], &[u], &[x])[0];
    let second = hvp(y, &[x], &[u], &[x])[0];
    let inputs = [3.0, 10.0].map(|value| Tensor::scalar(Dtype::F64, value));
    let got = evaluate(&graph, &[y, forward, reverse, second], &inputs);
    let got: Vec<f64> = got.iter().map(|t| t.get(0)).collect();
    // ∂(x · s)/∂x = s with s = stop(x), through which the second derivative does not see x either.
    assert_eq!(got, [9.0, 30.0, 30.0, 0.0]);
    let point = point(&[&[4]]);
    let stopped = check_derivatives(|v| vec![v[0] * v[0].stop_gradient()], &point, 1, 1e-6);
    assert!(stopped.is_err(), "a stopped gradient is not the whole derivative");
}

#[test]
fn new_variables_of_a_value_are_apart() {
    let graph = Graph::new();
    let x = graph.input("x", &[]);
    let [a, b] = [x.new_variable(), x.new_variable()];
    assert!(a != b && a != x.stop_gradient() && x.stop_gradient() == x.stop_gradient());
    let y = a * a * b * x.stop_gradient();
    let slopes = grad(y, &[a, b, x]);
    let got = evaluate(&graph, &slopes, &[Tensor::scalar(Dtype::F64, 3.0)]);
    let got: Vec<f64> = got.iter().map(|t| t.get(0)).collect();
    assert_eq!(got, [54.0, 27.0, 0.0]);
}

#[test]
fn the_checker_rejects_a_wrong_rule() {
    // tanh with the derivative of sin: forward and reverse agree, the difference does not.
    let point = point(&[&[4]]);
    let result = check_derivatives(
        |v| {
            let x = v[0];
            let hidden = x.stop_gradient();
            vec![hidden.tanh() + x.sin() - hidden.sin()]
        },
        &point,
        1,
        1e-6,
    );
    assert!(result.unwrap_err().contains("difference"));
    let kink =
        check_derivatives(|v| vec![v[0].relu()], &[Tensor::from_f64(&[1], vec![0.0])], 1, 1e-6);
    assert!(kink.is_err(), "a kink has no derivative");
    let nan = check_derivatives(|v| vec![(v[0] - 9.0).log()], &point, 1, 1e-6);
    assert!(nan.is_err(), "NaN never passes");
    // Where exp overflows within the steps of the difference, but not at the point itself.
    for i in 0..100 {
        let edge = Tensor::from_f64(&[1], vec![709.7735 + 1e-4 * f64::from(i)]);
        let held =
            check_derivatives(|v| vec![v[0].stop_gradient().exp() * 1e-2 + v[0]], &[edge], 1, 1e-6);
        assert!(held.is_err(), "an infinite difference agrees with nothing");
    }
}
