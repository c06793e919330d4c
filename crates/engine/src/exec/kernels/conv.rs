//! The convolution family as implicit matrix products.
//!
//! Images are `[n, h, w, c]`, so the channels of a pixel lie together and a row of the implicit matrix
//! is a set of contiguous runs: nothing is copied but the kernel, in panels of [`NR`] columns. Pixels
//! outside the image read a row of zeros. Images of few channels (the first layer) are laid out as
//! patches first, since their runs are too short to be worth finding.
//!
//! Blocking: [`CHUNK`] output pixels × all columns × one stretch of depth of at least [`DEPTH`], so that
//! the panel and the pixels in work stay in the first- and second-level caches.

use super::super::elem::Elem;
use super::dispatch;
use super::micro::{Block, MR, NR, rows_times_panel, strip_times_panel};
use crate::graph::Window;

/// Output pixels worked on at a time.
const CHUNK: usize = 256;
/// Depth of a panel: taps are joined until their channels reach it.
const DEPTH: usize = 192;
/// Images with fewer channels are laid out as patches.
const FEW_CHANNELS: usize = 8;

/// Extents of a convolution `[n, h, w, c] * [kh, kw, c, o] -> [n, oh, ow, o]`.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct ConvSizes {
    n: usize,
    input: [usize; 2],
    output: [usize; 2],
    c: usize,
    o: usize,
    window: Window,
}

impl ConvSizes {
    /// From the shapes of the image and of the output.
    pub(in super::super) fn new(x: &[usize], y: &[usize], window: Window) -> ConvSizes {
        ConvSizes { n: x[0], input: [x[1], x[2]], output: [y[1], y[2]], c: x[3], o: y[3], window }
    }

    fn taps(&self) -> usize {
        self.window.size[0] * self.window.size[1]
    }

    /// Output rows, over all images, worked on at a time.
    fn chunk_rows(&self) -> usize {
        (CHUNK / self.output[1]).max(1)
    }

    /// Elements of scratch any member of the family needs: a stretch of panel, a chunk of patches or
    /// of panel columns, and a row of zeros.
    pub(in super::super) fn scratch(&self) -> usize {
        let depth = self.c.max(self.o);
        let deepest = if self.c < FEW_CHANNELS { self.taps() * depth } else { depth };
        let panel = (DEPTH + deepest.max(DEPTH)) * NR;
        let pixels = self.chunk_rows() * self.output[1];
        let patches = if self.c < FEW_CHANNELS { pixels * self.taps() * self.c } else { 0 };
        panel.max(pixels * NR) + patches + depth * self.taps()
    }

    /// Lays out the patches of the output rows `rows`: `[pixel, kh·kw·c]`. One row of a window is a
    /// contiguous run of the image, cut where it leaves it.
    #[inline(always)]
    fn patches<T: Elem>(&self, x: &[T], rows: std::ops::Range<usize>, patches: &mut [T]) {
        let ([h, w], [oh, ow], [kh, kw]) = (self.input, self.output, self.window.size);
        let [stride_y, stride_x] = self.window.stride;
        let [[top, _], [left, _]] = self.window.pad;
        let run = kw * self.c;
        let depth = kh * run;
        for (line, row) in rows.enumerate() {
            let image = &x[row / oh * h * w * self.c..][..h * w * self.c];
            let patches = &mut patches[line * ow * depth..][..ow * depth];
            for ky in 0..kh {
                // Coordinates above the image wrap round to huge ones.
                let y = (row % oh * stride_y + ky).wrapping_sub(top);
                let source = if y < h { &image[y * w * self.c..][..w * self.c] } else { &[] };
                for (ox, patch) in patches.chunks_exact_mut(depth).enumerate() {
                    let to = &mut patch[ky * run..][..run];
                    let start = (ox * stride_x) as isize - left as isize;
                    if start >= 0 && (start as usize + kw) * self.c <= source.len() {
                        let from = &source[start as usize * self.c..][..run];
                        to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
                    } else {
                        for (i, to) in to.iter_mut().enumerate() {
                            let at = start * self.c as isize + i as isize;
                            *to = source.get(at as usize).copied().unwrap_or(T::ZERO);
                        }
                    }
                }
            }
        }
    }
}

/// One tap: where it reads, relative to the source position, and where its weights start.
#[derive(Clone, Copy)]
struct Tap {
    dy: i32,
    dx: i32,
    weights: usize,
}

