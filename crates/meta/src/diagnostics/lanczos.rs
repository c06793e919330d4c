//! Extreme eigenvalues of a symmetric matrix that is known only by its products: Lanczos 1950, with every new vector
//! made orthogonal to all previous ones, and bisection on the tridiagonal matrix by Sturm's sequence (Golub and Van
//! Loan, Matrix Computations, sections 8.4 and 10.1).

use super::{dot, norm};

/// Ends of a spectrum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extremes {
    /// At most the largest eigenvalue, and close to it.
    pub largest: f64,
    /// At least the smallest eigenvalue.
    pub smallest: f64,
}

/// Ends of the spectrum of a symmetric matrix from at most `steps` products with it. They are exact, up to rounding,
/// when there are as many products as the start has components in different eigenspaces. NaN when a product is not
/// finite or the start is zero.
pub fn extreme_eigenvalues(
    mut matrix: impl FnMut(&[f64]) -> Vec<f64>,
    start: &[f64],
    products: usize,
) -> Extremes {
    /// Remainder of a vector, relative to the matrix, below which the space is exhausted.
    const NOTHING: f64 = 1e-7;
    let nothing = Extremes { largest: f64::NAN, smallest: f64::NAN };
    let size = norm(start);
    if !(size > 0.0 && size.is_finite()) || products == 0 {
        return nothing;
    }
    let mut basis: Vec<Vec<f64>> = vec![start.iter().map(|x| x / size).collect()];
    let (mut diagonal, mut beside) = (Vec::new(), Vec::<f64>::new());
    for j in 0..products.min(start.len()) {
        let mut w = matrix(&basis[j]);
        let whole = norm(&w);
        if !whole.is_finite() {
            return nothing;
        }
        diagonal.push(dot(&w, &basis[j]));
        // Two passes are enough for orthogonality up to rounding.
        for _ in 0..2 {
            for v in &basis {
                let along = dot(&w, v);
                w.iter_mut().zip(v).for_each(|(w, v)| *w -= along * v);
            }
        }
        let left = norm(&w);
        let scale = diagonal.iter().chain(&beside).fold(whole, |most, x| most.max(x.abs()));
        if left <= NOTHING * scale {
            break;
        }
        beside.push(left);
        basis.push(w.iter().map(|x| x / left).collect());
    }
    beside.truncate(diagonal.len() - 1);
    Extremes {
        largest: -lowest(&diagonal.iter().map(|x| -x).collect::<Vec<_>>(), &beside),
        smallest: lowest(&diagonal, &beside),
    }
}

/// Lowest eigenvalue of a symmetric tridiagonal matrix.
fn lowest(diagonal: &[f64], beside: &[f64]) -> f64 {
    let at = |i: usize| beside.get(i).map_or(0.0, |x: &f64| x.abs());
    let radius = |i: usize| at(i) + if i > 0 { at(i - 1) } else { 0.0 };
    // Gershgorin's circles hold the spectrum.
    let bounds = diagonal.iter().enumerate().map(|(i, d)| (d - radius(i), d + radius(i)));
    let (mut low, mut high) = bounds
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), b| (low.min(b.0), high.max(b.1)));
    // Whether an eigenvalue lies below x: whether a pivot of T − xI is negative.
    let any_below = |x: f64| {
        let mut pivot = 1.0;
        (0..diagonal.len()).any(|i| {
            let coupled = if i > 0 { beside[i - 1] * beside[i - 1] / pivot } else { 0.0 };
            pivot = diagonal[i] - x - coupled;
            if pivot == 0.0 {
                pivot = f64::MIN_POSITIVE;
            }
            pivot < 0.0
        })
    };
    // Halving 200 times ends at neighbouring numbers.
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if any_below(middle) { high = middle } else { low = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_diagonal(values: &[f64], products: usize) -> Extremes {
        let matrix = |v: &[f64]| v.iter().zip(values).map(|(v, d)| v * d).collect();
        extreme_eigenvalues(matrix, &vec![1.0; values.len()], products)
    }

    #[test]
    fn ends_of_a_known_spectrum() {
        let close = |got: Extremes, largest: f64, smallest: f64, tolerance: f64| {
            assert!((got.largest - largest).abs() <= tolerance, "{got:?}");
            assert!((got.smallest - smallest).abs() <= tolerance, "{got:?}");
        };
        close(of_diagonal(&[3.0, -2.0, 0.5, 0.0], 4), 3.0, -2.0, 1e-12);
        close(of_diagonal(&[3.0, -2.0, 0.5, 0.0], 20), 3.0, -2.0, 1e-12);
        // A multiple of the identity has one eigenspace, and the space is exhausted at once.
        close(of_diagonal(&[4.0; 6], 5), 4.0, 4.0, 1e-12);
        close(of_diagonal(&[0.0; 3], 3), 0.0, 0.0, 1e-12);
        close(of_diagonal(&[-7.0], 3), -7.0, -7.0, 1e-12);
        let many: Vec<f64> = (0..100).map(|i| i as f64 / 99.0).collect();
        close(of_diagonal(&many, 40), 1.0, 0.0, 1e-3);
    }

    #[test]
    fn few_products_stay_inside_the_spectrum() {
        let values: Vec<f64> = (0..50).map(|i| (i as f64).sin()).collect();
        let exact = of_diagonal(&values, 50);
        let few = of_diagonal(&values, 3);
        assert!(few.largest <= exact.largest && few.smallest >= exact.smallest);
        assert!(few.largest < exact.largest - 1e-6, "three products are not exact");
    }

    #[test]
    fn what_is_not_finite_has_no_eigenvalues() {
        let got = extreme_eigenvalues(|v| vec![f64::NAN; v.len()], &[1.0, 1.0], 2);
        assert!(got.largest.is_nan() && got.smallest.is_nan());
        let got = extreme_eigenvalues(|v| v.to_vec(), &[0.0, 0.0], 2);
        assert!(got.largest.is_nan());
    }
}
