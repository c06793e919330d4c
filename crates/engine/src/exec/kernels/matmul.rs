//! Matrix products on the micro-kernels of the convolutions.
//!
//! A panel of [`NR`] columns of `b` is packed once and met by all rows of `a`: as rows where `a` lies row by
//! row, as strips where it is transposed. Nothing else is copied, which suits the sizes of few-shot heads
//! and perceptrons: on 10×40 · 40×40 a call costs a fraction of what a general library needs to set up,
//! and it allocates nothing.

use super::super::elem::Elem;
use super::dispatch;
use super::micro::{Block, MR, NR, fma, rows_times_panel, strip_times_panel};
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
        self.k * NR
    }
}

#[inline(always)]
fn matmul_body<T: Elem, const FMA: bool>(
    sizes: &MatMulSizes,
    a: &[T],
    b: &[T],
    out: &mut [T],
    scratch: &mut [T],
) {
    let MatMulSizes { batch, m, k, n, transposed: [ta, tb] } = *sizes;
    let (panel, _) = scratch[..k * NR].as_chunks_mut::<NR>();
    for i in 0..batch {
        let (a, b) = (&a[i * m * k..][..m * k], &b[i * k * n..][..k * n]);
        let out = &mut out[i * m * n..][..m * n];
        if n == 1 {
            times_vector::<T, FMA>((a, ta), b, (m, k), out);
            continue;
        }
        for j0 in (0..n).step_by(NR) {
            let columns = (n - j0).min(NR);
            pack(b, tb, (k, n), j0, panel);
            for i0 in (0..m).step_by(MR) {
                let rows = (m - i0).min(MR);
                let mut acc: Block<T, MR> = [[T::ZERO; NR]; MR];
                if !ta {
                    // Rows past the last repeat it; their results are dropped.
                    let row = |r: usize| &a[(i0 + r.min(rows - 1)) * k..][..k];
                    let rows = [row(0), row(1), row(2), row(3), row(4), row(5)];
                    rows_times_panel::<T, FMA>(&mut acc, rows, panel);
                } else {
                    strip::<T, FMA>(&mut acc, &a[i0..], m, rows, panel);
                }
                for (r, row) in acc[..rows].iter().enumerate() {
                    out[(i0 + r) * n + j0..][..columns].copy_from_slice(&row[..columns]);
                }
            }
        }
    }
}

/// Copies `NR` columns of `b` from `j0` on, zeros past the last. Reads run along the rows as stored.
#[inline(always)]
fn pack<T: Elem>(b: &[T], tb: bool, (k, n): (usize, usize), j0: usize, panel: &mut [[T; NR]]) {
    let columns = (n - j0).min(NR);
    if columns < NR {
        panel.fill([T::ZERO; NR]);
    }
    if tb {
        for j in 0..columns {
            let row = &b[(j0 + j) * k..][..k];
            panel.iter_mut().zip(row).for_each(|(to, &from)| to[j] = from);
        }
    } else {
        for (depth, row) in panel.iter_mut().enumerate() {
            row[..columns].copy_from_slice(&b[depth * n + j0..][..columns]);
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

/// A block of up to `MR` columns of a matrix stored row by row, transposed, times the panel.
#[inline(always)]
fn strip<T: Elem, const FMA: bool>(
    acc: &mut Block<T, MR>,
    a: &[T],
    stride: usize,
    rows: usize,
    panel: &[[T; NR]],
) {
    macro_rules! narrow {
        ($rows:literal) => {{
            let mut block: Block<T, $rows> = [[T::ZERO; NR]; $rows];
            strip_times_panel::<T, FMA, $rows>(&mut block, a, stride, panel);
            acc[..$rows].copy_from_slice(&block);
        }};
    }
    match rows {
        1 => narrow!(1),
        2 => narrow!(2),
        3 => narrow!(3),
        4 => narrow!(4),
        5 => narrow!(5),
        _ => strip_times_panel::<T, FMA, MR>(acc, a, stride, panel),
    }
}

dispatch! {
    /// `out = op(a) · op(b)` for every matrix of the batch.
    fn matmul<T: Elem>(
        sizes: &MatMulSizes, a: &[T], b: &[T], out: &mut [T], scratch: &mut [T],
    ) => matmul_body
}
