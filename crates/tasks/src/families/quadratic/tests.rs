use super::*;

#[test]
fn the_hessian_is_symmetric_and_at_least_one() {
    let n = 6;
    for task in 0..20 {
        let Quadratic { a, b, minimum } = Quadratic::draw(n, Key::new(1).at(0, task));
        let row = |i: usize| &a.as_f64()[i * n..(i + 1) * n];
        let x = minimum.as_f64();
        assert!((0..n * n).all(|at| (row(at / n)[at % n] - row(at % n)[at / n]).abs() <= 1e-12));
        let curvature: f64 = (0..n).map(|i| x[i] * dot(row(i), x)).sum();
        assert!(curvature >= dot(x, x), "{curvature}");
        assert!((0..n).all(|i| (dot(row(i), x) - b.as_f64()[i]).abs() <= 1e-12));
    }
}

#[test]
fn a_key_names_one_quadratic() {
    assert_eq!(Quadratic::draw(3, Key::new(1)), Quadratic::draw(3, Key::new(1)));
    assert_ne!(Quadratic::draw(3, Key::new(1)), Quadratic::draw(3, Key::new(2)));
}
