//! Everything that validators send each other.

use alloc::boxed::Box;
use alloc::vec::Vec;

use quorate_mutants::{Mutant, mutant};
use serde::{Deserialize, Serialize};

use crate::{Batch, BatchId, Blob, Block, BlockId, CommitVote, Digest, Evidence, HashedBatch};
use crate::{FenceReply, FenceRequest, Finality, Height, Manifest};
use crate::{
    Parameters, Proposal, Qc, Reject, Tc, Timeout, Unverified, Validators, Verified, Vote,
};

/// Most blocks that one answer to a [`BlockRequest`] holds.
pub const MAX_BLOCKS: usize = 256;
/// Most digests in a [`BatchRequest`].
pub const MAX_REQUESTED_BATCHES: usize = 1024;

/// Which stream a message takes: bulk never delays a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Votes, proposals, certificates.
    Consensus,
    /// Batches as their origin streams them.
    Batches,
    /// Requests for what is missing, and the answers.
    Sync,
}

/// A message between validators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// A leader's block.
    Proposal(Box<Proposal>),
    /// For a block.
    Vote(Vote),
    /// Towards finality.
    CommitVote(CommitVote),
    /// Gives up a round.
    Timeout(Box<Timeout>),
    /// Sent again to who may have missed it.
    Qc(Box<Qc>),
    /// Sent on entry, and again to who may have missed it.
    Tc(Box<Tc>),
    /// Sent to who is behind.
    Finality(Box<Finality>),
    /// Somebody signed twice.
    Evidence(Box<Evidence>),
    /// From its origin.
    Batch(Box<Batch>),
    /// Asks for blocks above the committed root.
    BlockRequest(BlockRequest),
    /// Answers it.
    BlockResponse(BlockResponse),
    /// Asks for batches by digest.
    BatchRequest(BatchRequest),
    /// Answers it.
    BatchResponse(BatchResponse),
    /// Asks for a stretch of the ledger.
    LedgerRequest(LedgerRequest),
    /// Answers it.
    LedgerResponse(Box<LedgerResponse>),
    /// Asks for the manifest of the newest snapshot.
    SnapshotRequest(SnapshotRequest),
    /// Answers it; also answers a [`LedgerRequest`] for what was pruned.
    SnapshotResponse(Box<SnapshotResponse>),
    /// Asks for a chunk of a snapshot.
    ChunkRequest(ChunkRequest),
    /// Answers it.
    ChunkResponse(Box<ChunkResponse>),
    /// From who has just started: asks what the receiver knows of it (P5).
    FenceRequest(FenceRequest),
    /// Answers it.
    FenceReply(Box<FenceReply>),
}

/// Asks for the newest snapshot above a height.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRequest {
    /// The asker has everything up to here.
    pub above: Height,
}

/// What the answerer has of the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotResponse {
    /// The first height whose block is kept: "compacted below".
    pub first: Height,
    /// Of the newest snapshot above the height that was named, if there is one and it was asked for.
    pub manifest: Option<Manifest>,
}

/// Asks for a chunk of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRequest {
    /// The snapshot's height.
    pub height: Height,
    /// Its [`Manifest::content`].
    pub content: Digest,
    /// Which, from 0.
    pub index: u32,
}

/// A chunk, to be checked against the certified state root by whoever asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkResponse {
    /// Repeated from the request.
    pub content: Digest,
    /// Repeated from the request.
    pub index: u32,
    /// The encoded chunk; absent if it is not here.
    pub chunk: Option<Blob>,
}

/// Asks for a block and its ancestors, newest first, `count` in all, above height `above`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRequest {
    /// The newest.
    pub block: BlockId,
    /// At most [`MAX_BLOCKS`].
    pub count: u32,
    /// The asker has everything up to here.
    pub above: Height,
}

/// Blocks, newest first, each the parent of the one before. Their batches are asked for by digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockResponse {
    /// Empty if the block is unknown here.
    pub blocks: Vec<Block>,
}

/// Asks for batches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchRequest {
    /// At most [`MAX_REQUESTED_BATCHES`].
    pub batches: Vec<BatchId>,
}

/// Those of the batches that are held here and fit into one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchResponse {
    /// In the order of the request.
    pub batches: Vec<Batch>,
    /// Those that are not held here, so that the asker tries another at once.
    pub missing: Vec<BatchId>,
}

/// Asks for committed blocks from a height on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRequest {
    /// The first wanted.
    pub from: Height,
    /// The answer may stop once it is this long.
    pub max_bytes: u64,
}

/// A committed block with its payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerBlock {
    /// The block.
    pub block: Block,
    /// The batches of its list, in order.
    pub batches: Vec<Batch>,
}

