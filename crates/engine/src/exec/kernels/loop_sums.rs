//! The sums of elementwise loops: rows of a tile in the element type, tiles in double precision.

use std::ops::Range;

use super::super::Buffers;
use super::super::elem::Elem;
use super::elementwise::Tile;
use crate::plan::{LoopPlan, Reach, Sum};

/// Clears the sums that are gathered over all items.
pub(in super::super) fn start_sums<T: Elem>(plan: &LoopPlan, buffers: &mut Buffers<T>) {
    for sum in plan.sums.iter().filter(|sum| sum.to.reach == Reach::Whole) {
        clear(sum, &mut buffers.sums);
    }
}

/// Writes down the sums that are gathered over all items.
pub(in super::super) fn finish_sums<T: Elem>(plan: &LoopPlan, buffers: &mut Buffers<T>) {
    let n: usize = plan.dims.iter().product();
    for sum in plan.sums.iter().filter(|sum| sum.to.reach == Reach::Whole) {
        let to = sum.to.offset..sum.to.offset + sum.len;
        write(sum, n / sum.len, to, buffers);
    }
}

#[inline]
pub(super) fn clear(sum: &Sum, sums: &mut [f64]) {
    let len = if sum.deviation { 3 * sum.len } else { sum.len };
    sums[sum.acc..sum.acc + len].fill(0.0);
    if sum.deviation {
        // No shift is known yet.
        sums[sum.acc..sum.acc + sum.len].fill(f64::NAN);
    }
}

/// Writes sums down, each of `n` elements.
#[inline]
pub(super) fn write<T: Elem>(sum: &Sum, n: usize, to: Range<usize>, buffers: &mut Buffers<T>) {
    let sums = &buffers.sums[sum.acc..];
    for (i, out) in buffers.arena[to].iter_mut().enumerate() {
        *out = T::from_f64(if sum.deviation {
            // Σ (x − x̄)² = Σ d² − (Σ d)² / n with d = x − shift, and the shift near the mean.
            let (total, square) = (sums[sum.len + i], sums[2 * sum.len + i]);
            let deviation = square - total * total / n as f64;
            if deviation < 0.0 { 0.0 } else { deviation }
        } else {
            sums[i]
        });
    }
}

/// First of the sums a tile adds to. Sums by item start with the first item in work.
#[inline(always)]
fn base(sum: &Sum, tile: Tile) -> usize {
    let [group, row, column] = sum.strides;
    let skipped = if sum.to.reach == Reach::Whole { 0 } else { tile.items.first * sum.to.len };
    tile.group * group + tile.row * row + tile.column * column - skipped
}

/// Adds a tile to the sums: rows of a tile in the element type, tiles in double precision.
#[inline(always)]
pub(super) fn accumulate<T: Elem>(sum: &Sum, x: &[T], tile: Tile, sums: &mut [f64]) {
    let [_, row_step, column] = sum.strides;
    let sums = &mut sums[sum.acc + base(sum, tile)..];
    if row_step == 0 && column == 0 {
        sums[0] += total(x);
    } else if row_step == 0 {
        column_sums(x, tile.columns, sums);
    } else {
        for (r, x) in x.chunks_exact(tile.columns).enumerate() {
            let sums = &mut sums[r * row_step..];
            if column == 0 {
                sums[0] += total(x);
            } else {
                sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x.to_f64());
            }
        }
    }
}

/// Columns summed side by side, their sums in registers.
const LANES: usize = 32;
/// The same where fewer are left.
const FEW: usize = 8;

/// Adds the columns of a tile, each summed in the element type.
#[inline(always)]
fn column_sums<T: Elem>(x: &[T], columns: usize, sums: &mut [f64]) {
    let mut at = 0;
    while columns - at >= LANES {
        block_sums::<T, LANES>(&x[at..], columns, &mut sums[at..]);
        at += LANES;
    }
    while columns - at >= FEW {
        block_sums::<T, FEW>(&x[at..], columns, &mut sums[at..]);
        at += FEW;
    }
    for at in at..columns {
        block_sums::<T, 1>(&x[at..], columns, &mut sums[at..]);
    }
}

