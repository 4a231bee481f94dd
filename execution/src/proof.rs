//! What a client can check without trusting any server, from the genesis alone: that a transaction is ordered (F1), what
//! it led to, and what a key holds (F2).
//!
//! Every proof ends in a chain of headers, oldest first and each the parent of the next, and a commit certificate (CC) on
//! the last, which makes all of them final. The first header is the one that the rest of the proof hangs on: it names the
//! batches (F1), or claims the roots of state and receipts (F2).
//!
//! ```text
//! ReceiptProof   receipt ─ path ─► root of its block ─ path ─► claim.roots.receipts ┐
//! KeyProof       key, record ─ tree proof ─► claim.roots.state ─────────────────────┤ headers[0] ◄─ … ◄─ headers[n] ◄─ CC
//! InclusionProof transaction ─ path ─► batch ─ path ─► payload ─────────────────────┘
//! ```
//!
//! A claim of height H covers the receipts of heights 1 to H and the state after H. The validators are those of one
//! epoch; proofs do not reach over its end yet (F3). Verification works in proportion to the proof's size and never
//! panics on one.

use alloc::vec::Vec;

use quorate_types::batch::{self, BatchHeader};
use quorate_types::codec::{self, DecodeError};
use quorate_types::merkle::Path;
use quorate_types::{BatchId, Blob, Block, BlockId, BlockTime, Cc, Header, Height, Receipt};
use quorate_types::{Reject, Transaction, TransactionId, Unverified, Validators, receipt};
use serde::{Deserialize, Serialize};

use crate::record;
use crate::tree;

/// Version that every encoded proof begins with.
pub const PROOF_VERSION: u16 = 1;
/// Most headers of a proof: further from its claim, no honest server looks for a certificate.
pub const MAX_HEADERS: usize = 4_352;

/// Why a proof is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The bytes are no proof of this release.
    #[error(transparent)]
    Encoding(#[from] DecodeError),
    /// Another version of the format.
    #[error("proof format {0} is not {PROOF_VERSION}, the one this release reads")]
    Version(u16),
    /// No header, or more than [`MAX_HEADERS`].
    #[error("a proof has 1 to {MAX_HEADERS} headers, not {0}")]
    Headers(usize),
    /// A header that is not the parent of the one behind it.
    #[error("header {0} is not the parent of the next")]
    Link(usize),
    /// The certificate is for another block than the last header.
    #[error("the commit certificate is for another block")]
    CertificateMismatch,
    /// The certificate does not verify.
    #[error("the commit certificate does not verify: {0}")]
    Certificate(Reject),
    /// The claim of the first header is for a height below the receipt's.
    #[error("the header's claim does not cover the receipt's height")]
    NotCovered,
    /// A path that does not lead where it should, or not from the place that is named.
    #[error("a path does not lead to the root in the header")]
    Path,
    /// The tree proof is refused.
    #[error("the proof of the key is refused: {0}")]
    Tree(tree::ProofError),
}

/// The block that a verified proof hangs on. It is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalBlock {
    /// Its identity.
    pub id: BlockId,
    /// Its height.
    pub height: Height,
    /// Its agreed time.
    pub time: BlockTime,
}

/// Proof of what became of a transaction (F2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptProof {
    /// The receipt.
    pub receipt: Receipt,
    /// From the receipt to the root of its block's receipts.
    pub receipt_path: Path,
    /// From the block's leaf to the receipts root at the claim's height.
    pub block_path: Path,
    /// See [the module](self).
    pub headers: Vec<Header>,
    /// For the last header.
    pub cc: Cc,
}

/// What a verified [`ReceiptProof`] shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptFacts {
    /// The receipt that all correct replicas agree on.
    pub receipt: Receipt,
    /// The block that claims it.
    pub claimed_by: FinalBlock,
}