/// Consecutive committed blocks, oldest first, the last with its finality proof. Batches need no second signature check:
/// a quorum voted for their digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerResponse {
    /// Height of the first wanted, repeated from the request.
    pub from: Height,
    /// The answerer's committed height.
    pub head: Height,
    /// Oldest first; empty if the answerer has nothing from there on.
    pub blocks: Vec<LedgerBlock>,
    /// Of the last block; absent only if there is none.
    pub finality: Option<Finality>,
}

impl Unverified<LedgerResponse> {
    /// Checks that the blocks are linked by hash up to one that is final, and that the batches are theirs.
    ///
    /// # Errors
    /// [`Reject::Malformed`], [`Reject::BadPayload`], [`Reject::CertificateMismatch`], those of [`Finality`].
    pub fn verify(self, validators: &Validators) -> Result<Verified<LedgerResponse>, Reject> {
        let response = self.into_checked();
        let Some(finality) = &response.finality else {
            return match response.blocks.is_empty() {
                true => Ok(Verified::trust(response)),
                false => Err(Reject::Malformed),
            };
        };
        let mut height = response.from;
        let mut parent: Option<BlockId> = None;
        for entry in &response.blocks {
            let header = &entry.block.header;
            if header.height != height || parent.is_some_and(|id| id != header.parent) {
                return Err(Reject::Malformed);
            }
            entry.block.check_payload()?;
            let ids = entry.batches.iter().map(Batch::id);
            let same = ids.eq(entry.block.batches.iter().copied());
            if !same && !mutant(Mutant::StretchBatchesNotChecked) {
                return Err(Reject::BadPayload);
            }
            parent = Some(header.id());
            height = height.next();
        }
        if parent != Some(finality.cc.block) {
            return Err(Reject::CertificateMismatch);
        }
        if !mutant(Mutant::StretchNotProved) {
            validators.check_finality(finality)?;
        }
        Ok(Verified::trust(response))
    }
}

impl Verified<LedgerResponse> {
    /// The finality proof of the last block.
    #[must_use]
    pub fn finality(&self) -> Option<Verified<Finality>> {
        self.finality.clone().map(Verified::trust)
    }
}

/// A message whose form, signatures and quorums were checked: what a replica takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifiedMessage {
    /// See [`Message::Proposal`]; with the batches that travelled inside it.
    Proposal(Box<Verified<Proposal>>, Vec<Verified<HashedBatch>>),
    /// See [`Message::Vote`].
    Vote(Verified<Vote>),
    /// See [`Message::CommitVote`].
    CommitVote(Verified<CommitVote>),
    /// See [`Message::Timeout`].
    Timeout(Box<Verified<Timeout>>),
    /// See [`Message::Qc`].
    Qc(Box<Verified<Qc>>),
    /// See [`Message::Tc`].
    Tc(Box<Verified<Tc>>),
    /// See [`Message::Finality`].
    Finality(Box<Verified<Finality>>),
    /// See [`Message::Evidence`].
    Evidence(Box<Verified<Evidence>>),
    /// See [`Message::Batch`].
    Batch(Verified<HashedBatch>),
    /// See [`Message::BlockRequest`].
    BlockRequest(BlockRequest),
    /// See [`Message::BlockResponse`]: hash-linked, newest first, lists match.
    BlockResponse(BlockResponse),
    /// See [`Message::BatchRequest`].
    BatchRequest(BatchRequest),
    /// See [`Message::BatchResponse`]: and what the peer does not hold.
    BatchResponse(Vec<Verified<HashedBatch>>, Vec<BatchId>),
    /// See [`Message::LedgerRequest`].
    LedgerRequest(LedgerRequest),
    /// See [`Message::LedgerResponse`].
    LedgerResponse(Box<Verified<LedgerResponse>>),
    /// See [`Message::SnapshotRequest`].
    SnapshotRequest(SnapshotRequest),
    /// See [`Message::SnapshotResponse`]: the first height kept, which is only the peer's word, and the manifest.
    SnapshotResponse(Height, Option<Box<Verified<Manifest>>>),
    /// See [`Message::ChunkRequest`].
    ChunkRequest(ChunkRequest),
    /// See [`Message::ChunkResponse`]; the chunk is not verified.
    ChunkResponse(Box<ChunkResponse>),
    /// See [`Message::FenceRequest`].
    FenceRequest(FenceRequest),
    /// See [`Message::FenceReply`].
    FenceReply(Box<Verified<FenceReply>>),
}

