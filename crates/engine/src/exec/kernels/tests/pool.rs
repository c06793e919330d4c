//! Pooling, against naive loops.

use rand::RngExt;

use super::{Scene, check, whole};
use crate::autodiff::vjp;
use crate::key::Key;
use crate::tensor::{Dtype, Tensor};

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
            // A window that lies entirely in the padding gives zero, and no derivative.
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
            // Positions show in the derivative: among equals, of which whole numbers have plenty, the first one gets
            // it.
            check(&format!("positions, {scene:?}"), &[&x, &g, &want[0]], &want[1..3], |v| {
                let max = v[0].max_pool(window);
                vec![v[0].pool_pick(v[2], window), vjp(&[max], &[v[1]], &[v[0]])[0]]
            });
            // The search for maxima takes the channels' scales as a separate operand; they may be negative or zero.
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
