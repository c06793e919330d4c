//! Images of few channels, as in the first layer: their runs are too short to be worth finding, so each channel becomes
//! a plane of its own, and where the stride is not 1, one plane per position modulo the stride. Neighbouring output
//! pixels then read neighbouring elements, whatever the tap.
//!
//! A row of a plane is longer than a row of the output by the overhang of the window. Forward, blocks run over the
//! plane's rows without a break, and what they compute past the end of an output row is dropped.
//!
//! Blocks are six neighbouring pixels, or nine taps of the weight gradient, by two registers of output channels. Floor:
//! `taps · c · o` multiply-adds per output pixel, 108 µs for an 84×84 image of 3 channels and 32 filters at 113 GFLOP/s;
//! the map they write, or read, has `o` numbers per pixel.

use super::super::super::elem::Elem;
use super::super::micro::{
    Block, MR, add_rows, blocked, rows_times_panel, save, save_whole, strip_times_panel,
};
use super::super::{Isa, dispatch};
use super::frame::{Frame, SLACK, aligned, carve};
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
        c * self.phases[0] * self.phases[1] * self.size[0] * self.size[1] + MR
    }

    fn copy<T: Elem>(&self, sizes: &ConvSizes, frame: &Frame, from: &[T], planes: &mut [T]) {
        let (c, stride) = (sizes.c, sizes.window.stride);
        let ([rows, columns], [down, across]) = (self.size, self.phases);
        let (planes, rest) = planes.split_at_mut(self.len(c) - MR);
        for (i, row) in planes.chunks_exact_mut(columns).enumerate() {
            let (plane, y) = (i / rows, i % rows);
            let (k, phase) = (plane / (down * across), plane % (down * across));
            let (y, x) = (y * stride[0] + phase / across, phase % across);
            // No output pixel that is kept reads past the frame.
            row.fill(T::ZERO);
            if y < frame.size[0] {
                let line = &from[y * frame.row()..][..frame.row()];
                let pixels = line[x * c + k..].iter().step_by(stride[1] * c);
                row.iter_mut().zip(pixels).for_each(|(to, &from)| *to = from);
            }
        }
        rest.fill(T::ZERO);
    }
}

pub(super) fn scratch(sizes: &ConvSizes) -> usize {
    let frame = sizes.forward().frame().len();
    frame + Planes::new(sizes).len(sizes.c) + sizes.spread_len() + 3 * SLACK
}

/// Columns of the output and of the planes, and the channels.
pub(super) struct Lines {
    map: usize,
    plane: usize,
    columns: usize,
}

/// Convolution of few channels.
pub(super) fn run<T: Elem>(
    isa: Isa,
    sizes: &ConvSizes,
    x: &[T],
    packed: &[T],
    y: &mut [T],
    scratch: &mut [T],
) {
    let packed = &packed[aligned(packed)..];
    let (planes, frame) = (Planes::new(sizes), sizes.forward().frame());
    let (lines, rest) = carve(scratch, frame.len());
    let (pixels, _) = carve(rest, planes.len(sizes.c));
    let [h, w] = sizes.input;
    let [oh, ow] = sizes.output;
    let offsets = &planes.offsets[..sizes.taps() * sizes.c];
    for (x, y) in x.chunks_exact(h * w * sizes.c).zip(y.chunks_exact_mut(oh * ow * sizes.o)) {
        frame.copy(x, sizes.input, sizes.c, lines);
        planes.copy(sizes, &frame, lines, pixels);
        let lines = Lines { map: ow, plane: planes.size[1], columns: sizes.o };
        image(isa, &lines, pixels, offsets, packed, y);
    }
}

#[inline(always)]
fn blocks<T: Elem, const FMA: bool, const NR: usize, const L: usize>(
    lines: &Lines,
    pixels: &[T],
    offsets: &[usize],
    packed: &[T],
    y: &mut [T],
) {
    for j0 in (0..lines.columns).step_by(NR) {
        if lines.columns - j0 > L {
            panel::<T, FMA, NR>(lines, pixels, offsets, packed, j0, y);
        } else {
            panel::<T, FMA, L>(lines, pixels, offsets, packed, j0, y);
        }
    }
}

