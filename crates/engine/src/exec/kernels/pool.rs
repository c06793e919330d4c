//! Pooling over `[n, h, w, c]`, a channel row at a time. Positions in a window are held as whole numbers
//! of the element type, so that they live in the arena like any value.

use super::super::elem::Elem;
use super::dispatch;
use crate::graph::Window;

/// Channels handled together while looking for maxima.
const LANES: usize = 32;

/// The input pixels under one window.
#[derive(Clone, Copy)]
struct Covered<'a> {
    window: &'a Window,
    extents: [usize; 2],
    /// First input pixel of the image.
    image: usize,
    /// Input coordinates of the window's first row and column, wrapped round when above or left of it.
    corner: [usize; 2],
    channels: usize,
}

impl Covered<'_> {
    /// Calls `f(window_position, input_offset)` for every input pixel inside the image, in order.
    #[inline(always)]
    fn each(&self, mut f: impl FnMut(usize, usize)) {
        let ([h, w], [kh, kw]) = (self.extents, self.window.size);
        for ky in 0..kh {
            let y = self.corner[0].wrapping_add(ky);
            for kx in 0..kw {
                let x = self.corner[1].wrapping_add(kx);
                if y < h && x < w {
                    f(ky * kw + kx, (self.image + y * w + x) * self.channels);
                }
            }
        }
    }
}

/// Calls `f(output_offset, covered)` for every output pixel, in order.
#[inline(always)]
fn for_windows(
    window: &Window,
    input: &[usize],
    output: &[usize],
    mut f: impl FnMut(usize, Covered<'_>),
) {
    let [[top, _], [left, _]] = window.pad;
    let channels = input[3];
    let mut at = 0;
    for image in 0..output[0] {
        for oy in 0..output[1] {
            for ox in 0..output[2] {
                let y = (oy * window.stride[0]).wrapping_sub(top);
                let x = (ox * window.stride[1]).wrapping_sub(left);
                let image = image * input[1] * input[2];
                let extents = [input[1], input[2]];
                f(at, Covered { window, extents, image, corner: [y, x], channels });
                at += channels;
            }
        }
    }
}

#[inline(always)]
fn argmax_body<T: Elem, const FMA: bool>(
    x: &[T],
    input: &[usize],
    window: Window,
    out: &mut [T],
    output: &[usize],
) {
    let c = input[3];
    for_windows(&window, input, output, |to, covered| {
        let out = &mut out[to..to + c];
        let (blocks, tail) = out.as_chunks_mut::<LANES>();
        for (i, out) in blocks.iter_mut().enumerate() {
            *out = first_maxima::<T, LANES>(x, i * LANES, covered);
        }
        let start = c - tail.len();
        for (i, out) in tail.iter_mut().enumerate() {
            [*out] = first_maxima::<T, 1>(x, start + i, covered);
        }
    });
}

/// Positions of the first maxima of some channels.
#[inline(always)]
fn first_maxima<T: Elem, const N: usize>(x: &[T], channel: usize, covered: Covered<'_>) -> [T; N] {
    let mut best = [T::LOWEST; N];
    let mut at = [T::ZERO; N];
    let mut first = true;
    covered.each(|position, from| {
        let position = T::from_f64(position as f64);
        let values: &[T; N] = x[from + channel..].first_chunk().expect("channels of one pixel");
        for j in 0..N {
            // A NaN wins over every number, so that it shows.
            let wins = first | (values[j] > best[j]) | values[j].is_nan();
            best[j] = if wins { values[j] } else { best[j] };
            at[j] = if wins { position } else { at[j] };
        }
        first = false;
    });
    at
}

#[inline(always)]
fn pick_body<T: Elem, const FMA: bool>(
    x: &[T],
    input: &[usize],
    at: &[T],
    window: Window,
    out: &mut [T],
    output: &[usize],
) {
    let c = input[3];
    for_windows(&window, input, output, |to, covered| {
        let (out, at) = (&mut out[to..to + c], &at[to..to + c]);
        let (blocks, tail) = out.as_chunks_mut::<LANES>();
        let (ats, at_tail) = at.as_chunks::<LANES>();
        for (i, (out, at)) in blocks.iter_mut().zip(ats).enumerate() {
            *out = picked::<T, LANES>(x, i * LANES, at, covered);
        }
        let start = c - tail.len();
        for (i, (out, &at)) in tail.iter_mut().zip(at_tail).enumerate() {
            [*out] = picked::<T, 1>(x, start + i, &[at], covered);
        }
    });
}

/// The elements at the given positions of some channels.
#[inline(always)]
fn picked<T: Elem, const N: usize>(
    x: &[T],
    channel: usize,
    at: &[T; N],
    covered: Covered<'_>,
) -> [T; N] {
    let mut out = [T::ZERO; N];
    covered.each(|position, from| {
        let position = T::from_f64(position as f64);
        let values: &[T; N] = x[from + channel..].first_chunk().expect("channels of one pixel");
        for j in 0..N {
            out[j] = if at[j] == position { values[j] } else { out[j] };
        }
    });
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
fn put_body<T: Elem, const FMA: bool>(
    g: &[T],
    output: &[usize],
    at: &[T],
    window: Window,
    out: &mut [T],
    input: &[usize],
) {
    let c = input[3];
    let tiles = tiles(&window, input, output);
    if !tiles {
        out.fill(T::ZERO);
    }
    for_windows(&window, input, output, |from, covered| {
        let (g, at) = (&g[from..from + c], &at[from..from + c]);
        covered.each(|position, to| {
            let position = T::from_f64(position as f64);
            let out = &mut out[to..to + c];
            if tiles {
                for ((out, &at), &g) in out.iter_mut().zip(at).zip(g) {
                    *out = if at == position { g } else { T::ZERO };
                }
            } else {
                for ((out, &at), &g) in out.iter_mut().zip(at).zip(g) {
                    *out += if at == position { g } else { T::ZERO };
                }
            }
        });
    });
}

#[inline(always)]
fn sum_body<T: Elem, const FMA: bool>(
    x: &[T],
    input: &[usize],
    window: Window,
    out: &mut [T],
    output: &[usize],
) {
    let c = input[3];
    for_windows(&window, input, output, |to, covered| {
        let out = &mut out[to..to + c];
        out.fill(T::ZERO);
        covered.each(|_, from| {
            out.iter_mut().zip(&x[from..from + c]).for_each(|(out, &x)| *out += x);
        });
    });
}

#[inline(always)]
fn spread_body<T: Elem, const FMA: bool>(
    g: &[T],
    output: &[usize],
    window: Window,
    out: &mut [T],
    input: &[usize],
) {
    let c = input[3];
    out.fill(T::ZERO);
    for_windows(&window, input, output, |from, covered| {
        let g = &g[from..from + c];
        covered.each(|_, to| {
            out[to..to + c].iter_mut().zip(g).for_each(|(out, &g)| *out += g);
        });
    });
}

dispatch! {
    /// Position of the first maximum of each window.
    fn pool_argmax<T: Elem>(
        x: &[T], input: &[usize], window: Window, out: &mut [T], output: &[usize],
    ) => argmax_body
}

dispatch! {
    /// The element of each window at the given position.
    fn pool_pick<T: Elem>(
        x: &[T], input: &[usize], at: &[T], window: Window, out: &mut [T], output: &[usize],
    ) => pick_body
}

dispatch! {
    /// Each element of `g` added to zeros at the given position of its window.
    fn pool_put<T: Elem>(
        g: &[T], output: &[usize], at: &[T], window: Window, out: &mut [T], input: &[usize],
    ) => put_body
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
