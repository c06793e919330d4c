//! What moves elements, and rows by index.

use super::{check, indices, offset, whole};
use crate::key::Key;
use crate::tensor::{Dtype, Tensor};

/// Moved values against indices written out.
#[test]
fn moved_values() {
    let x = whole(Key::new(25), &[3, 4, 2, 5]);
    let gathered = |shape: &[usize], f: &dyn Fn(&[usize]) -> Option<Vec<usize>>| {
        let pick = |i: Vec<usize>| f(&i).map_or(0.0, |at| x.get(offset(&at, x.shape())));
        Tensor::from_f64(shape, indices(shape).map(pick).collect())
    };
    for order in [[3, 2, 1, 0], [0, 2, 1, 3], [1, 0, 3, 2], [2, 3, 0, 1]] {
        check("transpose", &[&x], &[x.permuted(&order)], |v| vec![v[0].transpose(&order)]);
    }
    let slice = gathered(&[2, 1, 2, 3], &|i| Some(vec![i[0] + 1, i[1] + 2, i[2], i[3] + 1]));
    check("slice", &[&x], &[slice], |v| vec![v[0].slice(&[1, 2, 0, 1], &[2, 1, 2, 3])]);
    let pad = gathered(&[4, 6, 2, 9], &|i| {
        let inside = i[0] < 3 && (1..5).contains(&i[1]) && (3..8).contains(&i[3]);
        inside.then(|| vec![i[0], i[1] - 1, i[2], i[3] - 3])
    });
    check("pad", &[&x], &[pad], |v| vec![v[0].pad(&[0, 1, 0, 3], &[4, 6, 2, 9])]);
    for axis in 0..4 {
        let mut shape = x.shape().to_vec();
        let extent = shape[axis];
        shape[axis] = 2 * extent + 1;
        let joined = gathered(&shape, &|i| {
            let mut at = i.to_vec();
            at[axis] = if i[axis] < 2 * extent { i[axis] % extent } else { 0 };
            Some(at)
        });
        check(&format!("concat along {axis}"), &[&x], &[joined], |v| {
            let mut one = x.shape().to_vec();
            one[axis] = 1;
            let first = v[0].slice(&[0; 4], &one);
            vec![v[0].graph().concat(&[v[0], v[0], first], axis)]
        });
    }
}

/// Repetitions and sums whose axes alternate are steps of their own.
#[test]
fn alternating_axes() {
    let (small, large) = ([2, 1, 3, 1, 2, 1], [2, 2, 3, 5, 2, 3]);
    let (s, x) = (whole(Key::new(26), &small), whole(Key::new(27), &large));
    let mut expanded = Tensor::zeros(Dtype::F64, &large);
    let mut summed = Tensor::zeros(Dtype::F64, &small);
    for (n, i) in indices(&large).enumerate() {
        let at = offset(&[i[0], 0, i[2], 0, i[4], 0], &small);
        expanded.set(n, s.get(at));
        summed.set(at, summed.get(at) + x.get(n));
    }
    check("alternating", &[&s, &x], &[expanded, summed], |v| {
        vec![v[0].expand(&large), v[1].sum_to(&small)]
    });
}

#[test]
fn indices_of_rows() {
    // Ties go to the first element; an index past the end gives no 1.
    let scores = Tensor::from_f64(&[3, 4], vec![1., 3., 3., 2., 0., 0., 0., 0., -1., -2., -3., 5.]);
    let first = Tensor::from_f64(&[3], vec![1.0, 0.0, 3.0]);
    let one_hot = Tensor::from_f64(&[3, 3], vec![0., 1., 0., 1., 0., 0., 0., 0., 0.]);
    let largest = Tensor::from_f64(&[3, 1], vec![3.0, 0.0, 5.0]);
    check("indices", &[&scores], &[first, one_hot, largest], |v| {
        vec![v[0].argmax(), v[0].argmax().one_hot(3), v[0].max_last()]
    });
}
