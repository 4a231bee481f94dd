//! Any bytes, to whoever reads bytes: targets for fuzzing, and a driver that needs nothing but a stable compiler.
//!
//! A target ([`targets::TARGETS`]) is a plain function that takes bytes and must come back: no panic, no endless loop. What
//! more it demands stands in its own words. So each can be called by whatever finds inputs: by [`driver`], which mutates
//! what lies in `corpus/` with a seeded generator and is part of the ordinary tests; or by a coverage-guided fuzzer, whose
//! whole harness is `fuzz_target!(|bytes: &[u8]| quorate_fuzz::targets::message(bytes))`.
//!
//! Targets are of the crates below the node. The node's own (HTTP bodies, settings) use the same driver in its tests.

pub mod chain;
pub mod corpus;
pub mod driver;
pub mod mutate;
pub mod targets;
