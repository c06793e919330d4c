//! Matrix products on the blocks of the convolutions.
//!
//! Little is copied, which suits the sizes of few-shot heads and perceptrons, where a general library
//! spends its time on setting up: columns of `b` are read where they lie, except that a last block of
//! fewer columns than a register must not read past the end of the matrix, and that a transposed `b` is
//! packed. Rows of `a` are read as rows, or as strips where it is transposed.

use super::super::elem::Elem;
use super::dispatch;
use super::micro::{
    Block, MOST_COLUMNS, MR, blocked, fma, rows_times_panel, save, save_whole, strip_times_panel,
};
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
        self.k * MOST_COLUMNS
    }
}

/// Some columns of `b`: rows that lie `step` apart as long as they last, then packed ones.
struct Panel<'a, T> {
    rows: usize,
    values: &'a [T],
    step: usize,
    packed: &'a [T],
}

impl<'a, T: Elem> Panel<'a, T> {
    /// `C` columns from `j0` on of a matrix of `k` rows and `n` columns. Past the last column, rows in
    /// place hold values of the next row and packed ones zeros: those columns of a product are dropped.
    #[inline(always)]
    fn new<const C: usize>(
        b: &'a [T],
        tb: bool,
        [k, n]: [usize; 2],
        j0: usize,
        scratch: &'a mut [T],
    ) -> Panel<'a, T> {
        let columns = (n - j0).min(C);
        // Rows with at least `C` elements from column `j0` to the end of the matrix.
        let rows = if tb { 0 } else { (k * n + n).saturating_sub(j0 + C) / n };
        let rows = rows.min(k);
        let packed = &mut scratch[..(k - rows) * C];
        if columns < C {
            packed.fill(T::ZERO);
        }
        if tb {
            // Reads run along the rows as stored.
            for j in 0..columns {
                let row = &b[(j0 + j) * k..][..k];
                packed.chunks_exact_mut(C).zip(row).for_each(|(to, &from)| to[j] = from);
            }
        } else {
            for (to, from) in packed.chunks_exact_mut(C).zip(b.chunks_exact(n).skip(rows)) {
                to[..columns].copy_from_slice(&from[j0..][..columns]);
            }
        }
        let values = if rows > 0 { &b[j0..] } else { b };
        Panel { rows, values, step: n, packed }
    }
}

#[inline(always)]
fn product<T: Elem, const FMA: bool, const NR: usize, const L: usize>(
    sizes: &MatMulSizes,
    a: &[T],
    b: &[T],
    out: &mut [T],
    scratch: &mut [T],
) {
    let MatMulSizes { batch, m, k, n, transposed: [ta, tb] } = *sizes;
    for i in 0..batch {
        let (a, b) = (&a[i * m * k..][..m * k], &b[i * k * n..][..k * n]);
        let out = &mut out[i * m * n..][..m * n];
        if n == 1 {
            times_vector::<T, FMA>((a, ta), b, (m, k), out);
            continue;
        }
        for j0 in (0..n).step_by(NR) {
            if n - j0 > L {
                let panel = Panel::new::<NR>(b, tb, [k, n], j0, scratch);
                columns::<T, FMA, NR>(sizes, a, &panel, j0, out);
            } else {
                let panel = Panel::new::<L>(b, tb, [k, n], j0, scratch);
                columns::<T, FMA, L>(sizes, a, &panel, j0, out);
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
            C,
        );
    } else {
        let (mut first, mut last): ([&[T]; R], [&[T]; R]) = ([&[]; R], [&[]; R]);
        for r in 0..R {
            (first[r], last[r]) = a[(i0 + r) * k..][..k].split_at(inside);
        }
        rows_times_panel::<T, FMA, R, C>(&mut acc, first, panel.values, panel.step);
        rows_times_panel::<T, FMA, R, C>(&mut acc, last, panel.packed, C);
    }
    if n - j0 >= C {
        for r in 0..R {
            save_whole(&mut out[(i0 + r) * n + j0..], &acc[r]);
        }
    } else {
        for r in 0..R {
            save(&mut out[(i0 + r) * n + j0..][..n - j0], &acc[r]);
        }
    }
}

/// A product with a single column, for which a panel would be mostly padding.
#[inline(always)]
fn times_vector<T: Elem, const FMA: bool>(
    (a, ta): (&[T], bool),
    b: &[T],
    (m, k): (usize, usize),
    out: &mut [T],
) {
    if ta {
        out.fill(T::ZERO);
        for (row, &b) in a.chunks_exact(m).zip(b) {
            out.iter_mut().zip(row).for_each(|(out, &a)| *out = fma::<T, FMA>(a, b, *out));
        }
        return;
    }
    let (b_chunks, b_tail) = b.as_chunks::<8>();
    for (row, out) in a.chunks_exact(k).zip(out) {
        let (chunks, tail) = row.as_chunks::<8>();
        let mut lanes = [T::ZERO; 8];
        for (a, b) in chunks.iter().zip(b_chunks) {
            for lane in 0..8 {
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
    sizes: &MatMulSizes,
    a: &[T],
    b: &[T],
    out: &mut [T],
    scratch: &mut [T],
) {
    blocked!(product(sizes, a, b, out, scratch));
}

dispatch! {
    /// `out = op(a) · op(b)` for every matrix of the batch.
    fn matmul<T: Elem, BYTES>(
        sizes: &MatMulSizes, a: &[T], b: &[T], out: &mut [T], scratch: &mut [T],
    ) => matmul_body
}
