//! Every kernel against a naive loop in double precision: both element types, both builds, in memory
//! that holds nothing but NaN before.
//!
//! Most cases use small whole numbers: every product and every partial sum is then exact in either
//! precision, so that any order of summation must give the same bits, and no tolerance hides a slip.
//! What remains, the size of rounding errors, is measured on other numbers.

mod conv;

use rand::RngExt;

use super::super::{Buffers, Elem, Memory, Workspace};
use super::Isa;
use crate::autodiff::vjp;
use crate::check::random;
use crate::graph::{Graph, Unary, Var, Window};
use crate::key::Key;
use crate::plan::Program;
use crate::tensor::{Dtype, Tensor, advance, volume};

/// Every build this machine can run.
fn isas() -> Vec<Isa> {
    #[cfg(target_arch = "x86_64")]
    let all = [Isa::Portable, Isa::Avx2Fma, Isa::Avx512];
    #[cfg(not(target_arch = "x86_64"))]
    let all = [Isa::Portable];
    all.into_iter().filter(|isa| isa.available()).collect()
}

/// Overwrites everything a run could read before it is written.
fn poison(workspace: &mut Workspace) {
    fn fill<T: Elem>(buffers: &mut Buffers<T>) {
        let nan = T::from_f64(f64::NAN);
        buffers.arena.fill(nan);
        buffers.registers.fill(nan);
        buffers.row.fill(nan);
        buffers.scratch.fill(nan);
        buffers.sums.fill(f64::NAN);
    }
    match &mut workspace.memory {
        Memory::F32(buffers) => fill(buffers),
        Memory::F64(buffers) => fill(buffers),
    }
}

/// Runs the graph that `build` makes of the inputs, in poisoned memory.
fn run(
    build: &impl for<'g> Fn(&[Var<'g>]) -> Vec<Var<'g>>,
    inputs: &[&Tensor],
    dtype: Dtype,
    isa: Isa,
) -> Vec<Tensor> {
    let graph = Graph::new();
    let vars: Vec<Var<'_>> = inputs.iter().map(|x| graph.input("x", x.shape())).collect();
    let program = Program::compile(&graph, &build(&vars));
    let mut workspace = program.workspace_for(dtype, isa);
    poison(&mut workspace);
    inputs.iter().enumerate().for_each(|(i, x)| workspace.set(i, x));
    program.run(&mut workspace);
    (0..program.n_outputs()).map(|i| workspace.output(i)).collect()
}

/// Equal numbers, or both not a number.
fn close(a: f64, b: f64, bound: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= bound
}

/// Panics unless the outputs are those wanted, element by element, in every type and build.
#[track_caller]
fn check(
    name: &str,
    inputs: &[&Tensor],
    want: &[Tensor],
    build: impl for<'g> Fn(&[Var<'g>]) -> Vec<Var<'g>>,
) {
    check_within(name, inputs, want, &vec![0.0; want.len()], build);
}

/// The same, where single precision may be off by a bound of each output.
#[track_caller]
fn check_within(
    name: &str,
    inputs: &[&Tensor],
    want: &[Tensor],
    single: &[f64],
    build: impl for<'g> Fn(&[Var<'g>]) -> Vec<Var<'g>>,
) {
    for dtype in [Dtype::F32, Dtype::F64] {
        for isa in isas() {
            let got = run(&build, inputs, dtype, isa);
            assert_eq!(got.len(), want.len());
            for (output, (got, want)) in got.iter().zip(want).enumerate() {
                assert_eq!(got.shape(), want.shape(), "{name}, output {output}");
                let bound = if dtype == Dtype::F32 { single[output] } else { 0.0 };
                let wrong = (0..got.len()).find(|&i| !close(got.get(i), want.get(i), bound));
                if let Some(i) = wrong {
                    let (got, want) = (got.get(i), want.get(i));
                    panic!("{name}, output {output}, {dtype}, {isa:?}: {got} at {i}, want {want}");
                }
            }
        }
    }
}

/// Whole numbers from −4 to 4.
fn whole(key: Key, shape: &[usize]) -> Tensor {
    let mut rng = key.rng();
    Tensor::from_f64(shape, (0..volume(shape)).map(|_| rng.random_range(-4..=4).into()).collect())
}

