//! The transforms of Winograd's algorithm, a register of channels at a time: sums and halves of the rows and
//! the columns of tiles.
//!
//! `Bᵀ = [1 0 −1 0; 0 1 1 0; 0 −1 1 0; 0 1 0 −1]`, `G = [1 0 0; ½ ½ ½; ½ −½ ½; 0 0 1]`,
//! `Aᵀ = [1 1 1 0; 0 1 −1 −1]`.

use super::super::super::elem::Elem;
use super::super::dispatch;
use super::super::micro::{MOST_LANES, blocked};
use super::correlate::{Correlation, pack_tap};
use super::winograd::{POSITIONS, Tiles, plane};

type Lanes<T, const L: usize> = [T; L];

#[inline(always)]
fn add<T: Elem, const L: usize>(mut a: Lanes<T, L>, b: Lanes<T, L>) -> Lanes<T, L> {
    for l in 0..L {
        a[l] += b[l];
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

/// `G`.
#[inline(always)]
fn kernel<T: Elem, const L: usize>([a, b, c]: [Lanes<T, L>; 3]) -> [Lanes<T, L>; 4] {
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

/// The kernel in panels, at nine of the positions: `[position, panel, channel, column]`.
#[inline(always)]
fn pack_lanes<T: Elem, const FMA: bool, const NR: usize, const L: usize>(
    job: &Correlation,
    w: &[T],
    packed: &mut [T],
) {
    let extents = [job.depth, job.columns];
    let step = plane(job.depth * job.columns.next_multiple_of(MOST_LANES));
    for a in 0..3 {
        for b in 0..3 {
            let tap = if job.adjoint { [2 - a, 2 - b] } else { [a, b] };
            pack_tap::<T, NR, L>(job, w, tap, extents, 0, &mut packed[(4 * a + b) * step..]);
        }
    }
}

/// `G w Gᵀ` in place, from the nine positions that hold the kernel.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "the index runs along all rows at once")]
fn transform_lanes<T: Elem, const FMA: bool, const NR: usize, const L: usize>(
    packed: &mut [T],
    step: usize,
    len: usize,
) {
    let n = len / L;
    let mut planes = packed.chunks_exact_mut(step);
    let mut rows: [&mut [[T; L]]; POSITIONS] = Default::default();
    for row in &mut rows {
        *row = registers_mut(planes.next().expect("a plane per position"), n);
    }
    for k in 0..n {
        // Four rows of three columns, then four of four.
        let column = |j: usize| kernel::<T, L>([rows[j][k], rows[4 + j][k], rows[8 + j][k]]);
        let (left, middle, right) = (column(0), column(1), column(2));
        for i in 0..4 {
            let row = kernel::<T, L>([left[i], middle[i], right[i]]);
            for j in 0..4 {
                rows[4 * i + j][k] = row[j];
            }
        }
    }
}

/// Registers of a row. Slices of registers and of one known length need no checks in the loops below,
/// which would otherwise outweigh the sums.
#[inline(always)]
fn registers<T, const L: usize>(row: &[T], n: usize) -> &[[T; L]] {
    &row.as_chunks().0[..n]
}

#[inline(always)]
fn registers_mut<T, const L: usize>(row: &mut [T], n: usize) -> &mut [[T; L]] {
    &mut row.as_chunks_mut().0[..n]
}

/// For every tile the rows of all positions, each in the plane of its own.
#[inline(always)]
fn rows_mut<T>(
    planes: &mut [T],
    step: usize,
    width: usize,
) -> [std::slice::ChunksExactMut<'_, T>; POSITIONS] {
    let mut planes = planes.chunks_exact_mut(step);
    std::array::from_fn(|_| planes.next().expect("a plane per position").chunks_exact_mut(width))
}

/// `Bᵀ x B` of the pixels under all tiles: `[position, tile, channel]`.
#[inline(always)]
fn read_lanes<T: Elem, const FMA: bool, const NR: usize, const L: usize>(
    tiles: &Tiles<'_>,
    frames: &[T],
    spread: &mut [T],
) {
    let (tiling, [step, _]) = (tiles.tiling, tiles.planes());
    let (channels, row) = (tiling.frame.channels, tiling.frame.row());
    let n = channels / L;
    let mut rows = rows_mut(spread, step, channels);
    for t in 0..tiles.n {
        let [image, y, x] = tiling.place(tiles.first + t);
        let pixels = &frames[image * tiling.frame.len() + 2 * (y * row + x * channels)..];
        let mut from: [&[[T; L]]; POSITIONS] = [&[]; POSITIONS];
        for i in 0..4 {
            let pixels = &pixels[i * row..][..4 * channels];
            for j in 0..4 {
                from[4 * i + j] = registers(&pixels[j * channels..], n);
            }
        }
        let mut to: [&mut [[T; L]]; POSITIONS] = Default::default();
        for p in 0..POSITIONS {
            to[p] = registers_mut(rows[p].next().expect("a row per tile"), n);
        }
        for k in 0..n {
            let mut tile = [[T::ZERO; L]; POSITIONS];
            for p in 0..POSITIONS {
                tile[p] = from[p][k];
            }
            tile = both::<T, L>(tile, input);
            for p in 0..POSITIONS {
                to[p][k] = tile[p];
            }
        }
    }
}

/// `Aᵀ m A` of the products of all tiles, written where a tile lies on the map; `quad` holds one tile.
#[inline(always)]
fn write_lanes<T: Elem, const FMA: bool, const NR: usize, const L: usize>(
    tiles: &Tiles<'_>,
    products: &[T],
    out: &mut [T],
    quad: &mut [T],
) {
    let (width, [_, step]) = (tiles.width(), tiles.planes());
    let n = width / L;
    for t in 0..tiles.n {
        let mut from: [&[[T; L]]; POSITIONS] = [&[]; POSITIONS];
        for p in 0..POSITIONS {
            from[p] = registers(&products[p * step + t * width..], n);
        }
        let (to, _) = quad[..4 * width].as_chunks_mut::<L>();
        let (to0, rest) = to.split_at_mut(n);
        let (to1, rest) = rest.split_at_mut(n);
        let (to2, to3) = rest.split_at_mut(n);
        let to3 = &mut to3[..n];
        for k in 0..n {
            let mut tile = [[T::ZERO; L]; POSITIONS];
            for p in 0..POSITIONS {
                tile[p] = from[p][k];
            }
            tile = both::<T, L>(tile, output);
            (to0[k], to1[k], to2[k], to3[k]) = (tile[0], tile[1], tile[4], tile[5]);
        }
        let columns = tiles.job.columns;
        for (pixel, at) in tiles.pixels(t) {
            out[at..at + columns].copy_from_slice(&quad[pixel * width..][..columns]);
        }
    }
}

/// `A g Aᵀ` of the cotangents under all tiles, zeros off the map: `[position, tile, column]`.
#[inline(always)]
fn read_cotangent_lanes<T: Elem, const FMA: bool, const NR: usize, const L: usize>(
    tiles: &Tiles<'_>,
    g: &[T],
    spread: &mut [T],
    quad: &mut [T],
) {
    let (width, [_, step]) = (tiles.width(), tiles.planes());
    let n = width / L;
    let columns = tiles.job.columns;
    let mut rows = rows_mut(spread, step, width);
    for t in 0..tiles.n {
        let quad = &mut quad[..4 * width];
        quad.fill(T::ZERO);
        for (pixel, at) in tiles.pixels(t) {
            quad[pixel * width..][..columns].copy_from_slice(&g[at..at + columns]);
        }
        let (from, _) = quad.as_chunks::<L>();
        let (from0, from1) = (&from[..n], &from[n..][..n]);
        let (from2, from3) = (&from[2 * n..][..n], &from[3 * n..][..n]);
        let mut to: [&mut [[T; L]]; POSITIONS] = Default::default();
        for p in 0..POSITIONS {
            to[p] = registers_mut(rows[p].next().expect("a row per tile"), n);
        }
        for k in 0..n {
            let mut tile = [[T::ZERO; L]; POSITIONS];
            (tile[0], tile[1], tile[4], tile[5]) = (from0[k], from1[k], from2[k], from3[k]);
            tile = both::<T, L>(tile, output_adjoint);
            for p in 0..POSITIONS {
                to[p][k] = tile[p];
            }
        }
    }
}

/// `Gᵀ m G`.
#[inline(always)]
fn finish_lanes<T: Elem, const FMA: bool, const NR: usize, const L: usize>(
    job: &Correlation,
    sum: &[T],
    gw: &mut [T],
) {
    let size = job.depth * job.columns;
    let (step, n) = (plane(size), size / L);
    let mut from: [&[[T; L]]; POSITIONS] = [&[]; POSITIONS];
    for p in 0..POSITIONS {
        from[p] = registers(&sum[p * step..], n);
    }
    let mut taps = gw.chunks_exact_mut(size);
    let mut to: [&mut [[T; L]]; 9] = Default::default();
    for to in &mut to {
        *to = registers_mut(taps.next().expect("nine taps"), n);
    }
    for k in 0..n {
        let mut tile = [[T::ZERO; L]; POSITIONS];
        for p in 0..POSITIONS {
            tile[p] = from[p][k];
        }
        tile = both::<T, L>(tile, kernel_adjoint);
        for p in 0..9 {
            to[p][k] = tile[4 * (p / 3) + p % 3];
        }
    }
    for k in n * L..size {
        let mut tile = [[T::ZERO; 1]; POSITIONS];
        for p in 0..POSITIONS {
            tile[p] = [sum[p * step + k]];
        }
        tile = both::<T, 1>(tile, kernel_adjoint);
        for p in 0..9 {
            [gw[p * size + k]] = tile[4 * (p / 3) + p % 3];
        }
    }
}

#[inline(always)]
fn pack_body<T: Elem, const FMA: bool, const BYTES: usize>(
    job: &Correlation,
    w: &[T],
    packed: &mut [T],
) {
    blocked!(pack_lanes(job, w, packed));
}

#[inline(always)]
fn transform_body<T: Elem, const FMA: bool, const BYTES: usize>(
    packed: &mut [T],
    step: usize,
    len: usize,
) {
    blocked!(transform_lanes(packed, step, len));
}

#[inline(always)]
fn read_body<T: Elem, const FMA: bool, const BYTES: usize>(
    tiles: &Tiles<'_>,
    frames: &[T],
    spread: &mut [T],
) {
    blocked!(read_lanes(tiles, frames, spread));
}

#[inline(always)]
fn write_body<T: Elem, const FMA: bool, const BYTES: usize>(
    tiles: &Tiles<'_>,
    products: &[T],
    out: &mut [T],
    quad: &mut [T],
) {
    blocked!(write_lanes(tiles, products, out, quad));
}

#[inline(always)]
fn read_cotangent_body<T: Elem, const FMA: bool, const BYTES: usize>(
    tiles: &Tiles<'_>,
    g: &[T],
    spread: &mut [T],
    quad: &mut [T],
) {
    blocked!(read_cotangent_lanes(tiles, g, spread, quad));
}

#[inline(always)]
fn finish_body<T: Elem, const FMA: bool, const BYTES: usize>(
    job: &Correlation,
    sum: &[T],
    gw: &mut [T],
) {
    blocked!(finish_lanes(job, sum, gw));
}

dispatch! {
    fn lay_out<T: Elem, BYTES>(job: &Correlation, w: &[T], packed: &mut [T]) => pack_body
}

dispatch! {
    fn transform<T: Elem, BYTES>(packed: &mut [T], step: usize, len: usize) => transform_body
}

dispatch! {
    fn read<T: Elem, BYTES>(tiles: &Tiles<'_>, frames: &[T], spread: &mut [T]) => read_body
}

dispatch! {
    fn write<T: Elem, BYTES>(
        tiles: &Tiles<'_>, products: &[T], out: &mut [T], quad: &mut [T],
    ) => write_body
}

dispatch! {
    fn read_cotangent<T: Elem, BYTES>(
        tiles: &Tiles<'_>, g: &[T], spread: &mut [T], quad: &mut [T],
    ) => read_cotangent_body
}

dispatch! {
    /// `gw = Gᵀ sum G`.
    fn weight_grad_finish<T: Elem, BYTES>(
        job: &Correlation, sum: &[T], gw: &mut [T],
    ) => finish_body
}
