//! Two views of the same images, for objectives that compare a network's outputs on both.
//!
//! The changes are those of SHOT's released code, which are SimCLR's (Chen et al. 2020, arXiv 2002.05709, appendix A):
//! a crop of 8 to 100 % of the area, 3:4 to 4:3, resized to the original size; a flip with probability ½; in four of
//! five views, brightness, contrast and saturation times 0.2 to 1.8; in one of two, a Gaussian blur over 3×3 with a
//! deviation of 0.1 to 2 pixels; one in five grey. As there, one draw is used for all images of a view.
//!
//! Departures: the hue stays; brightness comes before contrast and saturation, not in random order; and views are not
//! standardised with ImageNet's means, as no other part of training uses them.

use innerloop_engine::{Key, Tensor};
use rand::Rng;

use crate::random::{below, uniform};

/// The weight of each channel in an image's grey, as in television (ITU-R BT.601).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// Writes a view of images `[n, h, w, c]`, values 0 to 1, to `view`, which has their shape.
pub fn draw_view(images: &Tensor, key: Key, view: &mut Tensor) {
    let &[_, h, w, c] = images.shape() else { panic!("{:?} are not images", images.shape()) };
    assert_eq!(images.shape(), view.shape(), "a view has the images' shape");
    let change = Change::draw(&mut key.rng(), [h, w]);
    let from = images.as_f32().chunks_exact(h * w * c);
    let mut sharp = vec![0.0; h * w * c];
    for (image, out) in from.zip(view.as_f32_mut().chunks_exact_mut(h * w * c)) {
        change.crop(image, out, [h, w, c]);
        if let Some(tint) = change.tint {
            tint.apply(out, c);
        }
        if let Some(weights) = change.blur {
            sharp.copy_from_slice(out);
            blur(&sharp, out, weights, [h, w, c]);
        }
        if change.grey && c == 3 {
            out.chunks_exact_mut(3).for_each(|pixel| pixel.fill(grey(pixel)));
        }
    }
}

/// The changes of a view.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Change {
    /// First row and column of the crop.
    at: [usize; 2],
    /// Its rows and columns.
    size: [usize; 2],
    flip: bool,
    tint: Option<Tint>,
    /// Weights of a pixel and of its neighbour, along an axis.
    blur: Option<[f32; 2]>,
    grey: bool,
}

/// Factors of brightness, contrast and saturation.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tint {
    brightness: f32,
    contrast: f32,
    saturation: f32,
}

impl Change {
    fn draw(rng: &mut impl Rng, [h, w]: [usize; 2]) -> Change {
        let mut crop = ([0, 0], [h, w]);
        // If no size fits, the image stays whole.
        for _ in 0..10 {
            let area = uniform(rng, 0.08, 1.0) * (h * w) as f64;
            let ratio = uniform(rng, (3.0_f64 / 4.0).ln(), (4.0_f64 / 3.0).ln()).exp();
            let size = [(area / ratio).sqrt(), (area * ratio).sqrt()].map(|x| x.round() as usize);
            if (1..=h).contains(&size[0]) && (1..=w).contains(&size[1]) {
                crop = ([below(rng, h - size[0] + 1), below(rng, w - size[1] + 1)], size);
                break;
            }
        }
        let flip = below(rng, 2) == 1;
        let tinted = uniform(rng, 0.0, 1.0) < 0.8;
        let [brightness, contrast, saturation] = [(); 3].map(|()| uniform(rng, 0.2, 1.8) as f32);
        let blurred = below(rng, 2) == 1;
        let neighbour = (-0.5 / uniform(rng, 0.1, 2.0).powi(2)).exp();
        let all = 1.0 + 2.0 * neighbour;
        Change {
            at: crop.0,
            size: crop.1,
            flip,
            tint: tinted.then_some(Tint { brightness, contrast, saturation }),
            blur: blurred.then_some([(1.0 / all) as f32, (neighbour / all) as f32]),
            grey: uniform(rng, 0.0, 1.0) < 0.2,
        }
    }

    /// The crop, interpolated linearly between pixels, and flipped.
    fn crop(&self, image: &[f32], out: &mut [f32], [h, w, c]: [usize; 3]) {
        // The first of two pixels, and how far the position lies towards the second.
        let place = |i: usize, n: usize, axis: usize| {
            let size = self.size[axis] as f64;
            let x = ((i as f64 + 0.5) * size / n as f64 - 0.5).clamp(0.0, size - 1.0);
            let first = x.floor() as usize;
            let second = (first + 1).min(self.size[axis] - 1);
            (self.at[axis] + first, self.at[axis] + second, (x - x.floor()) as f32)
        };
        for (i, row) in out.chunks_exact_mut(w * c).enumerate() {
            let (top, bottom, down) = place(i, h, 0);
            for (j, pixel) in row.chunks_exact_mut(c).enumerate() {
                let j = if self.flip { w - 1 - j } else { j };
                let (left, right, aside) = place(j, w, 1);
                for (channel, value) in pixel.iter_mut().enumerate() {
                    let of = |row: usize, column: usize| image[(row * w + column) * c + channel];
                    let between = |row| of(row, left) + aside * (of(row, right) - of(row, left));
                    *value = between(top) + down * (between(bottom) - between(top));
                }
            }
        }
    }
}

impl Tint {
    fn apply(self, pixels: &mut [f32], c: usize) {
        let cut = |x: f32| x.clamp(0.0, 1.0);
        pixels.iter_mut().for_each(|x| *x = cut(*x * self.brightness));
        let mean = pixels.chunks_exact(c).map(grey).sum::<f32>() / (pixels.len() / c) as f32;
        pixels.iter_mut().for_each(|x| *x = cut(mean + self.contrast * (*x - mean)));
        for pixel in pixels.chunks_exact_mut(c) {
            let grey = grey(pixel);
            pixel.iter_mut().for_each(|x| *x = cut(grey + self.saturation * (*x - grey)));
        }
    }
}

/// The grey of a pixel of three channels; the mean for other numbers of channels.
fn grey(pixel: &[f32]) -> f32 {
    match pixel.len() {
        3 => pixel.iter().zip(LUMA).map(|(x, share)| x * share).sum(),
        c => pixel.iter().sum::<f32>() / c as f32,
    }
}

/// A pixel and its eight neighbours, mirrored at the edge.
fn blur(sharp: &[f32], out: &mut [f32], [own, next]: [f32; 2], [h, w, c]: [usize; 3]) {
    let mirrored = |i: isize, n: usize| match i {
        _ if n == 1 => 0,
        -1 => 1,
        i if i as usize == n => n - 2,
        i => i as usize,
    };
    for (at, value) in out.iter_mut().enumerate() {
        let (i, j, channel) = (at / c / w, at / c % w, at % c);
        let mut sum = 0.0;
        for (di, of_row) in [(-1, next), (0, own), (1, next)] {
            for (dj, of_column) in [(-1, next), (0, own), (1, next)] {
                let from = [mirrored(i as isize + di, h), mirrored(j as isize + dj, w)];
                sum += of_row * of_column * sharp[(from[0] * w + from[1]) * c + channel];
            }
        }
        *value = sum;
    }
}

#[cfg(test)]
mod tests;
