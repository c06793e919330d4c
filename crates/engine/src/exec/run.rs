//! One pass over the steps of a program.

use super::elem::Elem;
use super::kernels::{self, Isa};
use super::{Buffers, KernelStep};
use crate::graph::Op;
use crate::plan::{Program, Slot, Step};

pub(super) fn run<T: Elem>(program: &Program, buffers: &mut Buffers<T>, isa: Isa) {
    for step in &program.steps {
        match step {
            Step::Loop(plan) => kernels::elementwise(isa, plan, buffers),
            Step::Kernel(step) => run_kernel(isa, step, &mut buffers.arena, &mut buffers.scratch),
        }
    }
}

/// The arena without one place: that place for writing, the rest for reading.
struct Carved<'a, T> {
    before: &'a [T],
    after: &'a [T],
    start: usize,
}

impl<'a, T> Carved<'a, T> {
    fn new(arena: &'a mut [T], out: Slot) -> (Carved<'a, T>, &'a mut [T]) {
        let (before, rest) = arena.split_at_mut(out.offset);
        let (out_slice, after) = rest.split_at_mut(out.len);
        (Carved { before, after, start: out.offset + out.len }, out_slice)
    }

    /// A value that does not overlap the place carved out; overlapping panics.
    fn get(&self, slot: Slot) -> &'a [T] {
        if slot.offset >= self.start {
            &self.after[slot.offset - self.start..][..slot.len]
        } else {
            &self.before[slot.range()]
        }
    }
}

fn run_kernel<T: Elem>(isa: Isa, step: &KernelStep, arena: &mut [T], scratch: &mut [T]) {
    let (rest, out) = Carved::new(arena, step.out);
    let operand = |i: usize| rest.get(step.operands[i].0);
    let shape = |i: usize| step.operands[i].1.as_slice();
    match &step.op {
        Op::Input(_) | Op::Const(_) | Op::StopGradient(_) | Op::Reshape(_) => {
            unreachable!("{} is not a kernel", step.op.name())
        }
        Op::Unary(..) | Op::Binary(..) => unreachable!("{} runs in loops", step.op.name()),
        Op::Transpose(_, order) => kernels::transpose(operand(0), shape(0), order, out),
        Op::Expand(_) => kernels::expand(operand(0), shape(0), out, &step.shape),
        Op::SumTo(_) => kernels::sum_to(operand(0), shape(0), out, &step.shape),
        Op::Slice(_, start) => kernels::slice(operand(0), shape(0), start, out, &step.shape),
        Op::Pad(_, start) => kernels::pad(operand(0), shape(0), start, out, &step.shape),
        Op::Concat(parts, axis) => {
            let parts = (0..parts.len()).map(|i| (operand(i), shape(i)));
            kernels::concat(parts, *axis, out, &step.shape);
        }
        Op::MatMul { ta, tb, .. } => {
            let sizes = kernels::MatMulSizes::new(shape(0), &step.shape, *ta, *tb);
            kernels::matmul(isa, &sizes, operand(0), operand(1), out, scratch);
        }
        Op::Conv { window, .. } => {
            let sizes = kernels::ConvSizes::new(shape(0), &step.shape, *window);
            let packed = sizes.packed_len(kernels::ConvRole::Forward);
            let (packed, scratch) = scratch.split_at_mut(packed);
            kernels::conv_pack(isa, &sizes, operand(1), packed);
            kernels::conv(isa, &sizes, operand(0), packed, out, scratch);
        }
        Op::ConvInputGrad { window, .. } => {
            let sizes = kernels::ConvSizes::new(&step.shape, shape(0), *window);
            let packed = sizes.packed_len(kernels::ConvRole::InputGrad);
            let (packed, scratch) = scratch.split_at_mut(packed);
            kernels::conv_input_grad_pack(isa, &sizes, operand(1), packed);
            kernels::conv_input_grad(isa, &sizes, operand(0), packed, out, scratch);
        }
        Op::ConvWeightGrad { window, .. } => {
            let sizes = kernels::ConvSizes::new(shape(0), shape(1), *window);
            let sum = sizes.packed_len(kernels::ConvRole::WeightGrad);
            let (sum, scratch) = scratch.split_at_mut(sum);
            kernels::conv_weight_grad_start(isa, &sizes, sum);
            kernels::conv_weight_grad_add(isa, &sizes, operand(0), operand(1), sum, scratch);
            kernels::conv_weight_grad_finish(isa, &sizes, sum, out);
        }
        Op::PoolArgmax { window, .. } => {
            kernels::pool_argmax(isa, operand(0), shape(0), *window, out, &step.shape);
        }
        Op::PoolPick { window, .. } => {
            kernels::pool_pick(isa, operand(0), shape(0), operand(1), *window, out, &step.shape);
        }
        Op::PoolPut { window, .. } => {
            kernels::pool_put(isa, operand(0), shape(0), operand(1), *window, out, &step.shape);
        }
        Op::PoolSum { window, .. } => {
            kernels::pool_sum(isa, operand(0), shape(0), *window, out, &step.shape);
        }
        Op::PoolSpread { window, .. } => {
            kernels::pool_spread(isa, operand(0), shape(0), *window, out, &step.shape);
        }
        Op::ArgMax(_) => kernels::argmax(operand(0), shape(0), out),
        Op::OneHot(_) => kernels::one_hot(operand(0), out, &step.shape),
        Op::Gather { .. } => kernels::gather(operand(0), operand(1), out),
        Op::Scatter { .. } => kernels::scatter(operand(0), operand(1), out, &step.shape),
    }
}
