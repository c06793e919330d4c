//! The transforms of Winograd's algorithm along both axes of a tile, a register of channels at a time.

use super::super::super::elem::Elem;
use super::super::dispatch;
use super::super::micro::{MOST_LANES, blocked};
use super::correlate::{Correlation, pack_tap};
use super::points::{TAPS, input, kernel, kernel_adjoint, output, output_adjoint};
use super::winograd::{POINTS, SIDE, Tiles, plane};

type Lanes<T, const L: usize> = [T; L];

/// Applies a transform of `I` to `O` values to registers, one each, read and written by the expressions after
/// them. A macro, because functions passed as arguments are not compiled for wide registers; along one axis
/// at a time, because the compiler takes the positions of a whole tile for lanes of a register; and between
/// arrays of its own, which are known not to overlap.
macro_rules! line {
    ($f:ident, $I:ident, |$i:ident| $from:expr => $O:ident, |$o:ident| $to:expr) => {
        let mut from = [[T::ZERO; L]; $I];
        for $i in 0..$I {
            from[$i] = $from;
        }
        let mut to = [[T::ZERO; L]; $O];
        for l in 0..L {
            let mut line = [T::ZERO; $I];
            for i in 0..$I {
                line[i] = from[i][l];
            }
            let line = $f::<T, FMA>(line);
            for o in 0..$O {
                to[o][l] = line[o];
            }
        }
        for $o in 0..$O {
            $to = to[$o];
        }
    };
}

/// The kernel in panels, in the first three positions of the first three rows: `[position, panel, channel, column]`.
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
            pack_tap::<T, NR, L>(job, w, tap, extents, 0, &mut packed[(POINTS * a + b) * step..]);
        }
    }
}

