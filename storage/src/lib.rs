//! What a validator keeps, and the promise that it is still there after a power cut.
//!
//! One trait, [`Store`], with two implementors that pass one suite of tests: `RocksStore`, the real disk, and
//! [`MemStore`], the simulator's, which forgets on demand exactly what a real one may forget. Above it, [`ledger`] gives
//! the bytes their types and checks on every read that they are what was written. Below it, `home` guards the
//! directory: one process at a time, and no start on half a memory.
//!
//! This crate never decides what has to be durable when (P1–P3: the replica's turn does), knows no clock and no network,
//! and repairs nothing: damaged data is an error that says where.
//!
//! | module | holds |
//! |---|---|
//! | [`store`] | [`Store`], [`View`], [`WriteBatch`], [`Table`] |
//! | [`mem`] | [`MemStore`] |
//! | [`ledger`] | keys, encodings and checks of every table |
//! | `pending` | what was deferred, in memory, for both stores |
//! | `rocks` | `RocksStore`, `RocksReader` |
//! | `home`, `ceiling`, `watermark` | the home directory, and what is kept outside the database |
//!
//! The last two lines need the feature `rocks`, which the simulator and the fuzzers leave off.
//!
//! docs/STORAGE.md draws every file, key and value; docs/decisions/0002-durability.md says what survives what.

#[cfg(feature = "rocks")]
pub mod ceiling;
pub mod error;
#[cfg(feature = "rocks")]
pub mod home;
pub mod ledger;
pub mod mem;
mod pending;
#[cfg(feature = "rocks")]
pub mod rocks;
pub mod store;
#[cfg(feature = "rocks")]
pub mod watermark;

#[cfg(feature = "rocks")]
mod files;

pub use error::{Fault, StoreError};
#[cfg(feature = "rocks")]
pub use home::{Found, Home, HomeError};
pub use ledger::{LedgerError, Tip};
pub use mem::{MemStore, WriteFault};
pub use pending::{merge, walk};
#[cfg(feature = "rocks")]
pub use rocks::{Frozen, Options, RocksReader, RocksStore};
pub use store::{Op, Order, Store, Sync, Table, View, WriteBatch};
