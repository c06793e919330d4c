//! What a convolution and its adjoint in the image have in common: every output pixel is a product of
//! some source pixels with the kernel, in order or backwards.
//!
//! Blocks of six output pixels by two registers of columns; a panel of the packed kernel is read once for every chunk
//! of pixels. Floor: `taps · depth · columns` multiply-adds per output pixel. Twelve of them take seven or eight loads,
//! so loads are not the bottleneck.

use super::super::super::elem::Elem;
use super::super::micro::{Gather, MOST_LANES, MR, Place, blocked, gather};
use super::super::{Isa, dispatch};
use super::frame::{Frame, SLACK, aligned, carve};
use super::winograd;
use crate::graph::Window;

/// Output pixels worked on at a time: enough to make loading a panel through the caches worthwhile.
const CHUNK: usize = 256;

/// Extents of a correlation `[n, source, depth] -> [n, out, columns]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Correlation {
    pub(super) n: usize,
    pub(super) source: [usize; 2],
    pub(super) out: [usize; 2],
    pub(super) depth: usize,
    pub(super) columns: usize,
    pub(super) window: Window,
    /// Whether it is the adjoint: the kernel backwards, its channels exchanged, its stride in the output.
    pub(super) adjoint: bool,
}

/// Along one axis, the output pixels that are all reached by the same taps.
#[derive(Clone, Copy)]
struct Phase {
    /// The first output pixel, the distance to the next, and their number.
    start: usize,
    step: usize,
    count: usize,
    /// Where the first one reads, and how far that moves from one output pixel to the next.
    first: isize,
    source_step: usize,
    /// Neighbouring source pixels each reads, the kernel position that meets the first of them, and its
    /// change from one to the next.
    taps: usize,
    tap: usize,
    tap_step: isize,
}

impl Correlation {
    /// Phases along an axis: one, except for an adjoint, whose output pixels are reached by different taps depending on
    /// their position modulo the stride.
    fn phases(&self, axis: usize) -> usize {
        if self.adjoint { self.window.stride[axis].min(self.out[axis]) } else { 1 }
    }

    fn phase(&self, axis: usize, phase: usize) -> Phase {
        let (size, stride) = (self.window.size[axis], self.window.stride[axis]);
        let pad = self.window.pad[axis][0];
        if !self.adjoint {
            return Phase {
                start: 0,
                step: 1,
                count: self.out[axis],
                first: -(pad as isize),
                source_step: stride,
                taps: size,
                tap: 0,
                tap_step: 1,
            };
        }
        let lowest = (phase + pad) % stride;
        let taps = size.saturating_sub(lowest).div_ceil(stride);
        let last = taps.saturating_sub(1);
        Phase {
            start: phase,
            step: stride,
            count: (self.out[axis] - phase).div_ceil(stride),
            first: ((phase + pad) / stride) as isize - last as isize,
            source_step: 1,
            taps,
            tap: lowest + last * stride,
            tap_step: -(stride as isize),
        }
    }

    /// All pairs of phases.
    fn grids(&self) -> impl Iterator<Item = [Phase; 2]> + '_ {
        let [rows, columns] = [self.phases(0), self.phases(1)];
        (0..rows * columns).map(move |i| [self.phase(0, i / columns), self.phase(1, i % columns)])
    }

    /// The frame that holds every source pixel read.
    pub(super) fn frame(&self) -> Frame {
        let mut frame = Frame { start: [0; 2], size: [0; 2], channels: self.depth };
        for axis in 0..2 {
            let phases = || (0..self.phases(axis)).map(|phase| self.phase(axis, phase));
            let end = |p: Phase| p.first + ((p.count - 1) * p.source_step + p.taps) as isize;
            frame.start[axis] = phases().map(|p| p.first).min().expect("an axis has a phase");
            let end = phases().map(end).max().expect("an axis has a phase");
            // At least one pixel, even if no tap reaches any output.
            frame.size[axis] = (end - frame.start[axis]).max(1) as usize;
        }
        frame
    }

    /// Images worked on together.
    pub(super) fn group(&self) -> usize {
        CHUNK.div_ceil(self.out[0] * self.out[1]).min(self.n)
    }

    pub(super) fn winograd<T>(&self) -> bool {
        let few = self.depth.min(self.columns);
        size_of::<T>() == 4 && winograd::suits(&self.window, self.out, few)
    }

    /// Elements of the packed kernel, rounded up for every instruction set and element type.
    pub(super) fn packed_len(&self) -> usize {
        let taps = self.window.size[0] * self.window.size[1];
        let direct = taps * self.depth * self.columns.next_multiple_of(MOST_LANES);
        let winograd = if self.winograd::<f32>() { winograd::packed_len(self) } else { 0 };
        direct.max(winograd) + SLACK
    }

    pub(super) fn scratch(&self) -> usize {
        let direct = self.group() * self.frame().len() + MR + 2 * SLACK;
        if self.winograd::<f32>() { direct.max(winograd::scratch(self)) } else { direct }
    }
}

