//! Running a compiled program.

mod aligned;
mod carved;
mod elem;
mod functions;
mod kernels;
mod run;
mod sum;

use crate::plan::{Items, KernelStep, Program, Step, Tables};
use crate::tensor::{Dtype, Tensor};
use aligned::Aligned;
use elem::Elem;
pub use kernels::Isa;
pub(crate) use kernels::kept_elements;
use std::sync::Arc;
pub use sum::Sum;

/// The memory one worker needs to run a program, or several of them in turn: everything is allocated here,
/// once.
pub struct Workspace {
    memory: Memory,
    isa: Isa,
    /// Inputs and outputs of the programs it was made for.
    made_for: Vec<Arc<Tables>>,
    /// Those of the current program.
    tables: Arc<Tables>,
}

enum Memory {
    F32(Buffers<f32>),
    F64(Buffers<f64>),
}

/// Arena, elementwise registers, accumulators and kernel scratch.
struct Buffers<T> {
    arena: Aligned<T>,
    registers: Aligned<T>,
    sums: Vec<f64>,
    /// The shifts that deviations of a tile are taken from.
    row: Aligned<T>,
    scratch: Aligned<T>,
}

impl<T: Elem> Buffers<T> {
    /// Room for any one of the programs at a time.
    fn new(programs: &[&Program]) -> Buffers<T> {
        let sweeps = programs.iter().flat_map(|program| &program.sweeps);
        let steps = sweeps.flat_map(|sweep| sweep.steps.iter().map(|step| (sweep.chunk, step)));
        let scratch = steps.map(|(chunk, step)| match step {
            Step::Kernel(kernel) => kernels::scratch(kernel, Items { first: 0, count: chunk }),
            Step::Loop(_) => 0,
        });
        let most = |of: fn(&Program) -> usize| programs.iter().map(|p| of(p)).max().unwrap_or(0);
        Buffers {
            arena: Aligned::zeros(most(|p| p.arena)),
            registers: Aligned::zeros(kernels::registers_len(most(|p| p.registers))),
            sums: vec![0.0; most(|p| p.sums)],
            row: Aligned::zeros(crate::plan::TILE),
            scratch: Aligned::zeros(scratch.max().unwrap_or(0)),
        }
    }

    fn bytes(&self) -> usize {
        let elements =
            self.arena.len() + self.registers.len() + self.row.len() + self.scratch.len();
        elements * size_of::<T>() + self.sums.len() * size_of::<f64>()
    }
}

impl Program {
    /// Memory to run this program in the given precision, with the fastest kernels of this machine.
    pub fn workspace(&self, dtype: Dtype) -> Workspace {
        self.workspace_for(dtype, Isa::detect())
    }

    /// Memory to run this program with the kernels of a given instruction set; panics when this machine
    /// does not have it.
    #[track_caller]
    pub fn workspace_for(&self, dtype: Dtype, isa: Isa) -> Workspace {
        Workspace::new(&[self], dtype, isa)
    }

    /// Computes the outputs from the inputs set before. A run may overwrite its inputs: set all of them again before
    /// the next run. Allocates nothing.
    #[track_caller]
    pub fn run(&self, workspace: &mut Workspace) {
        let own = Arc::ptr_eq(&workspace.tables, &self.tables);
        assert!(own, "the workspace belongs to another program");
        match &mut workspace.memory {
            Memory::F32(buffers) => run::run(self, buffers, workspace.isa),
            Memory::F64(buffers) => run::run(self, buffers, workspace.isa),
        }
    }
}

impl Workspace {
    /// Memory shared by several programs: as much as the largest of them needs. It starts with the first;
    /// [`Workspace::enter`] switches to another. Panics without a program, and when this machine does not have the
    /// instruction set.
    #[track_caller]
    pub fn new(programs: &[&Program], dtype: Dtype, isa: Isa) -> Workspace {
        assert!(isa.available(), "this machine does not have {isa:?}");
        let memory = match dtype {
            Dtype::F32 => Memory::F32(Buffers::new(programs)),
            Dtype::F64 => Memory::F64(Buffers::new(programs)),
        };
        let made_for: Vec<_> = programs.iter().map(|program| Arc::clone(&program.tables)).collect();
        let tables = Arc::clone(made_for.first().expect("at least one program"));
        Workspace { memory, isa, made_for, tables }
    }

    /// Switches to a program, one of those this memory was made for: from now on its inputs are set and its outputs
    /// read. The outputs of the previous one are lost. Panics when it is none of them.
    #[track_caller]
    pub fn enter(&mut self, program: &Program) {
        let own = self.made_for.iter().find(|tables| Arc::ptr_eq(tables, &program.tables));
        self.tables = Arc::clone(own.expect("the workspace was not made for this program"));
    }

