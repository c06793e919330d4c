//! Elementwise loops: the instructions of a plan run over one tile after another, so that everything
//! between the loop's inputs and results stays in the first-level cache.
//!
//! Floor: memory. Each value over the domain is read once and each result written once; on maps larger than the
//! second-level cache that is all the time, on smaller ones the two loads and the store of every instruction are.

use std::ops::Range;

use super::super::Buffers;
use super::super::carved::Carved;
use super::super::elem::Elem;
use super::dispatch;
use super::loop_sums::{accumulate, accumulate_deviation, clear, write};
use super::prefetch::prefetch;
use crate::graph::{Binary, Unary};
use crate::plan::{Instr, Items, Load, LoopPlan, Place, Reach, Slot, TILE, Timing};

dispatch! {
    /// Runs a loop over the items in work.
    fn elementwise<T: Elem>(
        plan: &LoopPlan, items: Items, buffers: &mut Buffers<T>,
    ) => elementwise_body
}

/// What a run works on: its part of each axis of the domain.
#[derive(Clone)]
struct Part {
    groups: Range<usize>,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Part {
    fn new(plan: &LoopPlan, items: Items) -> Part {
        let [groups, rows, columns] = plan.dims;
        let per_item = groups * rows * columns / plan.items;
        let (start, end) = (items.first * per_item, (items.first + items.count) * per_item);
        let mut part = Part { groups: 0..groups, rows: 0..rows, columns: 0..columns };
        match plan.dims {
            [1, 1, _] => part.columns = start..end,
            [1, _, _] => part.rows = start / columns..end / columns,
            _ => part.groups = start / (rows * columns)..end / (rows * columns),
        }
        part
    }
}

/// Where a tile lies: its group, first row and first column, and its extents.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub(super) group: usize,
    pub(super) row: usize,
    pub(super) column: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// First element in the domain.
    at: usize,
    pub(super) items: Items,
    /// Whether this is the first tile of the run, and of its group in the run.
    opens: [bool; 2],
}

impl Tile {
    fn len(&self) -> usize {
        self.rows * self.columns
    }

    /// This tile's elements of a value that lies over the domain.
    #[inline(always)]
    fn of(&self, slot: Slot) -> Range<usize> {
        let start = (slot.origin(self.items) + self.at as isize) as usize;
        start..start + self.len()
    }
}

#[inline(always)]
fn elementwise_body<T: Elem, const FMA: bool>(
    plan: &LoopPlan,
    items: Items,
    buffers: &mut Buffers<T>,
) {
    let [_, rows, columns] = plan.dims;
    let by_item = || plan.sums.iter().filter(|sum| sum.to.reach != Reach::Whole);
    by_item().for_each(|sum| clear(sum, &mut buffers.sums));
    for load in &plan.loads {
        if let Load::Constant(value, register) = *load {
            buffers.registers[tile_of(register)].fill(T::from_f64(value));
        }
    }
    let part = Part::new(plan, items);
    let mut first = true;
    for group in part.groups {
        let mut first_of_group = true;
        for row in part.rows.clone().step_by(plan.tile_rows) {
            for column in part.columns.clone().step_by(plan.tile_columns) {
                let tile = Tile {
                    group,
                    row,
                    column,
                    rows: plan.tile_rows.min(part.rows.end - row),
                    columns: plan.tile_columns.min(part.columns.end - column),
                    at: (group * rows + row) * columns + column,
                    items,
                    opens: [first, first_of_group],
                };
                run_tile::<T, FMA>(plan, tile, buffers);
                (first, first_of_group) = (false, false);
            }
        }
    }
    let n = plan.dims.iter().product::<usize>() / plan.items;
    by_item().for_each(|sum| write(sum, n / sum.to.len, sum.to.range(items), buffers));
}

