//! The innermost blocks of every product: a few rows by one or two registers of columns, as accumulators
//! that stay in registers while the depth runs by.
//!
//! Written as plain loops over arrays, these compile to one broadcast per row and one fused multiply-add
//! per accumulator. The extents fit the register file: with AVX-512 8×2 of its 32 registers, which leaves
//! room for the addresses of 8 rows as well; with AVX2 and SSE2 6×2 of 16. Products with a single
//! register of columns left use blocks half as wide.

use super::super::elem::Elem;

/// Accumulators of one block.
pub(super) type Block<T, const R: usize, const C: usize> = [[T; C]; R];

/// The most rows and columns a block has with any instruction set and element type.
pub(super) const MOST_ROWS: usize = 8;
pub(super) const MOST_COLUMNS: usize = 32;
/// The widest register, in elements: what columns are rounded up to where their layout must suit all.
pub(super) const MOST_LANES: usize = 16;

/// Calls `f::<T, FMA, MR, NR, L>(args…)` with the rows and columns of a block and the lanes of a register
/// for registers of `BYTES` bytes.
macro_rules! blocked {
    ($f:ident($($arg:expr),* $(,)?)) => {
        // Constant blocks, so that only the arm taken is compiled.
        match const { BYTES / size_of::<T>() } {
            16 => $f::<T, FMA, 8, 32, 16>($($arg),*),
            8 => {
                if const { BYTES == 64 } {
                    $f::<T, FMA, 8, 16, 8>($($arg),*)
                } else {
                    $f::<T, FMA, 6, 16, 8>($($arg),*)
                }
            }
            4 => $f::<T, FMA, 6, 8, 4>($($arg),*),
            _ => $f::<T, FMA, 6, 4, 2>($($arg),*),
        }
    };
}
pub(super) use blocked;

/// Calls `f::<T, FMA, R, C>(args…)` with the smallest even `R` that holds the rows, at most `MR`.
macro_rules! by_rows {
    ($rows:expr, $f:ident::<T, FMA, MR, $columns:ident>($($arg:expr),* $(,)?)) => {
        match $rows {
            ..=2 => $f::<T, FMA, 2, $columns>($($arg),*),
            3..=4 => $f::<T, FMA, 4, $columns>($($arg),*),
            5..=6 if MR > 6 => $f::<T, FMA, 6, $columns>($($arg),*),
            _ => $f::<T, FMA, MR, $columns>($($arg),*),
        }
    };
}

#[inline(always)]
pub(super) fn fma<T: Elem, const FMA: bool>(a: T, b: T, c: T) -> T {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// As many elements as there are, zeros for the rest.
#[inline(always)]
pub(super) fn load<T: Elem, const C: usize>(from: &[T]) -> [T; C] {
    match from.first_chunk::<C>() {
        Some(whole) => *whole,
        None => {
            let mut row = [T::ZERO; C];
            row[..from.len()].copy_from_slice(from);
            row
        }
    }
}

/// As many elements as there is place for.
#[inline(always)]
pub(super) fn save<T: Elem, const C: usize>(to: &mut [T], row: &[T; C]) {
    match to.first_chunk_mut::<C>() {
        Some(whole) => *whole = *row,
        None => to.copy_from_slice(&row[..to.len()]),
    }
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
    // Slices of one known length: no bounds are checked in the loop, and the block stays in registers.
    for row in &mut rows {
        *row = &row[..depth];
    }
    let mut block = *acc;
    for (k, b) in panel.chunks(step).take(depth).enumerate() {
        let b: &[T; C] = b.first_chunk().expect("the panel covers the columns");
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
    for (p, b) in panel.chunks(step).take(depth).enumerate() {
        let b: &[T; C] = b.first_chunk().expect("the panel covers the columns");
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

/// A matrix product whose left rows are made of evenly spaced runs of the source, and whose right matrix
/// is packed: panels of a block's columns one after another, the last one a single register wide if that
/// holds what is left.
pub(super) struct Gather<'a, T> {
    pub(super) source: &'a [T],
    /// Runs per row, elements from one to the next, and elements of each.
    pub(super) runs: usize,
    pub(super) run_step: usize,
    pub(super) run: usize,
    pub(super) packed: &'a [T],
    pub(super) columns: usize,
}

impl<T: Elem> Gather<'_, T> {
    /// Computes the given rows of the result.
    #[inline(always)]
    pub(super) fn rows<const FMA: bool, const MR: usize, const NR: usize, const L: usize>(
        &self,
        places: &[Place],
        out: &mut [T],
    ) {
        for j0 in (0..self.columns).step_by(NR) {
            for places in places.chunks(MR) {
                if self.columns - j0 > L {
                    by_rows!(places.len(), gather_block::<T, FMA, MR, NR>(self, places, j0, out));
                } else {
                    by_rows!(places.len(), gather_block::<T, FMA, MR, L>(self, places, j0, out));
                }
            }
        }
    }
}

#[inline(always)]
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
    let columns = (columns - j0).min(C);
    for r in 0..R {
        if let Some(place) = places.get(r) {
            save(&mut out[place.out + j0..][..columns], &acc[r]);
        }
    }
}

/// Rows and columns of a sum of outer products, and the distance between rows of the right factor; that
/// must be enough for columns rounded up to whole registers.
#[derive(Clone, Copy)]
pub(super) struct Outer {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) depth: usize,
    pub(super) step: usize,
}

impl Outer {
    /// `sum[k][j] += Σ_p source[at(p) + k] · panel[p·step + j]`. Reads up to [`MOST_ROWS`] elements past
    /// the last row.
    #[inline(always)]
    pub(super) fn add<
        T: Elem,
        const FMA: bool,
        const MR: usize,
        const NR: usize,
        const L: usize,
    >(
        self,
        source: &[T],
        at: impl Fn(usize) -> usize + Copy,
        panel: &[T],
        sum: &mut [T],
    ) {
        for j0 in (0..self.columns).step_by(NR) {
            let panel = &panel[j0..];
            for k0 in (0..self.rows).step_by(MR) {
                let (source, sum) = (&source[k0..], &mut sum[k0 * self.columns + j0..]);
                let left = Outer { rows: self.rows - k0, columns: self.columns - j0, ..self };
                let row = self.columns;
                if left.columns > L {
                    by_rows!(
                        left.rows,
                        outer_block::<T, FMA, MR, NR>(left, source, at, panel, sum, row)
                    );
                } else {
                    by_rows!(
                        left.rows,
                        outer_block::<T, FMA, MR, L>(left, source, at, panel, sum, row)
                    );
                }
            }
        }
    }
}

#[inline(always)]
fn outer_block<T: Elem, const FMA: bool, const R: usize, const C: usize>(
    left: Outer,
    source: &[T],
    at: impl Fn(usize) -> usize,
    panel: &[T],
    sum: &mut [T],
    row: usize,
) {
    let mut acc: Block<T, R, C> = [[T::ZERO; C]; R];
    strip_times_panel::<T, FMA, R, C>(&mut acc, source, at, left.depth, panel, left.step);
    add_rows(&acc, left.rows, sum, row, left.columns.min(C));
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
    for (acc, sum) in acc[..rows.min(R)].iter().zip(sum.chunks_mut(step)) {
        let sum = &mut sum[..columns];
        let mut total = load::<T, C>(sum);
        for j in 0..C {
            total[j] += acc[j];
        }
        save(sum, &total);
    }
}
