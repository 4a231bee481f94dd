//! The hash-chained unit of the ledger.

use alloc::vec::Vec;

use quorate_crypto::{Digest, Domain, hash};
use quorate_mutants::{Mutant, mutant};
use serde::{Deserialize, Serialize};

use crate::{BatchId, BlockId, BlockTime, ChainId, FORMAT_VERSION, Height, Reject, Round};
use crate::{Signers, ValidatorIndex, codec, merkle};

/// What the state machine had become after a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roots {
    /// Root of the state tree.
    pub state: Digest,
    /// Root of the accumulator of receipts, one leaf a height, heights 1 up to this one.
    pub receipts: Digest,
}

/// A proposer's statement about an ancestor's execution, which voters compare with their own (V5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The ancestor's height.
    pub height: Height,
    /// What execution up to and including it has led to.
    pub roots: Roots,
}

/// Names the parent's certificate inside a header. The bitmap stands here because leaders are elected from it (L1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Justify {
    /// The parent's round.
    pub round: Round,
    /// The parent.
    pub block: BlockId,
    /// Whose votes the attached certificate holds.
    pub signers: Signers,
}

/// What a block's identity is the hash of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT_VERSION`].
    pub version: u16,
    /// The round it is proposed in.
    pub round: Round,
    /// The parent's plus one.
    pub height: Height,
    /// The parent's identity; the chain id in the genesis block.
    pub parent: BlockId,
    /// The certificate of the parent.
    pub justify: Justify,
    /// [`crate::Tc::digest`] of the attached timeout certificate, if the round was entered by one (V2).
    pub tc: Option<Digest>,
    /// Whom the election on this branch had made leader of round `justify.round + 1`, where that round failed (that is,
    /// where `round` is a later one). With it, leaders are a function of the last 2n headers alone (L1).
    pub failed: Option<ValidatorIndex>,
    /// Who proposes.
    pub proposer: ValidatorIndex,
    /// [`Block::payload_root`] of the ordered batches.
    pub payload: Digest,
    /// The latest execution that the proposer vouches for.
    pub claim: Claim,
    /// Agreed time.
    pub time: BlockTime,
    /// Hash of the next epoch's validator set, if the epoch closes with this block (E1).
    pub next_validators: Option<Digest>,
}

impl Header {
    /// The block's identity.
    #[must_use]
    pub fn id(&self) -> BlockId {
        BlockId(codec::digest(Domain::Header, self))
    }

    /// The block at height 0. Its parent is the chain id, so it names the whole genesis.
    #[must_use]
    pub fn genesis(chain: ChainId, time: BlockTime, roots: Roots) -> Header {
        Header {
            version: FORMAT_VERSION,
            round: Round::default(),
            height: Height(0),
            parent: BlockId(chain.0),
            justify: Justify::default(),
            tc: None,
            failed: None,
            proposer: ValidatorIndex(0),
            payload: merkle::empty_root(),
            claim: Claim {
                height: Height(0),
                roots,
            },
            time,
            next_validators: None,
        }
    }

    /// Whether the block orders nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.payload == merkle::empty_root()
    }

    /// Whether the fields agree with each other, as far as no other block is needed (V1, V2).
    ///
    /// # Errors
    /// [`Reject::WrongVersion`], [`Reject::WrongEpoch`], [`Reject::Malformed`], [`Reject::UnsafeExtension`].
    pub fn check_form(&self) -> Result<(), Reject> {
        if self.version != FORMAT_VERSION {
            return Err(Reject::WrongVersion);
        }
        if self.justify.round.epoch != self.round.epoch {
            return Err(Reject::WrongEpoch);
        }
        // V2: the parent is the certified block, and only a timeout certificate allows skipped rounds. (One may be
        // attached without a skip: its holder learned the parent's certificate after it had entered the round.)
        let certified = self.parent == self.justify.block || mutant(Mutant::ParentNotCertified);
        if !certified || self.justify.round >= self.round {
            return Err(Reject::UnsafeExtension);
        }
        let skips = self.round != self.justify.round.next();
        if skips && self.tc.is_none() && !mutant(Mutant::GapWithoutTc) {
            return Err(Reject::UnsafeExtension);
        }
        if skips != self.failed.is_some() || self.claim.height >= self.height {
            return Err(Reject::Malformed);
        }
        Ok(())
    }
}

/// A header with the list of batches that it orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The signed part.
    pub header: Header,
    /// In the order of execution; distinct.
    pub batches: Vec<BatchId>,
}

impl Block {
    /// See [`Header::id`].
    #[must_use]
    pub fn id(&self) -> BlockId {
        self.header.id()
    }

    /// Root of a list of batches, as headers carry it.
    #[must_use]
    pub fn payload_root(batches: &[BatchId]) -> Digest {
        let leaves: Vec<Digest> = batches.iter().map(Block::payload_leaf).collect();
        merkle::root(&leaves)
    }

    /// Leaf of a batch under that root. Not the digest itself: a list is made of whatever digests its sender likes, an
    /// inner node's among them, and one header would fit several lists.
    #[must_use]
    pub fn payload_leaf(batch: &BatchId) -> Digest {
        hash(Domain::MerkleLeaf, &[batch.as_bytes()])
    }

    /// Whether the list is the one the header names, without repeats.
    ///
    /// # Errors
    /// [`Reject::BadPayload`].
    pub fn check_payload(&self) -> Result<(), Reject> {
        let mut sorted = self.batches.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != self.batches.len()
            || Block::payload_root(&self.batches) != self.header.payload
        {
            return Err(Reject::BadPayload);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// With the batches' digests as leaves, the list of one batch with an inner node's digest had the root of the list
    /// below that node, and the list with the empty list's root that of no batch at all. A leader sent one list to some
    /// and another to the others under the same block id: a block that one of them could never complete; or an "empty"
    /// one that everybody committed and nobody could execute, after which no replica started again.
    #[test]
    fn a_header_fits_one_list_only() {
        let [a, b] = [1, 2].map(|n| BatchId(hash(Domain::Batch, &[&[n]])));
        let mut header = Header::genesis(ChainId::default(), BlockTime(0), Roots::default());
        let inner = merkle::node(&a.0, &b.0);
        let leaves = merkle::node(&Block::payload_leaf(&a), &Block::payload_leaf(&b));
        let check = |header: &Header, batches: &[BatchId]| {
            let batches = batches.to_vec();
            let header = header.clone();
            Block { header, batches }.check_payload()
        };
        for forged in [vec![BatchId(merkle::empty_root())], vec![a]] {
            assert_eq!(check(&header, &forged), Err(Reject::BadPayload));
        }
        assert_eq!(check(&header, &[]), Ok(()));
        header.payload = Block::payload_root(&[a, b]);
        for forged in [inner, leaves, header.payload] {
            assert_eq!(check(&header, &[BatchId(forged)]), Err(Reject::BadPayload));
        }
        assert_eq!(check(&header, &[b, a]), Err(Reject::BadPayload));
        assert_eq!(check(&header, &[a, b]), Ok(()));
    }
}
