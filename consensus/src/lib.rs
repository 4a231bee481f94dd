//! The Quorate protocol, from a proposal to finality, as a pure state machine: [`Engine::step`] takes an [`Event`] and
//! the time, and yields [`Effect`]s. No clock, randomness, thread, socket or disk in here; whoever drives the engine
//! makes things durable, signs, sends, fetches and executes. The rule numbers (A1, V2, P1, …) and invariant numbers
//! (I1, …) are those of the specification, docs/PROTOCOL.md.
//!
//! # One round
//!
//! ```text
//!  leader        │ proposal: block + QC of its parent (+ TC of the round before)
//!  of round r    ├───────────┬───────────┬───────────┐
//!                ▼           ▼           ▼           ▼
//!  validators    V1–V6: is the block right?   V3: has nothing in this round been signed?      validate.rs, safety.rs
//!                │ Vote to everybody, once the record and the block are durable (P1)
//!                ├───────────┴───────────┴───────────┤
//!                ▼  q votes = QC(r): enters round r + 1 (A1), whose leader proposes            votes.rs, certify.rs
//!  validators    C1–C3: certificate durable, round not given up, branch held?                  safety.rs
//!                │ CommitVote to everybody, once the record with the QC is durable (P2)
//!                ├───────────────────────────────────┤
//!                ▼  q commit votes = CC(r): the block and its ancestors are final (D1)         certify.rs
//! ```
//!
//! Three message delays after the proposal left, its block is final. The rounds overlap: round r + 1 begins with QC(r),
//! while the commit votes for r are still under way.
//!
//! # A round that fails
//!
//! When the timer runs out (`pacemaker.rs`), or f + 1 others have given up, a validator signs a Timeout with its highest
//! QC (T1) and repeats it until the round is left. From then on it neither votes (V3) nor commit-votes (C2) in the
//! round. q Timeouts make a TC, which enters the next round; its leader goes by rotation (L2) and extends a block at
//! least as high as any QC that the TC reports (V2). That, with C1 and C2, is why what has a CC is never left out.
//!
//! # Who leads
//!
//! After a QC, somebody who signed lately and has neither just proposed nor just failed: a function of the branch alone
//! (L1, `leader.rs`). With nothing to order, the leader waits, up to `idle_interval` (L3).
//!
//! # What must be durable
//!
//! [`Effect::Save`] and [`Effect::Store`] come before [`Effect::Sign`], in the same step or an earlier one; the replica
//! persists a whole turn before it signs anything. A validator's own messages come back as events in the next turn, so
//! that its own vote counts only once it is durable. After a restart, the recorded round counts as used (P4).
//!
//! # A start
//!
//! What is on the disk may be an older copy of what this validator was. So it asks the others ([`Start`], `fence.rs`), signs
//! nothing until enough have answered, and afterwards nothing but Timeouts in rounds in which it may have signed (P5).
//!
//! # Where things are
//!
//! | file | owns |
//! |---|---|
//! | `engine.rs` | the parts, dispatch, deadlines; every step ends by trying each rule (`settle`) |
//! | `engine/certify.rs` | QC, TC, CC, Timeouts; entering a round; committing |
//! | `engine/voting.rs` | proposals, votes, commit votes |
//! | `engine/propose.rs` | when to propose, and the header |
//! | `engine/sync.rs` | what is missing: fetch, or synchronise |
//! | `engine/fencing.rs` | asking, answering, passing the fence; who else signs with our key |
//! | `safety.rs` | the record; the only maker of [`Approved`] |
//! | `fence.rs` | the answers, and which rounds they burn (P5) |
//! | `validate.rs` | V1, V2, V4–V6: never, or not yet |
//! | `tree.rs` | blocks above the root, headers below it |
//! | `votes.rs` | tallies, their bounds, evidence |
//! | `execution.rs` | claims against this replica's execution (V5) |
//! | `leader.rs`, `pacemaker.rs` | L1 and L2; the timer and L3's wait |
//!
//! This release knows one epoch: rounds compare by (epoch, number), and nothing of another epoch is signed.
#![no_std]

extern crate alloc;

mod effect;
mod engine;
mod event;
mod execution;
mod fence;
mod leader;
mod pacemaker;
mod safety;
mod tree;
mod validate;
mod votes;

pub use effect::{Effect, ProposeRequest, Target};
pub use engine::{Boot, Engine, Status, committed_headers};
pub use event::Event;
pub use fence::{Passed, Start};
pub use safety::{Approved, Authorised};
