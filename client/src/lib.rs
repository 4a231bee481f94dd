//! The Rust SDK of Quorate: build, sign, submit, wait, fail over, verify.
//!
//! Usable without the node. It owns what a client must get right to be served exactly once: one sequence number for
//! one transaction (X1), a `valid_until` that holds whatever a single clock says, and the *same signed bytes* on every
//! attempt, whichever validator answers. It must never sign a second transaction for an operation whose first one
//! may still execute.
//!
//! | module | holds |
//! |---|---|
//! | [`profile`] | `client.toml`: endpoints, chain id, genesis |
//! | [`client`], `transactions` | [`Client`]: submit with failover, wait, settle; local reads |
//! | `failover`, `backoff` | one request, one validator after another; when an answer is one |
//! | `evidence` | what takes more than one validator's word |
//! | [`kv`] | the key-value machine through signed transactions |
//! | [`http`], [`raw`] | pooled connections; one connection, for load generators |
//! | [`submissions`], [`frames`] | many transactions over one connection, for gateways |
//! | [`subscription`], [`sse`] | [`Subscription`]: every height of the log, from whichever validator is there |
//! | [`api`] | the JSON that validators answer with, shared with the node |
//! | [`sequence`], [`validity`] | which number and which deadline a transaction gets |
//! | [`proofs`] | what needs no trust: receipts and keys against the genesis |
//! | [`error`] | what went wrong, grouped by what to do next |

pub mod api;
mod backoff;
pub mod client;
pub mod error;
mod evidence;
mod failover;
pub mod frames;
pub mod http;
pub mod kv;
pub mod profile;
pub mod proofs;
pub mod raw;
#[cfg(feature = "openapi")]
pub mod schema;
pub mod sequence;
pub mod sse;
pub mod submissions;
pub mod subscription;
mod transactions;
pub mod validity;

pub use client::{Client, Submission, Wait};
pub use error::{ClientError, ErrorKind};
pub use profile::{Profile, ProfileError};
pub use subscription::Subscription;
