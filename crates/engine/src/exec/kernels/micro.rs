//! The innermost blocks of every product: a few rows by one or two registers of columns, as accumulators that stay in
//! registers throughout the sum over the depth.
//!
//! Written as plain loops over arrays, these compile to one broadcast per row and one fused multiply-add per
//! accumulator; twelve accumulators keep two multiply-add units of four cycles' latency busy. Where a single register
//! of columns is left, blocks are half as wide. With 8 rows the compiler mistakes the rows of a strip for lanes of a
//! register, and a product becomes 50 times slower. The same happens where a large function surrounds the loop, which
//! is why products are separate functions.

use super::super::elem::Elem;
use super::dispatch;

/// Accumulators of one block.
pub(super) type Block<T, const R: usize, const C: usize> = [[T; C]; R];

/// Rows of a block.
pub(super) const MR: usize = 6;
/// The widest register, in elements: columns are rounded up to it where their layout must suit all instruction sets.
pub(super) const MOST_LANES: usize = 16;

/// Calls `f::<T, FMA, NR, L>(args…)` with the columns of a block and the lanes of a register of `BYTES`
/// bytes.
macro_rules! blocked {
    ($f:ident($($arg:expr),* $(,)?)) => {
        // A constant block, so that only the arm taken is compiled.
        match const { BYTES / size_of::<T>() } {
            16 => $f::<T, FMA, 32, 16>($($arg),*),
            8 => $f::<T, FMA, 16, 8>($($arg),*),
            4 => $f::<T, FMA, 8, 4>($($arg),*),
            _ => $f::<T, FMA, 4, 2>($($arg),*),
        }
    };
}
pub(super) use blocked;

/// Calls `f::<T, FMA, R, C>(args…)` with the smallest even `R` that holds the rows, at most [`MR`].
macro_rules! by_rows {
    ($rows:expr, $f:ident::<T, FMA, _, $columns:ident>($($arg:expr),* $(,)?)) => {
        match $rows {
            ..=2 => $f::<T, FMA, 2, $columns>($($arg),*),
            3..=4 => $f::<T, FMA, 4, $columns>($($arg),*),
            _ => $f::<T, FMA, MR, $columns>($($arg),*),
        }
    };
}

#[inline(always)]
pub(super) fn fma<T: Elem, const FMA: bool>(a: T, b: T, c: T) -> T {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Saves as many elements as there is room for.
#[inline(always)]
pub(super) fn save<T: Elem, const C: usize>(to: &mut [T], row: &[T; C]) {
    match to.first_chunk_mut::<C>() {
        Some(whole) => *whole = *row,
        None => to.copy_from_slice(&row[..to.len()]),
    }
}

/// Saves all of a row. If both kinds of saving stood side by side, the compiler would merge them into one call that
/// copies a varying number of bytes.
#[inline(always)]
pub(super) fn save_whole<T: Elem, const C: usize>(to: &mut [T], row: &[T; C]) {
    *to.first_chunk_mut().expect("a whole row") = *row;
}

/// `acc[r][j] += Σ_k rows[r][k] · panel[k·step + j]`, every row as long as the product is deep.
#[inline(always)]
pub(super) fn rows_times_panel<T: Elem, const FMA: bool, const R: usize, const C: usize>(
    acc: &mut Block<T, R, C>,
    mut rows: [&[T]; R],
    panel: &[T],
    step: usize,
) {
    let depth = rows[0].len();
    // Slices of one known length: the loop checks no bounds, and the block stays in registers.
    for row in &mut rows {
        *row = &row[..depth];
    }
    let mut block = *acc;
    for k in 0..depth {
        let b: &[T; C] = panel[k * step..].first_chunk().expect("the panel covers the columns");
        for r in 0..R {
            let a = rows[r][k];
            for j in 0..C {
                block[r][j] = fma::<T, FMA>(a, b[j], block[r][j]);
            }
        }
    }
    *acc = block;
}

/// `acc[r][j] += Σ_p source[at(p) + r] · panel[p·step + j]`: the product of a transposed strip with a
/// panel.
#[inline(always)]
pub(super) fn strip_times_panel<T: Elem, const FMA: bool, const R: usize, const C: usize>(
    acc: &mut Block<T, R, C>,
    source: &[T],
    at: impl Fn(usize) -> usize,
    depth: usize,
    panel: &[T],
    step: usize,
) {
    let mut block = *acc;
    for p in 0..depth {
        let b: &[T; C] = panel[p * step..].first_chunk().expect("the panel covers the columns");
        let a: &[T; R] = source[at(p)..].first_chunk().expect("the source covers the strip");
        for r in 0..R {
            for j in 0..C {
                block[r][j] = fma::<T, FMA>(a[r], b[j], block[r][j]);
            }
        }
    }
    *acc = block;
}

/// Where a row of a gathered product reads and writes.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) source: usize,
    pub(super) out: usize,
}

/// A matrix product whose left rows are made of evenly spaced runs of the source, and whose right matrix is packed:
/// panels of a block's columns one after another, the last one a single register wide if that holds the remainder.
pub(super) struct Gather<'a, T> {
    pub(super) source: &'a [T],
    /// Runs per row, elements from one to the next, and elements of each.
    pub(super) runs: usize,
    pub(super) run_step: usize,
    pub(super) run: usize,
    pub(super) packed: &'a [T],
    pub(super) columns: usize,
}

