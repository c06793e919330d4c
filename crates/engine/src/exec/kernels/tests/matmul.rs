//! Products of matrices.

use rand::RngExt;

use super::{check, indices, whole};
use crate::key::Key;
use crate::tensor::{Dtype, Tensor, volume};

#[test]
fn matrix_products() {
    let sizes = [1, 2, 3, 5, 8, 13, 16, 17, 30, 33, 40, 48, 70];
    let mut rng = Key::new(16).rng();
    let mut size = || sizes[rng.random_range(0..sizes.len())];
    for round in 0..40 {
        let (m, k, n) = (size(), size(), size());
        for batch in [vec![], vec![1], vec![3], vec![2, 2]] {
            for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
                let shape = |rows: usize, columns: usize, t: bool| {
                    let last = if t { [columns, rows] } else { [rows, columns] };
                    [batch.clone(), last.to_vec()].concat()
                };
                let a = whole(Key::new(17).at(round, 0), &shape(m, k, ta));
                let b = whole(Key::new(17).at(round, 1), &shape(k, n, tb));
                let mut y = Tensor::zeros(Dtype::F64, &shape(m, n, false));
                for i in indices(&[volume(&batch), m, n, k]) {
                    let [z, row, column, j] = i[..] else { unreachable!("four axes") };
                    let at = if ta { (z * k + j) * m + row } else { (z * m + row) * k + j };
                    let bt = if tb { (z * n + column) * k + j } else { (z * k + j) * n + column };
                    let to = (z * m + row) * n + column;
                    y.as_f64_mut()[to] += a.get(at) * b.get(bt);
                }
                let name = format!("{batch:?} of {m}×{k}×{n}, transposed {ta} {tb}");
                check(&name, &[&a, &b], &[y], |v| vec![v[0].matmul_with(v[1], ta, tb)]);
            }
        }
    }
}

#[test]
fn matrix_products_carry_nan() {
    let (mut a, b) = (whole(Key::new(18), &[4, 3]), whole(Key::new(19), &[3, 5]));
    a.set(5, f64::NAN); // row 1
    let mut y = Tensor::zeros(Dtype::F64, &[4, 5]);
    for i in indices(&[4, 5, 3]) {
        let term = a.get(i[0] * 3 + i[2]) * b.get(i[2] * 5 + i[1]);
        y.as_f64_mut()[i[0] * 5 + i[1]] += term;
    }
    assert_eq!(y.iter().filter(|x| x.is_nan()).count(), 5);
    check("NaN", &[&a, &b], &[y], |v| vec![v[0].matmul(v[1])]);
}
