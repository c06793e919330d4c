//! The loops that do the work. Every kernel is generic over the element type and written in safe Rust;
//! those that gain from wide registers are compiled once more for AVX2 and for AVX-512 and chosen at run
//! time. The portable build is the twin the fast ones are tested against.

mod conv;
mod elementwise;
mod layout;
mod matmul;
mod micro;
mod pool;
mod prefetch;
mod sums;
mod turn;

#[cfg(test)]
mod tests;

use crate::graph::Op;
use crate::plan::{Items, KernelStep};
use crate::tensor::volume;

pub(super) use conv::{
    ConvRole, ConvSizes, conv, conv_input_grad, conv_input_grad_pack, conv_pack,
    conv_weight_grad_add, conv_weight_grad_finish, conv_weight_grad_start,
};
pub(super) use elementwise::{elementwise, finish_sums, registers_len, start_sums};
pub(super) use layout::{
    argmax, concat, deviation, expand, one_hot, pad, slice, sum_to, transpose,
};
pub(super) use matmul::{MatMulSizes, matmul};
pub(super) use pool::{
    pool_argmax, pool_argmax_packed, pool_pick, pool_pick_packed, pool_put, pool_put_packed,
    pool_spread, pool_sum,
};
pub(super) use sums::accumulate;

/// Instruction set the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// What the build target guarantees.
    Portable,
    /// 256-bit registers and fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2Fma,
    /// 512-bit registers, twice as many of them, and fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// The best one this machine has.
    pub fn detect() -> Isa {
        #[cfg(target_arch = "x86_64")]
        if let Some(best) = [Isa::Avx512, Isa::Avx2Fma].into_iter().find(|isa| isa.available()) {
            return best;
        }
        Isa::Portable
    }

    /// Whether this machine has it.
    pub fn available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        use std::arch::is_x86_feature_detected as has;
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2Fma => has!("avx2") && has!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                let vectors = has!("avx512f") && has!("avx512vl");
                vectors && has!("avx512dq") && has!("avx512bw") && has!("fma")
            }
        }
    }
}

/// Whether the portable build may use fused multiply-add: only where it is one instruction.
const PORTABLE_FMA: bool =
    cfg!(any(target_feature = "fma", all(target_arch = "aarch64", target_feature = "neon")));

/// Defines `fn name(isa, args…)` that runs `body::<T, FMA>(args…)` compiled for the given instruction
/// set; with `<T: Elem, BYTES>` the body is also told the width of its registers,
/// `body::<T, FMA, BYTES>(args…)`. The body and everything it calls in its loops must be
/// `#[inline(always)]`.
macro_rules! dispatch {
    ($(#[$doc:meta])* fn $name:ident<T: Elem>($($arg:ident: $type:ty),* $(,)?) => $body:ident) => {
        dispatch! {
            @define $(#[$doc])* $name ($($arg: $type),*) $body
            [{ crate::exec::kernels::PORTABLE_FMA }] [true] [true]
        }
    };
    (
        $(#[$doc:meta])*
        fn $name:ident<T: Elem, BYTES>($($arg:ident: $type:ty),* $(,)?) => $body:ident
    ) => {
        dispatch! {
            @define $(#[$doc])* $name ($($arg: $type),*) $body
            [{ crate::exec::kernels::PORTABLE_FMA }, 16] [true, 32] [true, 64]
        }
    };
    (
        @define $(#[$doc:meta])* $name:ident ($($arg:ident: $type:ty),*) $body:ident
        [$($portable:tt)*] [$($avx2:tt)*] [$($avx512:tt)*]
    ) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments, reason = "the arguments are those of the kernel body")]
        pub(in crate::exec) fn $name<T: Elem>(isa: crate::exec::Isa, $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "the arguments are those of the kernel body")]
            fn avx2<T: Elem>($($arg: $type),*) {
                $body::<T, $($avx2)*>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,fma")]
            #[allow(clippy::too_many_arguments, reason = "the arguments are those of the kernel body")]
            fn avx512<T: Elem>($($arg: $type),*) {
                $body::<T, $($avx512)*>($($arg),*)
            }
            match isa {
                crate::exec::Isa::Portable => $body::<T, $($portable)*>($($arg),*),
                #[cfg(target_arch = "x86_64")]
                #[allow(unsafe_code, reason = "calls code compiled for a detected instruction set")]
                // SAFETY: a workspace is only made for an instruction set that this machine has.
                crate::exec::Isa::Avx2Fma => unsafe { avx2::<T>($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                #[allow(unsafe_code, reason = "calls code compiled for a detected instruction set")]
                // SAFETY: a workspace is only made for an instruction set that this machine has.
                crate::exec::Isa::Avx512 => unsafe { avx512::<T>($($arg),*) },
            }
        }
    };
}
use dispatch;

/// Elements of scratch a step needs for a chunk of the given items.
pub(super) fn scratch(step: &KernelStep, items: Items) -> usize {
    match &step.op {
        Op::MatMul { ta, tb, .. } => {
            MatMulSizes::new(&step.operands[0].1, &step.shape, *ta, *tb).scratch()
        }
        Op::Conv { .. } | Op::ConvInputGrad { .. } | Op::ConvWeightGrad { .. } => {
            super::run::conv_sizes(step, items).scratch()
        }
        Op::Deviation(_) => volume(&step.shape),
        _ => 0,
    }
}

/// Elements a step keeps from the first chunk to the last: packed weights, or sums.
pub(crate) fn kept_elements(op: &Op, operands: &[&[usize]], out: &[usize]) -> usize {
    match op {
        Op::Conv { window, .. } => {
            ConvSizes::new(operands[0], out, *window).packed_len(ConvRole::Forward)
        }
        Op::ConvInputGrad { window, .. } => {
            ConvSizes::new(out, operands[0], *window).packed_len(ConvRole::InputGrad)
        }
        Op::ConvWeightGrad { window, .. } => {
            ConvSizes::new(operands[0], operands[1], *window).packed_len(ConvRole::WeightGrad)
        }
        _ => 0,
    }
}