/// Multi-indices of a shape in row-major order.
fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let mut index = vec![0; shape.len()];
    (0..volume(shape)).map(move |_| {
        let now = index.clone();
        advance(&mut index, shape);
        now
    })
}

fn offset(index: &[usize], shape: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |at, (&i, &extent)| at * extent + i)
}

/// An image `[n, h, w, c]` and a window over it.
#[derive(Clone, Copy, Debug)]
struct Scene {
    image: [usize; 4],
    window: Window,
}

impl Scene {
    fn output(&self) -> [usize; 2] {
        self.window.output([self.image[1], self.image[2]])
    }

    /// `f(pixel of the image, position in the window, pixel of the output)` for all that meet; pixels
    /// count from the first image on.
    fn meetings(&self, mut f: impl FnMut(usize, usize, usize)) {
        let ([n, h, w, _], [oh, ow], [kh, kw]) = (self.image, self.output(), self.window.size);
        let (stride, pad) = (self.window.stride, self.window.pad);
        for i in indices(&[n, oh, ow, kh, kw]) {
            let [image, oy, ox, ky, kx] = i[..] else { unreachable!("five axes") };
            let y = (oy * stride[0] + ky) as isize - pad[0][0] as isize;
            let x = (ox * stride[1] + kx) as isize - pad[1][0] as isize;
            if (0..h as isize).contains(&y) && (0..w as isize).contains(&x) {
                let pixel = (image * h + y as usize) * w + x as usize;
                f(pixel, ky * kw + kx, (image * oh + oy) * ow + ox);
            }
        }
    }

    /// A random scene with the given channels.
    fn random(rng: &mut impl RngExt, c: usize) -> Scene {
        loop {
            // Half of them as small as most poolings, which go a way of their own.
            let size = match rng.random_range(0..2) {
                0 => [2, 2],
                _ => [rng.random_range(1..=5), rng.random_range(1..=4)],
            };
            let window = Window {
                size,
                stride: [rng.random_range(1..=3), rng.random_range(1..=3)],
                pad: std::array::from_fn(|_| std::array::from_fn(|_| rng.random_range(0..=3))),
            };
            let image: [usize; 4] =
                [rng.random_range(1..=3), rng.random_range(1..=9), rng.random_range(1..=9), c];
            let fits =
                |a: usize| image[a + 1] + window.pad[a][0] + window.pad[a][1] >= window.size[a];
            if fits(0) && fits(1) {
                return Scene { image, window };
            }
        }
    }
}

/// Pooling of a scene by naive loops: positions, maxima, put-back, sums, spread sums.
fn pools(scene: &Scene, x: &Tensor, g: &Tensor) -> [Tensor; 5] {
    let c = scene.image[3];
    let small = |value| Tensor::full(Dtype::F64, g.shape(), value);
    let large = || Tensor::zeros(Dtype::F64, x.shape());
    let (mut best, mut source) = (small(f64::NEG_INFINITY), vec![None; g.len()]);
    let (mut at, mut sum, mut spread) = (small(0.0), small(0.0), large());
    scene.meetings(|pixel, position, out| {
        for k in 0..c {
            let (from, to) = (pixel * c + k, out * c + k);
            // The first maximum wins; windows are visited in row-major order.
            if source[to].is_none() || x.get(from) > best.get(to) || x.get(from).is_nan() {
                best.set(to, x.get(from));
                source[to] = Some(from);
                at.set(to, position as f64);
            }
            sum.set(to, sum.get(to) + x.get(from));
            spread.set(from, spread.get(from) + g.get(to));
        }
    });
    let mut put = large();
    for (to, source) in source.iter().enumerate() {
        match source {
            Some(from) => put.set(*from, put.get(*from) + g.get(to)),
            // A window that lies in the padding sees nothing: zero, and no derivative.
            None => best.set(to, 0.0),
        }
    }
    [at, best, put, sum, spread]
}