/// A lattice of kernel positions: every `step`-th row and column of the kernel from `start` on.
#[derive(Clone, Copy)]
struct Taps {
    count: [usize; 2],
    start: [usize; 2],
    step: [usize; 2],
    /// Source offset of the first tap, and its change from one tap to the next.
    offset: [i32; 2],
    direction: i32,
    /// Columns of the kernel, and weights per tap.
    kernel_columns: usize,
    plane: usize,
}

impl Taps {
    fn len(&self) -> usize {
        self.count[0] * self.count[1]
    }

    #[inline(always)]
    fn get(&self, t: usize) -> Tap {
        let (a, b) = (t / self.count[1], t % self.count[1]);
        let (ky, kx) = (self.start[0] + a * self.step[0], self.start[1] + b * self.step[1]);
        Tap {
            dy: self.offset[0] + self.direction * a as i32,
            dx: self.offset[1] + self.direction * b as i32,
            weights: (ky * self.kernel_columns + kx) * self.plane,
        }
    }
}

/// A lattice of output pixels that all read the same taps.
struct Grid {
    n: usize,
    rows: usize,
    columns: usize,
    /// Output extents, and where the lattice lies in them.
    out: [usize; 2],
    out_start: [usize; 2],
    out_step: [usize; 2],
    /// Source extents, and how far the source position moves per lattice step.
    source: [usize; 2],
    source_step: [usize; 2],
    taps: Taps,
}

/// Depth × columns weights at `tap.weights + k · k_step + j · j_step`.
struct Weights<'a, T> {
    values: &'a [T],
    depth: usize,
    columns: usize,
    k_step: usize,
    j_step: usize,
}

impl<T: Elem> Weights<'_, T> {
    /// Copies `NR` columns from `j0` on of one tap into a panel, zeros past the last column.
    #[inline(always)]
    fn pack(&self, tap: Tap, j0: usize, panel: &mut [[T; NR]]) {
        let columns = (self.columns - j0).min(NR);
        for (k, row) in panel.iter_mut().enumerate() {
            let from = tap.weights + k * self.k_step + j0 * self.j_step;
            if self.j_step == 1 && columns == NR {
                row.copy_from_slice(&self.values[from..from + NR]);
            } else {
                *row = std::array::from_fn(|j| {
                    if j < columns { self.values[from + j * self.j_step] } else { T::ZERO }
                });
            }
        }
    }
}

