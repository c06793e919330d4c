//! Matrix products on the blocks of the convolutions.
//!
//! Little is copied, which suits few-shot heads and perceptrons, at whose sizes a general library spends its time on
//! set-up. Columns of `b` are read where they lie, except that the last block must not read past the end of the array,
//! and that a transposed `b` is turned into a panel first. Rows of `a` are read as rows, or as strips where it is
//! transposed. Floor: `R` rows of `C` columns take `R C / L` multiply-adds of `L` lanes for each of the `k` they are
//! summed over, `C` rounded up to registers.
//!
//! AVX-512 in single precision uses [`wide`], everything else the loops over arrays here.

#[cfg(target_arch = "x86_64")]
mod wide;

use super::super::elem::Elem;
use super::micro::{Block, MR, fma, rows_times_panel, save_whole, strip_times_panel};
use super::turn::{self, turn};
use super::{Isa, dispatch};
use crate::tensor::volume;

/// Extents of a batch of products `[m, k] · [k, n]`.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct MatMulSizes {
    batch: usize,
    m: usize,
    k: usize,
    n: usize,
    /// Whether each operand is stored transposed.
    transposed: [bool; 2],
}

impl MatMulSizes {
    /// From the shapes of the first operand and of the result.
    pub(in super::super) fn new(a: &[usize], out: &[usize], ta: bool, tb: bool) -> MatMulSizes {
        let [batch @ .., m, n] = out else {
            unreachable!("matrix products have at least two axes")
        };
        let k = if ta { a[a.len() - 2] } else { a[a.len() - 1] };
        MatMulSizes { batch: volume(batch), m: *m, k, n: *n, transposed: [ta, tb] }
    }

    /// Elements of scratch: one panel.
    pub(in super::super) fn scratch(&self) -> usize {
        self.k * WIDEST
    }
}

/// The most columns a block has here: three of the widest registers.
const WIDEST: usize = 48;

/// Some columns of `b`: rows in place, a fixed distance apart, as long as they last, then packed ones.
struct Panel<'a, T> {
    rows: usize,
    values: &'a [T],
    step: usize,
    packed: &'a [T],
    packed_step: usize,
}

impl<'a, T: Elem> Panel<'a, T> {
    /// `C` columns from `j0` on of a matrix of `k` rows and `n` columns. Past the last column, rows hold
    /// the values that follow them, or anything: those columns of a product are dropped.
    #[inline(always)]
    fn new<const C: usize>(
        isa: Isa,
        b: &'a [T],
        tb: bool,
        [k, n]: [usize; 2],
        j0: usize,
        scratch: &'a mut [T],
    ) -> Panel<'a, T> {
        let columns = (n - j0).min(C);
        // Rows with at least `C` elements from column `j0` to the end of the array.
        let rows = if tb { 0 } else { (b.len() + n).saturating_sub(j0 + C) / n };
        let rows = rows.min(k);
        let packed_step = if tb { C.next_multiple_of(turn::SIDE) } else { C };
        let packed = &mut scratch[..(k - rows) * packed_step];
        if tb {
            turn(isa, &b[j0 * k..][..columns * k], k, packed, packed_step);
        } else {
            for (to, from) in packed.chunks_exact_mut(C).zip(b.chunks_exact(n).skip(rows)) {
                to[..columns].copy_from_slice(&from[j0..][..columns]);
            }
        }
        let values = if rows > 0 { &b[j0..] } else { b };
        Panel { rows, values, step: n, packed, packed_step }
    }
}

