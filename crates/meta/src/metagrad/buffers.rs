//! The data outside the programs: the arrays of the tasks that run together, and copies between the values of a group
//! and those of one task.
//!
//! Values of a group of several tasks have a leading axis with one entry per task; a group of one has none.

use innerloop_engine::{Dtype, Tensor, Workspace};

use super::structure::Structure;
use super::{TaskData, TaskResult};
use crate::minibatch::Passes;

/// Buffers of the tasks that run together, outside the programs.
pub(super) struct Buffers {
    /// Support and query arrays of a group of several tasks; those of a single task are read in place.
    support: Vec<Tensor>,
    query: Vec<Tensor>,
    /// Minibatches, per step and array; empty when steps take the whole support set.
    batches: Vec<Vec<Tensor>>,
    passes: Passes,
    /// Statistics of one pass.
    pub(super) statistics: Vec<Tensor>,
}

impl Buffers {
    pub(super) fn new(structure: &Structure, dtype: Dtype) -> Buffers {
        Buffers::with_steps(structure, dtype, structure.most_steps())
    }

    /// Buffers for an inner loop with another number of steps than in training.
    pub(super) fn with_steps(structure: &Structure, dtype: Dtype, steps: usize) -> Buffers {
        let zeros = |shapes: &[Vec<usize>]| -> Vec<Tensor> {
            shapes.iter().map(|shape| Tensor::zeros(dtype, &structure.stacked(shape))).collect()
        };
        let grouped = |shapes| if structure.group > 1 { zeros(shapes) } else { Vec::new() };
        Buffers {
            support: grouped(&structure.support),
            query: grouped(&structure.query),
            batches: match structure.batch {
                Some(_) => vec![zeros(&structure.step_support); steps.max(1)],
                None => Vec::new(),
            },
            passes: Passes::new(structure.support_examples),
            statistics: zeros(structure.statistics.values()),
        }
    }

    /// An array of the whole support set.
    pub(super) fn support<'a>(&'a self, tasks: &[TaskData<'a>], array: usize) -> &'a Tensor {
        self.support.get(array).unwrap_or_else(|| tasks[0].support[array])
    }

    /// An array of the query set.
    pub(super) fn query<'a>(&'a self, tasks: &[TaskData<'a>], array: usize) -> &'a Tensor {
        self.query.get(array).unwrap_or_else(|| tasks[0].query[array])
    }

    /// An array of the support examples of inner step `k`.
    pub(super) fn batch<'a>(
        &'a self,
        tasks: &[TaskData<'a>],
        k: usize,
        array: usize,
    ) -> &'a Tensor {
        match self.batches.get(k) {
            Some(batch) => &batch[array],
            None => self.support(tasks, array),
        }
    }

    /// Copies the arrays of a group, and its minibatches. Missing tasks at the end repeat the last one.
    pub(super) fn gather(&mut self, structure: &Structure, tasks: &[TaskData<'_>]) {
        for task in tasks {
            for (given, shapes) in
                [(task.support, &structure.support), (task.query, &structure.query)]
            {
                let fits = given.len() >= shapes.len()
                    && given.iter().zip(shapes).all(|(array, shape)| array.shape() == shape);
                assert!(fits, "arrays of a task differ in shape from the problem's, {shapes:?}");
            }
        }
        for member in 0..structure.group {
            let task = tasks[member.min(tasks.len() - 1)];
            for (to, from) in self.support.iter_mut().zip(task.support) {
                put(to, member, from);
            }
            for (to, from) in self.query.iter_mut().zip(task.query) {
                put(to, member, from);
            }
            let Some(batch) = structure.batch else { continue };
            self.passes.begin(task.key);
            for (k, arrays) in self.batches.iter_mut().enumerate() {
                for row in 0..batch {
                    let index = self.passes.at(k * batch + row);
                    for (to, from) in arrays.iter_mut().zip(task.support) {
                        let n = from.len() / from.shape()[0];
                        copy_part(to, (member * batch + row) * n, from, index * n, n);
                    }
                }
            }
        }
    }

    /// Copies the statistics of one pass to each task's result.
    pub(super) fn hand_out_statistics(&self, pass: usize, results: &mut [TaskResult]) {
        for (member, result) in results.iter_mut().enumerate() {
            for (to, from) in result.statistics.values_mut().iter_mut().zip(&self.statistics) {
                let n = to.len() / to.shape()[0];
                copy_part(to, pass * n, from, member * n, n);
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let arrays = self.support.iter().chain(&self.query).chain(self.batches.iter().flatten());
        arrays.chain(&self.statistics).map(bytes_of).sum()
    }
}

/// Bytes of a tensor's elements.
pub(super) fn bytes_of(tensor: &Tensor) -> usize {
    tensor.len() * if tensor.dtype() == Dtype::F32 { 4 } else { 8 }
}

/// Copies `n` consecutive elements; each tensor keeps its element type.
fn copy_part(to: &mut Tensor, at: usize, from: &Tensor, start: usize, n: usize) {
    match (to.dtype(), from.dtype()) {
        (Dtype::F32, Dtype::F32) => {
            to.as_f32_mut()[at..at + n].copy_from_slice(&from.as_f32()[start..start + n]);
        }
        (Dtype::F64, Dtype::F64) => {
            to.as_f64_mut()[at..at + n].copy_from_slice(&from.as_f64()[start..start + n]);
        }
        _ => (0..n).for_each(|i| to.set(at + i, from.get(start + i))),
    }
}

/// Copies one task's value to its place among those of a group.
pub(super) fn put(group: &mut Tensor, member: usize, one: &Tensor) {
    let n = one.len();
    copy_part(group, member * n, one, 0, n);
}

/// Copies one task's value from its place among those of a group.
pub(super) fn take(one: &mut Tensor, group: &Tensor, member: usize) {
    let n = one.len();
    copy_part(one, 0, group, member * n, n);
}

/// One task's part of values of a group.
pub(super) fn take_all(one: &mut [Tensor], group: &[Tensor], member: usize) {
    one.iter_mut().zip(group).for_each(|(one, group)| take(one, group, member));
}

/// Adds a tensor of the same shape and element type.
pub(super) fn add(sum: &mut Tensor, x: &Tensor) {
    match x.dtype() {
        Dtype::F32 => {
            sum.as_f32_mut().iter_mut().zip(x.as_f32()).for_each(|(sum, x)| *sum += x);
        }
        Dtype::F64 => {
            sum.as_f64_mut().iter_mut().zip(x.as_f64()).for_each(|(sum, x)| *sum += x);
        }
    }
}

/// Sets all elements to zero.
pub(super) fn zero(tensor: &mut Tensor) {
    match tensor.dtype() {
        Dtype::F32 => tensor.as_f32_mut().fill(0.0),
        Dtype::F64 => tensor.as_f64_mut().fill(0.0),
    }
}

/// Copies numbers into a tensor of the same shape, whose memory and element type stay.
pub(super) fn copy(to: &mut Tensor, from: &Tensor) {
    assert_eq!(to.shape(), from.shape(), "cannot copy between tensors of different shapes");
    spread(to, from);
}

/// Copies a value that all tasks share to every place of a group; the element type stays.
pub(super) fn spread(group: &mut Tensor, one: &Tensor) {
    (0..group.len() / one.len()).for_each(|member| put(group, member, one));
}

/// Reads consecutive outputs, from `first` on, into tensors.
pub(super) fn read_all(workspace: &Workspace, first: usize, into: &mut [Tensor]) {
    for (i, tensor) in into.iter_mut().enumerate() {
        workspace.read(first + i, tensor);
    }
}
