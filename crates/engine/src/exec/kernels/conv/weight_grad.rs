//! The adjoint of a convolution in the kernel: for every tap, the pixels under it times the cotangents,
//! summed over all pixels.
//!
//! Blocks of six channels by two registers of cotangents stay in registers over a chunk of pixels, whose cotangents are in
//! the first-level cache for all taps. Floor: that of the convolution, `taps · c · o` multiply-adds per output pixel.

use super::super::super::elem::Elem;
use super::super::Isa;
use super::super::micro::{MOST_LANES, MR, Outer, Place, outer};
use super::correlate::Walk;
use super::frame::{aligned, carve};
use super::{ConvSizes, planar, winograd};

/// Output pixels worked on at a time: their cotangents stay in the first-level cache.
const CHUNK: usize = 128;

impl ConvSizes {
    /// Elements for the cotangents of one group of images, spread to whole registers.
    pub(super) fn spread_len(&self) -> usize {
        let group = self.forward().group();
        group * self.output[0] * self.output[1] * self.o.next_multiple_of(MOST_LANES)
    }
}

/// Rows of `o` values at a distance that is a multiple of every register's lanes, so that the last
/// register of a row does not run out: as they are if they fit, or a copy.
pub(super) fn spread_columns<'a, T: Elem>(
    g: &'a [T],
    o: usize,
    spread: &'a mut [T],
) -> (&'a [T], usize) {
    let step = o.next_multiple_of(MOST_LANES);
    if step == o {
        return (g, o);
    }
    let spread = &mut spread[..g.len() / o * step];
    for (to, from) in spread.chunks_exact_mut(step).zip(g.chunks_exact(o)) {
        to[..o].copy_from_slice(from);
        to[o..].fill(T::ZERO);
    }
    (spread, step)
}

/// Adds to `sum` what these images contribute to the adjoint of a convolution in the kernel, applied to
/// `g`.
pub(in super::super::super) fn conv_weight_grad_add<T: Elem>(
    isa: Isa,
    sizes: &ConvSizes,
    x: &[T],
    g: &[T],
    sum: &mut [T],
    scratch: &mut [T],
) {
    let skip = aligned(sum);
    let sum = &mut sum[skip..];
    let job = sizes.forward();
    if planar::suits(sizes) {
        return planar::weight_grad_add(isa, sizes, x, g, sum, scratch);
    }
    if const { size_of::<T>() == 4 } && job.winograd::<T>() {
        return winograd::weight_grad_add(isa, &job, x, g, sum, scratch);
    }
    let (frame, group) = (job.frame(), job.group());
    let (image, map) =
        (sizes.input[0] * sizes.input[1] * sizes.c, sizes.output[0] * sizes.output[1] * sizes.o);
    let (frames, rest) = carve(scratch, group * frame.len() + MR);
    let (spread, _) = carve(rest, sizes.spread_len());
    let run = sizes.window.size[1] * sizes.c;
    for (images, maps) in x.chunks(group * image).zip(g.chunks(group * map)) {
        for (image, to) in images.chunks_exact(image).zip(frames.chunks_exact_mut(frame.len())) {
            frame.copy(image, sizes.input, sizes.c, to);
        }
        let (g, step) = spread_columns(maps, sizes.o, spread);
        let mut walk = Walk::whole(&job, images.len() / image);
        let mut places = [Place::default(); CHUNK];
        let mut first = 0;
        loop {
            let n = walk.fill(&mut places);
            if n == 0 {
                break;
            }
            let product = Outer { rows: run, columns: sizes.o, step };
            let panel = &g[first * step..][..n * step];
            for (ky, sum) in
                sum.chunks_exact_mut(run * sizes.o).enumerate().take(sizes.window.size[0])
            {
                let source = &frames[ky * frame.row()..];
                outer(isa, &product, source, &places[..n], panel, sum);
            }
            first += n;
        }
    }
}

/// Turns the sum over all images into the gradient.
pub(in super::super::super) fn conv_weight_grad_finish<T: Elem>(
    isa: Isa,
    sizes: &ConvSizes,
    sum: &[T],
    gw: &mut [T],
) {
    let sum = &sum[aligned(sum)..];
    let job = sizes.forward();
    if job.winograd::<T>() {
        winograd::weight_grad_finish(isa, &job, sum, gw);
    } else {
        gw.copy_from_slice(&sum[..gw.len()]);
    }
}
