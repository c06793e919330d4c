//! The element types kernels are generic over.

use bytemuck::Pod;
use std::ops::{Add, AddAssign, Mul, Neg, Sub};

use super::functions;

/// What a position in a pooling window is written as.
pub(super) trait Position: Copy + PartialEq {
    fn position(at: usize) -> Self;
}

macro_rules! position {
    ($($t:ty),*) => {$(
        impl Position for $t {
            #[inline(always)]
            fn position(at: usize) -> Self {
                at as $t
            }
        }
    )*};
}

position!(f32, f64, u8, u16);

/// `f32` or `f64`.
pub(super) trait Elem:
    Copy
    + Position
    + Pod
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + Send
    + Sync
    + 'static
{
    /// A whole number of a quarter of this type's size.
    type Quarter: Position + Pod;
    const ZERO: Self;
    const ONE: Self;
    const LOWEST: Self;
    fn from_f32(x: f32) -> Self;
    fn from_f64(x: f64) -> Self;
    fn to_f64(self) -> f64;
    fn is_nan(self) -> bool;
    /// `self · a + b`, rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
    fn exp(self) -> Self;
    fn ln(self) -> Self;
    fn sqrt(self) -> Self;
    fn recip(self) -> Self;
    fn tanh(self) -> Self;
    fn sin(self) -> Self;
    fn cos(self) -> Self;
}

macro_rules! elem {
    ($t:ty, $quarter:ty, $functions:ident) => {
        impl Elem for $t {
            type Quarter = $quarter;
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LOWEST: Self = <$t>::NEG_INFINITY;
            #[inline(always)]
            fn from_f32(x: f32) -> Self {
                x.into()
            }
            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $t
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self.into()
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                <$t>::is_nan(self)
            }
            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                <$t>::mul_add(self, a, b)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $functions::exp(self)
            }
            #[inline(always)]
            fn ln(self) -> Self {
                $functions::ln(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                <$t>::sqrt(self)
            }
            #[inline(always)]
            fn recip(self) -> Self {
                <$t>::recip(self)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                $functions::tanh(self)
            }
            #[inline(always)]
            fn sin(self) -> Self {
                <$t>::sin(self)
            }
            #[inline(always)]
            fn cos(self) -> Self {
                <$t>::cos(self)
            }
        }
    };
}

elem!(f32, u8, functions);
elem!(f64, u16, f64);
