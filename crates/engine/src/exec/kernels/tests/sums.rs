//! Sums of arrays.

use super::super::{Isa, accumulate};
use super::isas;
use crate::check::random;
use crate::key::Key;
use crate::tensor::Dtype;

/// Every build's sums equal the portable one's, bit for bit.
#[test]
fn sums_are_the_same_with_every_build() {
    for n in [0, 1, 7, 8, 15, 33] {
        let x = random(Key::new(n as u64), &[n], 1.0);
        let sums = |isa| {
            let mut sums: Vec<f64> = (0..n).map(|i| i as f64 / 3.0).collect();
            accumulate(isa, &mut sums, x.as_f64());
            accumulate(isa, &mut sums, x.cast(Dtype::F32).as_f32());
            sums
        };
        let portable = sums(Isa::Portable);
        for (i, sum) in portable.iter().enumerate() {
            assert_eq!(*sum, i as f64 / 3.0 + x.get(i) + f64::from(x.get(i) as f32));
        }
        isas().into_iter().for_each(|isa| assert_eq!(sums(isa), portable, "{isa:?}"));
    }
}
