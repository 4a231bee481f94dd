//! Execution: from committed blocks to state, receipts and roots that every replica agrees on (I6), each transaction at
//! most once (I7).
//!
//! This crate decides what transactions *do*. It never decides their order, never reads a clock, and never writes to
//! storage: it reads through [`Reader`] and hands out [`Change`]s. Everything that it decides by is in the certified
//! state itself.
//!
//! | module | holds |
//! |---|---|
//! | [`executor`] | [`Executor`]: a block in, receipts, roots and changes out |
//! | [`machine`], [`kv`] | what a state machine is, and the built-in one |
//! | [`session`] | exactly once (X1) |
//! | [`meter`] | what everything costs |
//! | [`keys`], [`record`] | the key space of the state, and how records are encoded |
//! | [`tree`] | the authenticated tree over the records |
//! | [`proof`] | what clients can check offline (F1, F2) |
//! | [`flush`] | when the tree's pages are written, and how many with each block |
//! | [`snapshot`] | a state in chunks, each with its proof, and back |
//! | [`fork`] | a chain that starts from another chain's state |
//! | [`persist`], [`space`] | what is stored where |
//!
//! A block goes through `block.rs` (checks, commands, receipts) on an overlay (`overlay.rs`); then the executor applies
//! all its changes to the tree at once. What is remembered from block to block may be lost at any time: sessions
//! (`recent.rs`) and outlines of records (`outlines.rs`).
#![no_std]

extern crate alloc;

mod block;
pub mod executor;
pub mod flush;
pub mod fork;
pub mod keys;
pub mod kv;
pub mod machine;
pub mod meter;
mod outlines;
mod overlay;
pub mod persist;
mod places;
pub mod proof;
mod recent;
pub mod record;
pub mod session;
pub mod snapshot;
pub mod space;
pub mod tree;

pub use executor::{ExecuteError, Executed, Executor, OpenError, OrderedBlock};
pub use executor::{genesis_roots, genesis_validators};
pub use space::{Change, Entry, Reader, Space};
