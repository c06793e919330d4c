//! Pooling over `[n, h, w, c]`, a channel row at a time. Positions in a window are stored as whole numbers of the
//! element type, so that they live in the arena like any value, or packed four to an element.
//!
//! Two registers of channels at a time. Floor: memory, because a 2×2 window reads four pixels for each it writes, and
//! compares every number once.

mod windows;

use super::super::elem::{Elem, Position};
use super::dispatch;
use crate::graph::Window;
use bytemuck::{cast_slice, cast_slice_mut};
use windows::{Covered, Windows};

/// Channels handled together while looking for maxima.
const LANES: usize = 32;

#[inline(always)]
fn argmax_body<T: Elem, P: Position>(
    x: &[T],
    input: &[usize],
    by: &[T],
    window: Window,
    out: &mut [P],
    output: &[usize],
) {
    let c = input[3];
    for covered in Windows::new(window, input, output) {
        let (blocks, tail) = out[covered.out..covered.out + c].as_chunks_mut::<LANES>();
        let start = c - tail.len();
        for (i, out) in blocks.iter_mut().enumerate() {
            *out = match covered.four(window.size) {
                Some(four) => first_of_four::<T, P, LANES>(x, by, i * LANES, four),
                None => first_maxima::<T, P, LANES>(x, by, i * LANES, window.size, covered),
            };
        }
        for (i, out) in tail.iter_mut().enumerate() {
            [*out] = first_maxima::<T, P, 1>(x, by, start + i, window.size, covered);
        }
    }
}

/// Positions of the first maxima of some channels in a 2×2 window: channel by channel, so that the best so far is kept
/// in a register and not in a row of memory that is written and read again.
#[inline(always)]
fn first_of_four<T: Elem, P: Position, const N: usize>(
    x: &[T],
    by: &[T],
    channel: usize,
    [first, second, third, fourth]: [usize; 4],
) -> [P; N] {
    let pixel =
        |at: usize| -> &[T; N] { x[at + channel..].first_chunk().expect("channels of a pixel") };
    let first = pixel(first);
    let others = [pixel(second), pixel(third), pixel(fourth)];
    let by: &[T; N] = by[channel..].first_chunk().expect("a factor for each channel");
    let mut out = [P::position(0); N];
    for j in 0..N {
        let mut best = first[j] * by[j];
        let mut at = P::position(0);
        for (i, pixel) in others.iter().enumerate() {
            // A NaN beats every number, so that it shows.
            let value = pixel[j] * by[j];
            let wins = (value > best) | value.is_nan();
            best = if wins { value } else { best };
            at = if wins { P::position(i + 1) } else { at };
        }
        out[j] = at;
    }
    out
}

/// Positions of the first maxima of some channels.
#[inline(always)]
fn first_maxima<T: Elem, P: Position, const N: usize>(
    x: &[T],
    by: &[T],
    channel: usize,
    [kh, kw]: [usize; 2],
    covered: Covered,
) -> [P; N] {
    let mut best = [T::LOWEST; N];
    let mut at = [P::position(0); N];
    let by: &[T; N] = by[channel..].first_chunk().expect("a factor for each channel");
    let mut first = true;
    for ky in 0..kh {
        for kx in 0..kw {
            let Some(from) = covered.pixel(ky, kx) else { continue };
            let position = P::position(ky * kw + kx);
            let values: &[T; N] = x[from + channel..].first_chunk().expect("channels of a pixel");
            for j in 0..N {
                // A NaN beats every number, so that it shows.
                let value = values[j] * by[j];
                let wins = first | (value > best[j]) | value.is_nan();
                best[j] = if wins { value } else { best[j] };
                at[j] = if wins { position } else { at[j] };
            }
            first = false;
        }
    }
    at
}

