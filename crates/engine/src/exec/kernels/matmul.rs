//! Matrix products, by the `gemm` crate: one thread, any strides.

use super::super::elem::Elem;
use crate::tensor::volume;

/// `out = op(a) · op(b)` for every matrix of the batch; the flags say which operand is transposed.
pub(in super::super) fn matmul<T: Elem>(
    (a, ta): (&[T], bool),
    (b, tb): (&[T], bool),
    a_shape: &[usize],
    out: &mut [T],
    shape: &[usize],
) {
    let [.., m, n] = *shape else { unreachable!("matrix products have at least two axes") };
    let k = if ta { a_shape[a_shape.len() - 2] } else { a_shape[a_shape.len() - 1] };
    let batch = volume(&shape[..shape.len() - 2]);
    assert!(a.len() == batch * m * k && b.len() == batch * k * n && out.len() == batch * m * n);
    if m * n * k == 0 {
        out.fill(T::ZERO);
        return;
    }
    let (a_row, a_column) = if ta { (1, m) } else { (k, 1) };
    let (b_row, b_column) = if tb { (1, k) } else { (n, 1) };
    for i in 0..batch {
        let (a, b) = (&a[i * m * k..][..m * k], &b[i * k * n..][..k * n]);
        let out = &mut out[i * m * n..][..m * n];
        #[allow(unsafe_code, reason = "the gemm crate takes raw pointers")]
        // SAFETY: each slice holds exactly the elements its extents and strides reach: `m·k`, `k·n` and
        // `m·n`, row-major or transposed; `out` is borrowed exclusively and does not overlap the others.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                out.as_mut_ptr(),
                1,
                n as isize,
                false,
                a.as_ptr(),
                a_column as isize,
                a_row as isize,
                b.as_ptr(),
                b_column as isize,
                b_row as isize,
                T::ZERO,
                T::ONE,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}
