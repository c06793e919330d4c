use super::*;

/// Numbers from `low` to `high`.
fn between(low: f32, high: f32) -> impl Iterator<Item = f32> {
    const N: u32 = 400_000;
    let step = (f64::from(high) - f64::from(low)) / f64::from(N);
    (0..=N).map(move |i| (f64::from(low) + step * f64::from(i)) as f32)
}

/// Magnitudes of every exponent.
fn magnitudes() -> impl Iterator<Item = f32> {
    (1..f32::INFINITY.to_bits()).step_by(4999).map(f32::from_bits)
}

/// Largest error in units in the last place of the exact value.
fn error(f: fn(f32) -> f32, exact: fn(f64) -> f64, at: impl Iterator<Item = f32>) -> f64 {
    let of = |x: f32| {
        let (got, want) = (f64::from(f(x)), exact(f64::from(x)));
        let rounded = (want as f32).abs().max(f32::MIN_POSITIVE);
        let unit = f64::from(f32::from_bits(rounded.to_bits() + 1)) - f64::from(rounded);
        let off = (got - want).abs() / unit;
        assert!(off.is_finite(), "at {x}: {got}, expected {want}");
        off
    };
    at.map(of).fold(0.0, f64::max)
}

#[test]
fn errors_are_small() {
    let bound = |name: &str, error: f64, most: f64| assert!(error <= most, "{name}: {error}");
    bound("exp", error(exp, f64::exp, between(-87.0, 88.7)), 1.0);
    bound("exp", error(exp, f64::exp, between(-1.0, 1.0)), 1.0);
    bound("exp, subnormal", error(exp, f64::exp, between(-103.9, -87.0)), 1.0);
    bound("ln", error(ln, f64::ln, magnitudes()), 1.0);
    bound("ln", error(ln, f64::ln, between(0.5, 2.0).filter(|&x| x != 1.0)), 1.0);
    let both = |x: f32| [x, -x];
    bound("tanh", error(tanh, f64::tanh, magnitudes().flat_map(both)), 1.3);
    bound("tanh", error(tanh, f64::tanh, between(-10.0, 10.0)), 1.3);
    // The measure detects an error that it should detect.
    assert!(error(|x| exp(x) * (1.0 + 1e-6), f64::exp, between(-1.0, 1.0)) > 5.0);
}

#[test]
fn special_values_are_those_of_the_standard_library() {
    let same = |got: f32, want: f32| {
        assert!(got == want || got.is_nan() && want.is_nan(), "{got}, expected {want}");
        assert_eq!(got.is_sign_negative(), want.is_sign_negative() && !want.is_nan());
    };
    let values = [0.0, -0.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    for x in values.into_iter().chain([f32::MAX, f32::MIN, 200.0, -200.0]) {
        for (ours, theirs) in
            [(exp as fn(f32) -> f32, f32::exp as fn(f32) -> f32), (tanh, f32::tanh), (ln, f32::ln)]
        {
            let (got, want) = (ours(x), theirs(x));
            match want.is_finite() && want != 0.0 {
                true => assert!((got - want).abs() <= 2e-7 * want.abs(), "at {x}: {got}, {want}"),
                false if want.is_nan() => assert!(got.is_nan(), "at {x}: {got}"),
                false => same(got, want),
            }
        }
    }
}