#[inline(always)]
fn pick_body<T: Elem, P: Position>(
    x: &[T],
    input: &[usize],
    at: &[P],
    window: Window,
    out: &mut [T],
    output: &[usize],
) {
    let c = input[3];
    for covered in Windows::new(window, input, output) {
        let here = covered.out..covered.out + c;
        let (blocks, tail) = out[here.clone()].as_chunks_mut::<LANES>();
        let (ats, at_tail) = at[here].as_chunks::<LANES>();
        let start = c - tail.len();
        for (i, (out, at)) in blocks.iter_mut().zip(ats).enumerate() {
            *out = picked::<T, P, LANES>(x, i * LANES, at, window.size, covered);
        }
        for (i, (out, &at)) in tail.iter_mut().zip(at_tail).enumerate() {
            [*out] = picked::<T, P, 1>(x, start + i, &[at], window.size, covered);
        }
    }
}

/// The elements at the given positions of some channels.
#[inline(always)]
fn picked<T: Elem, P: Position, const N: usize>(
    x: &[T],
    channel: usize,
    at: &[P; N],
    [kh, kw]: [usize; 2],
    covered: Covered,
) -> [T; N] {
    let mut out = [T::ZERO; N];
    for ky in 0..kh {
        for kx in 0..kw {
            let Some(from) = covered.pixel(ky, kx) else { continue };
            let position = P::position(ky * kw + kx);
            // A copy, so that every lane is loaded and none branches.
            let values: [T; N] = *x[from + channel..].first_chunk().expect("channels of a pixel");
            for j in 0..N {
                out[j] = if at[j] == position { values[j] } else { out[j] };
            }
        }
    }
    out
}

/// Whether every input pixel lies in exactly one window, so that nothing needs to be added up.
fn tiles(window: &Window, input: &[usize], output: &[usize]) -> bool {
    (0..2).all(|axis| {
        window.size[axis] == window.stride[axis]
            && window.pad[axis] == [0, 0]
            && output[axis + 1] * window.stride[axis] == input[axis + 1]
    })
}

