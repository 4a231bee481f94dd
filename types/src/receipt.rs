//! What became of a transaction, as every replica agrees.

use alloc::vec::Vec;

use quorate_crypto::{Digest, Domain, PublicKey, hash};
use serde::{Deserialize, Serialize};

use crate::{Blob, BlockTime, Height, TransactionId, codec, merkle};

/// The outcome of one transaction at its place in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Of which transaction.
    pub transaction: TransactionId,
    /// Who signed it.
    pub client: PublicKey,
    /// The client's number for it.
    pub sequence: u64,
    /// The block's height.
    pub height: Height,
    /// Place among the block's transactions, from 0.
    pub index: u32,
    /// The block's time.
    pub time: BlockTime,
    /// What happened.
    pub outcome: Outcome,
}

/// What happened to a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was executed, whole.
    Executed {
        /// The machine's revision after it.
        revision: u64,
        /// One result a command, in order.
        results: Vec<Blob>,
    },
    /// It had no effect.
    Rejected(Rejection),
    /// The same transaction had been executed before (X1): this one had no effect, and its first place has the answer.
    Duplicate {
        /// Height of the first.
        height: Height,
        /// Index of the first in its block.
        index: u32,
    },
}

/// Why a transaction had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// The key is no registered client's.
    #[error("the signing key belongs to no registered client")]
    UnknownClient,
    /// The client's role does not allow a command in it.
    #[error("the client's role does not allow it")]
    Forbidden,
    /// The block's time is after `valid_until`.
    #[error("it was ordered after its valid_until")]
    Expired,
    /// `valid_until` is further ahead of the block's time than `max_validity`.
    #[error("its valid_until lies too far ahead of block time")]
    TooFarAhead,
    /// The sequence number is below the client's window: whether it was executed is no longer known.
    #[error("its sequence number is below the client's window: outcome unknown")]
    TooOld,
    /// Another transaction with this sequence number was executed.
    #[error("its sequence number was used by another transaction")]
    SequenceReused,
    /// It would have cost more than a transaction may.
    #[error("it exceeds the cost limit")]
    CostExceeded,
    /// A command's result would be larger than allowed.
    #[error("a result exceeds the size limit")]
    ResultTooLarge,
    /// A command that the machine cannot read, or with a key or value outside its bounds.
    #[error(
        "command {0} is not one of the state machine's, or has a key or value of a length that it does not take"
    )]
    BadCommand(u32),
    /// A command that names a checkpoint which was never made, or was released.
    #[error(
        "command {0} names a checkpoint that is not open: it was never made, or it was released"
    )]
    UnknownCheckpoint(u32),
    /// A checkpoint of a name that another one has.
    #[error(
        "command {0} makes a checkpoint of a name that an open one has: take another name, or release that one"
    )]
    CheckpointExists(u32),
    /// A checkpoint more than may be kept.
    #[error("command {0} makes a checkpoint, but as many are kept as may be: release the oldest")]
    TooManyCheckpoints(u32),
    /// It would have cost more than what the transactions before it left of its block's cost. Whether it costs more than a
    /// transaction may, another block will tell.
    #[error("the transactions before it used up its block's cost: send it again as it is")]
    BlockFull,
}

impl Rejection {
    /// Whether whoever sends the same transaction again is to get another answer: it used no number, and what stood in its
    /// way passes by itself.
    #[must_use]
    pub const fn passes(self) -> bool {
        matches!(self, Rejection::BlockFull | Rejection::TooFarAhead)
    }

    /// Whether a transaction whose first place has this receipt never executes, whoever has its bytes ordered again: it has
    /// used its number up, its time is over, or its key is none of the genesis. What remembers the user of a number, and
    /// the window, ends with the client's session.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Rejection::UnknownClient
            | Rejection::Forbidden
            | Rejection::Expired
            | Rejection::CostExceeded
            | Rejection::ResultTooLarge
            | Rejection::BadCommand(_)
            | Rejection::UnknownCheckpoint(_)
            | Rejection::CheckpointExists(_)
            | Rejection::TooManyCheckpoints(_) => true,
            Rejection::TooFarAhead
            | Rejection::TooOld
            | Rejection::SequenceReused
            | Rejection::BlockFull => false,
        }
    }
}

impl Outcome {
    /// Whether it is no answer: see [`Rejection::passes`].
    #[must_use]
    pub const fn passes(&self) -> bool {
        matches!(self, Outcome::Rejected(why) if why.passes())
    }
}

impl Receipt {
    /// Leaf of this receipt in its block's tree.
    #[must_use]
    pub fn leaf(&self) -> Digest {
        Receipt::leaf_of(&codec::encode(self))
    }

    /// As [`Receipt::leaf`], from the receipt's encoding.
    #[must_use]
    pub fn leaf_of(encoded: &[u8]) -> Digest {
        hash(Domain::Receipt, &[encoded])
    }
}

/// Leaf of a block in the chain's accumulator of receipts, over the leaves of its receipts.
#[must_use]
pub fn block_leaf(height: Height, receipts: &[Digest]) -> Digest {
    block_leaf_of_root(height, &merkle::root(receipts))
}

/// As [`block_leaf`], from the root of the block's receipts.
#[must_use]
pub fn block_leaf_of_root(height: Height, root: &Digest) -> Digest {
    hash(
        Domain::ReceiptsNode,
        &[&height.0.to_le_bytes(), root.as_bytes()],
    )
}
