//! The Quorate protocol as a pure state machine.
#![no_std]

extern crate alloc;

mod effect;
mod engine;
mod event;
mod execution;
mod leader;
mod pacemaker;
mod safety;
mod tree;
mod validate;
mod votes;

pub use effect::{Effect, ProposeRequest, Target};
pub use engine::{Boot, Engine, Status, committed_headers};
pub use event::Event;
pub use safety::{Approved, Authorised};
