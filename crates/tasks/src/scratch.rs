//! Memory for drawing episodes.

use std::cell::Cell;

/// Lists and an image that drawing an episode needs, whatever the family.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Classes of the task, or points of a curve in random order.
    pub(crate) order: Vec<usize>,
    /// Samples of a class.
    pub(crate) samples: Vec<usize>,
    /// An image that the data set composes.
    pub(crate) image: Vec<u8>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

impl Scratch {
    /// Lends the thread's own, which it keeps from one episode to the next, so that drawing them allocates nothing after
    /// the first.
    pub(crate) fn lend(draw: impl FnOnce(&mut Scratch)) {
        let mut scratch = SCRATCH.take();
        draw(&mut scratch);
        SCRATCH.set(scratch);
    }
}
