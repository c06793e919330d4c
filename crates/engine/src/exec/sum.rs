//! Sums and means of tensors outside of programs.

use super::kernels::{Isa, accumulate};
use crate::tensor::{Dtype, Tensor};

/// Adds up tensors, in double precision in the order they come in. Allocates nothing once it has seen the
/// largest.
pub struct Sum {
    isa: Isa,
    sums: Vec<f64>,
}

impl Sum {
    /// With the fastest loops of this machine; the bits are those of any other.
    pub fn new() -> Sum {
        Sum { isa: Isa::detect(), sums: Vec::new() }
    }

    /// Writes the sum of the parts, all of the length of `out`, divided by `divisor`.
    #[track_caller]
    pub fn of<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a Tensor>,
        divisor: f64,
        out: &mut Tensor,
    ) {
        self.begin(out.len());
        parts.for_each(|part| self.add(part));
        self.write(divisor, out);
    }

    /// Begins a sum of parts of this length, which are handed in one by one.
    pub fn begin(&mut self, len: usize) {
        self.sums.clear();
        self.sums.resize(len, 0.0);
    }

    /// Adds the next part.
    #[track_caller]
    pub fn add(&mut self, part: &Tensor) {
        assert_eq!(part.len(), self.sums.len(), "parts of a sum have its length");
        match part.dtype() {
            Dtype::F32 => accumulate(self.isa, &mut self.sums, part.as_f32()),
            Dtype::F64 => accumulate(self.isa, &mut self.sums, part.as_f64()),
        }
    }

    /// Writes the sum so far, divided by `divisor`.
    #[track_caller]
    pub fn write(&self, divisor: f64, out: &mut Tensor) {
        assert_eq!(out.len(), self.sums.len(), "a sum has the length of its parts");
        let quotients = self.sums.iter().map(|sum| sum / divisor);
        match out.dtype() {
            Dtype::F32 => {
                out.as_f32_mut().iter_mut().zip(quotients).for_each(|(o, x)| *o = x as f32)
            }
            Dtype::F64 => out.as_f64_mut().iter_mut().zip(quotients).for_each(|(o, x)| *o = x),
        }
    }
}

impl Default for Sum {
    fn default() -> Sum {
        Sum::new()
    }
}
