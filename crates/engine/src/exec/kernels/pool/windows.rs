//! The windows of a pooling, one after another, and the input pixels under each.

use crate::graph::Window;

/// The input pixels under one window. Plain loops walk them: closures would not be compiled for the wide
/// registers.
#[derive(Clone, Copy)]
pub(super) struct Covered {
    extents: [usize; 2],
    /// First input pixel of the image.
    image: usize,
    /// Input coordinates of the window's first row and column, wrapped round when above or left of it.
    corner: [usize; 2],
    channels: usize,
    /// First output element.
    pub(super) out: usize,
}

impl Covered {
    /// Offset of the input pixel at a position of the window, if that lies inside the image.
    #[inline(always)]
    pub(super) fn pixel(&self, ky: usize, kx: usize) -> Option<usize> {
        let (y, x) = (self.corner[0].wrapping_add(ky), self.corner[1].wrapping_add(kx));
        if y < self.extents[0] && x < self.extents[1] {
            Some((self.image + y * self.extents[1] + x) * self.channels)
        } else {
            None
        }
    }

    /// Offsets of the four pixels of a 2×2 window that lies inside the image, in the order of positions.
    #[inline(always)]
    pub(super) fn four(&self, size: [usize; 2]) -> Option<[usize; 4]> {
        let ([y, x], [h, w]) = (self.corner, self.extents);
        // A corner above or left of the image is far behind its end.
        let inside = size == [2, 2] && y < h - 1 && x < w - 1;
        if !inside {
            return None;
        }
        let above = (self.image + y * w + x) * self.channels;
        let below = above + w * self.channels;
        Some([above, above + self.channels, below, below + self.channels])
    }
}

/// The windows of all output pixels, in order.
pub(super) struct Windows {
    window: Window,
    input: [usize; 4],
    output: [usize; 4],
    /// Image, row and column of the next output pixel.
    at: [usize; 3],
    out: usize,
}

impl Windows {
    pub(super) fn new(window: Window, input: &[usize], output: &[usize]) -> Windows {
        let four = |s: &[usize]| [s[0], s[1], s[2], s[3]];
        Windows { window, input: four(input), output: four(output), at: [0; 3], out: 0 }
    }
}

impl Iterator for Windows {
    type Item = Covered;

    #[inline(always)]
    fn next(&mut self) -> Option<Covered> {
        let [image, oy, ox] = self.at;
        if image == self.output[0] {
            return None;
        }
        let [_, h, w, channels] = self.input;
        let [[top, _], [left, _]] = self.window.pad;
        let covered = Covered {
            extents: [h, w],
            image: image * h * w,
            corner: [
                (oy * self.window.stride[0]).wrapping_sub(top),
                (ox * self.window.stride[1]).wrapping_sub(left),
            ],
            channels,
            out: self.out,
        };
        self.out += channels;
        self.at = if ox + 1 < self.output[2] {
            [image, oy, ox + 1]
        } else if oy + 1 < self.output[1] {
            [image, oy + 1, 0]
        } else {
            [image + 1, 0, 0]
        };
        Some(covered)
    }
}