/// All pixels, a panel's columns.
#[inline(always)]
fn panel<T: Elem, const FMA: bool, const C: usize>(
    lines: &Lines,
    pixels: &[T],
    offsets: &[usize],
    packed: &[T],
    j0: usize,
    y: &mut [T],
) {
    let Lines { map, plane, columns } = *lines;
    let rows = y.len() / (map * columns);
    let panel = &packed[j0 * offsets.len()..][..C * offsets.len()];
    for at in (0..(rows - 1) * plane + map).step_by(MR) {
        if columns - j0 >= C {
            block::<T, FMA, MR, C, true>(lines, pixels, offsets, panel, [at, j0], y);
        } else {
            block::<T, FMA, MR, C, false>(lines, pixels, offsets, panel, [at, j0], y);
        }
    }
}

#[inline(always)]
fn block<T: Elem, const FMA: bool, const R: usize, const C: usize, const WHOLE: bool>(
    lines: &Lines,
    pixels: &[T],
    offsets: &[usize],
    panel: &[T],
    [at, j0]: [usize; 2],
    y: &mut [T],
) {
    let mut acc: Block<T, R, C> = [[T::ZERO; C]; R];
    let depth = offsets.len();
    strip_times_panel::<T, FMA, R, C>(&mut acc, &pixels[at..], |t| offsets[t], depth, panel, C);
    let (mut row, mut column) = (at / lines.plane, at % lines.plane);
    for acc in &acc {
        // There is nothing to write past the last output row.
        let to = (row * lines.map + column) * lines.columns + j0;
        if column < lines.map && to < y.len() {
            if WHOLE {
                save_whole(&mut y[to..], acc);
            } else {
                save(&mut y[to..][..lines.columns - j0], acc);
            }
        }
        column += 1;
        if column == lines.plane {
            (row, column) = (row + 1, 0);
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

/// Adds to `sum` the weight gradient of these images.
pub(super) fn weight_grad_add<T: Elem>(
    isa: Isa,
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
        let (g, step) = spread_columns(g, sizes.o, spread);
        let map = Map { extents: [oh, ow], row: planes.size[1], columns: sizes.o, step };
        image_weight_grad(isa, &map, pixels, offsets, g, sum);
    }
}

#[inline(always)]
fn all_taps<T: Elem, const FMA: bool, const NR: usize, const L: usize>(
    map: &Map,
    pixels: &[T],
    offsets: &[usize],
    g: &[T],
    sum: &mut [T],
) {
    for j0 in (0..map.columns).step_by(NR) {
        if map.columns - j0 > L {
            by_taps!(L, taps::<T, FMA, _, NR>(map, pixels, offsets, g, j0, sum));
        } else {
            by_taps!(L, taps::<T, FMA, _, L>(map, pixels, offsets, g, j0, sum));
        }
    }
}

/// Extents of the output, elements from one row of a plane to the next, channels of the cotangent, and
/// elements from one pixel of it to the next.
pub(super) struct Map {
    extents: [usize; 2],
    row: usize,
    columns: usize,
    step: usize,
}

#[inline(always)]
fn taps<T: Elem, const FMA: bool, const R: usize, const C: usize>(
    map: &Map,
    pixels: &[T],
    offsets: &[usize],
    g: &[T],
    j0: usize,
    sum: &mut [T],
) {
    let ([oh, ow], o) = (map.extents, map.columns);
    let (g, sum) = (&g[j0..], &mut sum[j0..]);
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
        add_rows(&acc, offsets.len(), sum, o, (o - j0).min(C));
    }
}

#[inline(always)]
fn image_body<T: Elem, const FMA: bool, const BYTES: usize>(
    lines: &Lines,
    pixels: &[T],
    offsets: &[usize],
    packed: &[T],
    y: &mut [T],
) {
    blocked!(blocks(lines, pixels, offsets, packed, y));
}

#[inline(always)]
fn weight_grad_body<T: Elem, const FMA: bool, const BYTES: usize>(
    map: &Map,
    pixels: &[T],
    offsets: &[usize],
    g: &[T],
    sum: &mut [T],
) {
    blocked!(all_taps(map, pixels, offsets, g, sum));
}

dispatch! {
    /// The output of one image.
    fn image<T: Elem, BYTES>(
        lines: &Lines, pixels: &[T], offsets: &[usize], packed: &[T], y: &mut [T],
    ) => image_body
}

dispatch! {
    /// Adds the weight gradient of one image.
    fn image_weight_grad<T: Elem, BYTES>(
        map: &Map, pixels: &[T], offsets: &[usize], g: &[T], sum: &mut [T],
    ) => weight_grad_body
}
