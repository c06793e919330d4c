//! Minibatches of a support set.

use innerloop_engine::Key;
use rand::seq::SliceRandom;

/// Indices of the examples of inner step `step` when steps take `batch` of `examples` examples: the support set is
/// traversed without replacement, in a fresh order on every pass, and a pass's remainder is completed from the next
/// pass (Reptile's cycling).
pub fn minibatch(key: Key, examples: usize, batch: usize, step: usize) -> Vec<usize> {
    let mut passes = Passes::new(examples);
    passes.begin(key);
    (step * batch..(step + 1) * batch).map(|i| passes.at(i)).collect()
}

/// Passes through a support set, with the order of one pass in memory at a time.
pub(crate) struct Passes {
    key: Key,
    order: Vec<usize>,
    /// The pass whose order is stored, if it belongs to this key.
    pass: Option<usize>,
}

impl Passes {
    pub(crate) fn new(examples: usize) -> Passes {
        Passes { key: Key::new(0), order: (0..examples).collect(), pass: None }
    }

    /// Starts with the passes of a task's key.
    pub(crate) fn begin(&mut self, key: Key) {
        self.key = key.with_stream("minibatch");
        self.pass = None;
    }

    /// Index of the `i`-th example taken.
    pub(crate) fn at(&mut self, i: usize) -> usize {
        let examples = self.order.len();
        let pass = i / examples;
        if self.pass != Some(pass) {
            self.order.iter_mut().enumerate().for_each(|(i, at)| *at = i);
            let mut rng = stream(self.key, pass).rng();
            self.order.shuffle(&mut rng);
            self.pass = Some(pass);
        }
        self.order[i % examples]
    }
}

/// The key of a pass: its number, in decimal digits, is the stream's name.
fn stream(key: Key, pass: usize) -> Key {
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), pass);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    key.with_stream(str::from_utf8(&digits[at..]).expect("digits are text"))
}
