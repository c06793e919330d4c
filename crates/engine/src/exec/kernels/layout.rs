//! Moving values about unchanged: transposition, repetition, cutting and joining; indices of rows. Works row by row;
//! floor: each number is read and written once.

use super::super::elem::Elem;
use crate::tensor::{MAX_AXES, volume};

/// Calls `f(offset)` for every element of a box in row-major order, with its offset under the given
/// strides. The innermost axis is left to the caller: `f` is called once per row.
fn for_rows(shape: &[usize], strides: &[usize], mut f: impl FnMut(usize)) {
    let outer = shape.len().saturating_sub(1);
    assert!(outer < MAX_AXES, "a value of {} axes; at most {MAX_AXES} are supported", shape.len());
    let mut index = [0; MAX_AXES];
    let mut offset = 0;
    for _ in 0..volume(&shape[..outer]) {
        f(offset);
        for axis in (0..outer).rev() {
            index[axis] += 1;
            offset += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            offset -= index[axis] * strides[axis];
            index[axis] = 0;
        }
    }
}

/// Extents and strides on the stack, so that running allocates nothing.
struct Axes {
    len: usize,
    values: [usize; MAX_AXES],
}

impl Axes {
    fn new(values: impl Iterator<Item = usize>) -> Axes {
        let mut axes = Axes { len: 0, values: [0; MAX_AXES] };
        for value in values {
            assert!(axes.len < MAX_AXES, "at most {MAX_AXES} axes are supported");
            axes.values[axes.len] = value;
            axes.len += 1;
        }
        axes
    }

    fn strides(shape: &[usize]) -> Axes {
        let mut stride = volume(shape);
        Axes::new(shape.iter().map(|&extent| {
            stride = stride.checked_div(extent).unwrap_or(0);
            stride
        }))
    }

    fn get(&self) -> &[usize] {
        &self.values[..self.len]
    }
}

fn innermost(values: &[usize], scalar: usize) -> usize {
    values.last().copied().unwrap_or(scalar)
}

pub(in super::super) fn transpose<T: Elem>(
    x: &[T],
    shape: &[usize],
    order: &[usize],
    out: &mut [T],
) {
    let from = Axes::strides(shape);
    let strides = Axes::new(order.iter().map(|&axis| from.get()[axis]));
    let extents = Axes::new(order.iter().map(|&axis| shape[axis]));
    let (n, step) = (innermost(extents.get(), 1), innermost(strides.get(), 1));
    let mut rows = out.chunks_exact_mut(n.max(1));
    for_rows(extents.get(), strides.get(), |at| {
        let row = rows.next().expect("a row for every index");
        row.iter_mut().enumerate().for_each(|(i, out)| *out = x[at + i * step]);
    });
}

/// Strides of a smaller value over the axes of a larger one, zero where it is repeated.
fn repeat_strides(small: &[usize], large: &[usize]) -> Axes {
    let strides = Axes::strides(small);
    let missing = large.len() - small.len();
    Axes::new((0..large.len()).map(|axis| match axis.checked_sub(missing) {
        Some(own) if small[own] == large[axis] && large[axis] > 1 => strides.get()[own],
        _ => 0,
    }))
}

pub(in super::super) fn expand<T: Elem>(x: &[T], small: &[usize], out: &mut [T], large: &[usize]) {
    let strides = repeat_strides(small, large);
    let (n, step) = (innermost(large, 1), innermost(strides.get(), 0));
    let mut rows = out.chunks_exact_mut(n.max(1));
    for_rows(large, strides.get(), |at| {
        let row = rows.next().expect("a row for every index");
        row.iter_mut().enumerate().for_each(|(i, out)| *out = x[at + i * step]);
    });
}

pub(in super::super) fn sum_to<T: Elem>(x: &[T], large: &[usize], out: &mut [T], small: &[usize]) {
    let strides = repeat_strides(small, large);
    let (n, step) = (innermost(large, 1), innermost(strides.get(), 0));
    out.fill(T::ZERO);
    let mut rows = x.chunks_exact(n.max(1));
    for_rows(large, strides.get(), |at| {
        let row = rows.next().expect("a row for every index");
        row.iter().enumerate().for_each(|(i, &x)| out[at + i * step] += x);
    });
}

