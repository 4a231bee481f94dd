//! The simulator: whole validators in a world where time, chance, network and disk follow from one number.
//!
//! It drives the same [`quorate_replica::Replica`] that the node runs, through the same inputs and outputs, over a
//! virtual network and on disks that forget what was not synced. Up to f validators may lie. Whatever happens, independent
//! judges watch what is signed, stored and answered; once nothing breaks any more, everybody must get on.
//!
//! ```text
//!   seed ─► Plan ─► World: events in virtual time ─► Checker at every write ─► Report, or Failure with its seed
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`rng`], [`plan`], [`faults`] | what a seed stands for |
//! | [`world`], `node`, `network` | what happens |
//! | [`adversary`], [`keys`], `workload` | who lies, with which keys, and who asks |
//! | [`check`], [`history`] | what must never be |
//! | [`shrink`] | a failing world made small |
//! | [`scale`] | no judges: what a chain of many validators would do, and what limits it |
//! | [`run`], [`counters`], [`trace`] | a seed from start to verdict, and what it proves |
//!
//! A seed that fails is replayed with `quorate-sim --seed N --trace`; what it is shrunk to, with `--replay FILE`.

pub mod adversary;
pub mod check;
pub mod counters;
pub mod cpu;
pub mod faults;
mod genesis;
pub mod history;
pub mod keys;
#[cfg(feature = "mutants")]
pub mod mutants;
mod network;
mod node;
pub mod plan;
pub mod rng;
pub mod run;
pub mod scale;
pub mod shrink;
pub mod trace;
pub mod twins;
mod workload;
pub mod world;
