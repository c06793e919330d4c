//! Images of few channels, the first layer's: their runs are too short to be worth finding, so each
//! channel becomes a plane of its own, and where the stride is not 1 a plane per position modulo the
//! stride. Neighbouring output pixels then read neighbouring elements, whatever the tap.
//!
//! A row of a plane is longer than a row of the output by what the window sticks out. Forward, blocks
//! run over the plane's rows without a break, and what they compute past the end of an output row is
//! dropped.

use super::super::super::elem::Elem;
use super::super::micro::{Block, MOST_ROWS, add_rows, rows_times_panel, save, strip_times_panel};
use super::frame::{Frame, SLACK, carve};
use super::{ConvSizes, spread_columns};

/// Images with fewer channels are done this way.
const FEW_CHANNELS: usize = 8;
/// Unless their kernel has more weights per output channel than this.
const MOST_TAPS: usize = 192;

pub(super) fn suits(sizes: &ConvSizes) -> bool {
    sizes.c < FEW_CHANNELS && sizes.taps() * sizes.c <= MOST_TAPS
}

/// Where things lie in the planes of one image.
struct Planes {
    phases: [usize; 2],
    /// Extents of a plane.
    size: [usize; 2],
    /// Start of every tap's pixels, in the order of the kernel.
    offsets: [usize; MOST_TAPS],
}

impl Planes {
    fn new(sizes: &ConvSizes) -> Planes {
        let (kernel, stride) = (sizes.window.size, sizes.window.stride);
        let phases = [0, 1].map(|axis: usize| stride[axis].min(kernel[axis]));
        let size = [0, 1].map(|axis: usize| sizes.output[axis] + (kernel[axis] - 1) / stride[axis]);
        let mut offsets = [0; MOST_TAPS];
        for (t, offset) in offsets[..sizes.taps() * sizes.c].iter_mut().enumerate() {
            let (tap, k) = (t / sizes.c, t % sizes.c);
            let (ky, kx) = (tap / kernel[1], tap % kernel[1]);
            let plane = (k * phases[0] + ky % stride[0]) * phases[1] + kx % stride[1];
            *offset = (plane * size[0] + ky / stride[0]) * size[1] + kx / stride[1];
        }
        Planes { phases, size, offsets }
    }

    /// Elements of all planes, and those that blocks may read past the end.
    fn len(&self, c: usize) -> usize {
        c * self.phases[0] * self.phases[1] * self.size[0] * self.size[1] + MOST_ROWS
    }

    #[inline(always)]
    fn copy<T: Elem>(&self, sizes: &ConvSizes, frame: &Frame, from: &[T], planes: &mut [T]) {
        let stride = sizes.window.stride;
        let [rows, columns] = self.size;
        for (i, row) in
            planes[..self.len(sizes.c) - MOST_ROWS].chunks_exact_mut(columns).enumerate()
        {
            let (plane, y) = (i / rows, i % rows);
            let (k, phase) = (
                plane / (self.phases[0] * self.phases[1]),
                plane % (self.phases[0] * self.phases[1]),
            );
            let y = y * stride[0] + phase / self.phases[1];
            let x = phase % self.phases[1];
            // Past the frame no output pixel that is kept reads.
            row.fill(T::ZERO);
            if y < frame.size[0] {
                let line = &from[y * frame.row()..][..frame.row()];
                let pixels = line[x * sizes.c + k..].iter().step_by(stride[1] * sizes.c);
                row.iter_mut().zip(pixels).for_each(|(to, &from)| *to = from);
            }
        }
        planes[self.len(sizes.c) - MOST_ROWS..][..MOST_ROWS].fill(T::ZERO);
    }
}

pub(super) fn scratch(sizes: &ConvSizes) -> usize {
    let frame = sizes.forward().frame().len();
    frame + Planes::new(sizes).len(sizes.c) + sizes.spread_len() + 3 * SLACK
}

/// Output pixels of one block: the first, its column, and how many rows of the block there are.
#[derive(Clone, Copy)]
struct Span {
    at: usize,
    planes: [usize; 2],
    columns: usize,
}

#[inline(always)]
pub(super) fn run<T: Elem, const FMA: bool, const MR: usize, const NR: usize, const L: usize>(
    sizes: &ConvSizes,
    x: &[T],
    packed: &[T],
    y: &mut [T],
    scratch: &mut [T],
) {
    let (planes, frame) = (Planes::new(sizes), sizes.forward().frame());
    let (lines, rest) = carve(scratch, frame.len());
    let (pixels, _) = carve(rest, planes.len(sizes.c));
    let [h, w] = sizes.input;
    let [oh, ow] = sizes.output;
    let depth = sizes.taps() * sizes.c;
    let offsets = &planes.offsets[..depth];
    for (x, y) in x.chunks_exact(h * w * sizes.c).zip(y.chunks_exact_mut(oh * ow * sizes.o)) {
        frame.copy(x, sizes.input, sizes.c, lines);
        planes.copy(sizes, &frame, lines, pixels);
        let row = planes.size[1];
        let end = (oh - 1) * row + ow;
        for j0 in (0..sizes.o).step_by(NR) {
            let panel = &packed[j0 * depth..];
            for at in (0..end).step_by(MR) {
                let span = Span { at, planes: [row, ow], columns: sizes.o };
                if sizes.o - j0 > L {
                    block::<T, FMA, MR, NR>(pixels, offsets, panel, span, j0, y);
                } else {
                    block::<T, FMA, MR, L>(pixels, offsets, panel, span, j0, y);
                }
            }
        }
    }
}

