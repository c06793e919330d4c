//! Elementwise loops and their sums.

use super::{check, close, indices, isas, offset, run, whole};
use crate::check::random;
use crate::graph::{Unary, Var};
use crate::key::Key;
use crate::tensor::{Dtype, Tensor};

const UNARY: [Unary; 11] = [
    Unary::Neg,
    Unary::Exp,
    Unary::Log,
    Unary::Sqrt,
    Unary::Recip,
    Unary::Tanh,
    Unary::Sin,
    Unary::Cos,
    Unary::Relu,
    Unary::Step,
    Unary::Sign,
];

fn apply<'g>(kind: Unary, x: Var<'g>) -> Var<'g> {
    match kind {
        Unary::Neg => -x,
        Unary::Exp => x.exp(),
        Unary::Log => x.log(),
        Unary::Sqrt => x.sqrt(),
        Unary::Recip => x.recip(),
        Unary::Tanh => x.tanh(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Relu => x.relu(),
        Unary::Step => x.step(),
        Unary::Sign => x.sign(),
    }
}

/// Double precision to the bit, as constants are folded; single precision to four units.
#[test]
fn functions_of_one_argument() {
    let special =
        [0.0, -0.0, 1.0, -1.0, 1e-30, -1e-30, 80.0, -80.0, f64::INFINITY, -f64::INFINITY, f64::NAN];
    let mut values: Vec<f64> = special.iter().map(|&x: &f64| f64::from(x as f32)).collect();
    values.extend(random(Key::new(20), &[1200], 2.0).iter().map(|x| f64::from(x as f32)));
    let x = Tensor::from_f64(&[values.len()], values);
    for isa in isas() {
        let [double, single] = [Dtype::F64, Dtype::F32]
            .map(|dtype| run(&|v| UNARY.map(|kind| apply(kind, v[0])).to_vec(), &[&x], dtype, isa));
        for (kind, (double, single)) in UNARY.into_iter().zip(double.iter().zip(&single)) {
            for (i, at) in x.iter().enumerate() {
                let want = kind.of(at);
                assert!(close(double.get(i), want, 0.0), "{kind:?}({at}) = {}", double.get(i));
                let (got, rounded) = (single.get(i), f64::from(want as f32));
                let bound = 4.0 * f64::from(f32::EPSILON) * want.abs();
                let near = close(got, rounded, 0.0) || close(got, want, bound);
                assert!(near, "{kind:?}({at}) = {got} in single precision, want {want}");
            }
        }
    }
}

/// Sums over leading, trailing and middle axes, for rows shorter and longer than a tile of 512, with
/// whole numbers: exact.
#[test]
fn sums() {
    let shapes = [
        [1, 1, 1],
        [1, 1, 511],
        [1, 1, 512],
        [1, 1, 513],
        [1, 1, 5000],
        [3, 4, 1300],
        [2, 700, 3],
        [5, 3, 2],
        [600, 2, 1],
        [40, 1, 65],
        [2, 3, 512],
        [1, 1025, 2],
    ];
    for shape in shapes {
        let [a, b, c] = shape;
        let (x, y) = (whole(Key::new(21), &shape), whole(Key::new(22), &[c]));
        let targets =
            [vec![], vec![c], vec![b, 1], vec![b, c], vec![a, 1, 1], vec![a, 1, c], vec![a, b, 1]];
        for to in targets {
            let full: Vec<usize> =
                std::iter::repeat_n(1, 3 - to.len()).chain(to.iter().copied()).collect();
            let mut sums = [0, 1].map(|_| Tensor::zeros(Dtype::F64, &to));
            for (n, i) in indices(&shape).enumerate() {
                let small: Vec<usize> = i
                    .iter()
                    .zip(&full)
                    .map(|(&i, &extent)| if extent == 1 { 0 } else { i })
                    .collect();
                let at = offset(&small, &full);
                sums[0].as_f64_mut()[at] += x.get(n);
                sums[1].as_f64_mut()[at] += x.get(n) * y.get(i[2]) - 1.0;
            }
            check(&format!("{shape:?} to {to:?}"), &[&x, &y], &sums, |v| {
                vec![v[0].sum_to(&to), (v[0] * v[1] - 1.0).sum_to(&to)]
            });
        }
    }
}

/// A long sum in single precision is as accurate as its 512-element pieces: better than one part in 10⁶.
#[test]
fn long_sums_do_not_drift() {
    let x = Tensor::full(Dtype::F32, &[1000, 1000], 0.1);
    let want = f64::from(0.1_f32) * 1e6;
    for isa in isas() {
        let got = run(&|v| vec![v[0].sum(), v[0].sum_to(&[1000]).sum()], &[&x], Dtype::F32, isa);
        for got in got {
            assert!((got.get(0) / want - 1.0).abs() <= 1e-6, "{} is not {want}", got.get(0));
        }
    }
}

/// Elementwise loops do not contract `a·b + c`: both builds give the same bits.
#[test]
fn elementwise_loops_are_the_same_in_both_builds() {
    let (x, y) = (random(Key::new(23), &[70, 33], 1.0), random(Key::new(24), &[33], 1.0));
    fn build<'g>(v: &[Var<'g>]) -> Vec<Var<'g>> {
        let z = (v[0] * v[1] + v[0]).tanh() * v[0] - v[1].exp();
        vec![z, z.sum(), z.sum_to(&[33]), z.sum_to(&[70, 1]), (z * z + 1.0).sqrt().recip()]
    }
    for dtype in [Dtype::F32, Dtype::F64] {
        let all = isas().into_iter().map(|isa| run(&build, &[&x, &y], dtype, isa));
        let all: Vec<Vec<Tensor>> = all.collect();
        assert!(all.iter().all(|outputs| *outputs == all[0]), "{dtype}");
    }
}
