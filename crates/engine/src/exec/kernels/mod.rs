//! The loops that do the work. Every kernel is generic over the element type and written in safe Rust;
//! those that gain from wide registers are compiled once more for AVX2 and FMA and chosen at run time.
//! The portable build is the twin the fast one is tested against.

mod conv;
mod elementwise;
mod layout;
mod matmul;
mod micro;
mod pool;

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
    argmax, concat, deviation, expand, gather, one_hot, pad, scatter, slice, sum_to, transpose,
};
pub(super) use matmul::{MatMulSizes, matmul};
pub(super) use pool::{pool_argmax, pool_pick, pool_put, pool_spread, pool_sum};

/// Instruction set the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// What the build target guarantees.
    Portable,
    /// 256-bit registers and fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2Fma,
}

impl Isa {
    /// The best one this machine has.
    pub fn detect() -> Isa {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
        {
            return Isa::Avx2Fma;
        }
        Isa::Portable
    }
}

/// Whether the portable build may use fused multiply-add: only where it is one instruction.
const PORTABLE_FMA: bool =
    cfg!(any(target_feature = "fma", all(target_arch = "aarch64", target_feature = "neon")));

/// Defines `fn name(isa, args…)` that runs `body::<T, FMA>(args…)` compiled for the given instruction
/// set. The body and everything it calls in its loops must be `#[inline(always)]`.
macro_rules! dispatch {
    ($(#[$doc:meta])* fn $name:ident<T: Elem>($($arg:ident: $type:ty),* $(,)?) => $body:ident) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments, reason = "the arguments are those of the kernel body")]
        pub(in super::super) fn $name<T: Elem>(isa: super::Isa, $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "the arguments are those of the kernel body")]
            fn wide<T: Elem>($($arg: $type),*) {
                $body::<T, true>($($arg),*)
            }
            match isa {
                super::Isa::Portable => $body::<T, { super::PORTABLE_FMA }>($($arg),*),
                #[cfg(target_arch = "x86_64")]
                #[allow(unsafe_code, reason = "calls code compiled for a detected instruction set")]
                // SAFETY: a workspace is only made for an instruction set that `Isa::detect` found.
                super::Isa::Avx2Fma => unsafe { wide::<T>($($arg),*) },
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