/// Lays out the weights of one kernel position from row `first` of a packed matrix on.
#[inline(always)]
pub(super) fn pack_tap<T: Elem, const NR: usize, const L: usize>(
    job: &Correlation,
    w: &[T],
    [ky, kx]: [usize; 2],
    extents: [usize; 2],
    first: usize,
    packed: &mut [T],
) {
    let size = job.depth * job.columns;
    let w = &w[(ky * job.window.size[1] + kx) * size..][..size];
    for j in (0..job.columns).step_by(L) {
        let columns = (job.columns - j).min(L);
        let (from, width) = panel_at::<NR, L>(extents, j);
        let rows = packed[from + first * width..].chunks_mut(width).take(job.depth);
        for (k, row) in rows.enumerate() {
            let row = &mut row[..L];
            if columns < L {
                row.fill(T::ZERO);
            }
            if job.adjoint {
                // Channels exchanged.
                let weights = w[j * job.depth + k..].iter().step_by(job.depth);
                row[..columns].iter_mut().zip(weights).for_each(|(to, &from)| *to = from);
            } else {
                row[..columns].copy_from_slice(&w[k * job.columns + j..][..columns]);
            }
        }
    }
}

/// Where column `j`, a multiple of `L`, of a matrix of the given extents lies in its packed form, and the
/// width of its panel.
#[inline(always)]
fn panel_at<const NR: usize, const L: usize>(
    [depth, columns]: [usize; 2],
    j: usize,
) -> (usize, usize) {
    let panel = j / NR * NR;
    let width = if columns - panel > L { NR } else { L };
    (panel * depth + j - panel, width)
}

#[inline(always)]
fn pack<T: Elem, const FMA: bool, const NR: usize, const L: usize>(
    job: &Correlation,
    w: &[T],
    packed: &mut [T],
) {
    let mut packed = packed;
    for [rows, columns] in job.grids() {
        let depth = rows.taps * columns.taps * job.depth;
        for a in 0..rows.taps {
            for b in 0..columns.taps {
                let ky = rows.tap as isize + a as isize * rows.tap_step;
                let kx = columns.tap as isize + b as isize * columns.tap_step;
                let (tap, first) = ([ky as usize, kx as usize], (a * columns.taps + b) * job.depth);
                pack_tap::<T, NR, L>(job, w, tap, [depth, job.columns], first, packed);
            }
        }
        packed = &mut packed[depth * job.columns.next_multiple_of(MOST_LANES)..];
    }
}

