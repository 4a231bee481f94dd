//! What waits to be ordered: admission, batches, and who holds which (B1–B5).
//!
//! ```text
//!  client ──admit──► Queue ──seal──► own batch ──► streamed to all, stored
//!                    (fair)            │
//!  peers ──insert──────────────────► Shelf (held, by digest) ──candidates──► leader's block
//!                                      │  ▲                                      │
//!                     votes ──on_held──┘  └── want / missing ◄── check ◄── block to vote for
//!                                      │
//!                     committed / expire: released, remembered, or admitted again
//! ```
//!
//! A pure library: no clock, no randomness, no IO. The replica says what time it is, broadcasts and stores what
//! [`Pool::seal`] returns, and fetches what [`Pool::missing`] names, from its own store first.
//!
//! | rule | where |
//! |---|---|
//! | B1 admission, packing, with votes or after the linger | [`Pool::admit`], [`Pool::hasten`], [`Pool::seal`], [`Pool::deadline`] |
//! | B2 only what q replicas hold, or small and inlined | [`Pool::on_held`], [`Pool::candidates`] |
//! | B3 fetch before a vote | [`Pool::check`], [`Pool::want`], [`Pool::insert`] |
//! | B4 origins that come late | [`Pool::on_late`] |
//! | B5 nothing above the root is pruned | `keep` of [`Pool::expire`] |
//! | I9 every queue is within its bound | [`Limits`], asserted where something is added |
#![no_std]

extern crate alloc;

mod bounded;
mod limits;
mod order;
mod own;
mod pool;
mod queue;
mod room;
mod shelf;

pub use limits::{Admission, Limits, Refusal};
pub use pool::{Lapsed, Payload, PayloadCheck, Pool, Seat};
