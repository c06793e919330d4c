//! Means of tensors, outside of programs.

use super::kernels::{Isa, accumulate};
use crate::tensor::{Dtype, Tensor};

/// Takes means of tensors, summed in double precision in the order they come in. Allocates nothing once it
/// has seen the largest.
pub struct Mean {
    isa: Isa,
    sums: Vec<f64>,
}

impl Mean {
    /// With the fastest loops of this machine; the bits are the same on every machine.
    pub fn new() -> Mean {
        Mean { isa: Isa::detect(), sums: Vec::new() }
    }

    /// Writes the mean of the parts, which all have the length of `out`. The mean of no parts is NaN.
    #[track_caller]
    pub fn of<'a>(&mut self, parts: impl Iterator<Item = &'a Tensor>, out: &mut Tensor) {
        self.sums.clear();
        self.sums.resize(out.len(), 0.0);
        let mut n = 0.0;
        for part in parts {
            assert_eq!(part.len(), out.len(), "the parts of a mean have the length of the mean");
            n += 1.0;
            match part.dtype() {
                Dtype::F32 => accumulate(self.isa, &mut self.sums, part.as_f32()),
                Dtype::F64 => accumulate(self.isa, &mut self.sums, part.as_f64()),
            }
        }
        let means = self.sums.iter().map(|sum| sum / n);
        match out.dtype() {
            Dtype::F32 => out.as_f32_mut().iter_mut().zip(means).for_each(|(o, x)| *o = x as f32),
            Dtype::F64 => out.as_f64_mut().iter_mut().zip(means).for_each(|(o, x)| *o = x),
        }
    }
}

impl Default for Mean {
    fn default() -> Mean {
        Mean::new()
    }
}