/// Computes the output from the source.
pub(super) fn correlate<T: Elem>(
    isa: Isa,
    job: &Correlation,
    source: &[T],
    packed: &[T],
    out: &mut [T],
    scratch: &mut [T],
) {
    let packed = &packed[aligned(packed)..];
    if const { size_of::<T>() == 4 } && job.winograd::<T>() {
        return winograd::run(isa, job, source, packed, out, scratch);
    }
    let (frame, group) = (job.frame(), job.group());
    let (image, map) =
        (job.source[0] * job.source[1] * job.depth, job.out[0] * job.out[1] * job.columns);
    let (frames, _) = carve(scratch, group * frame.len());
    for (images, maps) in source.chunks(group * image).zip(out.chunks_mut(group * map)) {
        for (image, to) in images.chunks_exact(image).zip(frames.chunks_exact_mut(frame.len())) {
            frame.copy(image, job.source, job.depth, to);
        }
        let mut packed = packed;
        for grid in job.grids() {
            let [rows, columns] = grid;
            let runs = Gather {
                source: frames,
                runs: rows.taps,
                run_step: frame.row(),
                run: columns.taps * job.depth,
                packed,
                columns: job.columns,
            };
            packed = &packed[runs.runs * runs.run * job.columns.next_multiple_of(MOST_LANES)..];
            let mut walk = Walk::new(job, grid, frame, images.len() / image);
            let mut places = [Place::default(); CHUNK];
            loop {
                let n = walk.fill(&mut places);
                if n == 0 {
                    break;
                }
                if runs.runs * runs.run > 0 {
                    gather(isa, &runs, &places[..n], maps);
                } else {
                    // No tap reaches these pixels.
                    for place in &places[..n] {
                        maps[place.out..][..job.columns].fill(T::ZERO);
                    }
                }
            }
        }
    }
}

/// Goes through the output pixels of a grid, row by row, image by image.
pub(super) struct Walk {
    grid: [Phase; 2],
    frame: Frame,
    /// First source row and column in the frame.
    first: [usize; 2],
    out: [usize; 2],
    columns: usize,
    images: usize,
    /// Image, row and column of the next pixel.
    next: [usize; 3],
}

impl Walk {
    fn new(job: &Correlation, grid: [Phase; 2], frame: Frame, images: usize) -> Walk {
        let first = [0, 1].map(|axis: usize| (grid[axis].first - frame.start[axis]) as usize);
        Walk { grid, frame, first, out: job.out, columns: job.columns, images, next: [0; 3] }
    }

    /// The walk over the output of a convolution, whose pixels are one grid.
    pub(super) fn whole(job: &Correlation, images: usize) -> Walk {
        Walk::new(job, [job.phase(0, 0), job.phase(1, 0)], job.frame(), images)
    }

    /// The places of the next pixels; how many there are.
    pub(super) fn fill(&mut self, places: &mut [Place]) -> usize {
        let [rows, columns] = self.grid;
        let mut n = 0;
        while n < places.len() && self.next[0] < self.images {
            let [image, i, j] = self.next;
            let now = (columns.count - j).min(places.len() - n);
            let row = (image * self.frame.size[0] + self.first[0] + i * rows.source_step)
                * self.frame.size[1];
            let out = (image * self.out[0] + rows.start + i * rows.step) * self.out[1];
            for (j, place) in (j..).zip(&mut places[n..n + now]) {
                let source = row + self.first[1] + j * columns.source_step;
                *place = Place {
                    source: source * self.frame.channels,
                    out: (out + columns.start + j * columns.step) * self.columns,
                };
            }
            n += now;
            self.next[2] += now;
            if self.next[2] == columns.count {
                self.next[1..].copy_from_slice(&[i + 1, 0]);
            }
            if self.next[1] == rows.count {
                self.next = [image + 1, 0, 0];
            }
        }
        n
    }
}

#[inline(always)]
fn pack_body<T: Elem, const FMA: bool, const BYTES: usize>(
    job: &Correlation,
    w: &[T],
    packed: &mut [T],
) {
    blocked!(pack(job, w, packed));
}

dispatch! {
    fn direct_pack<T: Elem, BYTES>(job: &Correlation, w: &[T], packed: &mut [T]) => pack_body
}

/// Lays out the kernel as [`correlate`] reads it.
pub(super) fn correlate_pack<T: Elem>(isa: Isa, job: &Correlation, w: &[T], packed: &mut [T]) {
    let skip = aligned(packed);
    let packed = &mut packed[skip..];
    if job.winograd::<T>() {
        winograd::pack(isa, job, w, packed);
    } else {
        direct_pack(isa, job, w, packed);
    }
}