#[test]
fn pooling() {
    let mut rng = Key::new(14).rng();
    for round in 0..20 {
        for c in [1, 2, 7, 15, 16, 17, 33, 64] {
            let scene = Scene::random(&mut rng, c);
            let [oh, ow] = scene.output();
            let mut x = whole(Key::new(15).at(round, 0), &scene.image);
            if round % 4 == 0 {
                let at = rng.random_range(0..x.len());
                x.set(at, f64::NAN);
            }
            let g = whole(Key::new(15).at(round, 1), &[scene.image[0], oh, ow, c]);
            let window = scene.window;
            let extents = [scene.image[1], scene.image[2]];
            let want = pools(&scene, &x, &g);
            check(&format!("{scene:?}"), &[&x, &g, &want[0]], &want[1..], |v| {
                let max = v[0].max_pool(window);
                let put = v[1].pool_put(v[2], window, extents);
                vec![max, put, v[0].pool_sum(window), v[1].pool_spread(window, extents)]
            });
            // Positions show in the derivative: among equals, which whole numbers have plenty of, the
            // first one gets it.
            check(&format!("positions, {scene:?}"), &[&x, &g, &want[0]], &want[1..3], |v| {
                let max = v[0].max_pool(window);
                vec![v[0].pool_pick(v[2], window), vjp(&[max], &[v[1]], &[v[0]])[0]]
            });
            // Scales of channels are told to the search for maxima apart; theirs may be negative or zero.
            let scale = whole(Key::new(15).at(round, 2), &[c]);
            let scaled = (0..x.len()).map(|i| x.get(i) * scale.get(i % c)).collect();
            let scaled = Tensor::from_f64(x.shape(), scaled);
            let want = pools(&scene, &scaled, &g);
            check(&format!("scaled, {scene:?}"), &[&x, &scale], &want[1..2], |v| {
                vec![(v[0] * v[1].expand(&v[0].shape())).max_pool(window)]
            });
        }
    }
}

#[test]
fn matrix_products() {
    let sizes = [1, 2, 3, 5, 8, 13, 16, 17, 30, 33, 40, 48, 70];
    let mut rng = Key::new(16).rng();
    let mut size = || sizes[rng.random_range(0..sizes.len())];
    for round in 0..40 {
        let (m, k, n) = (size(), size(), size());
        for batch in [vec![], vec![1], vec![3], vec![2, 2]] {
            for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
                let shape = |rows: usize, columns: usize, t: bool| {
                    let last = if t { [columns, rows] } else { [rows, columns] };
                    [batch.clone(), last.to_vec()].concat()
                };
                let a = whole(Key::new(17).at(round, 0), &shape(m, k, ta));
                let b = whole(Key::new(17).at(round, 1), &shape(k, n, tb));
                let mut y = Tensor::zeros(Dtype::F64, &shape(m, n, false));
                for i in indices(&[volume(&batch), m, n, k]) {
                    let [z, row, column, j] = i[..] else { unreachable!("four axes") };
                    let at = if ta { (z * k + j) * m + row } else { (z * m + row) * k + j };
                    let bt = if tb { (z * n + column) * k + j } else { (z * k + j) * n + column };
                    let to = (z * m + row) * n + column;
                    y.as_f64_mut()[to] += a.get(at) * b.get(bt);
                }
                let name = format!("{batch:?} of {m}×{k}×{n}, transposed {ta} {tb}");
                check(&name, &[&a, &b], &[y], |v| vec![v[0].matmul_with(v[1], ta, tb)]);
            }
        }
    }
}

#[test]
fn matrix_products_carry_nan() {
    let (mut a, b) = (whole(Key::new(18), &[4, 3]), whole(Key::new(19), &[3, 5]));
    a.set(5, f64::NAN); // row 1
    let mut y = Tensor::zeros(Dtype::F64, &[4, 5]);
    for i in indices(&[4, 5, 3]) {
        let term = a.get(i[0] * 3 + i[2]) * b.get(i[2] * 5 + i[1]);
        y.as_f64_mut()[i[0] * 5 + i[1]] += term;
    }
    assert_eq!(y.iter().filter(|x| x.is_nan()).count(), 5);
    check("NaN", &[&a, &b], &[y], |v| vec![v[0].matmul(v[1])]);
}

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

/// A long sum in single precision is as good as its 512-element pieces: better than one part in 10⁶.
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