#[inline(always)]
fn run_tile<T: Elem, const FMA: bool>(plan: &LoopPlan, tile: Tile, buffers: &mut Buffers<T>) {
    let Buffers { arena, registers, sums, row, .. } = buffers;
    for &slot in &plan.far {
        let next = tile.of(slot).end;
        prefetch(&arena[next..arena.len().min(next + tile.len())]);
    }
    for load in &plan.loads {
        if let Load::Repeat { from, strides, register, timing } = *load {
            let due = match timing {
                Timing::Once => tile.opens[0],
                Timing::PerGroup => tile.opens[1],
                Timing::PerTile => true,
            };
            if due {
                // Laid out for a full tile: later tiles of the group may be longer than this one.
                let origin = from.origin(tile.items);
                repeat(arena, origin, strides, tile, &mut registers[tile_of(register)]);
            }
        }
    }
    for instr in &plan.instrs {
        let (Instr::Unary(.., to) | Instr::Binary(.., to) | Instr::MulAdd(.., to)) = *instr;
        let (from, out) = match to {
            Place::Register(register) => {
                let (registers, out) = Carved::new(registers, part_of(register, tile));
                (Tiles { arena: Carved::all(arena), registers }, out)
            }
            Place::Memory(slot) => {
                let (arena, out) = Carved::new(arena, tile.of(slot));
                (Tiles { arena, registers: Carved::all(registers) }, out)
            }
        };
        match *instr {
            Instr::Unary(kind, x, _) => unary(kind, from.get(x, tile), out),
            Instr::Binary(kind, a, b, _) => {
                binary(kind, from.get(a, tile), from.get(b, tile), out);
            }
            Instr::MulAdd([a, b, c], _) => {
                let [a, b, c] = [from.get(a, tile), from.get(b, tile), from.get(c, tile)];
                for (((out, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
                    *out = a * b + c;
                }
            }
        }
    }
    let from = Tiles { arena: Carved::all(arena), registers: Carved::all(registers) };
    for sum in &plan.sums {
        let x = from.get(sum.from, tile);
        if sum.deviation {
            accumulate_deviation(sum, x, tile, row, sums);
        } else {
            accumulate(sum, x, tile, sums);
        }
    }
    for store in &plan.stores {
        arena[tile.of(store.to)].copy_from_slice(&registers[part_of(store.from, tile)]);
    }
}

/// Where a register's tile lies. Registers are spaced so that the same element of any sixteen of them
/// has sixteen different addresses modulo a page: a load that shares them with a store in flight waits.
fn tile_of(register: usize) -> Range<usize> {
    let start = register * REGISTER;
    start..start + TILE
}

fn part_of(register: usize, tile: Tile) -> Range<usize> {
    let start = register * REGISTER;
    start..start + tile.len()
}

/// Elements from one register to the next.
const REGISTER: usize = TILE + 64;

/// Elements that hold so many registers.
pub(in super::super) fn registers_len(registers: usize) -> usize {
    registers * REGISTER
}

/// Where instructions read from.
struct Tiles<'a, T> {
    arena: Carved<'a, T>,
    registers: Carved<'a, T>,
}

impl<'a, T> Tiles<'a, T> {
    #[inline(always)]
    fn get(&self, from: Place, tile: Tile) -> &'a [T] {
        match from {
            Place::Register(register) => self.registers.get(part_of(register, tile)),
            Place::Memory(slot) => self.arena.get(tile.of(slot)),
        }
    }
}

/// Lays a smaller value out over the tile.
#[inline(always)]
fn repeat<T: Elem>(
    arena: &[T],
    origin: isize,
    strides: [usize; 3],
    tile: Tile,
    register: &mut [T],
) {
    let [group, row, column] = strides;
    for (r, out) in register[..tile.len()].chunks_exact_mut(tile.columns).enumerate() {
        let at = tile.group * group + (tile.row + r) * row + tile.column * column;
        let at = (origin + at as isize) as usize;
        if column == 0 {
            out.fill(arena[at]);
        } else {
            out.copy_from_slice(&arena[at..at + tile.columns]);
        }
    }
}

#[inline(always)]
fn unary<T: Elem>(kind: Unary, x: &[T], out: &mut [T]) {
    #[inline(always)]
    fn each<T: Elem>(x: &[T], out: &mut [T], f: impl Fn(T) -> T) {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = f(x);
        }
    }
    match kind {
        Unary::Neg => each(x, out, |x| -x),
        Unary::Exp => each(x, out, T::exp),
        Unary::Log => each(x, out, T::ln),
        Unary::Sqrt => each(x, out, T::sqrt),
        Unary::Recip => each(x, out, T::recip),
        Unary::Tanh => each(x, out, T::tanh),
        Unary::Sin => each(x, out, T::sin),
        Unary::Cos => each(x, out, T::cos),
        // Written so that a NaN stays one.
        Unary::Relu => each(x, out, |x| if x < T::ZERO { T::ZERO } else { x }),
        Unary::Step => each(x, out, |x| if x > T::ZERO { T::ONE } else { T::ZERO }),
        Unary::Sign => each(x, out, |x| {
            if x > T::ZERO {
                T::ONE
            } else if x < T::ZERO {
                -T::ONE
            } else {
                T::ZERO
            }
        }),
    }
}

#[inline(always)]
fn binary<T: Elem>(kind: Binary, a: &[T], b: &[T], out: &mut [T]) {
    #[inline(always)]
    fn each<T: Elem>(a: &[T], b: &[T], out: &mut [T], f: impl Fn(T, T) -> T) {
        for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *out = f(a, b);
        }
    }
    match kind {
        Binary::Add => each(a, b, out, |a, b| a + b),
        Binary::Sub => each(a, b, out, |a, b| a - b),
        Binary::Mul => each(a, b, out, |a, b| a * b),
    }
}