/// Proof of what a key of the state holds, or that there is no such key (F2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyProof {
    /// The key in the state, with its namespace ([`crate::kv::state_key`]).
    pub key: Blob,
    /// Its record, `None` if there is no such key.
    pub record: Option<Blob>,
    /// From the key to the state root.
    pub proof: tree::Proof,
    /// See [the module](self).
    pub headers: Vec<Header>,
    /// For the last header.
    pub cc: Cc,
}

/// What a verified [`KeyProof`] shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// The key in the state, with its namespace.
    pub key: Vec<u8>,
    /// Its record, `None` if there is no such key.
    pub record: Option<Vec<u8>>,
    /// The height whose state this is.
    pub height: Height,
    /// The block that claims that state.
    pub claimed_by: FinalBlock,
}

/// Proof that a transaction is ordered (F1), whatever it may lead to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InclusionProof {
    /// The transaction.
    pub transaction: Transaction,
    /// From the transaction to the batch's root.
    pub transaction_path: Path,
    /// The batch it is in.
    pub batch: BatchHeader,
    /// From the batch to the block's payload.
    pub payload_path: Path,
    /// See [the module](self).
    pub headers: Vec<Header>,
    /// For the last header.
    pub cc: Cc,
}

/// What a verified [`InclusionProof`] shows. Not at which place in the batch, nor the batch in the block: nothing that is
/// signed says how many there are, and with another number a path leads to the same root from another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InclusionFacts {
    /// The transaction.
    pub transaction: TransactionId,
    /// The batch it is in.
    pub batch: BatchId,
    /// The block that orders it.
    pub ordered_by: FinalBlock,
}

/// Any of the proofs, as files and servers hold them: version (2 bytes), tag (4 bytes), the proof; all canonical.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientProof {
    /// Of a receipt.
    Receipt(ReceiptProof),
    /// Of a key.
    Key(KeyProof),
    /// Of a transaction's place.
    Inclusion(InclusionProof),
}

/// What a verified [`ClientProof`] shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facts {
    /// Of a receipt.
    Receipt(ReceiptFacts),
    /// Of a key.
    Key(KeyFacts),
    /// Of a transaction's place.
    Inclusion(InclusionFacts),
}

impl ClientProof {
    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = codec::encode(&PROOF_VERSION);
        codec::encode_into(self, &mut bytes);
        bytes
    }

    /// Reads what [`ClientProof::encode`] wrote.
    ///
    /// # Errors
    /// [`ProofError::Encoding`], [`ProofError::Version`].
    pub fn decode(bytes: &[u8]) -> Result<ClientProof, ProofError> {
        let Some((version, rest)) = bytes.split_first_chunk() else {
            return Err(ProofError::Encoding(DecodeError::Malformed));
        };
        match u16::from_le_bytes(*version) {
            PROOF_VERSION => Ok(codec::decode(rest, codec::MAX_ENCODED_BYTES)?),
            version => Err(ProofError::Version(version)),
        }
    }

    /// Checks everything.
    ///
    /// # Errors
    /// [`ProofError`]: do not believe it.
    pub fn verify(&self, validators: &Validators) -> Result<Facts, ProofError> {
        match self {
            ClientProof::Receipt(proof) => proof.verify(validators).map(Facts::Receipt),
            ClientProof::Key(proof) => proof.verify(validators).map(Facts::Key),
            ClientProof::Inclusion(proof) => proof.verify(validators).map(Facts::Inclusion),
        }
    }
}

impl ReceiptProof {
    /// Puts a proof together.
    #[must_use]
    pub fn new(
        receipt: Receipt,
        receipt_path: Path,
        block_path: Path,
        headers: Vec<Header>,
        cc: Cc,
    ) -> ReceiptProof {
        ReceiptProof {
            receipt,
            receipt_path,
            block_path,
            headers,
            cc,
        }
    }