impl Message {
    /// Which stream it takes.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Message::Proposal(_)
            | Message::Vote(_)
            | Message::CommitVote(_)
            | Message::Timeout(_)
            | Message::Qc(_)
            | Message::Tc(_)
            | Message::Finality(_)
            | Message::Evidence(_)
            | Message::FenceRequest(_)
            | Message::FenceReply(_) => Class::Consensus,
            Message::Batch(_) => Class::Batches,
            Message::BlockRequest(_)
            | Message::BlockResponse(_)
            | Message::BatchRequest(_)
            | Message::BatchResponse(_)
            | Message::LedgerRequest(_)
            | Message::LedgerResponse(_)
            | Message::SnapshotRequest(_)
            | Message::SnapshotResponse(_)
            | Message::ChunkRequest(_)
            | Message::ChunkResponse(_) => Class::Sync,
        }
    }

    /// Checks everything that needs no replica state. Costs up to a few hundred microseconds for certificates, and
    /// about 20 µs a transaction: to be done outside the core.
    ///
    /// # Errors
    /// [`Reject`]: the sender is at fault.
    pub fn verify(
        self,
        validators: &Validators,
        parameters: &Parameters,
    ) -> Result<VerifiedMessage, Reject> {
        Ok(match self {
            Message::Proposal(m) => {
                let (proposal, inline) = Unverified::new(*m).verify(validators, parameters)?;
                VerifiedMessage::Proposal(Box::new(proposal), inline)
            }
            Message::Vote(m) => VerifiedMessage::Vote(Unverified::new(m).verify(validators)?),
            Message::CommitVote(m) => {
                VerifiedMessage::CommitVote(Unverified::new(m).verify(validators)?)
            }
            Message::Timeout(m) => {
                VerifiedMessage::Timeout(Box::new(Unverified::new(*m).verify(validators)?))
            }
            Message::Qc(m) => {
                VerifiedMessage::Qc(Box::new(Unverified::new(*m).verify(validators)?))
            }
            Message::Tc(m) => {
                VerifiedMessage::Tc(Box::new(Unverified::new(*m).verify(validators)?))
            }
            Message::Finality(m) => {
                VerifiedMessage::Finality(Box::new(Unverified::new(*m).verify(validators)?))
            }
            Message::Evidence(m) => {
                VerifiedMessage::Evidence(Box::new(Unverified::new(*m).verify(validators)?))
            }
            Message::Batch(m) => {
                VerifiedMessage::Batch(Unverified::new(*m).verify(validators, parameters)?)
            }
            Message::BlockRequest(m) => {
                let within = usize::try_from(m.count).is_ok_and(|count| count <= MAX_BLOCKS);
                if !within {
                    return Err(Reject::TooLarge);
                }
                VerifiedMessage::BlockRequest(m)
            }
            Message::BlockResponse(m) => {
                check_blocks(&m)?;
                VerifiedMessage::BlockResponse(m)
            }
            Message::BatchRequest(m) => {
                if m.batches.len() > MAX_REQUESTED_BATCHES {
                    return Err(Reject::TooLarge);
                }
                VerifiedMessage::BatchRequest(m)
            }
            Message::BatchResponse(m) => {
                if m.batches.len() + m.missing.len() > MAX_REQUESTED_BATCHES {
                    return Err(Reject::TooLarge);
                }
                let batches = m
                    .batches
                    .into_iter()
                    .map(|batch| Unverified::new(batch).verify(validators, parameters))
                    .collect::<Result<_, _>>()?;
                VerifiedMessage::BatchResponse(batches, m.missing)
            }
            Message::LedgerRequest(m) => VerifiedMessage::LedgerRequest(m),
            Message::LedgerResponse(m) => {
                VerifiedMessage::LedgerResponse(Box::new(Unverified::new(*m).verify(validators)?))
            }
            Message::SnapshotRequest(m) => VerifiedMessage::SnapshotRequest(m),
            Message::SnapshotResponse(m) => {
                let manifest = m
                    .manifest
                    .map(|manifest| Unverified::new(manifest).verify(validators))
                    .transpose()?;
                VerifiedMessage::SnapshotResponse(m.first, manifest.map(Box::new))
            }
            Message::ChunkRequest(m) => VerifiedMessage::ChunkRequest(m),
            Message::ChunkResponse(m) => VerifiedMessage::ChunkResponse(m),
            Message::FenceRequest(m) => VerifiedMessage::FenceRequest(m),
            Message::FenceReply(m) => {
                VerifiedMessage::FenceReply(Box::new(Unverified::new(*m).verify(validators)?))
            }
        })
    }
}

fn check_blocks(response: &BlockResponse) -> Result<(), Reject> {
    if response.blocks.len() > MAX_BLOCKS {
        return Err(Reject::TooLarge);
    }
    let mut wanted: Option<BlockId> = None;
    for block in &response.blocks {
        block.header.check_form()?;
        block.check_payload()?;
        if wanted.is_some_and(|id| id != block.id()) {
            return Err(Reject::Malformed);
        }
        wanted = Some(block.header.parent);
    }
    Ok(())
}
