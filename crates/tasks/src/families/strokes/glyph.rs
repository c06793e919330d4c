//! What defines a character: its movements, and where they join. Lengths are in units of a letter's height, angles in
//! radians, x to the right and y down.

use std::f64::consts::PI;

use innerloop_engine::Key;
use rand::Rng;

use crate::random::{below, normal, uniform};

/// The most strokes of a character.
pub(super) const MAX_STROKES: usize = 4;
/// The most arcs of a stroke.
pub(super) const MAX_ARCS: usize = 3;

/// A character.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Glyph {
    strokes: [Stroke; MAX_STROKES],
    n_strokes: usize,
}

/// One movement from pen down to pen up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Stroke {
    arcs: [Arc; MAX_ARCS],
    n_arcs: usize,
    /// Where the stroke meets an earlier one; unused for the first.
    pub(super) joint: Joint,
}

/// A piece of a stroke whose curvature changes steadily.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Arc {
    /// Direction at its start, relative to the end of the arc before, or to the x axis.
    pub(super) turn: f64,
    /// How far the pen travels.
    pub(super) length: f64,
    /// How much the direction changes along the arc.
    pub(super) bend: f64,
    /// Where the bending is: −1 all at the start, 0 evenly, 1 all at the end.
    pub(super) twist: f64,
}

/// Point `own` of a stroke lies `offset` from point `at` of stroke `on`; points are fractions of a
/// stroke's points.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Joint {
    pub(super) on: usize,
    pub(super) at: f64,
    pub(super) own: f64,
    pub(super) offset: [f64; 2],
}

impl Glyph {
    /// The character that `key` names.
    pub(super) fn draw(key: Key) -> Glyph {
        let mut rng = key.rng();
        let mut glyph =
            Glyph { n_strokes: 1 + choose(&mut rng, [0.30, 0.38, 0.22]), ..Glyph::default() };
        // A stroke that stands alone has more arcs, or a good part of all characters would be bars.
        let arcs = if glyph.n_strokes == 1 { [0.10, 0.45] } else { [0.55, 0.33] };
        glyph.strokes[0] = Stroke::draw(&mut rng, arcs);
        for index in 1..glyph.n_strokes {
            let line = Stroke::draw(&mut rng, arcs);
            let stroke = if choose(&mut rng, [0.08]) == 0 { Stroke::dot() } else { line };
            glyph.strokes[index] = Stroke { joint: Joint::draw(&mut rng, index), ..stroke };
        }
        glyph
    }

    pub(super) fn strokes(&self) -> &[Stroke] {
        &self.strokes[..self.n_strokes]
    }
}

impl Stroke {
    pub(super) fn arcs(&self) -> &[Arc] {
        &self.arcs[..self.n_arcs]
    }

    /// `chances` are those of one and of two arcs.
    fn draw(rng: &mut impl Rng, chances: [f64; 2]) -> Stroke {
        let n_arcs = 1 + choose(rng, chances);
        let mut arcs = [Arc::default(); MAX_ARCS];
        arcs[0] = Arc::first(rng);
        arcs[1..n_arcs].fill_with(|| Arc::next(rng));
        Stroke { arcs, n_arcs, joint: Joint::default() }
    }

    fn dot() -> Stroke {
        let mut arcs = [Arc::default(); MAX_ARCS];
        arcs[0].length = 0.05;
        Stroke { arcs, n_arcs: 1, joint: Joint::default() }
    }
}

impl Arc {
    fn first(rng: &mut impl Rng) -> Arc {
        let bend = bend(rng);
        // The middle of the arc has the direction drawn.
        let turn = first_direction(rng) - bend / 2.0;
        Arc::with(turn, bend, rng)
    }

    /// Continues the movement, or turns a corner.
    fn next(rng: &mut impl Rng) -> Arc {
        let bend = bend(rng);
        let turn = match choose(rng, [0.4]) {
            0 => normal(rng) * 0.2,
            _ => side(rng) * uniform(rng, 1.0, 2.7),
        };
        Arc::with(turn, bend, rng)
    }

    /// An arc that bends more is longer, so that chords have similar lengths.
    fn with(turn: f64, bend: f64, rng: &mut impl Rng) -> Arc {
        let length = uniform(rng, 0.35, 1.05) * (1.0 + bend.abs() * 0.28);
        Arc { turn, length, bend, twist: uniform(rng, -0.6, 0.6) }
    }
}

/// Nearly straight, bow, hook or loop.
fn bend(rng: &mut impl Rng) -> f64 {
    match choose(rng, [0.42, 0.30, 0.22]) {
        0 => normal(rng) * 0.15,
        1 => side(rng) * uniform(rng, 0.7, 2.0),
        2 => side(rng) * uniform(rng, 2.0, 4.2),
        _ => side(rng) * uniform(rng, 4.8, 6.6),
    }
}

fn side(rng: &mut impl Rng) -> f64 {
    [-1.0, 1.0][below(rng, 2)]
}

/// Pens go down or to the right more often than not.
fn first_direction(rng: &mut impl Rng) -> f64 {
    let main = match choose(rng, [0.42, 0.28, 0.12, 0.12]) {
        0 => PI / 2.0,
        1 => 0.0,
        2 => PI * 0.25,
        3 => PI * 0.72,
        _ => PI,
    };
    main + normal(rng) * 0.2
}

impl Joint {
    fn draw(rng: &mut impl Rng, index: usize) -> Joint {
        let on = below(rng, index);
        let mark = |rng: &mut _| match choose(rng, [0.3, 0.25, 0.2]) {
            0 => 0.0,
            1 => 0.5,
            2 => 1.0,
            _ => uniform(rng, 0.1, 0.9),
        };
        let at = mark(rng);
        let mut joint = Joint { on, at, own: 0.0, offset: [0.0; 2] };
        // Starts on the other stroke, crosses it, or stands beside it.
        match choose(rng, [0.45, 0.25]) {
            0 => {}
            1 => (joint.at, joint.own) = (uniform(rng, 0.25, 0.75), uniform(rng, 0.35, 0.65)),
            _ => {
                let (angle, far) = (uniform(rng, 0.0, 2.0 * PI), uniform(rng, 0.2, 0.5));
                joint.own = mark(rng);
                joint.offset = [far * angle.cos(), far * angle.sin()];
            }
        }
        joint
    }
}

/// Index of the outcome drawn, given all probabilities but the last.
fn choose<const N: usize>(rng: &mut impl Rng, chances: [f64; N]) -> usize {
    let mut left = uniform(rng, 0.0, 1.0);
    for (index, chance) in chances.into_iter().enumerate() {
        if left < chance {
            return index;
        }
        left -= chance;
    }
    N
}