    /// Checks everything.
    ///
    /// # Errors
    /// [`ProofError`]: do not believe it.
    pub fn verify(&self, validators: &Validators) -> Result<ReceiptFacts, ProofError> {
        let (first, claimed_by) = check_chain(&self.headers, &self.cc, validators)?;
        let (receipt, claim) = (&self.receipt, &first.claim);
        // Leaf 0 of the accumulator is height 1: the genesis has no receipts.
        let leaf_index = receipt.height.0.checked_sub(1).ok_or(ProofError::Path)?;
        if claim.height < receipt.height {
            return Err(ProofError::NotCovered);
        }
        let placed = self.receipt_path.index == u64::from(receipt.index)
            && self.block_path.index == leaf_index
            && self.block_path.count == claim.height.0;
        if !placed {
            return Err(ProofError::Path);
        }
        let root = self.receipt_path.root(receipt.leaf());
        let root = root.ok_or(ProofError::Path)?;
        let leaf = receipt::block_leaf_of_root(receipt.height, &root);
        if self.block_path.root(leaf) != Some(claim.roots.receipts) {
            return Err(ProofError::Path);
        }
        Ok(ReceiptFacts {
            receipt: receipt.clone(),
            claimed_by,
        })
    }
}

impl KeyProof {
    /// Puts a proof together.
    #[must_use]
    pub fn new(
        key: Vec<u8>,
        record: Option<Vec<u8>>,
        proof: tree::Proof,
        headers: Vec<Header>,
        cc: Cc,
    ) -> KeyProof {
        KeyProof {
            key: Blob(key),
            record: record.map(Blob),
            proof,
            headers,
            cc,
        }
    }

    /// Checks everything.
    ///
    /// # Errors
    /// [`ProofError`]: do not believe it.
    pub fn verify(&self, validators: &Validators) -> Result<KeyFacts, ProofError> {
        let (first, claimed_by) = check_chain(&self.headers, &self.cc, validators)?;
        let digest = self.record.as_ref().map(|record| record::digest(&record.0));
        self.proof
            .verify(&first.claim.roots.state, &self.key.0, digest.as_ref())
            .map_err(ProofError::Tree)?;
        Ok(KeyFacts {
            key: self.key.0.clone(),
            record: self.record.clone().map(|record| record.0),
            height: first.claim.height,
            claimed_by,
        })
    }
}

impl InclusionProof {
    /// Checks everything, except the client's signature: no correct validator votes for a block without it (V4).
    ///
    /// # Errors
    /// [`ProofError`]: do not believe it.
    pub fn verify(&self, validators: &Validators) -> Result<InclusionFacts, ProofError> {
        let (first, ordered_by) = check_chain(&self.headers, &self.cc, validators)?;
        let id = self.transaction.id();
        let leaf = batch::leaf(&id, &self.transaction.signature);
        let root = self.transaction_path.root(leaf);
        if root != Some(self.batch.transactions_root) {
            return Err(ProofError::Path);
        }
        let batch = self.batch.id();
        if self.payload_path.root(Block::payload_leaf(&batch)) != Some(first.payload) {
            return Err(ProofError::Path);
        }
        Ok(InclusionFacts {
            transaction: id,
            batch,
            ordered_by,
        })
    }
}

/// Checks that the headers are one chain and that the certificate makes them final. Returns the first.
fn check_chain<'a>(
    headers: &'a [Header],
    cc: &Cc,
    validators: &Validators,
) -> Result<(&'a Header, FinalBlock), ProofError> {
    let (Some(first), Some(last)) = (headers.first(), headers.last()) else {
        return Err(ProofError::Headers(0));
    };
    if headers.len() > MAX_HEADERS {
        return Err(ProofError::Headers(headers.len()));
    }
    let mut id = first.id();
    let block = FinalBlock {
        id,
        height: first.height,
        time: first.time,
    };
    for (at, header) in headers.iter().enumerate().skip(1) {
        if header.parent != id {
            return Err(ProofError::Link(at - 1));
        }
        id = header.id();
    }
    if (cc.block, cc.round, cc.height) != (id, last.round, last.height) {
        return Err(ProofError::CertificateMismatch);
    }
    Unverified::new(cc.clone())
        .verify(validators)
        .map_err(ProofError::Certificate)?;
    Ok((first, block))
}