#[inline(always)]
fn gather_blocks<T: Elem, const FMA: bool, const NR: usize, const L: usize>(
    product: &Gather<'_, T>,
    places: &[Place],
    out: &mut [T],
) {
    for j0 in (0..product.columns).step_by(NR) {
        for places in places.chunks(MR) {
            if product.columns - j0 > L {
                by_rows!(places.len(), gather_block::<T, FMA, _, NR>(product, places, j0, out));
            } else {
                by_rows!(places.len(), gather_block::<T, FMA, _, L>(product, places, j0, out));
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "constant numbers keep the block in registers")]
fn gather_block<T: Elem, const FMA: bool, const R: usize, const C: usize>(
    product: &Gather<'_, T>,
    places: &[Place],
    j0: usize,
    out: &mut [T],
) {
    let Gather { source, runs, run_step, run, packed, columns } = *product;
    let panel = &packed[j0 * runs * run..][..C * runs * run];
    let mut acc: Block<T, R, C> = [[T::ZERO; C]; R];
    // Rows past the last repeat it; their results are dropped.
    let mut starts = [0; R];
    for r in 0..R {
        starts[r] = places[r.min(places.len() - 1)].source;
    }
    for (i, panel) in panel.chunks_exact(C * run).enumerate() {
        let mut rows: [&[T]; R] = [&[]; R];
        for r in 0..R {
            rows[r] = &source[starts[r] + i * run_step..][..run];
        }
        rows_times_panel::<T, FMA, R, C>(&mut acc, rows, panel, C);
    }
    // Rows by constant indices: a variable index would put the block into memory.
    for r in 0..R {
        let Some(place) = places.get(r) else { break };
        let to = &mut out[place.out + j0..];
        if columns - j0 >= C {
            save_whole(to, &acc[r]);
        } else {
            let row = acc[r];
            save(&mut to[..columns - j0], &row);
        }
    }
}

/// Rows and columns of a sum of outer products, and the distance between rows of the right factor; that
/// must be enough for columns rounded up to whole registers.
#[derive(Clone, Copy)]
pub(super) struct Outer {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) step: usize,
}

#[inline(always)]
fn outer_blocks<T: Elem, const FMA: bool, const NR: usize, const L: usize>(
    product: &Outer,
    source: &[T],
    places: &[Place],
    panel: &[T],
    sum: &mut [T],
) {
    for j0 in (0..product.columns).step_by(NR) {
        for k0 in (0..product.rows).step_by(MR) {
            let (rows, at) = (product.rows - k0, [k0, j0]);
            if product.columns - j0 > L {
                by_rows!(
                    rows,
                    outer_block::<T, FMA, _, NR>(product, source, places, panel, at, sum)
                );
            } else {
                by_rows!(
                    rows,
                    outer_block::<T, FMA, _, L>(product, source, places, panel, at, sum)
                );
            }
        }
    }
}

#[inline(always)]
fn outer_block<T: Elem, const FMA: bool, const R: usize, const C: usize>(
    product: &Outer,
    source: &[T],
    places: &[Place],
    panel: &[T],
    [k0, j0]: [usize; 2],
    sum: &mut [T],
) {
    let Outer { rows, columns, step } = *product;
    let mut acc: Block<T, R, C> = [[T::ZERO; C]; R];
    let (source, panel) = (&source[k0..], &panel[j0..]);
    strip_times_panel::<T, FMA, R, C>(
        &mut acc,
        source,
        |p| places[p].source,
        places.len(),
        panel,
        step,
    );
    add_rows(&acc, rows - k0, &mut sum[k0 * columns + j0..], columns, (columns - j0).min(C));
}

/// Adds the first rows of a block to rows `step` apart.
#[inline(always)]
pub(super) fn add_rows<T: Elem, const R: usize, const C: usize>(
    acc: &Block<T, R, C>,
    rows: usize,
    sum: &mut [T],
    step: usize,
    columns: usize,
) {
    // Rows by constant indices: a variable index would put the block into memory.
    for r in 0..R {
        if r >= rows {
            break;
        }
        let sum = &mut sum[r * step..];
        if columns == C {
            let sum: &mut [T; C] = sum.first_chunk_mut().expect("a whole row");
            for j in 0..C {
                sum[j] += acc[r][j];
            }
        } else {
            let row = acc[r];
            for (sum, acc) in sum[..columns].iter_mut().zip(row) {
                *sum += acc;
            }
        }
    }
}

#[inline(always)]
fn gather_body<T: Elem, const FMA: bool, const BYTES: usize>(
    product: &Gather<'_, T>,
    places: &[Place],
    out: &mut [T],
) {
    blocked!(gather_blocks(product, places, out));
}

#[inline(always)]
fn outer_body<T: Elem, const FMA: bool, const BYTES: usize>(
    product: &Outer,
    source: &[T],
    places: &[Place],
    panel: &[T],
    sum: &mut [T],
) {
    blocked!(outer_blocks(product, source, places, panel, sum));
}

dispatch! {
    /// Computes the rows of the product at the given places.
    fn gather<T: Elem, BYTES>(product: &Gather<'_, T>, places: &[Place], out: &mut [T]) => gather_body
}

dispatch! {
    /// `sum[k][j] += Σ_p source[places[p].source + k] · panel[p·step + j]`. Reads up to [`MR`] elements
    /// past the last row.
    fn outer<T: Elem, BYTES>(
        product: &Outer, source: &[T], places: &[Place], panel: &[T], sum: &mut [T],
    ) => outer_body
}
