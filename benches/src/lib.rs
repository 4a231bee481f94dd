//! What the benchmarks share: repeatable chance, and the shapes that decision records compare with.

pub mod flat;
pub mod random;
