//! Sums of arrays in double precision. Floor: memory, per number four bytes read, and eight read and written.

use super::super::elem::Elem;
use super::dispatch;

#[inline(always)]
fn accumulate_body<T: Elem, const FMA: bool>(sums: &mut [f64], x: &[T]) {
    sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x.to_f64());
}

dispatch! {
    /// `sums += x`, element by element: the same bits with every instruction set.
    fn accumulate<T: Elem>(sums: &mut [f64], x: &[T]) => accumulate_body
}
