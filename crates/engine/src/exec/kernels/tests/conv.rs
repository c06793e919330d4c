//! The three convolutions, by every algorithm.

use rand::RngExt;

use super::super::super::Elem;
use super::super::{
    ConvRole, ConvSizes, Isa, conv, conv_input_grad, conv_input_grad_pack, conv_pack,
    conv_weight_grad_add, conv_weight_grad_finish, conv_weight_grad_start,
};
use super::{Scene, check, check_within, indices, isas, run, whole};
use crate::check::random;
use crate::graph::{Var, Window};
use crate::key::Key;
use crate::tensor::{Dtype, Tensor};

/// The trilinear form `⟨conv(x, w), g⟩` whose three partial derivatives are the three convolutions,
/// term by term. Returns them with the sums of the terms' absolute values.
struct Convolutions {
    y: [Tensor; 2],
    gx: [Tensor; 2],
    gw: [Tensor; 2],
}

fn convolutions(scene: &Scene, o: usize, x: &Tensor, w: &Tensor, g: &Tensor) -> Convolutions {
    let c = scene.image[3];
    let zeros = |like: &Tensor| [0, 1].map(|_| Tensor::zeros(Dtype::F64, like.shape()));
    let mut all = Convolutions { y: zeros(g), gx: zeros(x), gw: zeros(w) };
    let ([y, y_size], [gx, gx_size], [gw, gw_size]) = (&mut all.y, &mut all.gx, &mut all.gw);
    let (vx, vw, vg) = (x.as_f64(), w.as_f64(), g.as_f64());
    scene.meetings(|pixel, tap, out| {
        for k in 0..c {
            for j in 0..o {
                let (ix, iw, ig) = (pixel * c + k, (tap * c + k) * o + j, out * o + j);
                let add = |sum: &mut Tensor, size: &mut Tensor, at: usize, term: f64| {
                    sum.as_f64_mut()[at] += term;
                    size.as_f64_mut()[at] += term.abs();
                };
                add(y, y_size, ig, vx[ix] * vw[iw]);
                add(gx, gx_size, ix, vg[ig] * vw[iw]);
                add(gw, gw_size, iw, vx[ix] * vg[ig]);
            }
        }
    });
    all
}

fn build_convolutions<'g>(scene: &Scene, v: &[Var<'g>]) -> Vec<Var<'g>> {
    let (window, [_, h, w, _]) = (scene.window, scene.image);
    vec![
        v[0].conv(v[1], window),
        v[2].conv_input_grad(v[1], window, [h, w]),
        v[0].conv_weight_grad(v[2], window),
    ]
}

/// Image, kernel and output cotangent for a scene with `o` output channels.
fn operands(scene: &Scene, o: usize, numbers: impl Fn(Key, &[usize]) -> Tensor) -> [Tensor; 3] {
    let ([n, .., c], [oh, ow], [kh, kw]) = (scene.image, scene.output(), scene.window.size);
    let key = Key::new((c * 100 + o) as u64);
    [
        numbers(key.at(0, 0), &scene.image),
        numbers(key.at(0, 1), &[kh, kw, c, o]),
        numbers(key.at(0, 2), &[n, oh, ow, o]),
    ]
}

/// Whether single precision may use Winograd's algorithm.
fn by_winograd(scene: &Scene, o: usize) -> bool {
    let Window { size, stride, .. } = scene.window;
    size == [3; 2] && stride == [1; 2] && scene.image[3].min(o) >= 16
}

fn largest(sizes: &Tensor) -> f64 {
    (0..sizes.len()).map(|i| sizes.get(i)).fold(0.0, f64::max)
}

/// Exact on whole numbers, except by Winograd's algorithm, whose factors are not whole numbers: there the error is
/// within a few units of rounding of the largest result, far less than a term more or less.
#[track_caller]
fn check_convolutions(scene: Scene, o: usize) {
    let [x, w, g] = operands(&scene, o, whole);
    let Convolutions { y, gx, gw } = convolutions(&scene, o, &x, &w, &g);
    let unit = if by_winograd(&scene, o) { 8.0 * f64::from(f32::EPSILON) } else { 0.0 };
    let bounds = [&y, &gx, &gw].map(|[_, sizes]| unit * largest(sizes));
    assert!(bounds.iter().all(|&bound| bound < 0.1), "{bounds:?}");
    let name = format!("{scene:?} to {o} channels");
    let [[y, _], [gx, _], [gw, _]] = [y, gx, gw];
    check_within(&name, &[&x, &w, &g], &[y, gx, gw], &bounds, |v| build_convolutions(&scene, v));
}

