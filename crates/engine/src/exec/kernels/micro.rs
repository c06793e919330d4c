//! The innermost blocks of the convolutions: a few rows by `NR` columns of accumulators that stay in
//! registers while the depth runs by.
//!
//! With 6 rows of 16 single-precision columns there are 12 accumulators of 8 lanes and 24 loads per 12
//! multiply-adds of 8 lanes would be too many; here each step of the depth needs 6 broadcasts and 2
//! loads for 12 multiply-adds, which keeps both multiply-add units of an AVX2 core busy.

use super::super::elem::Elem;

/// Rows of a block.
pub(super) const MR: usize = 6;
/// Columns of a block: two registers of 8 single-precision lanes (four of 4 in double precision).
pub(super) const NR: usize = 16;

/// Accumulators of one block.
pub(super) type Block<T, const R: usize> = [[T; NR]; R];

#[inline(always)]
pub(super) fn fma<T: Elem, const FMA: bool>(a: T, b: T, c: T) -> T {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `acc[r][j] += Σ_k rows[r][k] · panel[k][j]`, every row as long as the panel is deep.
#[inline(always)]
pub(super) fn rows_times_panel<T: Elem, const FMA: bool>(
    acc: &mut Block<T, MR>,
    rows: [&[T]; MR],
    panel: &[[T; NR]],
) {
    let depth = panel.len();
    // Slices of one known length in locals: no bounds are checked in the loop, and the block stays in
    // registers.
    let [r0, r1, r2, r3, r4, r5] = rows;
    let (r0, r1, r2) = (&r0[..depth], &r1[..depth], &r2[..depth]);
    let (r3, r4, r5) = (&r3[..depth], &r4[..depth], &r5[..depth]);
    let mut block = *acc;
    for k in 0..depth {
        let a = [r0[k], r1[k], r2[k], r3[k], r4[k], r5[k]];
        let b = &panel[k];
        for r in 0..MR {
            for j in 0..NR {
                block[r][j] = fma::<T, FMA>(a[r], b[j], block[r][j]);
            }
        }
    }
    *acc = block;
}

/// `acc[r][j] += Σ_p columns[p·stride + r] · panel[p][j]`: the product of a transposed strip with a panel.
#[inline(always)]
pub(super) fn strip_times_panel<T: Elem, const FMA: bool, const R: usize>(
    acc: &mut Block<T, R>,
    strip: &[T],
    stride: usize,
    panel: &[[T; NR]],
) {
    let mut block = *acc;
    // The last pixel need not have a whole stride behind it.
    let needed = (panel.len() - 1) * stride + R;
    let strip = &strip[..needed];
    for (p, b) in panel.iter().enumerate() {
        let a: &[T; R] = strip[p * stride..].first_chunk().expect("strip covers the panel");
        for r in 0..R {
            for j in 0..NR {
                block[r][j] = fma::<T, FMA>(a[r], b[j], block[r][j]);
            }
        }
    }
    *acc = block;
}
