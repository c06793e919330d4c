use super::*;

fn shrunk(from: usize, to: usize, image: impl Fn(usize, usize) -> u8) -> Vec<u8> {
    let pixels: Vec<u8> = (0..from * from).map(|at| image(at / from, at % from)).collect();
    let mut out = Vec::new();
    Shrink::new(from, to).append(&pixels, &mut out);
    out
}

#[test]
fn the_same_size_is_the_same_image() {
    let image = |i: usize, j: usize| (i * 37 + j * 11) as u8;
    let out = shrunk(8, 8, image);
    assert!((0..64).all(|at| out[at] == image(at / 8, at % 8)), "{out:?}");
}

#[test]
fn an_even_image_stays_even() {
    assert_eq!(shrunk(105, 28, |_, _| 200), [200; 28 * 28]);
}

/// The filter is symmetric, so that it keeps straight lines away from the edges.
#[test]
fn a_ramp_stays_a_ramp() {
    let out = shrunk(105, 28, |_, j| 2 * j as u8);
    for j in 4..24 {
        let expected = 2.0 * ((j as f64 + 0.5) * 3.75 - 0.5);
        assert!((f64::from(out[28 * 10 + j]) - expected).abs() <= 1.0, "{out:?}");
    }
}

#[test]
fn overshoot_is_cut() {
    let out = shrunk(105, 28, |i, _| if i < 52 { 0 } else { 255 });
    assert_eq!((out[28 * 12], out[28 * 15]), (0, 255));
}

/// Rows and columns are treated alike.
#[test]
fn shrinking_commutes_with_transposition() {
    let image = |i: usize, j: usize| if (i * i + 3 * j) % 17 < 5 { 255 } else { 0 };
    let (plain, transposed) = (shrunk(105, 28, image), shrunk(105, 28, |i, j| image(j, i)));
    for at in 0..28 * 28 {
        assert!(plain[at].abs_diff(transposed[at % 28 * 28 + at / 28]) <= 1, "pixel {at}");
    }
}
