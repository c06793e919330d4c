//! Elementwise loops: the instructions of a plan run over one tile after another, so that everything
//! between the loop's inputs and results stays in the first-level cache.
//!
//! Floor: memory. Each value over the domain is read once and each result written once. On maps larger than the
//! second-level cache this takes all the time; on smaller ones, the two loads and the store of every instruction do.

use std::ops::Range;

use super::super::Buffers;
use super::super::carved::Carved;
use super::super::elem::Elem;
use super::dispatch;
use super::prefetch::prefetch;
use crate::graph::{Binary, Unary};
use crate::plan::{Instr, Items, Load, LoopPlan, Place, Reach, Slot, Sum, TILE, Timing};

dispatch! {
    /// Runs a loop over the items in work.
    fn elementwise<T: Elem>(
        plan: &LoopPlan, items: Items, buffers: &mut Buffers<T>,
    ) => elementwise_body
}

/// Clears the sums that are gathered over all items.
pub(in super::super) fn start_sums<T: Elem>(plan: &LoopPlan, buffers: &mut Buffers<T>) {
    for sum in plan.sums.iter().filter(|sum| sum.to.reach == Reach::Whole) {
        clear(sum, &mut buffers.sums);
    }
}

/// Writes out the sums that were gathered over all items.
pub(in super::super) fn finish_sums<T: Elem>(plan: &LoopPlan, buffers: &mut Buffers<T>) {
    let n: usize = plan.dims.iter().product();
    for sum in plan.sums.iter().filter(|sum| sum.to.reach == Reach::Whole) {
        let to = sum.to.offset..sum.to.offset + sum.len;
        write(sum, n / sum.len, to, buffers);
    }
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
struct Tile {
    group: usize,
    row: usize,
    column: usize,
    rows: usize,
    columns: usize,
    /// First element in the domain.
    at: usize,
    items: Items,
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

fn clear(sum: &Sum, sums: &mut [f64]) {
    let len = if sum.deviation { 3 * sum.len } else { sum.len };
    sums[sum.acc..sum.acc + len].fill(0.0);
    if sum.deviation {
        // No shift is known yet.
        sums[sum.acc..sum.acc + sum.len].fill(f64::NAN);
    }
}

/// Writes out sums, each of `n` elements.
fn write<T: Elem>(sum: &Sum, n: usize, to: Range<usize>, buffers: &mut Buffers<T>) {
    let sums = &buffers.sums[sum.acc..];
    for (i, out) in buffers.arena[to].iter_mut().enumerate() {
        *out = T::from_f64(if sum.deviation {
            // Σ (x − x̄)² = Σ d² − (Σ d)² / n with d = x − shift, and the shift near the mean.
            let (total, square) = (sums[sum.len + i], sums[2 * sum.len + i]);
            let deviation = square - total * total / n as f64;
            if deviation < 0.0 { 0.0 } else { deviation }
        } else {
            sums[i]
        });
    }
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

/// Elements that hold this many registers.
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
        // Written so that NaN stays NaN.
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

/// First of the sums a tile adds to. Sums by item start with the first item in work.
#[inline(always)]
fn base(sum: &Sum, tile: Tile) -> usize {
    let [group, row, column] = sum.strides;
    let skipped = if sum.to.reach == Reach::Whole { 0 } else { tile.items.first * sum.to.len };
    tile.group * group + tile.row * row + tile.column * column - skipped
}

/// Adds a tile to the sums: rows of a tile in the element type, tiles in double precision.
#[inline(always)]
fn accumulate<T: Elem>(sum: &Sum, x: &[T], tile: Tile, sums: &mut [f64]) {
    let [_, row_step, column] = sum.strides;
    let sums = &mut sums[sum.acc + base(sum, tile)..];
    if row_step == 0 && column == 0 {
        sums[0] += total(x);
    } else if row_step == 0 {
        column_sums(x, tile.columns, sums);
    } else {
        for (r, x) in x.chunks_exact(tile.columns).enumerate() {
            let sums = &mut sums[r * row_step..];
            if column == 0 {
                sums[0] += total(x);
            } else {
                sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x.to_f64());
            }
        }
    }
}

/// Columns summed side by side, their sums in registers.
const LANES: usize = 32;
/// The same where fewer columns are left.
const FEW: usize = 8;

/// Adds the columns of a tile, each summed in the element type.
#[inline(always)]
fn column_sums<T: Elem>(x: &[T], columns: usize, sums: &mut [f64]) {
    let mut at = 0;
    while columns - at >= LANES {
        block_sums::<T, LANES>(&x[at..], columns, &mut sums[at..]);
        at += LANES;
    }
    while columns - at >= FEW {
        block_sums::<T, FEW>(&x[at..], columns, &mut sums[at..]);
        at += FEW;
    }
    for at in at..columns {
        block_sums::<T, 1>(&x[at..], columns, &mut sums[at..]);
    }
}

/// Adds the first `L` columns.
#[inline(always)]
fn block_sums<T: Elem, const L: usize>(x: &[T], columns: usize, sums: &mut [f64]) {
    let mut lanes = [T::ZERO; L];
    for x in x.chunks(columns) {
        let x: &[T; L] = x.first_chunk().expect("the block lies in the row");
        for j in 0..L {
            lanes[j] += x[j];
        }
    }
    for (sum, lane) in sums[..L].iter_mut().zip(lanes) {
        *sum += lane.to_f64();
    }
}

/// Deviations of some columns from their shifts, and the squares, summed in registers.
#[inline(always)]
fn block_deviations<T: Elem>(x: &[T], shift: &[T], columns: usize) -> [[T; LANES]; 2] {
    let shift: [T; LANES] = *shift.first_chunk().expect("the block lies in the row");
    let (mut total, mut square) = ([T::ZERO; LANES], [T::ZERO; LANES]);
    for x in x.chunks(columns) {
        let x: &[T; LANES] = x.first_chunk().expect("the block lies in the row");
        let mut off = [T::ZERO; LANES];
        for j in 0..LANES {
            off[j] = x[j] - shift[j];
        }
        for j in 0..LANES {
            total[j] += off[j];
        }
        for j in 0..LANES {
            square[j] += off[j] * off[j];
        }
    }
    [total, square]
}

/// Adds deviations from the shifts, and their squares, column by column.
#[inline(always)]
fn column_deviations<T: Elem>(x: &[T], shift: &[T], totals: &mut [f64], squares: &mut [f64]) {
    let columns = shift.len();
    let whole = columns / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        let [total, square] = block_deviations(&x[at..], &shift[at..], columns);
        for (sum, lane) in totals[at..at + LANES].iter_mut().zip(total) {
            *sum += lane.to_f64();
        }
        for (sum, lane) in squares[at..at + LANES].iter_mut().zip(square) {
            *sum += lane.to_f64();
        }
    }
    for at in whole..columns {
        let (mut total, mut square) = (T::ZERO, T::ZERO);
        for &x in x[at..].iter().step_by(columns) {
            let off = x - shift[at];
            total += off;
            square += off * off;
        }
        totals[at] += total.to_f64();
        squares[at] += square.to_f64();
    }
}

/// Adds the deviations of a tile from a shift, and their squares. The shift of each sum is the mean of what its first
/// tile adds, so that almost nothing cancels later.
#[inline(always)]
fn accumulate_deviation<T: Elem>(sum: &Sum, x: &[T], tile: Tile, row: &mut [T], sums: &mut [f64]) {
    let [_, row_step, column] = sum.strides;
    let at = base(sum, tile);
    let (shifts, rest) = sums[sum.acc..sum.acc + 3 * sum.len].split_at_mut(sum.len);
    let (totals, squares) = rest.split_at_mut(sum.len);
    let (shifts, totals, squares) = (&mut shifts[at..], &mut totals[at..], &mut squares[at..]);
    if row_step == 0 && column != 0 {
        let columns = tile.columns;
        let shift = &mut row[..columns];
        if shifts[0].is_nan() {
            // Either this is the first tile, or the first column holds a NaN; the other columns then have their shifts.
            let unknown = shifts[..columns].iter_mut().enumerate().filter(|(_, s)| s.is_nan());
            for (j, shift) in unknown {
                let column = x[j..].iter().step_by(columns);
                *shift = column.map(|x| x.to_f64()).sum::<f64>() / tile.rows as f64;
            }
        }
        shift.iter_mut().zip(&*shifts).for_each(|(to, &from)| *to = T::from_f64(from));
        column_deviations(x, shift, totals, squares);
        return;
    }
    for (r, x) in x.chunks_exact(tile.columns).enumerate() {
        for (j, x) in x.iter().enumerate() {
            let at = r * row_step + j * column;
            if shifts[at].is_nan() {
                shifts[at] = x.to_f64();
            }
            // The shift is rounded, as everywhere, to the element type.
            let off = (*x - T::from_f64(shifts[at])).to_f64();
            totals[at] += off;
            squares[at] += off * off;
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
