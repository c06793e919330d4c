//! Random changes of training images: each image of each training task is changed independently, support and query
//! alike.

use std::fmt;

use rand::Rng;

use crate::random::below;

/// Which changes are made. None by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Augmentation {
    /// A shift by up to an eighth of the side in each direction (4 of 32 pixels), filled with black: a random crop
    /// after padding.
    pub crop: bool,
    /// A left-right flip, with probability ½.
    pub flip: bool,
    /// A rotation by 0, 90, 180 or 270 degrees.
    pub rotate: bool,
}

/// `; training images: crop, flip`, to follow other settings; empty where nothing is changed.
impl fmt::Display for Augmentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [("crop", self.crop), ("flip", self.flip), ("rotate", self.rotate)];
        let made: Vec<&str> = all.iter().filter(|(_, made)| *made).map(|(name, _)| *name).collect();
        match made.is_empty() {
            true => Ok(()),
            false => write!(f, "; training images: {}", made.join(", ")),
        }
    }
}

/// One change, as drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Rows down and columns right by which the image moves.
    pub(crate) shift: [isize; 2],
    pub(crate) flip: bool,
    /// Quarter turns counter-clockwise, before the other changes.
    pub(crate) turn: usize,
}

impl Augmentation {
    /// Draws no random numbers for a change that is turned off.
    pub(crate) fn draw(self, rng: &mut impl Rng, [h, w, _]: [usize; 3]) -> Change {
        let mut within = |most: usize| below(rng, 2 * most + 1) as isize - most as isize;
        let shift = if self.crop { [within(h / 8), within(w / 8)] } else { [0, 0] };
        Change {
            shift,
            flip: self.flip && below(rng, 2) == 1,
            turn: if self.rotate { below(rng, 4) } else { 0 },
        }
    }
}

impl Change {
    /// Flips and shifts an image of shape `[h, w, c]` in place.
    pub(crate) fn apply(self, pixels: &mut [f32], [h, w, c]: [usize; 3]) {
        if self.flip {
            for row in pixels.chunks_exact_mut(w * c) {
                for j in 0..w / 2 {
                    let (left, right) = row.split_at_mut((w - 1 - j) * c);
                    left[j * c..(j + 1) * c].swap_with_slice(&mut right[..c]);
                }
            }
        }
        let [down, right] = self.shift;
        if [down, right] == [0, 0] {
            return;
        }
        let before = pixels.to_vec();
        for (at, pixel) in pixels.chunks_exact_mut(c).enumerate() {
            let from = [(at / w) as isize - down, (at % w) as isize - right];
            let inside = (0..h as isize).contains(&from[0]) && (0..w as isize).contains(&from[1]);
            match inside {
                true => {
                    let start = (from[0] as usize * w + from[1] as usize) * c;
                    pixel.copy_from_slice(&before[start..start + c]);
                }
                false => pixel.fill(0.0),
            }
        }
    }
}

#[cfg(test)]
mod tests;