/// Values moved about, against indices written out.
#[test]
fn moved_values() {
    let x = whole(Key::new(25), &[3, 4, 2, 5]);
    let gathered = |shape: &[usize], f: &dyn Fn(&[usize]) -> Option<Vec<usize>>| {
        let pick = |i: Vec<usize>| f(&i).map_or(0.0, |at| x.get(offset(&at, x.shape())));
        Tensor::from_f64(shape, indices(shape).map(pick).collect())
    };
    for order in [[3, 2, 1, 0], [0, 2, 1, 3], [1, 0, 3, 2], [2, 3, 0, 1]] {
        check("transpose", &[&x], &[x.permuted(&order)], |v| vec![v[0].transpose(&order)]);
    }
    let slice = gathered(&[2, 1, 2, 3], &|i| Some(vec![i[0] + 1, i[1] + 2, i[2], i[3] + 1]));
    check("slice", &[&x], &[slice], |v| vec![v[0].slice(&[1, 2, 0, 1], &[2, 1, 2, 3])]);
    let pad = gathered(&[4, 6, 2, 9], &|i| {
        let inside = i[0] < 3 && (1..5).contains(&i[1]) && (3..8).contains(&i[3]);
        inside.then(|| vec![i[0], i[1] - 1, i[2], i[3] - 3])
    });
    check("pad", &[&x], &[pad], |v| vec![v[0].pad(&[0, 1, 0, 3], &[4, 6, 2, 9])]);
    for axis in 0..4 {
        let mut shape = x.shape().to_vec();
        let extent = shape[axis];
        shape[axis] = 2 * extent + 1;
        let joined = gathered(&shape, &|i| {
            let mut at = i.to_vec();
            at[axis] = if i[axis] < 2 * extent { i[axis] % extent } else { 0 };
            Some(at)
        });
        check(&format!("concat along {axis}"), &[&x], &[joined], |v| {
            let mut one = x.shape().to_vec();
            one[axis] = 1;
            let first = v[0].slice(&[0; 4], &one);
            vec![v[0].graph().concat(&[v[0], v[0], first], axis)]
        });
    }
}

/// Repetitions and sums whose axes alternate are steps of their own.
#[test]
fn alternating_axes() {
    let (small, large) = ([2, 1, 3, 1, 2, 1], [2, 2, 3, 5, 2, 3]);
    let (s, x) = (whole(Key::new(26), &small), whole(Key::new(27), &large));
    let mut expanded = Tensor::zeros(Dtype::F64, &large);
    let mut summed = Tensor::zeros(Dtype::F64, &small);
    for (n, i) in indices(&large).enumerate() {
        let at = offset(&[i[0], 0, i[2], 0, i[4], 0], &small);
        expanded.set(n, s.get(at));
        summed.set(at, summed.get(at) + x.get(n));
    }
    check("alternating", &[&s, &x], &[expanded, summed], |v| {
        vec![v[0].expand(&large), v[1].sum_to(&small)]
    });
}

#[test]
fn indices_of_rows() {
    // Ties go to the first; an index past the end has no one.
    let scores = Tensor::from_f64(&[3, 4], vec![1., 3., 3., 2., 0., 0., 0., 0., -1., -2., -3., 5.]);
    let first = Tensor::from_f64(&[3], vec![1.0, 0.0, 3.0]);
    let one_hot = Tensor::from_f64(&[3, 3], vec![0., 1., 0., 1., 0., 0., 0., 0., 0.]);
    let largest = Tensor::from_f64(&[3, 1], vec![3.0, 0.0, 5.0]);
    check("indices", &[&scores], &[first, one_hot, largest], |v| {
        vec![v[0].argmax(), v[0].argmax().one_hot(3), v[0].max_last()]
    });
}

/// Every build's sums are the portable one's, bit for bit.
#[test]
fn sums_are_the_same_with_every_build() {
    for n in [0, 1, 7, 8, 15, 33] {
        let x = random(Key::new(n as u64), &[n], 1.0);
        let sums = |isa| {
            let mut sums: Vec<f64> = (0..n).map(|i| i as f64 / 3.0).collect();
            super::accumulate(isa, &mut sums, x.as_f64());
            super::accumulate(isa, &mut sums, x.cast(Dtype::F32).as_f32());
            sums
        };
        let portable = sums(Isa::Portable);
        for (i, sum) in portable.iter().enumerate() {
            assert_eq!(*sum, i as f64 / 3.0 + x.get(i) + f64::from(x.get(i) as f32));
        }
        isas().into_iter().for_each(|isa| assert_eq!(sums(isa), portable, "{isa:?}"));
    }
}