/// Squared deviations from the mean, in two passes; `mean` has room for the means.
pub(in super::super) fn deviation<T: Elem>(
    x: &[T],
    large: &[usize],
    out: &mut [T],
    small: &[usize],
    mean: &mut [T],
) {
    let mean = &mut mean[..out.len()];
    sum_to(x, large, mean, small);
    let each = T::from_f64(out.len() as f64 / x.len() as f64);
    mean.iter_mut().for_each(|mean| *mean = *mean * each);
    let strides = repeat_strides(small, large);
    let (n, step) = (innermost(large, 1), innermost(strides.get(), 0));
    out.fill(T::ZERO);
    let mut rows = x.chunks_exact(n.max(1));
    for_rows(large, strides.get(), |at| {
        let row = rows.next().expect("a row for every index");
        for (i, &x) in row.iter().enumerate() {
            let off = x - mean[at + i * step];
            out[at + i * step] += off * off;
        }
    });
}

/// Offset of a box's first element in the array it lies in.
fn corner(start: &[usize], strides: &[usize]) -> usize {
    start.iter().zip(strides).map(|(at, stride)| at * stride).sum()
}

pub(in super::super) fn slice<T: Elem>(
    x: &[T],
    from: &[usize],
    start: &[usize],
    out: &mut [T],
    shape: &[usize],
) {
    let strides = Axes::strides(from);
    let (n, base) = (innermost(shape, 1), corner(start, strides.get()));
    let mut rows = out.chunks_exact_mut(n.max(1));
    for_rows(shape, strides.get(), |at| {
        rows.next().expect("a row for every index").copy_from_slice(&x[base + at..][..n]);
    });
}

pub(in super::super) fn pad<T: Elem>(
    x: &[T],
    from: &[usize],
    start: &[usize],
    out: &mut [T],
    shape: &[usize],
) {
    out.fill(T::ZERO);
    let strides = Axes::strides(shape);
    let (n, base) = (innermost(from, 1), corner(start, strides.get()));
    let mut rows = x.chunks_exact(n.max(1));
    for_rows(from, strides.get(), |at| {
        out[base + at..][..n].copy_from_slice(rows.next().expect("a row for every index"));
    });
}

pub(in super::super) fn concat<'a, T: Elem>(
    parts: impl Iterator<Item = (&'a [T], &'a [usize])>,
    axis: usize,
    out: &mut [T],
    shape: &[usize],
) {
    let width = volume(&shape[axis..]);
    let mut at = 0;
    for (x, part) in parts {
        let n = volume(&part[axis..]);
        for (to, from) in out.chunks_exact_mut(width.max(1)).zip(x.chunks_exact(n.max(1))) {
            to[at..at + n].copy_from_slice(from);
        }
        at += n;
    }
}

pub(in super::super) fn argmax<T: Elem>(x: &[T], shape: &[usize], out: &mut [T]) {
    let n = innermost(shape, 1);
    for (row, out) in x.chunks_exact(n.max(1)).zip(out) {
        let mut best = 0;
        for (i, value) in row.iter().enumerate() {
            // The first NaN wins, as in NumPy.
            if *value > row[best] || (value.is_nan() && !row[best].is_nan()) {
                best = i;
            }
        }
        *out = T::from_f64(best as f64);
    }
}

pub(in super::super) fn one_hot<T: Elem>(at: &[T], out: &mut [T], shape: &[usize]) {
    let n = innermost(shape, 1);
    for (&at, row) in at.iter().zip(out.chunks_exact_mut(n.max(1))) {
        for (i, out) in row.iter_mut().enumerate() {
            *out = if T::from_f64(i as f64) == at { T::ONE } else { T::ZERO };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::row_major_strides;

    #[test]
    fn strides_agree_with_the_tensor_module() {
        for shape in [&[2, 3, 4][..], &[5], &[1, 1, 2]] {
            assert_eq!(Axes::strides(shape).get(), row_major_strides(shape));
        }
    }
}
