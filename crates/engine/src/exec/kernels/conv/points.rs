//! The transforms of Winograd's F(4×4, 3×3) along one axis.
//!
//! With the points 0, ±a, ±b and ∞, `s = a² + b²` and `p = a² b²`:
//!
//! ```text
//!      ⎡ p    0   −s   0  1  0 ⎤       ⎡ 1/p      0      0     ⎤        ⎡ 1  1   1   1   1   0 ⎤
//!      ⎢ 0  −ab² −b²   a  1  0 ⎥       ⎢ 1/m     a/m    a²/m   ⎥   Aᵀ = ⎢ 0  a  −a   b  −b   0 ⎥
//! Bᵀ = ⎢ 0   ab² −b²  −a  1  0 ⎥   G = ⎢ 1/m    −a/m    a²/m   ⎥        ⎢ 0  a²  a²  b²  b²  0 ⎥
//!      ⎢ 0  −a²b −a²   b  1  0 ⎥       ⎢ 1/n     b/n    b²/n   ⎥        ⎣ 0  a³ −a³  b³ −b³  1 ⎦
//!      ⎢ 0   a²b −a²  −b  1  0 ⎥       ⎢ 1/n    −b/n    b²/n   ⎥
//!      ⎣ 0    p    0  −s  0  1 ⎦       ⎣  0       0      1     ⎦   m = 2a²(a² − b²), n = 2b²(b² − a²)
//! ```

use super::super::super::elem::Elem;
use super::super::micro::fma;
use super::winograd::{POINTS, SIDE};

/// The points, numbers that single precision holds exactly, as it does `s` and `p`.
const A: f64 = 5.0 / 8.0;
const B: f64 = 3.0 / 2.0;
const A2: f64 = A * A;
const B2: f64 = B * B;
const S: f64 = A2 + B2;
const P: f64 = A2 * B2;
const M: f64 = 2.0 * A2 * (A2 - B2);
const N: f64 = 2.0 * B2 * (B2 - A2);

/// Taps of the kernel along an axis.
pub(super) const TAPS: usize = 3;

/// `Bᵀ`.
#[inline(always)]
pub(super) fn input<T: Elem, const FMA: bool>(d: [T; POINTS]) -> [T; POINTS] {
    let [a, b, a2, b2, s, p] = [A, B, A2, B2, S, P].map(T::from_f64);
    let (even_a, odd_a) = (fma::<T, FMA>(-b2, d[2], d[4]), fma::<T, FMA>(-b2, d[1], d[3]));
    let (even_b, odd_b) = (fma::<T, FMA>(-a2, d[2], d[4]), fma::<T, FMA>(-a2, d[1], d[3]));
    [
        fma::<T, FMA>(p, d[0], fma::<T, FMA>(-s, d[2], d[4])),
        fma::<T, FMA>(a, odd_a, even_a),
        fma::<T, FMA>(-a, odd_a, even_a),
        fma::<T, FMA>(b, odd_b, even_b),
        fma::<T, FMA>(-b, odd_b, even_b),
        fma::<T, FMA>(p, d[1], fma::<T, FMA>(-s, d[3], d[5])),
    ]
}

/// `G`.
#[inline(always)]
pub(super) fn kernel<T: Elem, const FMA: bool>(w: [T; TAPS]) -> [T; POINTS] {
    let n = T::from_f64;
    let even_a = fma::<T, FMA>(n(A2 / M), w[2], n(1.0 / M) * w[0]);
    let even_b = fma::<T, FMA>(n(B2 / N), w[2], n(1.0 / N) * w[0]);
    [
        n(1.0 / P) * w[0],
        fma::<T, FMA>(n(A / M), w[1], even_a),
        fma::<T, FMA>(n(-A / M), w[1], even_a),
        fma::<T, FMA>(n(B / N), w[1], even_b),
        fma::<T, FMA>(n(-B / N), w[1], even_b),
        w[2],
    ]
}

/// `Gᵀ`.
#[inline(always)]
pub(super) fn kernel_adjoint<T: Elem, const FMA: bool>(m: [T; POINTS]) -> [T; TAPS] {
    let n = T::from_f64;
    let (even_a, odd_a, even_b, odd_b) = (m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]);
    let first = fma::<T, FMA>(n(1.0 / N), even_b, n(1.0 / P) * m[0]);
    [
        fma::<T, FMA>(n(1.0 / M), even_a, first),
        fma::<T, FMA>(n(A / M), odd_a, n(B / N) * odd_b),
        fma::<T, FMA>(n(A2 / M), even_a, fma::<T, FMA>(n(B2 / N), even_b, m[5])),
    ]
}

/// `Aᵀ`.
#[inline(always)]
pub(super) fn output<T: Elem, const FMA: bool>(m: [T; POINTS]) -> [T; SIDE] {
    let n = T::from_f64;
    let (even_a, odd_a, even_b, odd_b) = (m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]);
    [
        m[0] + even_a + even_b,
        fma::<T, FMA>(n(A), odd_a, n(B) * odd_b),
        fma::<T, FMA>(n(A2), even_a, n(B2) * even_b),
        fma::<T, FMA>(n(A * A2), odd_a, fma::<T, FMA>(n(B * B2), odd_b, m[5])),
    ]
}

/// `A`.
#[inline(always)]
pub(super) fn output_adjoint<T: Elem, const FMA: bool>(g: [T; SIDE]) -> [T; POINTS] {
    let [a, b, a2, b2] = [A, B, A2, B2].map(T::from_f64);
    let (even_a, odd_a) = (fma::<T, FMA>(a2, g[2], g[0]), fma::<T, FMA>(a2, g[3], g[1]));
    let (even_b, odd_b) = (fma::<T, FMA>(b2, g[2], g[0]), fma::<T, FMA>(b2, g[3], g[1]));
    [
        g[0],
        fma::<T, FMA>(a, odd_a, even_a),
        fma::<T, FMA>(-a, odd_a, even_a),
        fma::<T, FMA>(b, odd_b, even_b),
        fma::<T, FMA>(-b, odd_b, even_b),
        g[3],
    ]
}