/// `out[pixel, j] = Σ_tap Σ_k source[pixel + tap, k] · weights[tap, k, j]` over the lattice.
#[inline(always)]
fn gather_product<T: Elem, const FMA: bool>(
    grid: &Grid,
    weights: &Weights<'_, T>,
    source: &[T],
    out: &mut [T],
    panel: &mut [[T; NR]],
    zeros: &[T],
) {
    let depth = weights.depth;
    let per_stretch = DEPTH.div_ceil(depth);
    let pixels = grid.n * grid.rows * grid.columns;
    for first in (0..pixels).step_by(CHUNK) {
        let mut places = [NOWHERE; CHUNK.next_multiple_of(MR)];
        let n = CHUNK.min(pixels - first);
        for (p, place) in places[..n].iter_mut().enumerate() {
            *place = grid.place(first + p);
        }
        let (blocks, _) = places[..n.next_multiple_of(MR)].as_chunks::<MR>();
        for j0 in (0..weights.columns).step_by(NR) {
            let columns = (weights.columns - j0).min(NR);
            for t0 in (0..grid.taps.len()).step_by(per_stretch) {
                let taps = t0..(t0 + per_stretch).min(grid.taps.len());
                for (t, rows) in taps.clone().zip(panel.chunks_exact_mut(depth)) {
                    weights.pack(grid.taps.get(t), j0, rows);
                }
                for places in blocks {
                    let mut acc: Block<T, MR> = [[T::ZERO; NR]; MR];
                    let at = |place: &Place| {
                        (place.out != u32::MAX).then_some(place.out as usize * weights.columns + j0)
                    };
                    if t0 > 0 {
                        for (row, place) in acc.iter_mut().zip(places) {
                            if let Some(at) = at(place) {
                                load(row, &out[at..at + columns]);
                            }
                        }
                    }
                    for (t, rows) in taps.clone().zip(panel.chunks_exact(depth)) {
                        let tap = grid.taps.get(t);
                        // Not `map`: its helper is not compiled for the wide registers.
                        let read = |r: usize| grid.read(places[r], tap, source, depth, zeros);
                        let sources = [read(0), read(1), read(2), read(3), read(4), read(5)];
                        rows_times_panel::<T, FMA>(&mut acc, sources, rows);
                    }
                    for (row, place) in acc.iter().zip(places) {
                        if let Some(at) = at(place) {
                            save(&mut out[at..at + columns], row);
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn save<T: Elem>(to: &mut [T], row: &[T; NR]) {
    match to.first_chunk_mut::<NR>() {
        Some(whole) => *whole = *row,
        None => to.copy_from_slice(&row[..to.len()]),
    }
}

#[inline(always)]
fn load<T: Elem>(row: &mut [T; NR], from: &[T]) {
    match from.first_chunk::<NR>() {
        Some(whole) => *row = *whole,
        None => row[..from.len()].copy_from_slice(from),
    }
}

/// A lattice pixel: its output pixel and its source position. Whole-number divisions find it, so the
/// places of a chunk are found once and kept.
#[derive(Clone, Copy)]
struct Place {
    out: u32,
    image: u32,
    y: i32,
    x: i32,
}

/// Stands for no pixel: reads zeros and is not written.
const NOWHERE: Place = Place { out: u32::MAX, image: 0, y: i32::MIN / 2, x: i32::MIN / 2 };

impl Grid {
    #[inline(always)]
    fn place(&self, pixel: usize) -> Place {
        let (line, j) = (pixel / self.columns, pixel % self.columns);
        let (image, i) = (line / self.rows, line % self.rows);
        let oy = self.out_start[0] + i * self.out_step[0];
        let ox = self.out_start[1] + j * self.out_step[1];
        Place {
            out: ((image * self.out[0] + oy) * self.out[1] + ox) as u32,
            image: (image * self.source[0]) as u32,
            y: (i * self.source_step[0]) as i32,
            x: (j * self.source_step[1]) as i32,
        }
    }

    #[inline(always)]
    fn read<'s, T>(
        &self,
        place: Place,
        tap: Tap,
        source: &'s [T],
        depth: usize,
        zeros: &'s [T],
    ) -> &'s [T] {
        // Negative coordinates become huge ones.
        let (y, x) = ((place.y + tap.dy) as u32 as usize, (place.x + tap.dx) as u32 as usize);
        if y < self.source[0] && x < self.source[1] {
            let at = ((place.image as usize + y) * self.source[1] + x) * depth;
            &source[at..at + depth]
        } else {
            zeros
        }
    }
}

/// Splits scratch into a panel of rows of `NR`, and the rest.
#[inline(always)]
fn panel_of<T>(scratch: &mut [T], rows: usize) -> (&mut [[T; NR]], &mut [T]) {
    let (panel, rest) = scratch.split_at_mut(rows * NR);
    (panel.as_chunks_mut().0, rest)
}

#[inline(always)]
fn conv_body<T: Elem, const FMA: bool>(
    sizes: &ConvSizes,
    x: &[T],
    w: &[T],
    y: &mut [T],
    scratch: &mut [T],
) {
    let ([oh, ow], [kh, kw]) = (sizes.output, sizes.window.size);
    let (c, o) = (sizes.c, sizes.o);
    let pixel = Taps {
        count: [1; 2],
        start: [0; 2],
        step: [1; 2],
        offset: [0; 2],
        direction: 1,
        kernel_columns: 1,
        plane: 0,
    };
    if c < FEW_CHANNELS {
        // The patches of a chunk are the source; one tap reads all of a patch.
        let depth = sizes.taps() * c;
        let (panel, rest) = panel_of(scratch, DEPTH.max(depth));
        let weights = Weights { values: w, depth, columns: o, k_step: o, j_step: 1 };
        for first in (0..sizes.n * oh).step_by(sizes.chunk_rows()) {
            let rows = first..(first + sizes.chunk_rows()).min(sizes.n * oh);
            let pixels = rows.len() * ow;
            let patches = &mut rest[..pixels * depth];
            sizes.patches(x, rows, patches);
            let grid = Grid {
                n: 1,
                rows: 1,
                columns: pixels,
                out: [1, pixels],
                out_start: [0; 2],
                out_step: [1; 2],
                source: [1, pixels],
                source_step: [1; 2],
                taps: pixel,
            };
            let out = &mut y[first * ow * o..][..pixels * o];
            // Past the last pixel any row will do: its results are dropped.
            let (patches, zeros) = (&patches[..], &patches[..depth]);
            gather_product::<T, FMA>(&grid, &weights, patches, out, panel, zeros);
        }
        return;
    }
    let [[top, _], [left, _]] = sizes.window.pad;
    let (panel, rest) = panel_of(scratch, DEPTH + c);
    rest[..c].fill(T::ZERO);
    let taps = Taps {
        count: [kh, kw],
        offset: [-(top as i32), -(left as i32)],
        kernel_columns: kw,
        plane: c * o,
        ..pixel
    };
    let grid = Grid {
        n: sizes.n,
        rows: oh,
        columns: ow,
        out: sizes.output,
        out_start: [0; 2],
        out_step: [1; 2],
        source: sizes.input,
        source_step: sizes.window.stride,
        taps,
    };
    let weights = Weights { values: w, depth: c, columns: o, k_step: o, j_step: 1 };
    gather_product::<T, FMA>(&grid, &weights, x, y, panel, &rest[..c]);
}

#[inline(always)]
fn conv_input_grad_body<T: Elem, const FMA: bool>(
    sizes: &ConvSizes,
    g: &[T],
    w: &[T],
    gx: &mut [T],
    scratch: &mut [T],
) {
    let (kernel, stride, pad) = (sizes.window.size, sizes.window.stride, sizes.window.pad);
    let (c, o) = (sizes.c, sizes.o);
    let (panel, rest) = panel_of(scratch, DEPTH + o);
    rest[..o].fill(T::ZERO);
    let [phases_y, phases_x] = [0, 1].map(|axis: usize| stride[axis].min(sizes.input[axis]));
    // Input pixels of one phase (position modulo the stride) are all reached by the same taps: those
    // congruent to it, read backwards.
    for phase in (0..phases_y).flat_map(|py| (0..phases_x).map(move |px| [py, px])) {
        let start: [usize; 2] = std::array::from_fn(|a| (phase[a] + pad[a][0]) % stride[a]);
        let count = std::array::from_fn(|a| kernel[a].saturating_sub(start[a]).div_ceil(stride[a]));
        let taps = Taps {
            count,
            start,
            step: stride,
            offset: std::array::from_fn(|a| ((phase[a] + pad[a][0]) / stride[a]) as i32),
            direction: -1,
            kernel_columns: kernel[1],
            plane: c * o,
        };
        let grid = Grid {
            n: sizes.n,
            rows: (sizes.input[0] - phase[0]).div_ceil(stride[0]),
            columns: (sizes.input[1] - phase[1]).div_ceil(stride[1]),
            out: sizes.input,
            out_start: phase,
            out_step: stride,
            source: sizes.output,
            source_step: [1; 2],
            taps,
        };
        if taps.len() == 0 {
            fill_lattice(&grid, c, gx);
            continue;
        }
        let weights = Weights { values: w, depth: o, columns: c, k_step: 1, j_step: o };
        gather_product::<T, FMA>(&grid, &weights, g, gx, panel, &rest[..o]);
    }
}

/// Zeros for the pixels that no tap reaches.
#[inline(always)]
fn fill_lattice<T: Elem>(grid: &Grid, c: usize, out: &mut [T]) {
    for pixel in 0..grid.n * grid.rows * grid.columns {
        let at = grid.place(pixel).out as usize * c;
        out[at..at + c].fill(T::ZERO);
    }
}

#[inline(always)]
fn conv_weight_grad_body<T: Elem, const FMA: bool>(
    sizes: &ConvSizes,
    x: &[T],
    g: &[T],
    gw: &mut [T],
    scratch: &mut [T],
) {
    let ([h, w], [oh, ow], [_, kw]) = (sizes.input, sizes.output, sizes.window.size);
    let ([sy, sx], [[top, _], [left, _]]) = (sizes.window.stride, sizes.window.pad);
    let (c, o, taps) = (sizes.c, sizes.o, sizes.taps());
    let chunk = sizes.chunk_rows();
    let (panel, rest) = panel_of(scratch, chunk * ow);
    for first in (0..sizes.n * oh).step_by(chunk) {
        let rows = first..(first + chunk).min(sizes.n * oh);
        let pixels = rows.len() * ow;
        if c < FEW_CHANNELS {
            sizes.patches(x, rows.clone(), &mut rest[..pixels * taps * c]);
        }
        for j0 in (0..o).step_by(NR) {
            let columns = (o - j0).min(NR);
            for (p, row) in panel[..pixels].iter_mut().enumerate() {
                *row = [T::ZERO; NR];
                load(row, &g[(first * ow + p) * o + j0..][..columns]);
            }
            if c < FEW_CHANNELS {
                let all = [Run { x: 0, p: 0, len: pixels }];
                let strips = Strips { x: rest, stride: taps * c, panel, runs: &all };
                strips.add::<FMA>(taps * c, &mut gw[j0..], o, columns);
                continue;
            }
            for t in 0..taps {
                let (ky, kx) = (t / kw, t % kw);
                // Columns whose source lies inside the image.
                let lo = left.saturating_sub(kx).div_ceil(sx).min(ow);
                let hi = (w + left).saturating_sub(kx).div_ceil(sx).clamp(lo, ow);
                let mut runs = [Run { x: 0, p: 0, len: 0 }; CHUNK];
                let mut n_runs = 0;
                for row in rows.clone() {
                    let y = (row % oh * sy + ky).wrapping_sub(top);
                    if y < h && lo < hi {
                        let x = ((row / oh * h + y) * w + lo * sx + kx - left) * c;
                        runs[n_runs] = Run { x, p: (row - first) * ow + lo, len: hi - lo };
                        n_runs += 1;
                    }
                }
                let strips = Strips { x, stride: sx * c, panel, runs: &runs[..n_runs] };
                strips.add::<FMA>(c, &mut gw[t * c * o + j0..], o, columns);
            }
        }
    }
}

/// Consecutive output pixels whose sources lie evenly spaced: first source element, first panel row,
/// number of pixels.
#[derive(Clone, Copy)]
struct Run {
    x: usize,
    p: usize,
    len: usize,
}

/// `Σ_pixels x[pixel]ᵀ · panel[pixel]` over some runs.
struct Strips<'a, T> {
    x: &'a [T],
    stride: usize,
    panel: &'a [[T; NR]],
    runs: &'a [Run],
}

impl<T: Elem> Strips<'_, T> {
    /// Adds `depth` rows of the product to `out`, `MR` rows at a time.
    #[inline(always)]
    fn add<const FMA: bool>(&self, depth: usize, out: &mut [T], row_step: usize, columns: usize) {
        for k0 in (0..depth).step_by(MR) {
            let out = &mut out[k0 * row_step..];
            match depth - k0 {
                1 => self.strip::<FMA, 1>(k0, out, row_step, columns),
                2 => self.strip::<FMA, 2>(k0, out, row_step, columns),
                3 => self.strip::<FMA, 3>(k0, out, row_step, columns),
                4 => self.strip::<FMA, 4>(k0, out, row_step, columns),
                5 => self.strip::<FMA, 5>(k0, out, row_step, columns),
                _ => self.strip::<FMA, MR>(k0, out, row_step, columns),
            }
        }
    }

    #[inline(always)]
    fn strip<const FMA: bool, const R: usize>(
        &self,
        k0: usize,
        out: &mut [T],
        row_step: usize,
        columns: usize,
    ) {
        let mut acc: Block<T, R> = [[T::ZERO; NR]; R];
        for run in self.runs {
            let panel = &self.panel[run.p..run.p + run.len];
            strip_times_panel::<T, FMA, R>(&mut acc, &self.x[run.x + k0..], self.stride, panel);
        }
        for (row, out) in acc.iter().zip(out.chunks_mut(row_step)) {
            for (sum, &more) in out[..columns].iter_mut().zip(row) {
                *sum += more;
            }
        }
    }
}

dispatch! {
    /// `y = conv(x, w)`.
    fn conv<T: Elem>(sizes: &ConvSizes, x: &[T], w: &[T], y: &mut [T], scratch: &mut [T]) => conv_body
}

dispatch! {
    /// `gx`: the adjoint of [`conv`] in the image, applied to `g`.
    fn conv_input_grad<T: Elem>(
        sizes: &ConvSizes, g: &[T], w: &[T], gx: &mut [T], scratch: &mut [T],
    ) => conv_input_grad_body
}

dispatch! {
    /// `gw`: the adjoint of [`conv`] in the kernel, applied to `g`.
    fn conv_weight_grad_add<T: Elem>(
        sizes: &ConvSizes, x: &[T], g: &[T], gw: &mut [T], scratch: &mut [T],
    ) => conv_weight_grad_body
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum ConvRole {
    Forward,
    InputGrad,
    WeightGrad,
}

impl ConvSizes {
    pub(in super::super) fn packed_len(&self, _: ConvRole) -> usize {
        self.taps() * self.c * self.o
    }
}

pub(in super::super) fn conv_pack<T: Elem>(_: super::Isa, _: &ConvSizes, w: &[T], p: &mut [T]) {
    p.copy_from_slice(w);
}
pub(in super::super) fn conv_input_grad_pack<T: Elem>(_: super::Isa, _: &ConvSizes, w: &[T], p: &mut [T]) {
    p.copy_from_slice(w);
}
pub(in super::super) fn conv_weight_grad_start<T: Elem>(_: super::Isa, _: &ConvSizes, s: &mut [T]) {
    s.fill(T::ZERO);
}
pub(in super::super) fn conv_weight_grad_finish<T: Elem>(_: super::Isa, _: &ConvSizes, s: &[T], gw: &mut [T]) {
    gw.copy_from_slice(s);
}
