//! The simulator: whole validators in a world where time, chance, network and disk follow from one number.
//!
//! It drives the same [`quorate_replica::Replica`] that the node runs, through the same inputs and outputs, over a
//! virtual network and on disks that forget what was not synced. One validator may lie. Whatever happens, independent
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
//! | `adversary`, `workload` | who lies, who asks |
//! | [`check`] | what must never be |
//! | [`run`], [`counters`], [`trace`] | a seed from start to verdict, and what it proves |
//!
//! A seed that fails is replayed with `quorate-sim --seed N --trace`.

mod adversary;
pub mod check;
pub mod counters;
pub mod faults;
mod network;
mod node;
pub mod plan;
pub mod rng;
pub mod run;
pub mod trace;
mod workload;
pub mod world;
