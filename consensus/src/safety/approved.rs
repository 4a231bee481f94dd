//! The right to sign, as a value. Only `safety.rs` makes one; whoever holds it may still only sign it once the turn that
//! released it is durable.

use alloc::boxed::Box;
use alloc::vec::Vec;

use quorate_types::vote::{Signable, Signer};
use quorate_types::{ChainId, CommitVote, Proposal, Timeout, Verified, Vote};

/// Something that the safety rules allow this validator to sign.
#[derive(Debug, PartialEq, Eq)]
pub struct Approved<T>(T);

impl<T> Approved<T> {
    /// For the rules next door alone.
    pub(super) const fn grant(value: T) -> Approved<T> {
        Approved(value)
    }

    /// What is to be signed; its signature field holds zeroes.
    #[must_use]
    pub const fn peek(&self) -> &T {
        &self.0
    }
}

impl<T: Signable> Approved<T> {
    /// Signs. The record that covers it has to be durable (P1–P3).
    #[must_use]
    pub fn sign(self, chain: ChainId, signer: &dyn Signer) -> Verified<T> {
        self.0.sign(chain, signer)
    }
}

impl Approved<Vote> {
    /// Adds the hints of the mempool, which no signature covers (B2): empty, or one entry a validator.
    #[must_use]
    pub fn with_held(mut self, held: Vec<u64>) -> Approved<Vote> {
        self.0.held = held;
        self
    }
}

impl Approved<CommitVote> {
    /// As [`Approved::<Vote>::with_held`].
    #[must_use]
    pub fn with_held(mut self, held: Vec<u64>) -> Approved<CommitVote> {
        self.0.held = held;
        self
    }
}

/// What may be signed.
#[derive(Debug, PartialEq, Eq)]
pub enum Authorised {
    /// As the leader of a round.
    Proposal(Box<Approved<Proposal>>),
    /// For a proposal.
    Vote(Approved<Vote>),
    /// For a certified block.
    CommitVote(Approved<CommitVote>),
    /// To leave a round.
    Timeout(Box<Approved<Timeout>>),
}
