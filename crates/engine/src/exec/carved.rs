//! Splits an array into one part to write and the rest to read.

use std::ops::Range;

/// An array minus one place: that place is for writing, the rest for reading.
pub(super) struct Carved<'a, T> {
    before: &'a [T],
    after: &'a [T],
    start: usize,
}

impl<'a, T> Carved<'a, T> {
    #[inline(always)]
    pub(super) fn new(array: &'a mut [T], out: Range<usize>) -> (Carved<'a, T>, &'a mut [T]) {
        let (before, rest) = array.split_at_mut(out.start);
        let (out_slice, after) = rest.split_at_mut(out.len());
        (Carved { before, after, start: out.end }, out_slice)
    }

    /// Nothing carved out.
    #[inline(always)]
    pub(super) fn all(array: &'a [T]) -> Carved<'a, T> {
        Carved { before: array, after: &[], start: array.len() }
    }

    /// A value that does not overlap the place carved out; overlapping panics.
    #[inline(always)]
    pub(super) fn get(&self, range: Range<usize>) -> &'a [T] {
        if range.start >= self.start {
            &self.after[range.start - self.start..range.end - self.start]
        } else {
            &self.before[range]
        }
    }
}
