//! The transforms of Winograd's F(4×4, 3×3), a register of channels at a time.
//!
//! With the points 0, ±a, ±b and ∞, `s = a² + b²` and `p = a² b²`:
//!
//! ```text
//!      ⎡ p    0   −s   0  1  0 ⎤       ⎡ 1/p      0      0     ⎤        ⎡ 1  1   1   1   1   0 ⎤
//!      ⎢ 0  −ab² −b²   a  1  0 ⎥       ⎢ 1/m     a/m    a²/m   ⎥   Aᵀ = ⎢ 0  a  −a   b  −b   0 ⎥
//! Bᵀ = ⎢ 0   ab² −b²  −a  1  0 ⎥   G = ⎢ 1/m    −a/m    a²/m   ⎥        ⎢ 0  a²  a²  b²  b²  0 ⎥
//!      ⎢ 0  −a²b −a²   b  1  0 ⎥       ⎢ 1/n     b/n    b²/n   ⎥        ⎣ 0  a³ −a³  b³ −b³  1 ⎦
//!      ⎢ 0   a²b −a²  −b  1  0 ⎥       ⎢ 1/n    −b/n    b²/n   ⎥
//!      ⎣ 0    p    0  −s  0  1 ⎦       ⎣  0       0      1     ⎦   m = 2a²(a² − b²), n = 2b²(b² − a²)
//! ```

use super::super::super::elem::Elem;
use super::super::dispatch;
use super::super::micro::{MOST_LANES, blocked, fma};
use super::correlate::{Correlation, pack_tap};
use super::winograd::{POINTS, SIDE, Tiles, plane};

/// The points, numbers that single precision holds exactly, as it does `s` and `p`.
const A: f64 = 5.0 / 8.0;
const B: f64 = 3.0 / 2.0;
const A2: f64 = A * A;
const B2: f64 = B * B;
const S: f64 = A2 + B2;
const P: f64 = A2 * B2;
const M: f64 = 2.0 * A2 * (A2 - B2);
const N: f64 = 2.0 * B2 * (B2 - A2);

/// Taps of the kernel along an axis.
const TAPS: usize = 3;

type Lanes<T, const L: usize> = [T; L];

/// `Bᵀ`.
#[inline(always)]
fn input<T: Elem, const FMA: bool>(d: [T; POINTS]) -> [T; POINTS] {
    let [a, b, a2, b2, s, p] = [A, B, A2, B2, S, P].map(T::from_f64);
    let (even_a, odd_a) = (fma::<T, FMA>(-b2, d[2], d[4]), fma::<T, FMA>(-b2, d[1], d[3]));
    let (even_b, odd_b) = (fma::<T, FMA>(-a2, d[2], d[4]), fma::<T, FMA>(-a2, d[1], d[3]));
    [
        fma::<T, FMA>(p, d[0], fma::<T, FMA>(-s, d[2], d[4])),
        fma::<T, FMA>(a, odd_a, even_a),
        fma::<T, FMA>(-a, odd_a, even_a),
        fma::<T, FMA>(b, odd_b, even_b),
        fma::<T, FMA>(-b, odd_b, even_b),
        fma::<T, FMA>(p, d[1], fma::<T, FMA>(-s, d[3], d[5])),
    ]
}

/// `G`.
#[inline(always)]
fn kernel<T: Elem, const FMA: bool>(w: [T; TAPS]) -> [T; POINTS] {
    let n = T::from_f64;
    let even_a = fma::<T, FMA>(n(A2 / M), w[2], n(1.0 / M) * w[0]);
    let even_b = fma::<T, FMA>(n(B2 / N), w[2], n(1.0 / N) * w[0]);
    [
        n(1.0 / P) * w[0],
        fma::<T, FMA>(n(A / M), w[1], even_a),
        fma::<T, FMA>(n(-A / M), w[1], even_a),
        fma::<T, FMA>(n(B / N), w[1], even_b),
        fma::<T, FMA>(n(-B / N), w[1], even_b),
        w[2],
    ]
}

