//! Random numbers as a pure function of a key.
//!
//! A key names *what* is being drawn (seed, stream, iteration, task), so the numbers do not depend on
//! the order of evaluation or on the number of threads, and a resumed run needs no generator state.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Names one stream of random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The run's seed.
    pub seed: u64,
    /// What the numbers are for; see [`Key::with_stream`].
    pub stream: u64,
    /// Outer iteration, or zero.
    pub iteration: u64,
    /// Task within the iteration, or any other index.
    pub task: u64,
}

impl Key {
    /// The root key of a seed.
    pub fn new(seed: u64) -> Key {
        Key { seed, stream: 0, iteration: 0, task: 0 }
    }

    /// The key of a named purpose: the name's bytes are hashed (FNV-1a, 64 bits) into the stream, so that two purposes share
    /// numbers only if their hashes collide.
    pub fn with_stream(self, name: &str) -> Key {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64 ^ self.stream, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Key { stream: hash, ..self }
    }

    /// The key of an outer iteration and a task in it.
    pub fn at(self, iteration: u64, task: u64) -> Key {
        Key { iteration, task, ..self }
    }

    /// A fresh generator (ChaCha, 8 rounds) whose output is fixed by the key alone.
    pub fn rng(self) -> ChaCha8Rng {
        let mut bytes = [0; 32];
        for (chunk, word) in
            bytes.chunks_exact_mut(8).zip([self.seed, self.stream, self.iteration, self.task])
        {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        ChaCha8Rng::from_seed(bytes)
    }
}
