//! Pooling over `[n, h, w, c]`, a channel row at a time. Positions in a window are held as whole numbers
//! of the element type, so that they live in the arena like any value.

use super::super::elem::Elem;
use super::dispatch;
use crate::graph::Window;

/// Channels handled together while looking for maxima.
const LANES: usize = 16;

/// Calls `f(window_position, input_offset)` for every input pixel inside the image that the window of
/// output pixel `pixel` covers, in order.
#[inline(always)]
fn for_window(
    window: Window,
    input: &[usize],
    output: &[usize],
    pixel: usize,
    mut f: impl FnMut(usize, usize),
) {
    let (h, w, c, oh, ow) = (input[1], input[2], input[3], output[1], output[2]);
    let [[top, _], [left, _]] = window.pad;
    let (line, ox) = (pixel / ow, pixel % ow);
    let (image, oy) = (line / oh, line % oh);
    for ky in 0..window.size[0] {
        // Coordinates above or left of the image wrap round to huge ones.
        let y = (oy * window.stride[0] + ky).wrapping_sub(top);
        for kx in 0..window.size[1] {
            let x = (ox * window.stride[1] + kx).wrapping_sub(left);
            if y < h && x < w {
                f(ky * window.size[1] + kx, ((image * h + y) * w + x) * c);
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
    for (pixel, out) in out.chunks_exact_mut(c).enumerate() {
        for (chunk, out) in out.chunks_mut(LANES).enumerate() {
            let mut best = [T::LOWEST; LANES];
            let mut at = [T::ZERO; LANES];
            let mut first = true;
            for_window(window, input, output, pixel, |position, from| {
                let position = T::from_f64(position as f64);
                let values = &x[from + chunk * LANES..][..out.len()];
                for ((best, at), &value) in best.iter_mut().zip(&mut at).zip(values) {
                    // A NaN wins over every number, so that it shows.
                    let wins = first || value > *best || value.is_nan();
                    *best = if wins { value } else { *best };
                    *at = if wins { position } else { *at };
                }
                first = false;
            });
            out.copy_from_slice(&at[..out.len()]);
        }
    }
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
    for ((pixel, out), at) in out.chunks_exact_mut(c).enumerate().zip(at.chunks_exact(c)) {
        out.fill(T::ZERO);
        for_window(window, input, output, pixel, |position, from| {
            let position = T::from_f64(position as f64);
            for ((out, &at), &value) in out.iter_mut().zip(at).zip(&x[from..from + c]) {
                *out = if at == position { value } else { *out };
            }
        });
    }
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
    out.fill(T::ZERO);
    for ((pixel, g), at) in g.chunks_exact(c).enumerate().zip(at.chunks_exact(c)) {
        for_window(window, input, output, pixel, |position, to| {
            let position = T::from_f64(position as f64);
            for ((out, &at), &g) in out[to..to + c].iter_mut().zip(at).zip(g) {
                *out += if at == position { g } else { T::ZERO };
            }
        });
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
    let c = input[3];
    for (pixel, out) in out.chunks_exact_mut(c).enumerate() {
        out.fill(T::ZERO);
        for_window(window, input, output, pixel, |_, from| {
            out.iter_mut().zip(&x[from..from + c]).for_each(|(out, &x)| *out += x);
        });
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
    let c = input[3];
    out.fill(T::ZERO);
    for (pixel, g) in g.chunks_exact(c).enumerate() {
        for_window(window, input, output, pixel, |_, to| {
            out[to..to + c].iter_mut().zip(g).for_each(|(out, &g)| *out += g);
        });
    }
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
