//! Transposes rows into columns: how a transposed right operand becomes the panel that blocks read. Floor: each number
//! is read and written once; squares of 16 take 64 permutations for 256 numbers.

use super::super::elem::Elem;
use super::Isa;

/// Columns that the fastest variant writes at a time; it needs `step` to be a multiple of them.
pub(super) const SIDE: usize = 16;

/// `packed[p·step + j] = rows[j·depth + p]` for every row `j`; columns after the last hold anything.
pub(super) fn turn<T: Elem>(isa: Isa, rows: &[T], depth: usize, packed: &mut [T], step: usize) {
    match isa {
        _ if depth == 1 => packed[..rows.len()].copy_from_slice(rows),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if size_of::<T>() == size_of::<f32>() && step.is_multiple_of(SIDE) => {
            let (rows, packed) = (bytemuck::cast_slice(rows), bytemuck::cast_slice_mut(packed));
            #[allow(unsafe_code, reason = "calls code compiled for a detected instruction set")]
            // SAFETY: a workspace is only made for an instruction set that this machine has.
            unsafe {
                avx512::turn(rows, depth, packed, step);
            }
        }
        _ => portable(rows, depth, packed, step),
    }
}

/// One store per element: the twin of the faster one.
fn portable<T: Elem>(rows: &[T], depth: usize, packed: &mut [T], step: usize) {
    for (j, row) in rows.chunks_exact(depth).enumerate() {
        packed.chunks_exact_mut(step).zip(row).for_each(|(to, &from)| to[j] = from);
    }
}

/// Squares of 16×16 numbers transposed in registers: 64 permutations for 256 elements.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{_mm512_permutex2var_ps, _mm512_setr_epi32, _mm512_setzero_ps};

    use super::SIDE;

    #[target_feature(enable = "avx512f")]
    pub(super) fn turn(rows: &[f32], depth: usize, packed: &mut [f32], step: usize) {
        let columns = rows.len() / depth;
        for j0 in (0..columns).step_by(SIDE) {
            for p0 in (0..depth).step_by(SIDE) {
                // The last squares overlap those before them, rather than reaching past the end.
                let (j0, p0) =
                    (j0.min(columns.saturating_sub(SIDE)), p0.min(depth.saturating_sub(SIDE)));
                let (from, to) = (&rows[j0 * depth + p0..], &mut packed[p0 * step + j0..]);
                if from.len() >= (SIDE - 1) * depth + SIDE && depth >= SIDE {
                    square(from, depth, to, step);
                } else {
                    let (mut whole, mut turned) = ([0.0; SIDE * SIDE], [0.0; SIDE * SIDE]);
                    for (to, row) in whole.chunks_exact_mut(SIDE).zip(from.chunks(depth)) {
                        to.iter_mut().zip(row).for_each(|(to, &from)| *to = from);
                    }
                    square(&whole, SIDE, &mut turned, SIDE);
                    for (to, column) in to.chunks_mut(step).zip(turned.as_chunks::<SIDE>().0) {
                        *to.first_chunk_mut().expect("whole columns") = *column;
                    }
                }
            }
        }
    }

    /// Interleaving rows half a square apart turns the address `rrrrcccc` of every element (the bits of its
    /// row and of its column) left by one bit; after four rounds row and column have changed places.
    #[target_feature(enable = "avx512f")]
    #[inline(never)]
    fn square(from: &[f32], depth: usize, to: &mut [f32], step: usize) {
        let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        let mut rows = [_mm512_setzero_ps(); SIDE];
        for i in 0..SIDE {
            let row: &[f32; SIDE] = from[i * depth..].first_chunk().expect("a whole row");
            rows[i] = bytemuck::cast(*row);
        }
        for _ in 0..SIDE.ilog2() {
            let mut next = rows;
            for i in 0..SIDE / 2 {
                let (a, b) = (rows[i], rows[i + SIDE / 2]);
                next[2 * i] = _mm512_permutex2var_ps(a, low, b);
                next[2 * i + 1] = _mm512_permutex2var_ps(a, high, b);
            }
            rows = next;
        }
        for i in 0..SIDE {
            let column: &mut [f32; SIDE] = to[i * step..].first_chunk_mut().expect("whole columns");
            *column = bytemuck::cast(rows[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_way_moves_the_same_numbers() {
        for (rows, depth) in [(1_usize, 1), (5, 40), (16, 16), (17, 3), (40, 40), (47, 33)] {
            let values: Vec<f32> = (0..rows * depth).map(|i| i as f32 + 1.0).collect();
            let step = rows.next_multiple_of(16);
            for isa in [Isa::detect(), Isa::Portable] {
                let mut packed = vec![f32::NAN; depth * step];
                turn(isa, &values, depth, &mut packed, step);
                for (at, &want) in values.iter().enumerate() {
                    let (j, p) = (at / depth, at % depth);
                    let got = packed[p * step + j];
                    assert!(
                        got == want,
                        "{isa:?}, {rows}×{depth}: {got} at ({p}, {j}), want {want}"
                    );
                }
            }
        }
    }
}
