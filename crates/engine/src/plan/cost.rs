//! Work and memory of a plan, counted from its steps.

use super::{Instr, KernelStep, Reach, Slot, Step, Sweep, loops};
use crate::graph::Op;
use crate::tensor::volume;

/// Counts for one run of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations of convolutions and matrix products; a multiply-add counts as two. A Winograd
    /// convolution counts like the direct one, though it takes a quarter of the products.
    pub product_flops: u64,
    /// Elementwise operations and sums.
    pub elementwise_ops: u64,
    /// Elements that steps read from and write to memory, except values that live only for a chunk of a sweep.
    pub moved_elements: u64,
    /// Elements of the arena: the most that is alive at once, plus what packing wastes.
    pub arena_elements: u64,
    /// Loops and kernels.
    pub steps: u64,
}

impl Cost {
    pub(super) fn of(sweeps: &[Sweep], arena: usize) -> Cost {
        let mut cost = Cost { arena_elements: arena as u64, ..Cost::default() };
        for (items, step) in sweeps.iter().flat_map(|s| s.steps.iter().map(|step| (s.items, step)))
        {
            // Values that live only for a chunk stay in the cache.
            let moved = |slot: Slot| match slot.reach {
                Reach::Whole => slot.len as u64,
                Reach::Stored => (slot.len * items) as u64,
                Reach::Local => 0,
            };
            cost.steps += 1;
            match step {
                Step::Loop(plan) => {
                    let n = plan.dims.iter().product::<usize>() as u64;
                    let work: usize = plan.instrs.iter().map(instr_weight).sum();
                    cost.elementwise_ops += n * (work + plan.sums.len()) as u64;
                    cost.moved_elements += n * plan.traffic as u64;
                }
                Step::Kernel(kernel) => {
                    cost.product_flops += product_flops(kernel);
                    let read: u64 = kernel.operands.iter().map(|&(slot, _)| moved(slot)).sum();
                    cost.moved_elements += read + moved(kernel.out);
                }
            }
        }
        cost
    }
}

fn instr_weight(instr: &Instr) -> usize {
    match instr {
        Instr::Unary(kind, ..) => loops::weight(*kind),
        Instr::Binary(..) => 1,
        Instr::MulAdd(..) => 2,
    }
}

fn product_flops(kernel: &KernelStep) -> u64 {
    let shape = |i: usize| &kernel.operands[i].1;
    let out = &kernel.shape;
    let flops = match &kernel.op {
        Op::MatMul { ta, .. } => {
            let a = shape(0);
            let k = if *ta { a[a.len() - 2] } else { a[a.len() - 1] };
            volume(out) * k
        }
        // Each convolution meets every output pixel with the whole kernel.
        Op::Conv { .. } => out[0] * out[1] * out[2] * volume(shape(1)),
        Op::ConvInputGrad { .. } => volume(&shape(0)[..3]) * volume(shape(1)),
        Op::ConvWeightGrad { .. } => volume(&shape(1)[..3]) * volume(out),
        _ => 0,
    };
    2 * flops as u64
}