const CHANNELS: [usize; 11] = [1, 2, 3, 5, 7, 8, 9, 16, 17, 33, 64];
const OUTS: [usize; 7] = [1, 5, 15, 16, 17, 33, 64];

#[test]
fn convolutions_of_many_sizes() {
    let mut rng = Key::new(11).rng();
    for c in CHANNELS {
        for o in OUTS {
            for _ in 0..3 {
                check_convolutions(Scene::random(&mut rng, c), o);
            }
        }
    }
}

#[test]
fn convolutions_with_every_kernel_and_stride() {
    let mut rng = Key::new(12).rng();
    for i in indices(&[5, 4, 3, 3]) {
        let (size, stride) = ([i[0] + 1, i[1] + 1], [i[2] + 1, i[3] + 1]);
        let pad = std::array::from_fn(|_| std::array::from_fn(|_| rng.random_range(0..=2)));
        let window = Window { size, stride, pad };
        // Images of few channels are laid out as patches, others are read in place.
        for c in [3, 9] {
            check_convolutions(Scene { image: [2, 7, 6, c], window }, 4);
        }
    }
}

#[test]
fn convolutions_of_extreme_maps() {
    let maps = [
        // Wider, taller and larger than the 256 pixels worked on at a time.
        ([1, 3, 300], Window::square(3, 1, 1)),
        ([2, 2, 257], Window { size: [2, 3], stride: [1, 1], pad: [[0, 1], [2, 0]] }),
        ([1, 4, 700], Window::square(3, 2, 1)),
        ([1, 600, 1], Window::square(3, 1, 1)),
        ([1, 520, 2], Window { size: [1, 2], stride: [1, 1], pad: [[0; 2]; 2] }),
        ([3, 21, 20], Window::square(3, 1, 1)),
        ([2, 16, 16], Window::square(1, 1, 0)),
        // One pixel; windows that lie wholly in the padding; strides past the kernel and the image.
        ([3, 1, 1], Window::square(1, 1, 0)),
        ([2, 1, 1], Window::square(3, 1, 1)),
        ([1, 1, 1], Window { size: [1, 1], stride: [1, 1], pad: [[3, 2], [0, 4]] }),
        ([2, 5, 5], Window::square(1, 3, 0)),
        ([1, 2, 3], Window { size: [2, 1], stride: [9, 7], pad: [[1, 1], [0, 0]] }),
        ([1, 6, 6], Window::square(6, 1, 0)),
        // An incomplete last window is dropped.
        ([1, 8, 7], Window::square(3, 3, 0)),
    ];
    for ([n, h, w], window) in maps {
        for c in [1, 3, 8, 9] {
            check_convolutions(Scene { image: [n, h, w, c], window }, 17);
        }
    }
}

/// Rounding errors stay within a few units of the sum of the terms' absolute values; for Winograd's algorithm, of the
/// largest such sum, because a pixel at the border bears the errors of its whole tile.
#[test]
fn convolutions_round_as_sums_do() {
    for (c, o) in [(3, 64), (64, 64), (33, 5), (512, 16)] {
        let scene = Scene { image: [2, 10, 9, c], window: Window::square(3, 1, 1) };
        // Numbers that single precision holds exactly.
        let numbers =
            |key: Key, shape: &[usize]| random(key, shape, 1.0).cast(Dtype::F32).cast(Dtype::F64);
        let [x, w, g] = operands(&scene, o, numbers);
        let Convolutions { y, gx, gw } = convolutions(&scene, o, &x, &w, &g);
        for (dtype, unit) in [(Dtype::F32, f64::from(f32::EPSILON)), (Dtype::F64, f64::EPSILON)] {
            for isa in isas() {
                let got = run(&|v| build_convolutions(&scene, v), &[&x, &w, &g], dtype, isa);
                for (got, [want, size]) in got.iter().zip([&y, &gx, &gw]) {
                    let winograd = dtype == Dtype::F32 && by_winograd(&scene, o);
                    let most = largest(size);
                    let scale = |i| if winograd { most } else { size.get(i) };
                    let error = (0..got.len())
                        .map(|i| (got.get(i) - want.get(i)).abs() / scale(i))
                        .fold(0.0, |a: f64, b| if b <= a { a } else { b });
                    assert!(error <= 4.0 * unit, "{scene:?}, {dtype}, {isa:?}: {}", error / unit);
                }
            }
        }
    }
}