#[inline(always)]
fn put_body<T: Elem, P: Position>(
    g: &[T],
    output: &[usize],
    at: &[P],
    window: Window,
    out: &mut [T],
    input: &[usize],
) {
    let (c, [kh, kw]) = (input[3], window.size);
    let tiles = tiles(&window, input, output);
    if !tiles {
        out.fill(T::ZERO);
    }
    for covered in Windows::new(window, input, output) {
        let (g, at) = (&g[covered.out..covered.out + c], &at[covered.out..covered.out + c]);
        for ky in 0..kh {
            for kx in 0..kw {
                let Some(to) = covered.pixel(ky, kx) else { continue };
                let position = P::position(ky * kw + kx);
                let out = &mut out[to..to + c];
                if tiles {
                    for j in 0..c {
                        out[j] = if at[j] == position { g[j] } else { T::ZERO };
                    }
                } else {
                    for j in 0..c {
                        out[j] += if at[j] == position { g[j] } else { T::ZERO };
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn sum_body<T: Elem, const FMA: bool>(
    x: &[T],
    input: &[usize],
    window: Window,
    out: &mut [T],
    output: &[usize],
) {
    let (c, [kh, kw]) = (input[3], window.size);
    for covered in Windows::new(window, input, output) {
        let out = &mut out[covered.out..covered.out + c];
        out.fill(T::ZERO);
        for ky in 0..kh {
            for kx in 0..kw {
                let Some(from) = covered.pixel(ky, kx) else { continue };
                let x = &x[from..from + c];
                for j in 0..c {
                    out[j] += x[j];
                }
            }
        }
    }
}

#[inline(always)]
fn spread_body<T: Elem, const FMA: bool>(
    g: &[T],
    output: &[usize],
    window: Window,
    out: &mut [T],
    input: &[usize],
) {
    let (c, [kh, kw]) = (input[3], window.size);
    out.fill(T::ZERO);
    for covered in Windows::new(window, input, output) {
        let g = &g[covered.out..covered.out + c];
        for ky in 0..kh {
            for kx in 0..kw {
                let Some(to) = covered.pixel(ky, kx) else { continue };
                let out = &mut out[to..to + c];
                for j in 0..c {
                    out[j] += g[j];
                }
            }
        }
    }
}

#[inline(always)]
fn argmax_whole<T: Elem, const FMA: bool>(
    x: &[T],
    input: &[usize],
    by: &[T],
    window: Window,
    out: &mut [T],
    output: &[usize],
) {
    argmax_body::<T, T>(x, input, by, window, out, output);
}

#[inline(always)]
fn argmax_packed<T: Elem, const FMA: bool>(
    x: &[T],
    input: &[usize],
    by: &[T],
    window: Window,
    out: &mut [T],
    output: &[usize],
) {
    argmax_body::<T, T::Quarter>(x, input, by, window, cast_slice_mut(out), output);
}

#[inline(always)]
fn pick_whole<T: Elem, const FMA: bool>(
    x: &[T],
    input: &[usize],
    at: &[T],
    window: Window,
    out: &mut [T],
    output: &[usize],
) {
    pick_body::<T, T>(x, input, at, window, out, output);
}

#[inline(always)]
fn pick_packed<T: Elem, const FMA: bool>(
    x: &[T],
    input: &[usize],
    at: &[T],
    window: Window,
    out: &mut [T],
    output: &[usize],
) {
    pick_body::<T, T::Quarter>(x, input, cast_slice(at), window, out, output);
}

#[inline(always)]
fn put_whole<T: Elem, const FMA: bool>(
    g: &[T],
    output: &[usize],
    at: &[T],
    window: Window,
    out: &mut [T],
    input: &[usize],
) {
    put_body::<T, T>(g, output, at, window, out, input);
}

#[inline(always)]
fn put_packed<T: Elem, const FMA: bool>(
    g: &[T],
    output: &[usize],
    at: &[T],
    window: Window,
    out: &mut [T],
    input: &[usize],
) {
    put_body::<T, T::Quarter>(g, output, cast_slice(at), window, out, input);
}

dispatch! {
    /// Position of the first maximum of each window, of `x` times the factors of its channels.
    fn pool_argmax<T: Elem>(
        x: &[T], input: &[usize], by: &[T], window: Window, out: &mut [T], output: &[usize],
    ) => argmax_whole
}

dispatch! {
    /// The same, with four positions packed into one element.
    fn pool_argmax_packed<T: Elem>(
        x: &[T], input: &[usize], by: &[T], window: Window, out: &mut [T], output: &[usize],
    ) => argmax_packed
}

dispatch! {
    /// The element of each window at the given position.
    fn pool_pick<T: Elem>(
        x: &[T], input: &[usize], at: &[T], window: Window, out: &mut [T], output: &[usize],
    ) => pick_whole
}

dispatch! {
    /// The same with packed positions.
    fn pool_pick_packed<T: Elem>(
        x: &[T], input: &[usize], at: &[T], window: Window, out: &mut [T], output: &[usize],
    ) => pick_packed
}

dispatch! {
    /// Each element of `g` added to zeros at the given position of its window.
    fn pool_put<T: Elem>(
        g: &[T], output: &[usize], at: &[T], window: Window, out: &mut [T], input: &[usize],
    ) => put_whole
}

dispatch! {
    /// The same with packed positions.
    fn pool_put_packed<T: Elem>(
        g: &[T], output: &[usize], at: &[T], window: Window, out: &mut [T], input: &[usize],
    ) => put_packed
}

dispatch! {
    /// Sum of each window.
    fn pool_sum<T: Elem>(
        x: &[T], input: &[usize], window: Window, out: &mut [T], output: &[usize],
    ) => sum_body
}

dispatch! {
    /// Each element of `g` added to all of its window.
    fn pool_spread<T: Elem>(
        g: &[T], output: &[usize], window: Window, out: &mut [T], input: &[usize],
    ) => spread_body
}
