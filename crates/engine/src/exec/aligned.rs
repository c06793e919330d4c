//! Memory for kernels.

use std::ops::{Deref, DerefMut};

use super::elem::Elem;

/// Bytes of a cache line, and of the widest register: an access that crosses a line costs two.
const LINE: usize = 64;

/// An array of fixed length that begins at a cache line.
pub(super) struct Aligned<T> {
    memory: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Elem> Aligned<T> {
    /// Zeros.
    pub(super) fn zeros(len: usize) -> Aligned<T> {
        let memory = vec![T::ZERO; len + LINE / size_of::<T>()];
        let start = memory.as_ptr().align_offset(LINE).min(memory.len() - len);
        Aligned { memory, start, len }
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.start..self.start + self.len]
    }
}