    /// Element type of the arena.
    pub fn dtype(&self) -> Dtype {
        match self.memory {
            Memory::F32(_) => Dtype::F32,
            Memory::F64(_) => Dtype::F64,
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        match &self.memory {
            Memory::F32(buffers) => buffers.bytes(),
            Memory::F64(buffers) => buffers.bytes(),
        }
    }

    /// Supplies an input for the next run, converted to the workspace's element type. Inputs that no output depends on
    /// are ignored. Panics when the shape differs from the declared one.
    #[track_caller]
    pub fn set(&mut self, input: usize, value: &Tensor) {
        let (slot, shape) = &self.tables.inputs[input];
        assert_eq!(shape, value.shape(), "wrong shape for input {input}");
        let Some(slot) = slot else { return };
        match &mut self.memory {
            Memory::F32(buffers) => fill(&mut buffers.arena[slot.range(ALL)], value),
            Memory::F64(buffers) => fill(&mut buffers.arena[slot.range(ALL)], value),
        }
    }

    /// Supplies a one-hot vector as an input for the next run. Panics when the input has no such place.
    #[track_caller]
    pub fn set_one_hot(&mut self, input: usize, place: usize) {
        let (slot, shape) = &self.tables.inputs[input];
        assert!(shape.len() == 1 && place < shape[0], "no place {place} in input {input}");
        let Some(slot) = slot else { return };
        match &mut self.memory {
            Memory::F32(buffers) => one_hot(&mut buffers.arena[slot.range(ALL)], place),
            Memory::F64(buffers) => one_hot(&mut buffers.arena[slot.range(ALL)], place),
        }
    }

    /// Shape of an output.
    pub fn output_shape(&self, output: usize) -> &[usize] {
        &self.tables.outputs[output].1
    }

    /// A copy of an output of the last run.
    pub fn output(&self, output: usize) -> Tensor {
        let mut value = Tensor::zeros(self.dtype(), self.output_shape(output));
        self.read(output, &mut value);
        value
    }

    /// Copies an output of the last run into a tensor of the same shape and element type.
    #[track_caller]
    pub fn read(&self, output: usize, into: &mut Tensor) {
        let (slot, shape) = &self.tables.outputs[output];
        assert_eq!(shape, into.shape(), "wrong shape for output {output}");
        self.copy(slot.range(ALL), into);
    }

    /// Copies one entry along an output's first axis into a tensor of the shape of the other axes.
    #[track_caller]
    pub fn read_entry(&self, output: usize, entry: usize, into: &mut Tensor) {
        let (slot, shape) = &self.tables.outputs[output];
        assert_eq!(shape[1..], *into.shape(), "wrong shape for entries of output {output}");
        assert!(entry < shape[0], "output {output} has {} entries", shape[0]);
        let first = slot.range(ALL).start + entry * into.len();
        self.copy(first..first + into.len(), into);
    }

    fn copy(&self, range: std::ops::Range<usize>, into: &mut Tensor) {
        match &self.memory {
            Memory::F32(buffers) => into.as_f32_mut().copy_from_slice(&buffers.arena[range]),
            Memory::F64(buffers) => into.as_f64_mut().copy_from_slice(&buffers.arena[range]),
        }
    }

    /// A scalar output of the last run.
    #[track_caller]
    pub fn read_scalar(&self, output: usize) -> f64 {
        let (slot, _) = &self.tables.outputs[output];
        assert_eq!(slot.len, 1, "output {output} is not a scalar");
        self.number(slot.offset)
    }

    /// An element of a vector output of the last run.
    #[track_caller]
    pub fn read_number(&self, output: usize, index: usize) -> f64 {
        let (slot, shape) = &self.tables.outputs[output];
        assert_eq!(shape.len(), 1, "output {output} is not a vector");
        assert!(index < shape[0], "output {output} has {} elements", shape[0]);
        self.number(slot.offset + index)
    }

    fn number(&self, at: usize) -> f64 {
        match &self.memory {
            Memory::F32(buffers) => f64::from(buffers.arena[at]),
            Memory::F64(buffers) => buffers.arena[at],
        }
    }
}

/// Inputs and outputs are whole values.
const ALL: Items = Items { first: 0, count: 1 };

fn one_hot<T: Elem>(row: &mut [T], place: usize) {
    row.fill(T::ZERO);
    row[place] = T::ONE;
}

fn fill<T: Elem>(to: &mut [T], from: &Tensor) {
    match from.dtype() {
        Dtype::F32 => to.iter_mut().zip(from.as_f32()).for_each(|(t, &f)| *t = T::from_f32(f)),
        Dtype::F64 => to.iter_mut().zip(from.as_f64()).for_each(|(t, &f)| *t = T::from_f64(f)),
    }
}
