//! Labelled images with the source's maps for them.

use innerloop_engine::{Tensor, volume};

/// A data set in memory, single precision; the first axis counts examples.
pub struct Samples {
    /// Images `[n, h, w, c]`, labels `[n]`, then the source's maps `[n, h, w, c]`, if there is a source.
    pub arrays: Vec<Tensor>,
}

impl Samples {
    /// Images and labels.
    #[track_caller]
    pub fn new(images: Tensor, labels: Tensor) -> Samples {
        assert_eq!(labels.shape(), &images.shape()[..1], "one label per image");
        Samples { arrays: vec![images, labels] }
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.arrays[1].len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the examples at these positions into arrays with the same number of rows.
    pub fn gather(&self, rows: &[usize], into: &mut [Tensor]) {
        for (to, from) in into.iter_mut().zip(&self.arrays) {
            let n = volume(&from.shape()[1..]);
            let (to, from) = (to.as_f32_mut(), from.as_f32());
            for (to, &row) in to.chunks_exact_mut(n).zip(rows) {
                to.copy_from_slice(&from[row * n..(row + 1) * n]);
            }
        }
    }
}
