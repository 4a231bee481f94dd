//! The nouns of the protocol and their one canonical encoding.
//!
//! Everything that is signed, hashed, stored or sent is defined here, so that one reading of this crate tells what the
//! bytes mean. Nothing here does IO, keeps time or decides: the rules that need only the message and the validator set
//! (well-formedness, signatures, quorums: I3) are the `verify` functions, which turn [`Unverified<T>`] into
//! [`Verified<T>`]; the rules that need a replica's state live in `quorate-consensus`.
//!
//! | module | holds |
//! |---|---|
//! | [`codec`] | the canonical encoding: bincode 2, fixed width, bounded, no trailing bytes |
//! | [`ids`] | [`Epoch`], [`Round`], [`Height`], [`BlockTime`], identifiers that are digests |
//! | [`transaction`], [`batch`] | what clients sign, and how it travels |
//! | [`block`] | [`Header`], [`Block`], [`Claim`] |
//! | [`vote`], [`certificate`], [`proposal`] | the messages of consensus |
//! | [`validators`], [`genesis`] | who may sign, and the parameters of the chain |
//! | [`receipt`], [`merkle`], [`accumulator`] | what a client gets, and how it is proved |
//! | [`memory`] | signatures that need not be verified again |
//! | [`message`], [`evidence`], [`record`] | the wire, misbehaviour, the safety record |
#![no_std]

extern crate alloc;

pub mod accumulator;
pub mod batch;
pub mod block;
pub mod certificate;
pub mod codec;
pub mod evidence;
pub mod fence;
pub mod genesis;
pub mod ids;
pub mod memory;
pub mod merkle;
pub mod message;
pub mod proposal;
pub mod receipt;
pub mod record;
pub mod reject;
pub mod signers;
pub mod snapshot;
pub mod time;
pub mod together;
pub mod transaction;
pub mod validators;
pub mod verified;
pub mod vote;

pub use batch::{Batch, HashedBatch};
pub use block::{Block, Claim, Header, Justify, Roots};
pub use certificate::{Cc, Entry, Finality, Qc, Tc, TcVote};
pub use evidence::Evidence;
pub use fence::{FenceReply, FenceRequest};
pub use genesis::{Client, Genesis, Origin, Parameters, Role, ValidatorInfo};
pub use ids::{
    BatchId, BlockId, BlockTime, ChainId, Epoch, Height, Round, TransactionId, ValidatorIndex,
};
pub use memory::Memory;
pub use message::Message;
pub use proposal::Proposal;
pub use quorate_crypto::{Digest, PublicKey, Signature};
pub use receipt::{Outcome, Receipt, Rejection};
pub use record::SafetyRecord;
pub use reject::Reject;
pub use signers::Signers;
pub use snapshot::Manifest;
pub use time::{Instant, Now};
pub use transaction::{Blob, HashedTransaction, Transaction, TransactionBody};
pub use validators::Validators;
pub use verified::{Unverified, Verified};
pub use vote::{CommitVote, Timeout, Vote};

/// Version written into every transaction, batch and header of this release.
pub const FORMAT_VERSION: u16 = 1;
/// Most validators a set may have: [`Signers`] is a 128-bit set.
pub const MAX_VALIDATORS: usize = 128;
