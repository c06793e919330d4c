//! One redrawing of a character, as a line of points and then as ink.

use rand::Rng;

use super::SIDE;
use super::glyph::{Glyph, Joint, MAX_ARCS, MAX_STROKES, Stroke};
use crate::random::{normal, uniform};

/// Straight pieces an arc is drawn with.
const STEPS: usize = 9;
const MAX_POINTS: usize = MAX_STROKES * (1 + MAX_ARCS * STEPS);

type Point = [f32; 2];

/// Where the pen went, in pixels.
pub(super) struct Trace {
    points: [Point; MAX_POINTS],
    /// End of each stroke in `points`.
    ends: [usize; MAX_STROKES],
    n_strokes: usize,
    /// Half the width of the line.
    radius: f32,
}

impl Trace {
    /// Draws a character with the small errors of a human hand.
    pub(super) fn redraw(glyph: &Glyph, rng: &mut impl Rng) -> Trace {
        let mut trace = Trace {
            points: [[0.0; 2]; MAX_POINTS],
            ends: [0; MAX_STROKES],
            n_strokes: 0,
            radius: uniform(rng, 0.6, 1.0) as f32,
        };
        for stroke in glyph.strokes() {
            trace.add(stroke, rng);
        }
        trace.place(rng);
        trace
    }

    fn stroke(&self, index: usize) -> &[Point] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.points[start..self.ends[index]]
    }

    fn add(&mut self, stroke: &Stroke, rng: &mut impl Rng) {
        let start = if self.n_strokes == 0 { 0 } else { self.ends[self.n_strokes - 1] };
        let (mut direction, mut point, mut end) = (0.0, [0.0; 2], start);
        self.points[end] = point;
        for arc in stroke.arcs() {
            direction += arc.turn + normal(rng) * 0.08;
            let bend = arc.bend * (1.0 + normal(rng) * 0.07) + normal(rng) * 0.08;
            let step = (arc.length * (normal(rng) * 0.10).exp() / STEPS as f64) as f32;
            for i in 0..STEPS {
                let t = (i as f64 + 0.5) / STEPS as f64;
                let (sin, cos) =
                    ((direction + bend * (t + arc.twist * (t * t - t))) as f32).sin_cos();
                point = [point[0] + step * cos, point[1] + step * sin];
                end += 1;
                self.points[end] = point;
            }
            direction += bend;
        }
        let shift = self.shift_to(&stroke.joint, start, end, rng);
        for point in &mut self.points[start..=end] {
            *point = [point[0] + shift[0], point[1] + shift[1]];
        }
        self.ends[self.n_strokes] = end + 1;
        self.n_strokes += 1;
    }

    /// How to move the stroke `points[start..=end]` so that it meets the stroke it is joined to.
    fn shift_to(&self, joint: &Joint, start: usize, end: usize, rng: &mut impl Rng) -> Point {
        if self.n_strokes == 0 {
            return [0.0; 2];
        }
        let target = along(self.stroke(joint.on), joint.at);
        let own = along(&self.points[start..=end], joint.own);
        [0, 1]
            .map(|axis| target[axis] - own[axis] + (joint.offset[axis] + normal(rng) * 0.05) as f32)
    }

    /// Slants, turns and stretches the drawing a little and puts it on the page.
    fn place(&mut self, rng: &mut impl Rng) {
        let (sin, cos) = ((normal(rng) * 0.08) as f32).sin_cos();
        let slant = (normal(rng) * 0.14) as f32;
        let stretch = (normal(rng) * 0.06).exp() as f32;
        let size = uniform(rng, 14.0, 22.0) as f32;
        let centre =
            [normal(rng), normal(rng)].map(|error| (SIDE as f64 / 2.0 + error * 1.4) as f32);

        let points = &mut self.points[..self.ends[self.n_strokes - 1]];
        let (mut low, mut high) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
        for point in points.iter_mut() {
            let [x, y] = [(point[0] - slant * point[1]) * stretch, point[1] / stretch];
            *point = [x * cos - y * sin, x * sin + y * cos];
            for axis in 0..2 {
                low[axis] = low[axis].min(point[axis]);
                high[axis] = high[axis].max(point[axis]);
            }
        }
        let extent = (high[0] - low[0]).max(high[1] - low[1]);
        // A short bar stays short: only what is larger than a letter is shrunk to fit.
        let scale = size / extent.max(0.6);
        for axis in 0..2 {
            let middle = (low[axis] + high[axis]) / 2.0;
            // Keeps the drawing on the page, one pixel from the edge.
            let room = (SIDE as f32 - scale * (high[axis] - low[axis])) / 2.0 - 1.0 - self.radius;
            let off = (centre[axis] - SIDE as f32 / 2.0).clamp(-room.max(0.0), room.max(0.0));
            for point in points.iter_mut() {
                point[axis] = (point[axis] - middle) * scale + SIDE as f32 / 2.0 + off;
            }
        }
    }

    /// Overwrites a `[28, 28]` image with the drawing: ink 1, paper 0, edges in between.
    pub(super) fn render(&self, image: &mut [f32]) {
        image.fill(0.0);
        for index in 0..self.n_strokes {
            for ends in self.stroke(index).windows(2) {
                self.ink(ends[0], ends[1], image);
            }
        }
    }

    /// Draws a straight piece: the ink of a pixel falls from 1 to 0 over one pixel around the line's
    /// edge.
    fn ink(&self, a: Point, b: Point, image: &mut [f32]) {
        let reach = self.radius + 0.5;
        let range = |axis: usize| {
            let low = (a[axis].min(b[axis]) - reach).floor().max(0.0) as usize;
            let high = (a[axis].max(b[axis]) + reach).ceil().max(0.0) as usize;
            low..high.min(SIDE)
        };
        let along = [b[0] - a[0], b[1] - a[1]];
        let length2 = (along[0] * along[0] + along[1] * along[1]).max(f32::MIN_POSITIVE);
        for i in range(1) {
            for j in range(0) {
                let [x, y] = [j as f32 + 0.5 - a[0], i as f32 + 0.5 - a[1]];
                let t = ((x * along[0] + y * along[1]) / length2).clamp(0.0, 1.0);
                let [dx, dy] = [x - t * along[0], y - t * along[1]];
                let ink = (reach - (dx * dx + dy * dy).sqrt()).clamp(0.0, 1.0);
                let pixel = &mut image[i * SIDE + j];
                *pixel = pixel.max(ink);
            }
        }
    }
}

/// The point a fraction along a stroke's points.
fn along(points: &[Point], fraction: f64) -> Point {
    points[(fraction * (points.len() - 1) as f64).round() as usize]
}
