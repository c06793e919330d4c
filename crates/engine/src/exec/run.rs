//! One pass over the sweeps of a program.

use super::carved::Carved;
use super::elem::Elem;
use super::kernels::{self, ConvSizes, Isa};
use super::{Buffers, KernelStep};
use crate::graph::Op;
use crate::plan::{Items, Program, Reach, Slot, Step, Sweep};

pub(super) fn run<T: Elem>(program: &Program, buffers: &mut Buffers<T>, isa: Isa) {
    for sweep in &program.sweeps {
        run_sweep(sweep, buffers, isa);
    }
}

fn run_sweep<T: Elem>(sweep: &Sweep, buffers: &mut Buffers<T>, isa: Isa) {
    for step in &sweep.steps {
        match step {
            Step::Loop(plan) => kernels::start_sums(plan, buffers),
            Step::Kernel(step) => start_kernel(isa, step, &mut buffers.arena),
        }
    }
    for first in (0..sweep.items).step_by(sweep.chunk) {
        let items = Items { first, count: sweep.chunk.min(sweep.items - first) };
        for step in &sweep.steps {
            match step {
                Step::Loop(plan) => kernels::elementwise(isa, plan, items, buffers),
                Step::Kernel(step) => {
                    run_kernel(isa, step, items, &mut buffers.arena, &mut buffers.scratch);
                }
            }
        }
    }
    for step in &sweep.steps {
        match step {
            Step::Loop(plan) => kernels::finish_sums(plan, buffers),
            Step::Kernel(step) => finish_kernel(isa, step, &mut buffers.arena),
        }
    }
}

/// All of a value that is not read item by item.
const ALL: Items = Items { first: 0, count: 1 };

/// Extents of the part of an image value that a step works on.
fn image(shape: &[usize], slot: Slot, items: Items) -> [usize; 4] {
    let [n, h, w, c] = *shape else { unreachable!("images have four axes") };
    [if slot.reach == Reach::Whole { n } else { items.count }, h, w, c]
}

/// Extents of a convolution step on the items in work.
pub(super) fn conv_sizes(step: &KernelStep, items: Items) -> ConvSizes {
    let operand = |i: usize| image(&step.operands[i].1, step.operands[i].0, items);
    match step.op {
        Op::Conv { window, .. } => {
            ConvSizes::new(&operand(0), &image(&step.shape, step.out, items), window)
        }
        Op::ConvInputGrad { window, .. } => {
            ConvSizes::new(&image(&step.shape, step.out, items), &operand(0), window)
        }
        Op::ConvWeightGrad { window, .. } => ConvSizes::new(&operand(0), &operand(1), window),
        _ => unreachable!("{} is not a convolution", step.op.name()),
    }
}

/// What a step does once before the first chunk: pack weights, clear sums.
fn start_kernel<T: Elem>(isa: Isa, step: &KernelStep, arena: &mut [T]) {
    let (rest, kept) = Carved::new(arena, step.kept.range(ALL));
    let w = || rest.get(step.operands[1].0.range(ALL));
    match step.op {
        Op::Conv { .. } => kernels::conv_pack(isa, &conv_sizes(step, ALL), w(), kept),
        Op::ConvInputGrad { .. } => {
            kernels::conv_input_grad_pack(isa, &conv_sizes(step, ALL), w(), kept);
        }
        Op::ConvWeightGrad { .. } => {
            kernels::conv_weight_grad_start(isa, &conv_sizes(step, ALL), kept);
        }
        _ => {}
    }
}

/// What a step does once after the last chunk.
fn finish_kernel<T: Elem>(isa: Isa, step: &KernelStep, arena: &mut [T]) {
    if let Op::ConvWeightGrad { .. } = step.op {
        let (rest, out) = Carved::new(arena, step.out.range(ALL));
        let sums = rest.get(step.kept.range(ALL));
        kernels::conv_weight_grad_finish(isa, &conv_sizes(step, ALL), sums, out);
    }
}

fn run_kernel<T: Elem>(
    isa: Isa,
    step: &KernelStep,
    items: Items,
    arena: &mut [T],
    scratch: &mut [T],
) {
    let sums = matches!(step.op, Op::ConvWeightGrad { .. });
    let target = if sums { step.kept } else { step.out };
    let (rest, out) = Carved::new(arena, target.range(items));
    let operand = |i: usize| rest.get(step.operands[i].0.range(items));
    let shape = |i: usize| step.operands[i].1.as_slice();
    let image_of = |i: usize| image(shape(i), step.operands[i].0, items);
    let image_out = || image(&step.shape, step.out, items);
    match &step.op {
        Op::Input(_) | Op::Const(_) | Op::StopGradient(..) | Op::Reshape(_) => {
            unreachable!("{} is not a kernel", step.op.name())
        }
        Op::Unary(..) | Op::Binary(..) => unreachable!("{} runs in loops", step.op.name()),
        Op::Transpose(_, order) => kernels::transpose(operand(0), shape(0), order, out),
        Op::Expand(_) => kernels::expand(operand(0), shape(0), out, &step.shape),
        Op::SumTo(_) => kernels::sum_to(operand(0), shape(0), out, &step.shape),
        Op::Deviation(_) => {
            kernels::deviation(operand(0), shape(0), out, &step.shape, scratch);
        }
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
        Op::Conv { .. } => {
            let packed = rest.get(step.kept.range(ALL));
            kernels::conv(isa, &conv_sizes(step, items), operand(0), packed, out, scratch);
        }
        Op::ConvInputGrad { .. } => {
            let packed = rest.get(step.kept.range(ALL));
            let sizes = conv_sizes(step, items);
            kernels::conv_input_grad(isa, &sizes, operand(0), packed, out, scratch);
        }
        Op::ConvWeightGrad { .. } => {
            let sizes = conv_sizes(step, items);
            kernels::conv_weight_grad_add(isa, &sizes, operand(0), operand(1), out, scratch);
        }
        Op::PoolArgmax { window, .. } => {
            let argmax =
                if step.packed { kernels::pool_argmax_packed } else { kernels::pool_argmax };
            argmax(isa, operand(0), &image_of(0), operand(1), *window, out, &image_out());
        }
        Op::PoolPick { window, .. } => {
            let (x, at) = (operand(0), operand(1));
            let pick = if step.packed { kernels::pool_pick_packed } else { kernels::pool_pick };
            pick(isa, x, &image_of(0), at, *window, out, &image_out());
        }
        Op::PoolPut { window, .. } => {
            let (g, at) = (operand(0), operand(1));
            let put = if step.packed { kernels::pool_put_packed } else { kernels::pool_put };
            put(isa, g, &image_of(0), at, *window, out, &image_out());
        }
        Op::PoolSum { window, .. } => {
            kernels::pool_sum(isa, operand(0), &image_of(0), *window, out, &image_out());
        }
        Op::PoolSpread { window, .. } => {
            kernels::pool_spread(isa, operand(0), &image_of(0), *window, out, &image_out());
        }
        Op::ArgMax(_) => kernels::argmax(operand(0), shape(0), out),
        Op::OneHot(_) => kernels::one_hot(operand(0), out, &step.shape),
    }
}