/// A NaN pixel reaches exactly the results it belongs to.
#[test]
fn convolutions_carry_nan_and_do_not_spread_it() {
    let mut rng = Key::new(13).rng();
    for c in [1, 3, 8, 17] {
        for _ in 0..6 {
            let (scene, o) = (Scene::random(&mut rng, c), 5);
            let [mut x, w, mut g] = operands(&scene, o, whole);
            let clean = convolutions(&scene, o, &x, &w, &g);
            let at = rng.random_range(0..x.len());
            let hole = x.get(at);
            x.set(at, f64::NAN);
            let Convolutions { y: [y, _], gw: [gw, _], .. } = convolutions(&scene, o, &x, &w, &g);
            check(&format!("NaN image, {scene:?}"), &[&x, &w, &g], &[y, gw], |v| {
                vec![v[0].conv(v[1], scene.window), v[0].conv_weight_grad(v[2], scene.window)]
            });
            x.set(at, hole);
            let at = rng.random_range(0..g.len());
            g.set(at, f64::NAN);
            let Convolutions { gx: [gx, _], .. } = convolutions(&scene, o, &x, &w, &g);
            check(&format!("NaN cotangent, {scene:?}"), &[&w, &g], &[gx], |v| {
                vec![v[1].conv_input_grad(v[0], scene.window, [scene.image[1], scene.image[2]])]
            });
            assert!(clean.y[0].is_finite());
        }
    }
}

/// Many channels, kernel 3×3, stride 1: the sizes that use Winograd's algorithm in single precision, on maps that its
/// tiles cover and maps that they do not.
#[test]
fn convolutions_of_many_channels() {
    let mut rng = Key::new(29).rng();
    let maps = [1, 2, 3, 4, 5, 6, 7, 8, 9, 21];
    for (i, [c, o]) in [[16, 16], [17, 33], [32, 64], [33, 17], [64, 16]].into_iter().enumerate() {
        for (j, &h) in maps.iter().enumerate() {
            let w = maps[(3 * i + j) % maps.len()];
            let mut pad = [[0; 2]; 2];
            pad.as_flattened_mut().iter_mut().for_each(|pad| *pad = rng.random_range(0..=3));
            // The window must fit.
            pad[0][1] += 3_usize.saturating_sub(h);
            pad[1][1] += 3_usize.saturating_sub(w);
            let window = Window { size: [3; 2], stride: [1; 2], pad };
            check_convolutions(Scene { image: [2, h, w, c], window }, o);
        }
    }
    // More tiles than are worked on at a time, over several images; rows of tiles longer than a run of them, and cut
    // where a part ends.
    for image in [[5, 7, 7, 16], [3, 14, 14, 16], [7, 4, 5, 16], [1, 28, 27, 16], [2, 13, 53, 17]] {
        check_convolutions(Scene { image, window: Window::square(3, 1, 1) }, 16);
    }
}

/// With strides, and few channels on one side or both.
#[test]
fn convolutions_of_the_usual_windows() {
    for c in [1, 3, 5, 8, 16, 33] {
        for o in [1, 3, 5, 8, 17, 32] {
            for (stride, pad) in [(1, 0), (1, 1), (2, 1)] {
                let image = [3, 9 - o % 3, 6 + c % 3, c];
                check_convolutions(Scene { image, window: Window::square(3, stride, pad) }, o);
            }
        }
    }
}

/// One NaN pixel reaches at least the results it belongs to, whichever algorithm is used.
#[test]
fn winograd_carries_nan() {
    let scene = Scene { image: [2, 7, 8, 16], window: Window::square(3, 1, 1) };
    let [mut x, w, g] = operands(&scene, 16, whole);
    for at in [0, 16 * 8 + 3, x.len() / 2 + 5, x.len() - 1] {
        let hole = x.get(at);
        x.set(at, f64::NAN);
        let Convolutions { y: [y, _], gw: [gw, _], .. } = convolutions(&scene, 16, &x, &w, &g);
        for isa in isas() {
            let got = run(
                &|v| vec![v[0].conv(v[1], scene.window), v[0].conv_weight_grad(v[2], scene.window)],
                &[&x, &w, &g],
                Dtype::F32,
                isa,
            );
            for (got, want) in got.iter().zip([&y, &gw]) {
                let lost = (0..want.len()).find(|&i| want.get(i).is_nan() && !got.get(i).is_nan());
                assert!(lost.is_none(), "{isa:?}: NaN at {at} does not reach {lost:?}");
            }
        }
        x.set(at, hole);
    }
}

/// Image, kernel and cotangent; results of the three convolutions.
struct Phases<'a, T> {
    isa: Isa,
    scene: Scene,
    x: &'a [T],
    w: &'a [T],
    g: &'a [T],
}

