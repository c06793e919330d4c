//! An image with a border of zeros, so that the loops over it need no bounds of their own.

use super::super::super::elem::Elem;

/// A rectangle over an image that may stick out on any side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Row and column of the image at which it starts.
    pub(super) start: [isize; 2],
    pub(super) size: [usize; 2],
    /// Elements per pixel: the channels, and zeros after them.
    pub(super) channels: usize,
}

impl Frame {
    /// Elements of one frame.
    pub(super) fn len(&self) -> usize {
        self.size[0] * self.row()
    }

    /// Elements of one row.
    pub(super) fn row(&self) -> usize {
        self.size[1] * self.channels
    }

    /// What lies under the frame, and elements from one row to the next: in place if all of it is on the
    /// image and as wide, or else in a copy.
    pub(super) fn view<'s, T: Elem>(
        &self,
        image: &'s [T],
        extents: [usize; 2],
        c: usize,
        copy: &'s mut [T],
    ) -> (&'s [T], usize) {
        let [top, left] = self.start;
        let inside = |axis: usize| {
            let start = self.start[axis];
            start >= 0 && start as usize + self.size[axis] <= extents[axis]
        };
        if self.channels == c && inside(0) && inside(1) {
            return (&image[(top as usize * extents[1] + left as usize) * c..], extents[1] * c);
        }
        self.copy(image, extents, c, copy);
        (copy, self.row())
    }

    /// Copies what lies under the frame, of an image with `c` channels, and zeros elsewhere.
    pub(super) fn copy<T: Elem>(
        &self,
        image: &[T],
        extents: [usize; 2],
        c: usize,
        frame: &mut [T],
    ) {
        let [top, left] = self.start;
        // Columns of the frame that lie on the image, and the image's column of the first.
        let lo = (-left).clamp(0, self.size[1] as isize) as usize;
        let hi = (extents[1] as isize - left).clamp(lo as isize, self.size[1] as isize) as usize;
        let from = (lo as isize + left) as usize;
        for (y, row) in frame[..self.len()].chunks_exact_mut(self.row()).enumerate() {
            let y = y as isize + top;
            if y < 0 || y >= extents[0] as isize || lo == hi {
                row.fill(T::ZERO);
                continue;
            }
            let source = &image[(y as usize * extents[1] + from) * c..][..(hi - lo) * c];
            row[..lo * self.channels].fill(T::ZERO);
            row[hi * self.channels..].fill(T::ZERO);
            let inside = &mut row[lo * self.channels..hi * self.channels];
            if c == self.channels {
                inside.copy_from_slice(source);
                continue;
            }
            for (to, from) in inside.chunks_exact_mut(self.channels).zip(source.chunks_exact(c)) {
                to[..c].copy_from_slice(from);
                to[c..].fill(T::ZERO);
            }
        }
    }
}

/// Elements [`aligned`] may skip.
pub(super) const SLACK: usize = 16;

/// Elements to skip up to the next cache line: a register loaded across two lines takes twice as long.
pub(super) fn aligned<T>(values: &[T]) -> usize {
    values.as_ptr().align_offset(64).min(SLACK)
}

/// Splits off elements that start on a cache line.
pub(super) fn carve<T>(scratch: &mut [T], len: usize) -> (&mut [T], &mut [T]) {
    let skip = aligned(scratch);
    scratch[skip..].split_at_mut(len)
}