/// Adds the first `L` columns.
#[inline(always)]
fn block_sums<T: Elem, const L: usize>(x: &[T], columns: usize, sums: &mut [f64]) {
    let mut lanes = [T::ZERO; L];
    for x in x.chunks(columns) {
        let x: &[T; L] = x.first_chunk().expect("the block lies in the row");
        for j in 0..L {
            lanes[j] += x[j];
        }
    }
    for (sum, lane) in sums[..L].iter_mut().zip(lanes) {
        *sum += lane.to_f64();
    }
}

/// Deviations of some columns from their shifts, and the squares, summed in registers.
#[inline(always)]
fn block_deviations<T: Elem>(x: &[T], shift: &[T], columns: usize) -> [[T; LANES]; 2] {
    let shift: [T; LANES] = *shift.first_chunk().expect("the block lies in the row");
    let (mut total, mut square) = ([T::ZERO; LANES], [T::ZERO; LANES]);
    for x in x.chunks(columns) {
        let x: &[T; LANES] = x.first_chunk().expect("the block lies in the row");
        let mut off = [T::ZERO; LANES];
        for j in 0..LANES {
            off[j] = x[j] - shift[j];
        }
        for j in 0..LANES {
            total[j] += off[j];
        }
        for j in 0..LANES {
            square[j] += off[j] * off[j];
        }
    }
    [total, square]
}

/// Adds deviations from the shifts, and their squares, column by column.
#[inline(always)]
fn column_deviations<T: Elem>(x: &[T], shift: &[T], totals: &mut [f64], squares: &mut [f64]) {
    let columns = shift.len();
    let whole = columns / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        let [total, square] = block_deviations(&x[at..], &shift[at..], columns);
        for (sum, lane) in totals[at..at + LANES].iter_mut().zip(total) {
            *sum += lane.to_f64();
        }
        for (sum, lane) in squares[at..at + LANES].iter_mut().zip(square) {
            *sum += lane.to_f64();
        }
    }
    for at in whole..columns {
        let (mut total, mut square) = (T::ZERO, T::ZERO);
        for &x in x[at..].iter().step_by(columns) {
            let off = x - shift[at];
            total += off;
            square += off * off;
        }
        totals[at] += total.to_f64();
        squares[at] += square.to_f64();
    }
}

/// Adds the deviations of a tile from a shift, and their squares. The shift of each sum is the mean of
/// what its first tile adds, so that next to nothing cancels later.
#[inline(always)]
pub(super) fn accumulate_deviation<T: Elem>(
    sum: &Sum,
    x: &[T],
    tile: Tile,
    row: &mut [T],
    sums: &mut [f64],
) {
    let [_, row_step, column] = sum.strides;
    let at = base(sum, tile);
    let (shifts, rest) = sums[sum.acc..sum.acc + 3 * sum.len].split_at_mut(sum.len);
    let (totals, squares) = rest.split_at_mut(sum.len);
    let (shifts, totals, squares) = (&mut shifts[at..], &mut totals[at..], &mut squares[at..]);
    if row_step == 0 && column != 0 {
        let columns = tile.columns;
        let shift = &mut row[..columns];
        if shifts[0].is_nan() {
            // The first tile, or the first column holds a NaN: then the others have their shifts.
            let unknown = shifts[..columns].iter_mut().enumerate().filter(|(_, s)| s.is_nan());
            for (j, shift) in unknown {
                let column = x[j..].iter().step_by(columns);
                *shift = column.map(|x| x.to_f64()).sum::<f64>() / tile.rows as f64;
            }
        }
        shift.iter_mut().zip(&*shifts).for_each(|(to, &from)| *to = T::from_f64(from));
        column_deviations(x, shift, totals, squares);
        return;
    }
    for (r, x) in x.chunks_exact(tile.columns).enumerate() {
        for (j, x) in x.iter().enumerate() {
            let at = r * row_step + j * column;
            if shifts[at].is_nan() {
                shifts[at] = x.to_f64();
            }
            // The shift is rounded, as everywhere, to the element type.
            let off = (*x - T::from_f64(shifts[at])).to_f64();
            totals[at] += off;
            squares[at] += off * off;
        }
    }
}

/// Sum in eight lanes, so that additions need not wait for one another.
#[inline(always)]
fn total<T: Elem>(x: &[T]) -> f64 {
    let (chunks, tail) = x.as_chunks::<8>();
    let mut lanes = [T::ZERO; 8];
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += x;
        }
    }
    lanes.iter().chain(tail).map(|x| x.to_f64()).sum()
}
