//! The adjoint of a convolution in the kernel: for every tap, the pixels under it times the cotangents,
//! summed over all pixels.

use super::super::super::elem::Elem;
use super::super::dispatch;
use super::super::micro::{MOST_LANES, Outer, Place, blocked};
use super::correlate::Walk;
use super::frame::carve;
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

/// Rows of `o` values at a distance that is a multiple of the register's lanes, so that the last register
/// of a row does not run out: as they are if they fit, or a copy.
#[inline(always)]
pub(super) fn spread_columns<'a, T: Elem, const L: usize>(
    g: &'a [T],
    o: usize,
    spread: &'a mut [T],
) -> (&'a [T], usize) {
    let step = o.next_multiple_of(L);
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

#[inline(always)]
fn add<T: Elem, const FMA: bool, const MR: usize, const NR: usize, const L: usize>(
    sizes: &ConvSizes,
    x: &[T],
    g: &[T],
    sum: &mut [T],
    scratch: &mut [T],
) {
    let job = sizes.forward();
    if planar::suits(sizes) {
        return planar::weight_grad_add::<T, FMA, MR, NR, L>(sizes, x, g, sum, scratch);
    }
    if const { size_of::<T>() == 4 } && job.winograd::<T>() {
        return winograd::weight_grad_add::<T, FMA, MR, NR, L>(&job, x, g, sum, scratch);
    }
    let (frame, group) = (job.frame(), job.group());
    let (image, map) =
        (sizes.input[0] * sizes.input[1] * sizes.c, sizes.output[0] * sizes.output[1] * sizes.o);
    let (frames, rest) = carve(scratch, group * frame.len() + super::super::micro::MOST_ROWS);
    let (spread, _) = carve(rest, sizes.spread_len());
    let run = sizes.window.size[1] * sizes.c;
    for (images, maps) in x.chunks(group * image).zip(g.chunks(group * map)) {
        for (image, to) in images.chunks_exact(image).zip(frames.chunks_exact_mut(frame.len())) {
            frame.copy(image, sizes.input, sizes.c, to);
        }
        let (g, step) = spread_columns::<T, L>(maps, sizes.o, spread);
        let mut walk = Walk::whole(&job, images.len() / image);
        let mut places = [Place::default(); CHUNK];
        let mut first = 0;
        loop {
            let n = walk.fill(&mut places);
            if n == 0 {
                break;
            }
            let outer = Outer { rows: run, columns: sizes.o, depth: n, step };
            let panel = &g[first * step..][..n * step];
            for (ky, sum) in
                sum.chunks_exact_mut(run * sizes.o).enumerate().take(sizes.window.size[0])
            {
                let source = &frames[ky * frame.row()..];
                outer.add::<T, FMA, MR, NR, L>(source, |p| places[p].source, panel, sum);
            }
            first += n;
        }
    }
}

#[inline(always)]
fn finish<T: Elem, const FMA: bool, const MR: usize, const NR: usize, const L: usize>(
    sizes: &ConvSizes,
    sum: &[T],
    gw: &mut [T],
) {
    let job = sizes.forward();
    if const { size_of::<T>() == 4 } && job.winograd::<T>() {
        winograd::weight_grad_finish::<T, L>(&job, sum, gw);
    } else {
        gw.copy_from_slice(&sum[..gw.len()]);
    }
}

#[inline(always)]
fn add_body<T: Elem, const FMA: bool, const BYTES: usize>(
    sizes: &ConvSizes,
    x: &[T],
    g: &[T],
    sum: &mut [T],
    scratch: &mut [T],
) {
    blocked!(add(sizes, x, g, sum, scratch));
}

#[inline(always)]
fn finish_body<T: Elem, const FMA: bool, const BYTES: usize>(
    sizes: &ConvSizes,
    sum: &[T],
    gw: &mut [T],
) {
    blocked!(finish(sizes, sum, gw));
}

dispatch! {
    /// Adds to `sum` what these images contribute to the adjoint of a convolution in the kernel, applied
    /// to `g`.
    fn conv_weight_grad_add<T: Elem, BYTES>(
        sizes: &ConvSizes, x: &[T], g: &[T], sum: &mut [T], scratch: &mut [T],
    ) => add_body
}

dispatch! {
    /// Turns the sum over all images into the gradient.
    fn conv_weight_grad_finish<T: Elem, BYTES>(
        sizes: &ConvSizes, sum: &[T], gw: &mut [T],
    ) => finish_body
}
