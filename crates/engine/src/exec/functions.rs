//! exp, ln and tanh in single precision, without branches or calls, so that a loop over them uses wide registers. The
//! learned rule of the LSTM meta-learner evaluates a hundred of them per weight and step.
//!
//! Largest errors over the numbers that the tests try, against the exact value: 1.0 units in the last place for exp and
//! for ln, 1.3 for tanh. Subnormal results, infinities and NaN follow IEEE 754. Every product and sum is rounded
//! separately, so that all instruction sets give the same bits. The polynomials are minimax fits of the relative error,
//! made for this module.

/// `1.5 · 2²³`: added to a number below 2²² it leaves the nearest integer in the last bits.
const ROUND: f32 = 12_582_912.0;
/// The first bits of ln 2, whose product with an exponent is exact, and the rest.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// `2ⁿ` for −126 ≤ n ≤ 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) << 23) as u32)
}

#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    coefficients.into_iter().rev().reduce(|sum, c| sum * x + c).expect("a coefficient")
}

/// `eˣ = 2ⁿ eʳ` with `n = round(x / ln 2)`, `|r| ≤ ln 2 / 2`.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // What lies beyond is 0 or infinite. A NaN fails both comparisons and stays.
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2[0]) - n * LN_2[1];
    let tail =
        polynomial(r, [0.499_999_94, 0.166_665_2, 0.041_668_393, 0.008_368_781, 0.001_381_446_7]);
    let e = (r * r * tail + r) + 1.0;
    // In two steps, because `power_of_two` cannot give the power for a subnormal result.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    e * power_of_two(half) * power_of_two(n - half)
}

/// `ln x = k ln 2 + ln(1 + f)` with `√½ ≤ 1 + f < √2`; `ln(1 + f) = 2 artanh s`, `s = f / (2 + f)`.
#[inline(always)]
pub(super) fn ln(x: f32) -> f32 {
    const ROOT_HALF: u32 = 0x3f35_04f3;
    let subnormal = x < f32::MIN_POSITIVE;
    let scaled = if subnormal { x * 33_554_432.0 } else { x };
    let bits = scaled.to_bits().wrapping_add(0x3f80_0000 - ROOT_HALF);
    let k = (bits >> 23) as i32 - if subnormal { 127 + 25 } else { 127 };
    let f = f32::from_bits((bits & 0x007f_ffff) + ROOT_HALF) - 1.0;
    let (k, s) = (k as f32, f / (2.0 + f));
    let z = s * s;
    let tail = polynomial(z, [0.333_333_3, 0.200_001_67, 0.142_686_4, 0.117_913_85]);
    let y = (f - (s * (f - 2.0 * z * tail) - k * LN_2[1])) + k * LN_2[0];
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    let y = if x < f32::INFINITY { y } else { x };
    if x < 0.0 { f32::NAN } else { y }
}

/// An odd polynomial up to 0.625, `1 − 2 / (e²ˣ + 1)` beyond.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let size = x.abs();
    let z = size * size;
    let tail = polynomial(
        z,
        [-0.333_332_84, 0.133_314_91, -0.053_743_497, 0.020_650_584, -0.005_717_042_4],
    );
    let small = size + size * z * tail;
    let large = 1.0 - 2.0 / (exp(2.0 * size) + 1.0);
    (if size < 0.625 { small } else { large }).copysign(x)
}

#[cfg(test)]
mod tests;
