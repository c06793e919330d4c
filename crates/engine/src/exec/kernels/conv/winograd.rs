//! 3×3 convolutions of stride 1 by Winograd's F(2×2, 3×3): a tile of 2×2 outputs takes 16 products per
//! pair of channels instead of 36.
//!
//! `y = Aᵀ [(G w Gᵀ) ⊙ (Bᵀ x B)] A` for the 4×4 pixels `x` under a tile, where ⊙ is a matrix product over
//! the channels at each of the 16 positions. The transforms only add, subtract and halve. The adjoint in
//! the kernel takes the same route backwards, `Gᵀ [Σ (Bᵀ x B) ⊙ (A g Aᵀ)] G`, and leaves the last step to
//! the end of the sum.
//!
//! Tiles that stick out of the map are computed whole and cut. A pixel that is not a number reaches every
//! output it belongs to, and its neighbours in the tile.

use super::super::super::elem::Elem;
use super::super::micro::{Gather, MOST_LANES, MOST_ROWS, Outer, Place, load, save};
use super::correlate::{Correlation, packed_at};
use super::frame::{Frame, SLACK, carve};
use crate::graph::Window;

/// Products per tile and pair of channels.
pub(super) const POSITIONS: usize = 16;
/// Tiles worked on at a time: transformed, they fit the second-level cache beside the kernel.
const TILES: usize = 48;
/// With fewer channels the transforms outweigh the products saved.
const CHANNELS: usize = 16;
/// On smaller maps too much of the tiles sticks out.
const SMALLEST: usize = 4;

/// Whether a convolution over this window, with these outputs and at least `few` channels on either side,
/// is better done this way.
pub(super) fn suits(window: &Window, out: [usize; 2], few: usize) -> bool {
    let fits = window.size == [3; 2] && window.stride == [1; 2];
    fits && few >= CHANNELS && out[0].min(out[1]) >= SMALLEST
}

/// Tiles along both axes, and the blocks of tiles worked on at a time.
struct Tiling {
    tiles: [usize; 2],
    frame: Frame,
    /// Images whose frames are held together.
    group: usize,
}

impl Tiling {
    fn new(job: &Correlation) -> Tiling {
        let tiles = job.out.map(|extent| extent.div_ceil(2));
        let channels = job.depth.next_multiple_of(MOST_LANES);
        let frame = Frame { size: tiles.map(|n| 2 * n + 2), channels, ..job.frame() };
        let group = (2 * TILES).div_ceil(tiles[0] * tiles[1]).min(job.n);
        Tiling { tiles, frame, group }
    }

