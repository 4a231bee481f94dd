//! What a replica tells the engine. Everything that was signed arrives verified; what was not signed (fetched blocks,
//! payloads) is accepted only where a hash or a certificate names it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use quorate_types::{Batch, BatchId, Block, BlockId, CommitVote, FenceReply, Finality, Header};
use quorate_types::{
    Height, Proposal, Qc, Roots, Round, Tc, Timeout, ValidatorIndex, Verified, Vote,
};

/// One input of [`crate::Engine::step`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// From a leader; own ones come back this way once they are durable.
    Proposal(Box<Verified<Proposal>>),
    /// From anybody, this validator included.
    Vote(Verified<Vote>),
    /// From anybody, this validator included.
    CommitVote(Verified<CommitVote>),
    /// From anybody, this validator included.
    Timeout(Box<Verified<Timeout>>),
    /// Sent again by somebody who is ahead.
    Qc(Box<Verified<Qc>>),
    /// Sent by whoever entered a round by it.
    Tc(Box<Verified<Tc>>),
    /// Sent by somebody who is ahead.
    Finality(Box<Verified<Finality>>),
    /// Fetched, in any order. Each is taken only if a certificate or a block that was taken names it by hash; their form
    /// and lists were checked where they were decoded.
    Blocks(Vec<Block>),
    /// Answers [`crate::Effect::CheckPayload`]: every batch is held (what is not durable yet is written in this turn),
    /// statelessly valid, and unexpired at the header's time (V4).
    PayloadReady(BlockId),
    /// Answers [`crate::Effect::CheckPayload`]: what the leader signed for contains something that can never be valid.
    PayloadInvalid(BlockId),
    /// Answers [`crate::Effect::Propose`] of the same round, in the same turn; an empty list is allowed.
    Payload {
        /// As asked.
        round: Round,
        /// In the order of execution: distinct, held here, none of `exclude`, `max_block_batches` at most.
        batches: Vec<BatchId>,
        /// Those of them that travel along, [`quorate_types::proposal::MAX_INLINE_BYTES`] at most.
        inline: Vec<Batch>,
    },
    /// Whether the mempool holds something that is not ordered on this replica's branch (L3).
    Work(bool),
    /// A committed block was executed.
    Executed {
        /// Its height; one more than the one reported before, unless the ledger was synchronised.
        height: Height,
        /// What execution led to.
        roots: Roots,
        /// Whether the block was empty.
        empty: bool,
    },
    /// The replica has committed a stretch of a peer's ledger that ends in `finality`: the root jumps there.
    Synced {
        /// The last block of the stretch with up to [`crate::committed_headers`] − 1 before it, newest last.
        headers: Vec<Header>,
        /// Of the last of them.
        finality: Box<Verified<Finality>>,
    },
    /// A connection to this validator was made (T2).
    Connected(ValidatorIndex),
    /// A validator has started, and asks what this one knows (P5).
    FenceRequest {
        /// Who asks.
        from: ValidatorIndex,
        /// To be repeated in the answer.
        nonce: u64,
    },
    /// Answers [`crate::Effect::Send`] of a request.
    FenceReply {
        /// Whose connection it came over: the answer itself is not signed.
        from: ValidatorIndex,
        /// What it says.
        reply: Box<Verified<FenceReply>>,
    },
    /// [`crate::Engine::deadline`] has passed.
    Deadline,
}