/// `G w Gᵀ` in place, from the positions that hold the kernel.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "the index runs along all rows at once")]
fn transform_lanes<T: Elem, const FMA: bool, const NR: usize, const L: usize>(
    packed: &mut [T],
    step: usize,
    len: usize,
) {
    let n = len / L;
    let mut planes = packed.chunks_exact_mut(step);
    let mut rows: [[&mut [Lanes<T, L>]; POINTS]; POINTS] = Default::default();
    for row in rows.as_flattened_mut() {
        *row = registers_mut(planes.next().expect("a plane per position"), n);
    }
    for k in 0..n {
        for j in 0..TAPS {
            line!(kernel, TAPS, |i| rows[i][j][k] => POINTS, |i| rows[i][j][k]);
        }
        for row in &mut rows {
            line!(kernel, TAPS, |j| row[j][k] => POINTS, |j| row[j][k]);
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

/// Rows of `len` elements, `step` apart.
#[inline(always)]
fn rows<T, const L: usize, const N: usize>(
    values: &[T],
    step: usize,
    len: usize,
) -> [&[Lanes<T, L>]; N] {
    let mut rows: [&[Lanes<T, L>]; N] = [&[]; N];
    for i in 0..N {
        rows[i] = registers(&values[i * step..], len / L);
    }
    rows
}

/// The same, to be written to.
#[inline(always)]
fn rows_mut<T, const L: usize, const N: usize>(
    values: &mut [T],
    step: usize,
    len: usize,
) -> [&mut [Lanes<T, L>]; N]
where
    for<'a> [&'a mut [Lanes<T, L>]; N]: Default,
{
    let mut rows: [&mut [Lanes<T, L>]; N] = Default::default();
    let mut values = values;
    for row in &mut rows {
        let (first, rest) = values.split_at_mut(step.min(values.len()));
        (*row, values) = (registers_mut(first, len / L), rest);
    }
    rows
}

/// Transforms a run of tiles of `I` by `I` pixels, given by their rows and the elements from one row to the next, along
/// the columns and then the rows, into planes of the given number of elements and channels.
macro_rules! spread {
    (
        $f:ident, $I:ident, $run:expr,
        $pixels:expr => ($planes:expr, $step:expr, $channels:expr), $half:ident
    ) => {
        let ((pixels, row), run, channels) = ($pixels, $run, $channels);
        let (n, width) = (channels / L, (SIDE * run.n + $I - SIDE) * channels);
        let from = rows::<T, L, $I>(pixels, row, width);
        let to = rows_mut::<T, L, POINTS>($half, width, width);
        for k in 0..width / L {
            line!($f, $I, |i| from[i][k] => POINTS, |i| to[i][k]);
        }
        let planes = $planes.chunks_exact_mut(POINTS * $step);
        for (half, planes) in $half.chunks_exact(width).take(POINTS).zip(planes) {
            let from = registers(half, width / L);
            let to = &mut planes[run.tile * channels..];
            let to = rows_mut::<T, L, POINTS>(to, $step, run.n * channels);
            for t in 0..run.n {
                for k in 0..n {
                    let (at, tile) = (t * SIDE * n + k, t * n + k);
                    line!($f, $I, |j| from[at + j * n] => POINTS, |j| to[j][tile]);
                }
            }
        }
    };
}

/// `Bᵀ x B` of the pixels under all tiles: `[position, tile, channel]`.
#[inline(always)]
fn read_lanes<T: Elem, const FMA: bool, const NR: usize, const L: usize>(
    tiles: &Tiles<'_>,
    source: &[T],
    spread: &mut [T],
    copy: &mut [T],
    half: &mut [T],
) {
    let ([channels, _], [step, _]) = (tiles.channels(), tiles.planes());
    for run in tiles.runs() {
        let pixels = tiles.under(&run, source, copy);
        spread!(input, POINTS, &run, pixels => (&mut *spread, step, channels), half);
    }
}

/// `A g Aᵀ` of the cotangents under all tiles, zeros off the map: `[position, tile, column]`.
#[inline(always)]
fn read_cotangent_lanes<T: Elem, const FMA: bool, const NR: usize, const L: usize>(
    tiles: &Tiles<'_>,
    g: &[T],
    spread: &mut [T],
    copy: &mut [T],
    half: &mut [T],
) {
    let ([_, columns], [_, step]) = (tiles.channels(), tiles.planes());
    for run in tiles.runs() {
        let pixels = tiles.over(&run, g, copy);
        spread!(output_adjoint, SIDE, &run, pixels => (&mut *spread, step, columns), half);
    }
}

/// `Aᵀ m A` of the products of all tiles, written where a tile lies on the map.
#[inline(always)]
fn write_lanes<T: Elem, const FMA: bool, const NR: usize, const L: usize>(
    tiles: &Tiles<'_>,
    products: &[T],
    out: &mut [T],
    pixels: &mut [T],
    half: &mut [T],
) {
    let ([_, width], [_, step]) = (tiles.channels(), tiles.planes());
    let n = width / L;
    let ([h, w], columns) = (tiles.job.out, tiles.job.columns);
    for run in tiles.runs() {
        let all = run.n * width;
        // Along the rows, `[pixel of a row, row of positions, tile]`.
        for i in 0..POINTS {
            let from = &products[i * POINTS * step + run.tile * width..];
            let from = rows::<T, L, POINTS>(from, step, all);
            let to = rows_mut::<T, L, SIDE>(&mut half[i * all..], POINTS * all, all);
            for k in 0..all / L {
                line!(output, POINTS, |j| from[j][k] => SIDE, |j| to[j][k]);
            }
        }
        // Along the columns, into rows of pixels.
        let row = SIDE * all;
        for (j, half) in half.chunks_exact(POINTS * all).take(SIDE).enumerate() {
            let from = rows::<T, L, POINTS>(half, all, all);
            let to = rows_mut::<T, L, SIDE>(pixels, row, row);
            for t in 0..run.n {
                for k in 0..n {
                    let (tile, at) = (t * n + k, (t * SIDE + j) * n + k);
                    line!(output, POINTS, |i| from[i][tile] => SIDE, |i| to[i][at]);
                }
            }
        }
        let [image, y, x] = run.at;
        let lines = out[image * h * w * columns..].chunks_exact_mut(w * columns).take(h).skip(y);
        for (line, row) in lines.zip(pixels.chunks_exact(row).take(SIDE)) {
            let line = &mut line[x * columns..][..(SIDE * run.n).min(w - x) * columns];
            if width == columns {
                line.copy_from_slice(&row[..line.len()]);
                continue;
            }
            for (to, from) in line.chunks_exact_mut(columns).zip(row.chunks_exact(width)) {
                to.copy_from_slice(&from[..columns]);
            }
        }
    }
}

/// `Gᵀ m G` of the sums from `first` on, as far as whole registers reach; returns where it stopped.
#[inline(always)]
fn finish<T: Elem, const FMA: bool, const L: usize>(
    sum: &[T],
    step: usize,
    gw: &mut [T],
    [first, size]: [usize; 2],
) -> usize {
    let n = (size - first) / L;
    let mut taps: [&mut [Lanes<T, L>]; TAPS * TAPS] = Default::default();
    for (to, tap) in taps.iter_mut().zip(gw.chunks_exact_mut(size)) {
        *to = registers_mut(&mut tap[first..], n);
    }
    let mut sums: [[&[Lanes<T, L>]; POINTS]; POINTS] = [[&[]; POINTS]; POINTS];
    for (i, sums) in sums.iter_mut().enumerate() {
        *sums = rows::<T, L, POINTS>(&sum[i * POINTS * step + first..], step, n * L);
    }
    for k in 0..n {
        let mut half = [[[T::ZERO; L]; POINTS]; TAPS];
        for j in 0..POINTS {
            line!(kernel_adjoint, POINTS, |i| sums[i][j][k] => TAPS, |i| half[i][j]);
        }
        for i in 0..TAPS {
            line!(kernel_adjoint, POINTS, |j| half[i][j] => TAPS, |j| taps[i * TAPS + j][k]);
        }
    }
    first + n * L
}

#[inline(always)]
fn finish_lanes<T: Elem, const FMA: bool, const NR: usize, const L: usize>(
    job: &Correlation,
    sum: &[T],
    gw: &mut [T],
) {
    let size = job.depth * job.columns;
    let step = plane(size);
    let done = finish::<T, FMA, L>(sum, step, gw, [0, size]);
    finish::<T, FMA, 1>(sum, step, gw, [done, size]);
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
    source: &[T],
    spread: &mut [T],
    copy: &mut [T],
    half: &mut [T],
) {
    blocked!(read_lanes(tiles, source, spread, copy, half));
}

#[inline(always)]
fn write_body<T: Elem, const FMA: bool, const BYTES: usize>(
    tiles: &Tiles<'_>,
    products: &[T],
    out: &mut [T],
    pixels: &mut [T],
    half: &mut [T],
) {
    blocked!(write_lanes(tiles, products, out, pixels, half));
}

#[inline(always)]
fn read_cotangent_body<T: Elem, const FMA: bool, const BYTES: usize>(
    tiles: &Tiles<'_>,
    g: &[T],
    spread: &mut [T],
    copy: &mut [T],
    half: &mut [T],
) {
    blocked!(read_cotangent_lanes(tiles, g, spread, copy, half));
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
    fn read<T: Elem, BYTES>(
        tiles: &Tiles<'_>, source: &[T], spread: &mut [T], copy: &mut [T], half: &mut [T],
    ) => read_body
}

dispatch! {
    fn write<T: Elem, BYTES>(
        tiles: &Tiles<'_>, products: &[T], out: &mut [T], pixels: &mut [T],
        half: &mut [T],
    ) => write_body
}

dispatch! {
    fn read_cotangent<T: Elem, BYTES>(
        tiles: &Tiles<'_>, g: &[T], spread: &mut [T], copy: &mut [T], half: &mut [T],
    ) => read_cotangent_body
}

dispatch! {
    /// `gw = Gᵀ sum G`.
    fn weight_grad_finish<T: Elem, BYTES>(
        job: &Correlation, sum: &[T], gw: &mut [T],
    ) => finish_body
}