    fn per_image(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    /// Tiles per block when `all` of them are shared out evenly, in whole blocks of rows.
    fn block(all: usize) -> usize {
        all.div_ceil(all.div_ceil(TILES)).next_multiple_of(MOST_ROWS).min(TILES)
    }

    /// Image, row and column of a tile.
    fn place(&self, tile: usize) -> [usize; 3] {
        let (image, tile) = (tile / self.per_image(), tile % self.per_image());
        [image, tile / self.tiles[1], tile % self.tiles[1]]
    }

    /// Transforms the pixels under `n` tiles from the given one on: `[position, tile, channel]`.
    #[inline(always)]
    fn read<T: Elem, const L: usize>(
        &self,
        frames: &[T],
        first: usize,
        n: usize,
        spread: &mut [T],
    ) {
        let (channels, row) = (self.frame.channels, self.frame.row());
        for t in 0..n {
            let [image, y, x] = self.place(first + t);
            let pixels = &frames[image * self.frame.len() + 2 * (y * row + x * channels)..];
            for k in (0..channels).step_by(L) {
                let mut tile = [[T::ZERO; L]; POSITIONS];
                for i in 0..4 {
                    for j in 0..4 {
                        tile[4 * i + j] = load(&pixels[i * row + j * channels + k..][..L]);
                    }
                }
                tile = both::<T, L>(tile, input);
                for (p, value) in tile.iter().enumerate() {
                    save(&mut spread[(p * n + t) * channels + k..][..L], value);
                }
            }
        }
    }
}

type Lanes<T, const L: usize> = [T; L];

#[inline(always)]
fn add<T: Elem, const L: usize>(mut a: Lanes<T, L>, b: Lanes<T, L>) -> Lanes<T, L> {
    for l in 0..L {
        a[l] = a[l] + b[l];
    }
    a
}

#[inline(always)]
fn sub<T: Elem, const L: usize>(mut a: Lanes<T, L>, b: Lanes<T, L>) -> Lanes<T, L> {
    for l in 0..L {
        a[l] = a[l] - b[l];
    }
    a
}

#[inline(always)]
fn half<T: Elem, const L: usize>(mut a: Lanes<T, L>) -> Lanes<T, L> {
    for x in &mut a {
        *x = *x * T::from_f64(0.5);
    }
    a
}

/// Applies a transform of four values along the columns and the rows of a 4×4 tile.
#[inline(always)]
fn both<T: Elem, const L: usize>(
    mut tile: [Lanes<T, L>; 16],
    f: impl Fn([Lanes<T, L>; 4]) -> [Lanes<T, L>; 4],
) -> [Lanes<T, L>; 16] {
    for j in 0..4 {
        [tile[j], tile[4 + j], tile[8 + j], tile[12 + j]] =
            f([tile[j], tile[4 + j], tile[8 + j], tile[12 + j]]);
    }
    for i in 0..4 {
        let i = 4 * i;
        [tile[i], tile[i + 1], tile[i + 2], tile[i + 3]] =
            f([tile[i], tile[i + 1], tile[i + 2], tile[i + 3]]);
    }
    tile
}

/// `Bᵀ`.
#[inline(always)]
fn input<T: Elem, const L: usize>([a, b, c, d]: [Lanes<T, L>; 4]) -> [Lanes<T, L>; 4] {
    [sub(a, c), add(b, c), sub(c, b), sub(b, d)]
}

/// `G`; the fourth value is not read.
#[inline(always)]
fn kernel<T: Elem, const L: usize>([a, b, c, _]: [Lanes<T, L>; 4]) -> [Lanes<T, L>; 4] {
    let (even, odd) = (half(add(a, c)), half(b));
    [a, add(even, odd), sub(even, odd), c]
}

/// `Gᵀ`, in the first three values.
#[inline(always)]
fn kernel_adjoint<T: Elem, const L: usize>([a, b, c, d]: [Lanes<T, L>; 4]) -> [Lanes<T, L>; 4] {
    let (even, odd) = (half(add(b, c)), half(sub(b, c)));
    [add(a, even), odd, add(even, d), [T::ZERO; L]]
}

/// `Aᵀ`, in the first two values.
#[inline(always)]
fn output<T: Elem, const L: usize>([a, b, c, d]: [Lanes<T, L>; 4]) -> [Lanes<T, L>; 4] {
    [add(add(a, b), c), sub(sub(b, c), d), [T::ZERO; L], [T::ZERO; L]]
}

/// `A`, of the first two values.
#[inline(always)]
fn output_adjoint<T: Elem, const L: usize>([a, b, ..]: [Lanes<T, L>; 4]) -> [Lanes<T, L>; 4] {
    [a, add(a, b), sub(a, b), sub([T::ZERO; L], b)]
}

/// Elements of scratch for an output, or for a sum over one: frames, and transformed tiles of both sides.
pub(super) fn scratch(job: &Correlation) -> usize {
    let tiling = Tiling::new(job);
    let columns = job.columns.next_multiple_of(MOST_LANES);
    let tiles = POSITIONS * TILES * (tiling.frame.channels + columns);
    tiling.group * tiling.frame.len() + tiles + MOST_ROWS + 3 * SLACK
}

/// `G w Gᵀ` in panels: `[position, panel, channel, column]`.
#[inline(always)]
pub(super) fn pack<T: Elem, const NR: usize, const L: usize>(
    job: &Correlation,
    w: &[T],
    packed: &mut [T],
) {
    let extents = [job.depth, job.columns];
    let plane = job.depth * job.columns.next_multiple_of(L);
    for j in (0..job.columns).step_by(L) {
        for k in 0..job.depth {
            let mut tile = [[T::ZERO; L]; POSITIONS];
            for a in 0..3 {
                for b in 0..3 {
                    let tap = if job.adjoint { [2 - a, 2 - b] } else { [a, b] };
                    tile[4 * a + b] = job.weights(tap).lanes(w, k, j);
                }
            }
            tile = both::<T, L>(tile, kernel);
            let at = packed_at::<NR, L>(extents, k, j);
            for (p, value) in tile.iter().enumerate() {
                save(&mut packed[p * plane + at..][..L], value);
            }
        }
    }
}

#[inline(always)]
pub(super) fn run<T: Elem, const FMA: bool, const MR: usize, const NR: usize, const L: usize>(
    job: &Correlation,
    source: &[T],
    packed: &[T],
    out: &mut [T],
    scratch: &mut [T],
) {
    let tiling = Tiling::new(job);
    let Tiling { frame, group, .. } = tiling;
    let (image, map) =
        (job.source[0] * job.source[1] * job.depth, job.out[0] * job.out[1] * job.columns);
    let (channels, width) = (frame.channels, job.columns.next_multiple_of(MOST_LANES));
    let plane = job.depth * job.columns.next_multiple_of(L);
    let (frames, rest) = carve(scratch, group * frame.len());
    let (spread, rest) = carve(rest, POSITIONS * TILES * channels);
    let (products, _) = carve(rest, POSITIONS * TILES * width);
    for (images, maps) in source.chunks(group * image).zip(out.chunks_mut(group * map)) {
        for (image, to) in images.chunks_exact(image).zip(frames.chunks_exact_mut(frame.len())) {
            frame.copy(image, job.source, job.depth, to);
        }
        let all = images.len() / image * tiling.per_image();
        for first in (0..all).step_by(Tiling::block(all)) {
            let n = Tiling::block(all).min(all - first);
            tiling.read::<T, L>(frames, first, n, spread);
            let mut places = [Place::default(); TILES];
            for (t, place) in places[..n].iter_mut().enumerate() {
                *place = Place { source: t * channels, out: t * width };
            }
            for p in 0..POSITIONS {
                let product = Gather {
                    source: &spread[p * n * channels..][..n * channels],
                    runs: 1,
                    run_step: 0,
                    run: job.depth,
                    packed: &packed[p * plane..][..plane],
                    columns: job.columns,
                };
                let products = &mut products[p * n * width..][..n * width];
                product.rows::<FMA, MR, NR, L>(&places[..n], products);
            }
            for t in 0..n {
                write::<T, L>(
                    job,
                    tiling.place(first + t),
                    &products[t * width..],
                    n * width,
                    maps,
                );
            }
        }
    }
}

/// Transforms the products of one tile, `step` apart, and writes the part of it that lies on the map.
#[inline(always)]
fn write<T: Elem, const L: usize>(
    job: &Correlation,
    [image, y, x]: [usize; 3],
    products: &[T],
    step: usize,
    out: &mut [T],
) {
    let [h, w] = job.out;
    let corner = ((image * h + 2 * y) * w + 2 * x) * job.columns;
    for j in (0..job.columns).step_by(L) {
        let mut tile = [[T::ZERO; L]; POSITIONS];
        for (p, value) in tile.iter_mut().enumerate() {
            *value = load(&products[p * step + j..][..L]);
        }
        tile = both::<T, L>(tile, output);
        let columns = (job.columns - j).min(L);
        for a in 0..(h - 2 * y).min(2) {
            for b in 0..(w - 2 * x).min(2) {
                let at = corner + (a * w + b) * job.columns + j;
                save(&mut out[at..][..columns], &tile[4 * a + b]);
            }
        }
    }
}

/// Adds to `sum`, `[position, channel, column]`, the products of transformed images and cotangents.
#[inline(always)]
pub(super) fn weight_grad_add<
    T: Elem,
    const FMA: bool,
    const MR: usize,
    const NR: usize,
    const L: usize,
>(
    job: &Correlation,
    x: &[T],
    g: &[T],
    sum: &mut [T],
    scratch: &mut [T],
) {
    let tiling = Tiling::new(job);
    let Tiling { frame, group, .. } = tiling;
    let (image, map) =
        (job.source[0] * job.source[1] * job.depth, job.out[0] * job.out[1] * job.columns);
    let (channels, width) = (frame.channels, job.columns.next_multiple_of(MOST_LANES));
    let (frames, rest) = carve(scratch, group * frame.len());
    let (spread, rest) = carve(rest, POSITIONS * TILES * channels + MOST_ROWS);
    let (spread_g, _) = carve(rest, POSITIONS * TILES * width);
    for (images, maps) in x.chunks(group * image).zip(g.chunks(group * map)) {
        for (image, to) in images.chunks_exact(image).zip(frames.chunks_exact_mut(frame.len())) {
            frame.copy(image, job.source, job.depth, to);
        }
        let all = images.len() / image * tiling.per_image();
        for first in (0..all).step_by(Tiling::block(all)) {
            let n = Tiling::block(all).min(all - first);
            tiling.read::<T, L>(frames, first, n, spread);
            for t in 0..n {
                read_cotangent::<T, L>(
                    job,
                    tiling.place(first + t),
                    maps,
                    &mut spread_g[t * width..],
                    n * width,
                );
            }
            let size = job.depth * job.columns;
            for (p, sum) in sum[..POSITIONS * size].chunks_exact_mut(size).enumerate() {
                let outer = Outer { rows: job.depth, columns: job.columns, depth: n, step: width };
                let panel = &spread_g[p * n * width..][..n * width];
                let source = &spread[p * n * channels..];
                outer.add::<T, FMA, MR, NR, L>(source, |t| t * channels, panel, sum);
            }
        }
    }
}

/// Transforms the cotangents of one tile, zeros off the map, and writes them `step` apart.
#[inline(always)]
fn read_cotangent<T: Elem, const L: usize>(
    job: &Correlation,
    [image, y, x]: [usize; 3],
    g: &[T],
    spread: &mut [T],
    step: usize,
) {
    let [h, w] = job.out;
    let corner = ((image * h + 2 * y) * w + 2 * x) * job.columns;
    for j in (0..job.columns).step_by(L) {
        let columns = (job.columns - j).min(L);
        let mut tile = [[T::ZERO; L]; POSITIONS];
        for a in 0..(h - 2 * y).min(2) {
            for b in 0..(w - 2 * x).min(2) {
                let at = corner + (a * w + b) * job.columns + j;
                tile[4 * a + b] = load(&g[at..][..columns]);
            }
        }
        tile = both::<T, L>(tile, output_adjoint);
        for (p, value) in tile.iter().enumerate() {
            save(&mut spread[p * step + j..][..L], value);
        }
    }
}

/// `gw = Gᵀ sum G`.
#[inline(always)]
pub(super) fn weight_grad_finish<T: Elem, const L: usize>(
    job: &Correlation,
    sum: &[T],
    gw: &mut [T],
) {
    let size = job.depth * job.columns;
    for at in (0..size).step_by(L) {
        let n = (size - at).min(L);
        let mut tile = [[T::ZERO; L]; POSITIONS];
        for (p, value) in tile.iter_mut().enumerate() {
            *value = load(&sum[p * size + at..][..n]);
        }
        tile = both::<T, L>(tile, kernel_adjoint);
        for a in 0..3 {
            for b in 0..3 {
                save(&mut gw[(3 * a + b) * size + at..][..n], &tile[4 * a + b]);
            }
        }
    }
}