#[inline(always)]
fn block<T: Elem, const FMA: bool, const R: usize, const C: usize>(
    pixels: &[T],
    offsets: &[usize],
    panel: &[T],
    span: Span,
    j0: usize,
    y: &mut [T],
) {
    let mut acc: Block<T, R, C> = [[T::ZERO; C]; R];
    strip_times_panel::<T, FMA, R, C>(
        &mut acc,
        &pixels[span.at..],
        |t| offsets[t],
        offsets.len(),
        panel,
        C,
    );
    let [row, ow] = span.planes;
    let columns = (span.columns - j0).min(C);
    let (mut line, mut column) = (span.at / row, span.at % row);
    for acc in &acc {
        // Past the last output row there is nothing to write to.
        let to = (line * ow + column) * span.columns + j0;
        if column < ow && to < y.len() {
            save(&mut y[to..][..columns], acc);
        }
        column += 1;
        if column == row {
            (line, column) = (line + 1, 0);
        }
    }
}

/// Rows of a block of the weight gradient: 3×3 taps, or half of them where registers are few.
macro_rules! by_taps {
    ($lanes:ident, $f:ident::<T, FMA, _, $columns:ident>($($arg:expr),* $(,)?)) => {
        if $lanes == 16 {
            $f::<T, FMA, 9, $columns>($($arg),*)
        } else {
            $f::<T, FMA, 5, $columns>($($arg),*)
        }
    };
}

#[inline(always)]
pub(super) fn weight_grad_add<
    T: Elem,
    const FMA: bool,
    const MR: usize,
    const NR: usize,
    const L: usize,
>(
    sizes: &ConvSizes,
    x: &[T],
    g: &[T],
    sum: &mut [T],
    scratch: &mut [T],
) {
    let (planes, frame) = (Planes::new(sizes), sizes.forward().frame());
    let (lines, rest) = carve(scratch, frame.len());
    let (pixels, rest) = carve(rest, planes.len(sizes.c));
    let (spread, _) = carve(rest, sizes.spread_len());
    let [h, w] = sizes.input;
    let [oh, ow] = sizes.output;
    let offsets = &planes.offsets[..sizes.taps() * sizes.c];
    for (x, g) in x.chunks_exact(h * w * sizes.c).zip(g.chunks_exact(oh * ow * sizes.o)) {
        frame.copy(x, sizes.input, sizes.c, lines);
        planes.copy(sizes, &frame, lines, pixels);
        let (g, step) = spread_columns::<T, L>(g, sizes.o, spread);
        let map = Map { extents: [oh, ow], row: planes.size[1], step };
        for j0 in (0..sizes.o).step_by(NR) {
            let (g, left) = (&g[j0..], sizes.o - j0);
            let sum = &mut sum[j0..];
            if left > L {
                by_taps!(L, taps::<T, FMA, _, NR>(pixels, offsets, g, &map, sum, [sizes.o, left]));
            } else {
                by_taps!(L, taps::<T, FMA, _, L>(pixels, offsets, g, &map, sum, [sizes.o, left]));
            }
        }
    }
}

/// Extents of the output, elements from one row of a plane to the next, and from one pixel of the
/// cotangent to the next.
struct Map {
    extents: [usize; 2],
    row: usize,
    step: usize,
}

#[inline(always)]
fn taps<T: Elem, const FMA: bool, const R: usize, const C: usize>(
    pixels: &[T],
    offsets: &[usize],
    g: &[T],
    map: &Map,
    sum: &mut [T],
    [o, left]: [usize; 2],
) {
    let [oh, ow] = map.extents;
    for (offsets, sum) in offsets.chunks(R).zip(sum.chunks_mut(R * o)) {
        let mut acc: Block<T, R, C> = [[T::ZERO; C]; R];
        for y in 0..oh {
            let mut rows: [&[T]; R] = [&[]; R];
            for r in 0..R {
                // Taps past the last repeat it; their results are dropped.
                let offset = offsets[r.min(offsets.len() - 1)];
                rows[r] = &pixels[offset + y * map.row..][..ow];
            }
            rows_times_panel::<T, FMA, R, C>(&mut acc, rows, &g[y * ow * map.step..], map.step);
        }
        add_rows(&acc, offsets.len(), sum, o, left.min(C));
    }
}
