//! Programs against plain evaluation, derivatives by several routes, and corner cases.

mod chunks;
mod edges;
mod exact;
mod memory;
mod nets;
mod passes;
mod print;
mod repeat;
mod sweeps;
