//! The blocks for AVX-512 in single precision, written in its own instructions.
//!
//! Small products spend as long on the start and the end of a block as on the sums between, and a block written as
//! loops over arrays goes through memory: compilers set it to zero and save it there. Here an accumulator is a register
//! from the first line to the last. `R` rows of three registers take `3 R` multiply-adds for each of the `k` they are
//! summed over and `3 R` stores at the end. A remainder of eight columns or fewer takes half a register, which costs
//! half as much on processors that execute 512 bits in two passes.

use std::arch::x86_64::{
    __m256, __m512, _mm256_fmadd_ps, _mm256_setzero_ps, _mm512_castps512_ps256, _mm512_fmadd_ps,
    _mm512_set1_ps, _mm512_setzero_ps,
};

use super::super::Isa;
use super::{MR, MatMulSizes, Panel, save_last, times_vector};

/// Numbers in a register, and in half of one.
const LANES: usize = 16;
const HALF: usize = LANES / 2;

/// `out = op(a) · op(b)` for every matrix of the batch: the twin of [`super::product`].
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,fma")]
pub(super) fn product(
    sizes: &MatMulSizes,
    a: &[f32],
    b: &[f32],
    out: &mut [f32],
    scratch: &mut [f32],
) {
    let MatMulSizes { batch, m, k, n, transposed: [ta, tb] } = *sizes;
    for i in 0..batch {
        // Matrices run on into the next ones: registers may reach past the end of all but the last.
        let (a, b, out) = (&a[i * m * k..], &b[i * k * n..], &mut out[i * m * n..]);
        if n == 1 {
            times_vector::<f32, true>((&a[..m * k], ta), &b[..k], (m, k), &mut out[..m]);
            continue;
        }
        // From the last panel to the first, so that what a row writes past its end is written again.
        let half = (1..=HALF).contains(&(n % LANES));
        let mut registers = n.div_ceil(LANES) - usize::from(half);
        macro_rules! panel {
            ($registers:literal, $half:literal) => {{
                const COLUMNS: usize = $registers * LANES + $half * HALF;
                registers -= $registers;
                let j0 = registers * LANES;
                let panel = Panel::new::<COLUMNS>(Isa::Avx512, b, tb, [k, n], j0, scratch);
                columns::<COLUMNS, $registers, $half>(sizes, a, &panel, j0, out);
            }};
        }
        match (half, registers % 3) {
            (true, 0) => panel!(0, 1),
            (true, 1) => panel!(1, 1),
            (true, _) => panel!(2, 1),
            (false, 0) => {}
            (false, 1) => panel!(1, 0),
            (false, _) => panel!(2, 0),
        }
        while registers > 0 {
            panel!(3, 0);
        }
    }
}

/// All rows of the product with a panel of `C` columns: `W` registers and `H` halves.
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,fma")]
fn columns<const C: usize, const W: usize, const H: usize>(
    sizes: &MatMulSizes,
    a: &[f32],
    panel: &Panel<'_, f32>,
    j0: usize,
    out: &mut [f32],
) {
    macro_rules! exactly {
        ($i0:ident, $left:expr, $($rows:literal)*) => {
            match $left {
                $($rows => block::<$rows, C, W, H>(sizes, a, panel, [$i0, j0], out),)*
                _ => block::<MR, C, W, H>(sizes, a, panel, [$i0, j0], out),
            }
        };
    }
    for i0 in (0..sizes.m).step_by(MR) {
        exactly!(i0, sizes.m - i0, 1 2 3 4 5);
    }
}

#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,fma")]
#[inline]
fn block<const R: usize, const C: usize, const W: usize, const H: usize>(
    sizes: &MatMulSizes,
    a: &[f32],
    panel: &Panel<'_, f32>,
    [i0, j0]: [usize; 2],
    out: &mut [f32],
) {
    let MatMulSizes { m, k, n, transposed: [ta, _], .. } = *sizes;
    let mut acc = [([_mm512_setzero_ps(); W], [_mm256_setzero_ps(); H]); R];
    // Rows of `b` where they lie, then packed ones, which `first` rows precede.
    macro_rules! sum {
        (|$p:ident| $a:expr, $depth:expr, $values:expr, $step:expr) => {
            for $p in 0..$depth {
                let ((b, half), a) = (load::<C, W, H>(&$values[$p * $step..]), $a);
                for r in 0..R {
                    let a = _mm512_set1_ps(a[r]);
                    for w in 0..W {
                        acc[r].0[w] = _mm512_fmadd_ps(a, b[w], acc[r].0[w]);
                    }
                    for h in 0..H {
                        let a = _mm512_castps512_ps256(a);
                        acc[r].1[h] = _mm256_fmadd_ps(a, half[h], acc[r].1[h]);
                    }
                }
            }
        };
    }
    let (inside, packed) = (panel.rows, k - panel.rows);
    if ta {
        let strip = |p: usize| -> &[f32; R] {
            a[i0 + p * m..].first_chunk().expect("the matrix covers the strip")
        };
        sum!(|p| strip(p), inside, panel.values, panel.step);
        sum!(|p| strip(inside + p), packed, panel.packed, panel.packed_step);
    } else {
        let mut rows: [&[f32]; R] = [&[]; R];
        for r in 0..R {
            rows[r] = &a[(i0 + r) * k..][..k];
        }
        let column = |p: usize| -> [f32; R] { std::array::from_fn(|r| rows[r][p]) };
        sum!(|p| column(p), inside, panel.values, panel.step);
        sum!(|p| column(inside + p), packed, panel.packed, panel.packed_step);
    }
    for r in 0..R {
        let to = &mut out[(i0 + r) * n + j0..];
        match to.first_chunk_mut() {
            Some(to) => save::<C, W, H>(to, acc[r]),
            None => {
                let mut row = [0.0; C];
                save::<C, W, H>(&mut row, acc[r]);
                save_last(&mut to[..n - j0], &row);
            }
        }
    }
}

/// A row in registers, whole and half ones.
type Registers<const W: usize, const H: usize> = ([__m512; W], [__m256; H]);

/// The first registers of a row.
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,fma")]
#[inline]
fn load<const C: usize, const W: usize, const H: usize>(row: &[f32]) -> Registers<W, H> {
    let row: &[f32; C] = row.first_chunk().expect("the panel covers the columns");
    let (whole, rest) = row.as_chunks::<LANES>();
    let (half, _) = rest.as_chunks::<HALF>();
    (
        std::array::from_fn(|w| bytemuck::cast(whole[w])),
        std::array::from_fn(|h| bytemuck::cast(half[h])),
    )
}

#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,fma")]
#[inline]
fn save<const C: usize, const W: usize, const H: usize>(to: &mut [f32; C], row: Registers<W, H>) {
    let (whole, rest) = to.as_chunks_mut::<LANES>();
    let (half, _) = rest.as_chunks_mut::<HALF>();
    (0..W).for_each(|w| whole[w] = bytemuck::cast(row.0[w]));
    (0..H).for_each(|h| half[h] = bytemuck::cast(row.1[h]));
}
