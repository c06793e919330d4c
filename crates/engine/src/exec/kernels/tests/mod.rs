//! Every kernel against a naive loop in double precision: both element types, all builds, in memory that was filled
//! with NaN before.
//!
//! Most cases use small whole numbers: every product and every partial sum is then exact in either precision, so that
//! any order of summation must give the same bits, and no tolerance hides a mistake. Only the size of rounding errors
//! is measured on other numbers.

mod conv;
mod elementwise;
mod layout;
mod matmul;
mod pool;
mod sums;

use rand::RngExt;

use super::super::{Buffers, Elem, Memory, Workspace};
use super::Isa;
use crate::graph::{Graph, Var, Window};
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

/// The same, where single precision may be off by a given bound for each output.
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

    /// Calls `f(pixel of the image, position in the window, pixel of the output)` for all that meet; pixels are counted
    /// from the first image on.
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
            // Half of them as small as most pooling windows, which have a path of their own.
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