/// In panels of one, two or, where there are 32 registers, three registers of `L` lanes.
#[inline(always)]
fn product<T: Elem, const FMA: bool, const L: usize, const L2: usize, const L3: usize>(
    isa: Isa,
    sizes: &MatMulSizes,
    a: &[T],
    b: &[T],
    out: &mut [T],
    scratch: &mut [T],
) {
    let MatMulSizes { batch, m, k, n, transposed: [ta, tb] } = *sizes;
    for i in 0..batch {
        // Matrices run on into the next ones: registers may reach past the end of all but the last.
        let (a, b, out) = (&a[i * m * k..], &b[i * k * n..], &mut out[i * m * n..]);
        if n == 1 {
            times_vector::<T, FMA>((&a[..m * k], ta), &b[..k], (m, k), &mut out[..m]);
            continue;
        }
        // From the last panel to the first, so that what a row writes past its end is written again.
        let mut registers = n.div_ceil(L);
        while registers > 0 {
            let width = if L3 > L2 && registers.is_multiple_of(3) { 3 } else { registers.min(2) };
            registers -= width;
            let j0 = registers * L;
            match width {
                3 => {
                    let panel = Panel::new::<L3>(isa, b, tb, [k, n], j0, scratch);
                    columns::<T, FMA, L3>(sizes, a, &panel, j0, out);
                }
                2 => {
                    let panel = Panel::new::<L2>(isa, b, tb, [k, n], j0, scratch);
                    columns::<T, FMA, L2>(sizes, a, &panel, j0, out);
                }
                _ => {
                    let panel = Panel::new::<L>(isa, b, tb, [k, n], j0, scratch);
                    columns::<T, FMA, L>(sizes, a, &panel, j0, out);
                }
            }
        }
    }
}

/// All rows of the product with a panel.
#[inline(always)]
fn columns<T: Elem, const FMA: bool, const C: usize>(
    sizes: &MatMulSizes,
    a: &[T],
    panel: &Panel<'_, T>,
    j0: usize,
    out: &mut [T],
) {
    // A constant for every number of rows, so that a strip reads no further than it must.
    macro_rules! exactly {
        ($i:ident, $left:expr, $($rows:literal)*) => {
            match $left {
                $($rows => block::<T, FMA, $rows, C>(sizes, a, panel, [$i, j0], out),)*
                _ => block::<T, FMA, MR, C>(sizes, a, panel, [$i, j0], out),
            }
        };
    }
    for i0 in (0..sizes.m).step_by(MR) {
        exactly!(i0, sizes.m - i0, 1 2 3 4 5);
    }
}

#[inline(always)]
fn block<T: Elem, const FMA: bool, const R: usize, const C: usize>(
    sizes: &MatMulSizes,
    a: &[T],
    panel: &Panel<'_, T>,
    [i0, j0]: [usize; 2],
    out: &mut [T],
) {
    let MatMulSizes { m, k, n, transposed: [ta, _], .. } = *sizes;
    let mut acc: Block<T, R, C> = [[T::ZERO; C]; R];
    let inside = panel.rows;
    if ta {
        let a = &a[i0..];
        strip_times_panel::<T, FMA, R, C>(&mut acc, a, |p| p * m, inside, panel.values, panel.step);
        strip_times_panel::<T, FMA, R, C>(
            &mut acc,
            a,
            |p| (inside + p) * m,
            k - inside,
            panel.packed,
            panel.packed_step,
        );
    } else {
        let (mut first, mut last): ([&[T]; R], [&[T]; R]) = ([&[]; R], [&[]; R]);
        for r in 0..R {
            (first[r], last[r]) = a[(i0 + r) * k..][..k].split_at(inside);
        }
        rows_times_panel::<T, FMA, R, C>(&mut acc, first, panel.values, panel.step);
        rows_times_panel::<T, FMA, R, C>(&mut acc, last, panel.packed, panel.packed_step);
    }
    for r in 0..R {
        let to = &mut out[(i0 + r) * n + j0..];
        if to.len() >= C {
            save_whole(to, &acc[r]);
        } else {
            // A copy, so that the block itself need not lie in memory.
            let row = acc[r];
            save_last(&mut to[..n - j0], &row);
        }
    }
}

/// The end of a matrix. A separate function, or the compiler would merge both kinds of saving into one call that copies
/// a varying number of bytes.
#[inline(never)]
fn save_last<T: Elem>(to: &mut [T], row: &[T]) {
    to.copy_from_slice(&row[..to.len()]);
}

