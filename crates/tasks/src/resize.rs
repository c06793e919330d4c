//! Shrinking grey images with the Lanczos filter.
//!
//! out(i) = Σₛ in(s) k((s + ½)/r − (i + ½)) / Σₛ k(…)     k(t) = sinc(t) sinc(t/3), |t| < 3
//!
//! where r is the ratio of the sizes: the filter is widened by r, so that it also acts as the low-pass filter. Rows and
//! columns are filtered one after the other, and the result is clamped to 0..=255. This is what Pillow's `LANCZOS`
//! does, the filter with which learn2learn resizes Omniglot.

use std::f64::consts::PI;

use crate::dot::dot;

/// The weights from `from` samples to `to` samples, reusable for many images.
pub(crate) struct Shrink {
    from: usize,
    /// First source sample and weights of each output sample.
    taps: Vec<(usize, Vec<f32>)>,
}

impl Shrink {
    /// Weights for square images of side `from` to become ones of side `to`.
    pub(crate) fn new(from: usize, to: usize) -> Shrink {
        let ratio = from as f64 / to as f64;
        let taps = (0..to).map(|i| {
            let centre = (i as f64 + 0.5) * ratio;
            let first = (centre - 3.0 * ratio).round().max(0.0) as usize;
            let last = ((centre + 3.0 * ratio).round() as usize).min(from);
            let weights: Vec<f64> =
                (first..last).map(|s| lanczos((s as f64 + 0.5 - centre) / ratio)).collect();
            let sum: f64 = weights.iter().sum();
            (first, weights.into_iter().map(|weight| (weight / sum) as f32).collect())
        });
        Shrink { from, taps: taps.collect() }
    }

    /// Appends the shrunk image to `out`; `image` is `[from, from]`.
    pub(crate) fn append(&self, image: &[u8], out: &mut Vec<u8>) {
        assert_eq!(image.len(), self.from * self.from, "image of another size");
        // Half the rows of a drawn character are empty, and add nothing.
        let rows = image.chunks_exact(self.from);
        let blank: Vec<bool> = rows.map(|row| row.iter().fold(0, |or, &p| or | p) == 0).collect();
        let image: Vec<f32> = image.iter().map(|&pixel| f32::from(pixel)).collect();
        let mut row = vec![0.0; self.from];
        for (first, weights) in &self.taps {
            row.fill(0.0);
            let source = image[first * self.from..].chunks_exact(self.from);
            let inked = weights.iter().zip(source).zip(&blank[*first..]);
            for ((weight, pixels), _) in inked.filter(|(_, blank)| !**blank) {
                row.iter_mut().zip(pixels).for_each(|(sum, pixel)| *sum += weight * pixel);
            }
            out.extend(self.taps.iter().map(|(first, weights)| {
                // Rounded, and cut to 0..=255 by the cast.
                (dot(&row[*first..first + weights.len()], weights) + 0.5) as u8
            }));
        }
    }
}

fn lanczos(t: f64) -> f64 {
    if t.abs() >= 3.0 { 0.0 } else { sinc(t) * sinc(t / 3.0) }
}

fn sinc(t: f64) -> f64 {
    if t == 0.0 { 1.0 } else { (PI * t).sin() / (PI * t) }
}

#[cfg(test)]
mod tests;
