//! A whole validator without its IO.
//!
//! [`Replica`] composes the protocol (`quorate-consensus`), the pool of transactions (`quorate-mempool`), the state
//! machine (`quorate-execution`) and the formats of the ledger (`quorate-storage`). It opens no socket, reads no clock
//! and starts no thread: the node and the simulator drive the same code.
//!
//! ```text
//!  inputs ──► Replica::turn ──► Output ──persist──► Released ──sign──► messages, replies, notices
//!    ▲        (decides)        (sealed)  (one synced   (may leave)              │
//!    └──────────────────────────────────  batch)  ◄──── own messages ◄──────────┘
//! ```
//!
//! A turn takes whatever has arrived, lets the engine decide, and returns an [`Output`] whose messages cannot be
//! reached. [`Output::persist`] writes the safety record, blocks, batches and receipts in one atomic batch, with the
//! state now and then ([`lag`]), and gives the [`Released`]: what may now be signed, sent and acknowledged. The other order does not compile (P1–P3).
//!
//! | module | its part in the way of a transaction |
//! |---|---|
//! | [`input`], [`output`] | what goes in, what comes out, and in which order |
//! | [`replica`] | dispatch: one handler an input, one an effect of the engine |
//! | `submit` | admission, waiting clients |
//! | `propose` | what a leader puts into its block |
//! | `payload` | whether the batches of a block are here; fetching those that are not |
//! | `commit` | execution and the ledger |
//! | [`lag`] | how far the state on disk lies behind the ledger, and catching up at a start |
//! | `catch_up`, `fetch`, `serve` | blocks and stretches of the ledger: asking, whom to ask, and answering |
//! | `repair` | entries of this disk that a peer's question finds damaged |
//! | `transfer`, [`install`], [`snapshot`] | state by snapshot: fetching one, starting from it, making and handing out one |
//! | `proofs`, `desk` | keys proved against a claimed state; who waits for that, within bounds |
//! | `boot`, [`found`], [`inspect`] | from disk in any state; from another chain's state; looked at only |
//! | `unordered` | stored batches that go back into the pool at a start |
//! | [`view`] | where the executor's spaces are stored |

mod boot;
mod catch_up;
mod commit;
mod desk;
mod fetch;
pub mod found;
pub mod input;
pub mod inspect;
pub mod install;
pub mod lag;
pub mod output;
mod payload;
pub mod proofs;
mod propose;
mod repair;
pub mod replica;
mod serve;
pub mod snapshot;
mod submit;
mod transfer;
mod turn;
mod unordered;
pub mod view;

pub use boot::{BootError, Past, Setup};
pub use input::{Input, Ticket, Wait};
pub use output::{Notice, Output, Released, Reply, Signed, SubmitRefusal};
pub use quorate_consensus::{Passed, Target};
pub use replica::{Replica, ReplicaError, Status};
pub use transfer::Progress;