/// Elements of a block of a product with a single column.
const LANES: usize = 8;

/// A product with a single column, for which a panel would be mostly padding.
#[inline(always)]
fn times_vector<T: Elem, const FMA: bool>(
    (a, ta): (&[T], bool),
    b: &[T],
    (m, k): (usize, usize),
    out: &mut [T],
) {
    if ta {
        let (blocks, rest) = out.as_chunks_mut::<LANES>();
        let first_of_rest = blocks.len() * LANES;
        for (i, block) in blocks.iter_mut().enumerate() {
            let mut sums = [T::ZERO; LANES];
            for (row, &b) in a.chunks_exact(m).zip(b) {
                let row = row[i * LANES..].first_chunk::<LANES>().expect("inside the row");
                for lane in 0..LANES {
                    sums[lane] = fma::<T, FMA>(row[lane], b, sums[lane]);
                }
            }
            *block = sums;
        }
        for (i, out) in rest.iter_mut().enumerate() {
            let column = a.iter().skip(first_of_rest + i).step_by(m);
            *out = T::ZERO;
            column.zip(b).for_each(|(&a, &b)| *out = fma::<T, FMA>(a, b, *out));
        }
        return;
    }
    let (b_chunks, b_tail) = b.as_chunks::<LANES>();
    for (row, out) in a.chunks_exact(k).zip(out) {
        let (chunks, tail) = row.as_chunks::<LANES>();
        let mut lanes = [T::ZERO; LANES];
        for (a, b) in chunks.iter().zip(b_chunks) {
            for lane in 0..LANES {
                lanes[lane] = fma::<T, FMA>(a[lane], b[lane], lanes[lane]);
            }
        }
        let mut sum = T::ZERO;
        lanes.iter().for_each(|&lane| sum += lane);
        tail.iter().zip(b_tail).for_each(|(&a, &b)| sum = fma::<T, FMA>(a, b, sum));
        *out = sum;
    }
}

#[inline(always)]
fn matmul_body<T: Elem, const FMA: bool, const BYTES: usize>(
    isa: Isa,
    sizes: &MatMulSizes,
    a: &[T],
    b: &[T],
    out: &mut [T],
    scratch: &mut [T],
) {
    // A constant block, so that only the arm taken is compiled.
    match const { (BYTES, size_of::<T>()) } {
        (64, _) => product::<T, FMA, 8, 16, 24>(isa, sizes, a, b, out, scratch),
        (32, 4) => product::<T, FMA, 8, 16, 16>(isa, sizes, a, b, out, scratch),
        (16, 8) => product::<T, FMA, 2, 4, 4>(isa, sizes, a, b, out, scratch),
        _ => product::<T, FMA, 4, 8, 8>(isa, sizes, a, b, out, scratch),
    }
}

dispatch! {
    /// `out = op(a) · op(b)` for every matrix of the batch; it takes the instruction set once more, for code that is
    /// compiled separately.
    fn dispatched<T: Elem, BYTES>(
        again: Isa, sizes: &MatMulSizes, a: &[T], b: &[T], out: &mut [T], scratch: &mut [T],
    ) => matmul_body
}

/// `out = op(a) · op(b)` for every matrix of the batch.
pub(in super::super) fn matmul<T: Elem>(
    isa: Isa,
    sizes: &MatMulSizes,
    a: &[T],
    b: &[T],
    out: &mut [T],
    scratch: &mut [T],
) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if size_of::<T>() == size_of::<f32>() => {
            let (a, b) = (bytemuck::cast_slice(a), bytemuck::cast_slice(b));
            let (out, scratch) = (bytemuck::cast_slice_mut(out), bytemuck::cast_slice_mut(scratch));
            #[allow(unsafe_code, reason = "calls code compiled for a detected instruction set")]
            // SAFETY: a workspace is only made for an instruction set that this machine has.
            unsafe {
                wide::product(sizes, a, b, out, scratch);
            }
        }
        _ => dispatched(isa, isa, sizes, a, b, out, scratch),
    }
}
