//! Elementwise loops: the instructions of a plan run over one tile after another, so that everything
//! between the loop's inputs and results stays in the first-level cache.

use super::super::Buffers;
use super::super::elem::Elem;
use super::dispatch;
use crate::graph::{Binary, Unary};
use crate::plan::{Instr, Load, LoopPlan, Source, Sum, Timing};

dispatch! {
    /// Runs a whole loop.
    fn elementwise<T: Elem>(plan: &LoopPlan, buffers: &mut Buffers<T>) => elementwise_body
}

/// Where a tile lies: its group, first row and first column, and its extents.
#[derive(Clone, Copy)]
struct Tile {
    group: usize,
    row: usize,
    column: usize,
    rows: usize,
    columns: usize,
    /// First element in the domain.
    at: usize,
}

impl Tile {
    fn len(&self) -> usize {
        self.rows * self.columns
    }
}

#[inline(always)]
fn elementwise_body<T: Elem, const FMA: bool>(plan: &LoopPlan, buffers: &mut Buffers<T>) {
    let [groups, rows, columns] = plan.dims;
    for sum in &plan.sums {
        buffers.sums[sum.acc..sum.acc + sum.to.len].fill(0.0);
    }
    for load in &plan.loads {
        if let Load::Constant(value, register) = *load {
            buffers.registers[register].fill(T::from_f64(value));
        }
    }
    for group in 0..groups {
        for row in (0..rows).step_by(plan.tile_rows) {
            for column in (0..columns).step_by(plan.tile_columns) {
                let tile = Tile {
                    group,
                    row,
                    column,
                    rows: plan.tile_rows.min(rows - row),
                    columns: plan.tile_columns.min(columns - column),
                    at: (group * rows + row) * columns + column,
                };
                run_tile::<T, FMA>(plan, tile, buffers);
            }
        }
    }
    for sum in &plan.sums {
        let totals = &buffers.sums[sum.acc..sum.acc + sum.to.len];
        for (out, &total) in buffers.arena[sum.to.range()].iter_mut().zip(totals) {
            *out = T::from_f64(total);
        }
    }
}

#[inline(always)]
fn run_tile<T: Elem, const FMA: bool>(plan: &LoopPlan, tile: Tile, buffers: &mut Buffers<T>) {
    let Buffers { arena, registers, sums, row, .. } = buffers;
    for load in &plan.loads {
        if let Load::Repeat { from, strides, register, timing } = *load {
            let due = match timing {
                Timing::Once => tile.at == 0,
                Timing::PerGroup => tile.row == 0,
                Timing::PerTile => true,
            };
            if due {
                // Laid out for a full tile: later tiles of the group may be longer than this one.
                repeat(&arena[from.range()], strides, tile, &mut registers[register]);
            }
        }
    }
    let n = tile.len();
    for instr in &plan.instrs {
        let (Instr::Unary(.., to) | Instr::Binary(.., to)) = *instr;
        // Taken out while it is written, so that the others can be read.
        let mut out = std::mem::take(&mut registers[to]);
        match *instr {
            Instr::Unary(kind, x, _) => unary(kind, read(x, tile, arena, registers), &mut out[..n]),
            Instr::Binary(kind, a, b, _) => {
                let (a, b) = (read(a, tile, arena, registers), read(b, tile, arena, registers));
                binary(kind, a, b, &mut out[..n]);
            }
        }
        registers[to] = out;
    }
    for sum in &plan.sums {
        accumulate(*sum, read(sum.from, tile, arena, registers), tile, row, sums);
    }
    for store in &plan.stores {
        let to = store.to.offset + tile.at;
        arena[to..to + n].copy_from_slice(&registers[store.from][..n]);
    }
}

#[inline(always)]
fn read<'a, T>(from: Source, tile: Tile, arena: &'a [T], registers: &'a [Vec<T>]) -> &'a [T] {
    match from {
        Source::Register(register) => &registers[register][..tile.len()],
        Source::Memory(slot) => &arena[slot.offset + tile.at..][..tile.len()],
    }
}

/// Lays a smaller value out over the tile.
#[inline(always)]
fn repeat<T: Elem>(from: &[T], strides: [usize; 3], tile: Tile, register: &mut [T]) {
    let [group, row, column] = strides;
    for (r, out) in register[..tile.len()].chunks_exact_mut(tile.columns).enumerate() {
        let at = tile.group * group + (tile.row + r) * row + tile.column * column;
        if column == 0 {
            out.fill(from[at]);
        } else {
            out.copy_from_slice(&from[at..at + tile.columns]);
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

/// Adds a tile to the sums: rows of a tile in the element type, tiles in double precision.
#[inline(always)]
fn accumulate<T: Elem>(sum: Sum, x: &[T], tile: Tile, row: &mut [T], sums: &mut [f64]) {
    let [group, row_step, column] = sum.strides;
    let base = sum.acc + tile.group * group + tile.column * column;
    if row_step == 0 && column == 0 {
        sums[base] += total(x);
    } else if row_step == 0 {
        let row = &mut row[..tile.columns];
        row.fill(T::ZERO);
        for x in x.chunks_exact(tile.columns) {
            row.iter_mut().zip(x).for_each(|(sum, &x)| *sum += x);
        }
        let sums = &mut sums[base..base + tile.columns];
        sums.iter_mut().zip(row).for_each(|(sum, part)| *sum += part.to_f64());
    } else {
        for (r, x) in x.chunks_exact(tile.columns).enumerate() {
            let at = base + (tile.row + r) * row_step;
            if column == 0 {
                sums[at] += total(x);
            } else {
                let sums = &mut sums[at..at + tile.columns];
                sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x.to_f64());
            }
        }
    }
}

/// Sum in eight lanes, so that additions need not wait for one another.
#[inline(always)]
fn total<T: Elem>(x: &[T]) -> f64 {
    let (chunks, tail) = x.as_chunks::<8>();
    let mut lanes = [T::ZERO; 8];
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += x;
        }
    }
    lanes.iter().chain(tail).map(|x| x.to_f64()).sum()
}