impl<T: Elem> Phases<'_, T> {
    /// Output, image gradient and weight gradient, `chunk` images at a time, in memory filled with NaN.
    fn run(&self, chunk: usize) -> [Vec<T>; 3] {
        let ([n, h, w, c], [oh, ow]) = (self.scene.image, self.scene.output());
        let o = self.g.len() / (n * oh * ow);
        let nan = |len: usize| vec![T::from_f64(f64::NAN); len];
        let sizes = |n| ConvSizes::new(&[n, h, w, c], &[n, oh, ow, o], self.scene.window);
        let (isa, all) = (self.isa, sizes(n));
        let [mut forward, mut adjoint, mut sum] =
            [ConvRole::Forward, ConvRole::InputGrad, ConvRole::WeightGrad]
                .map(|role| nan(all.packed_len(role)));
        conv_pack(isa, &all, self.w, &mut forward);
        conv_input_grad_pack(isa, &all, self.w, &mut adjoint);
        conv_weight_grad_start(isa, &all, &mut sum);
        let (mut y, mut gx, mut gw) = (nan(self.g.len()), nan(self.x.len()), nan(self.w.len()));
        let (image, map) = (chunk * h * w * c, chunk * oh * ow * o);
        let images = self.x.chunks(image).zip(self.g.chunks(map));
        for ((x, g), (y, gx)) in images.zip(y.chunks_mut(map).zip(gx.chunks_mut(image))) {
            let sizes = sizes(x.len() / (h * w * c));
            let mut scratch = nan(sizes.scratch());
            conv(isa, &sizes, x, &forward, y, &mut scratch);
            conv_input_grad(isa, &sizes, g, &adjoint, gx, &mut scratch);
            conv_weight_grad_add(isa, &sizes, x, g, &mut sum, &mut scratch);
        }
        conv_weight_grad_finish(isa, &all, &sum, &mut gw);
        [y, gx, gw]
    }
}

/// A batch in parts gives the same bits as the whole, except for the weight gradient, which is summed in another order.
#[test]
fn convolutions_in_parts() {
    fn check<T: Elem>(scene: Scene, o: usize, isa: Isa, unit: f64) {
        let [x, w, g] = operands(&scene, o, |key, shape| random(key, shape, 1.0))
            .map(|x| x.iter().map(T::from_f64).collect::<Vec<T>>());
        let phases = Phases { isa, scene, x: &x, w: &w, g: &g };
        let [y, gx, gw] = phases.run(scene.image[0]);
        let bits = |x: &[T]| x.iter().map(|x| x.to_f64().to_bits()).collect::<Vec<u64>>();
        for chunk in [1, 2, 3] {
            let [part_y, part_gx, part_gw] = phases.run(chunk);
            assert_eq!(bits(&y), bits(&part_y), "{scene:?}, {isa:?}, {chunk} at a time");
            assert_eq!(bits(&gx), bits(&part_gx), "{scene:?}, {isa:?}, {chunk} at a time");
            let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
            let size = norm(&mut gw.iter().map(|x| x.to_f64()));
            let pairs = gw.iter().zip(&part_gw);
            let error = norm(&mut pairs.map(|(a, b)| a.to_f64() - b.to_f64()));
            assert!(error <= 8.0 * unit * size, "{scene:?}, {isa:?}: {}", error / size / unit);
        }
    }
    for isa in isas() {
        for (extent, c, o) in [(28, 1, 17), (14, 16, 16), (7, 32, 33), (3, 17, 16), (10, 3, 5)] {
            for stride in [1, 2] {
                let window = Window::square(3, stride, 1);
                let scene = Scene { image: [5, extent, extent, c], window };
                check::<f32>(scene, o, isa, f64::from(f32::EPSILON));
                check::<f64>(scene, o, isa, f64::EPSILON);
            }
        }
    }
}

/// What Winograd's algorithm costs in precision: relative to the norm of the result, errors stay within
/// eight units of rounding.
#[test]
fn winograd_is_precise() {
    for (extent, channels) in [(14, 64), (21, 32), (7, 64)] {
        let scene = Scene { image: [2, extent, extent, channels], window: Window::square(3, 1, 1) };
        let numbers =
            |key: Key, shape: &[usize]| random(key, shape, 1.0).cast(Dtype::F32).cast(Dtype::F64);
        let [x, w, g] = operands(&scene, channels, numbers);
        let Convolutions { y, gx, gw } = convolutions(&scene, channels, &x, &w, &g);
        for isa in isas() {
            let got = run(&|v| build_convolutions(&scene, v), &[&x, &w, &g], Dtype::F32, isa);
            for (got, [want, _]) in got.iter().zip([&y, &gx, &gw]) {
                let square =
                    |f: &dyn Fn(usize) -> f64| (0..got.len()).map(|i| f(i).powi(2)).sum::<f64>();
                let error = square(&|i| got.get(i) - want.get(i)) / square(&|i| want.get(i));
                assert!(error.sqrt() <= 1e-6, "{scene:?}, {isa:?}: {}", error.sqrt());
            }
        }
    }
}
