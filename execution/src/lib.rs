//! Execution
#![no_std]

extern crate alloc;

pub mod executor;
pub mod space;
pub mod tree;

pub use executor::{ExecuteError, Executed, Executor, OpenError, OrderedBlock};
pub use space::{Change, Reader, Space};