/// `Gᵀ`.
#[inline(always)]
fn kernel_adjoint<T: Elem, const FMA: bool>(m: [T; POINTS]) -> [T; TAPS] {
    let n = T::from_f64;
    let (even_a, odd_a, even_b, odd_b) = (m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]);
    let first = fma::<T, FMA>(n(1.0 / N), even_b, n(1.0 / P) * m[0]);
    [
        fma::<T, FMA>(n(1.0 / M), even_a, first),
        fma::<T, FMA>(n(A / M), odd_a, n(B / N) * odd_b),
        fma::<T, FMA>(n(A2 / M), even_a, fma::<T, FMA>(n(B2 / N), even_b, m[5])),
    ]
}

/// `Aᵀ`.
#[inline(always)]
fn output<T: Elem, const FMA: bool>(m: [T; POINTS]) -> [T; SIDE] {
    let n = T::from_f64;
    let (even_a, odd_a, even_b, odd_b) = (m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]);
    [
        m[0] + even_a + even_b,
        fma::<T, FMA>(n(A), odd_a, n(B) * odd_b),
        fma::<T, FMA>(n(A2), even_a, n(B2) * even_b),
        fma::<T, FMA>(n(A * A2), odd_a, fma::<T, FMA>(n(B * B2), odd_b, m[5])),
    ]
}

/// `A`.
#[inline(always)]
fn output_adjoint<T: Elem, const FMA: bool>(g: [T; SIDE]) -> [T; POINTS] {
    let [a, b, a2, b2] = [A, B, A2, B2].map(T::from_f64);
    let (even_a, odd_a) = (fma::<T, FMA>(a2, g[2], g[0]), fma::<T, FMA>(a2, g[3], g[1]));
    let (even_b, odd_b) = (fma::<T, FMA>(b2, g[2], g[0]), fma::<T, FMA>(b2, g[3], g[1]));
    [
        g[0],
        fma::<T, FMA>(a, odd_a, even_a),
        fma::<T, FMA>(-a, odd_a, even_a),
        fma::<T, FMA>(b, odd_b, even_b),
        fma::<T, FMA>(-b, odd_b, even_b),
        g[3],
    ]
}

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

/// The kernel in panels, at the first three of three rows of positions: `[position, panel, channel, column]`.
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
    let n = channels / L;
    for run in tiles.runs() {
        let (pixels, row) = tiles.under(&run, source, copy);
        let width = (SIDE * run.n + 2) * channels;
        let from = rows::<T, L, POINTS>(pixels, row, width);
        let to = rows_mut::<T, L, POINTS>(half, width, width);
        for k in 0..width / L {
            line!(input, POINTS, |i| from[i][k] => POINTS, |i| to[i][k]);
        }
        let planes = spread.chunks_exact_mut(POINTS * step);
        for (half, planes) in half.chunks_exact(width).zip(planes) {
            let from = registers(half, width / L);
            let to = &mut planes[run.tile * channels..];
            let to = rows_mut::<T, L, POINTS>(to, step, run.n * channels);
            for t in 0..run.n {
                for k in 0..n {
                    let (at, tile) = (t * SIDE * n + k, t * n + k);
                    line!(input, POINTS, |j| from[at + j * n] => POINTS, |j| to[j][tile]);
                }
            }
        }
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
    let n = columns / L;
    for run in tiles.runs() {
        let (pixels, row) = tiles.over(&run, g, copy);
        let width = SIDE * run.n * columns;
        let from = rows::<T, L, SIDE>(pixels, row, width);
        let to = rows_mut::<T, L, POINTS>(half, width, width);
        for k in 0..width / L {
            line!(output_adjoint, SIDE, |i| from[i][k] => POINTS, |i| to[i][k]);
        }
        let planes = spread.chunks_exact_mut(POINTS * step);
        for (half, planes) in half.chunks_exact(width).zip(planes) {
            let from = registers(half, width / L);
            let to = &mut planes[run.tile * columns..];
            let to = rows_mut::<T, L, POINTS>(to, step, run.n * columns);
            for t in 0..run.n {
                for k in 0..n {
                    let (at, tile) = (t * SIDE * n + k, t * n + k);
                    line!(output_adjoint, SIDE, |j| from[at + j * n] => POINTS, |j| to[j][tile]);
                }
            }
        }
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

/// `Gᵀ m G` of the sums from `first` on, as far as whole registers reach; where that is.
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
