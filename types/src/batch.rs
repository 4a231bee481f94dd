//! How transactions travel: packed by the validator that admitted them, ordered by digest.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Deref;

use quorate_crypto::{Digest, Domain, PublicKey, Signature, hash};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::merkle::{self, Path};
use crate::together::verify_together;
use crate::{BatchId, BlockTime, ChainId, Epoch, FORMAT_VERSION, HashedTransaction, Parameters};
use crate::{Reject, Transaction, TransactionId, Unverified, ValidatorIndex, Validators, Verified};

/// Transactions packed by one validator. Nobody signs a batch: its origin streams it over an authenticated connection,
/// and whoever fetches it checks it against its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// [`FORMAT_VERSION`].
    pub version: u16,
    /// The epoch whose set `origin` is an index of.
    pub epoch: Epoch,
    /// Who packed it.
    pub origin: ValidatorIndex,
    /// The origin's own count of its batches; gaps and repeats are allowed (after a restart) and mean nothing.
    pub sequence: u64,
    /// No block of a later time may order it (V4).
    pub expiry: BlockTime,
    /// In the order of execution.
    pub transactions: Vec<Transaction>,
}

/// What the digest of a batch is taken over, in place of the transactions their root, so that one of them can be proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchHeader {
    /// As in the batch.
    pub version: u16,
    /// As in the batch.
    pub epoch: Epoch,
    /// As in the batch.
    pub origin: ValidatorIndex,
    /// As in the batch.
    pub sequence: u64,
    /// As in the batch.
    pub expiry: BlockTime,
    /// [`merkle::root`] over [`leaf`] of each transaction.
    pub transactions_root: Digest,
}

impl BatchHeader {
    /// The batch's digest.
    #[must_use]
    pub fn id(&self) -> BatchId {
        BatchId(codec::digest(Domain::Batch, self))
    }
}

/// Leaf of a transaction, its signature included: of its identity and the signature, so that its content is hashed once.
#[must_use]
pub fn leaf(id: &TransactionId, signature: &Signature) -> Digest {
    hash(
        Domain::TransactionLeaf,
        &[id.as_bytes(), signature.as_bytes()],
    )
}

impl Batch {
    /// What the digest is taken over.
    #[must_use]
    pub fn header(&self) -> BatchHeader {
        self.header_with(&self.identities())
    }

    fn header_with(&self, ids: &[TransactionId]) -> BatchHeader {
        BatchHeader {
            version: self.version,
            epoch: self.epoch,
            origin: self.origin,
            sequence: self.sequence,
            expiry: self.expiry,
            transactions_root: merkle::root(&self.leaves(ids)),
        }
    }

    /// The digest that blocks order. Hashes every transaction: see [`HashedBatch`].
    #[must_use]
    pub fn id(&self) -> BatchId {
        self.header().id()
    }

    /// Path of a transaction to `transactions_root`.
    ///
    /// # Panics
    /// If there is no transaction at `index`.
    #[must_use]
    pub fn path(&self, index: usize) -> Path {
        merkle::path(&self.leaves(&self.identities()), index)
    }

    /// Bytes of the canonical encoding.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let transactions: usize = self.transactions.iter().map(Transaction::encoded_len).sum();
        2 + 8 + 2 + 8 + 8 + 8 + transactions
    }

    /// Form of the batch and of each transaction in it; signatures apart.
    ///
    /// # Errors
    /// As [`Transaction::check_form`]; [`Reject::Malformed`] for an empty batch; [`Reject::TooLarge`] above
    /// `max_batch_bytes`.
    pub fn check_form(&self, chain: ChainId, parameters: &Parameters) -> Result<(), Reject> {
        if self.version != FORMAT_VERSION {
            return Err(Reject::WrongVersion);
        }
        if self.transactions.is_empty() {
            return Err(Reject::Malformed);
        }
        let bytes = u64::try_from(self.encoded_len()).map_err(|_| Reject::TooLarge)?;
        if bytes > parameters.max_batch_bytes {
            return Err(Reject::TooLarge);
        }
        self.transactions
            .iter()
            .try_for_each(|transaction| transaction.check_form(chain, parameters))
    }

    fn identities(&self) -> Vec<TransactionId> {
        self.transactions.iter().map(Transaction::id).collect()
    }

    fn leaves(&self, ids: &[TransactionId]) -> Vec<Digest> {
        let signed = self.transactions.iter().zip(ids);
        signed.map(|(t, id)| leaf(id, &t.signature)).collect()
    }
}

/// A batch with its digest and the identities of its transactions. They are asked for at every stage, from the door to the
/// ledger, and are calculated once, here, from the content: nobody's claim of them is ever taken. A clone is the same batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedBatch(Arc<Hashed>);

#[derive(Debug, PartialEq, Eq)]
struct Hashed {
    batch: Batch,
    id: BatchId,
    transactions: Vec<TransactionId>,
}

impl HashedBatch {
    /// Hashes the batch and every transaction in it.
    #[must_use]
    pub fn new(batch: Batch) -> HashedBatch {
        let transactions = batch.identities();
        HashedBatch::known(batch, transactions)
    }

    /// Packs transactions, whose identities are known.
    #[must_use]
    pub fn pack(
        epoch: Epoch,
        origin: ValidatorIndex,
        sequence: u64,
        expiry: BlockTime,
        transactions: Vec<HashedTransaction>,
    ) -> HashedBatch {
        let ids: Vec<_> = transactions.iter().map(HashedTransaction::id).collect();
        let transactions = transactions.into_iter();
        let batch = Batch {
            version: FORMAT_VERSION,
            epoch,
            origin,
            sequence,
            expiry,
            transactions: transactions
                .map(HashedTransaction::into_transaction)
                .collect(),
        };
        HashedBatch::known(batch, ids)
    }

    fn known(batch: Batch, transactions: Vec<TransactionId>) -> HashedBatch {
        HashedBatch(Arc::new(Hashed {
            id: batch.header_with(&transactions).id(),
            transactions,
            batch,
        }))
    }

    /// [`Batch::id`].
    #[must_use]
    pub fn id(&self) -> BatchId {
        self.0.id
    }

    /// A copy of the transaction at a place.
    #[must_use]
    pub fn transaction(&self, place: usize) -> Option<HashedTransaction> {
        let transaction = self.transactions.get(place)?.clone();
        Some(HashedTransaction::known(
            transaction,
            self.0.transactions[place],
        ))
    }

    /// The batch alone; a copy, if others hold it.
    #[must_use]
    pub fn into_batch(self) -> Batch {
        Arc::try_unwrap(self.0).map_or_else(|shared| shared.batch.clone(), |own| own.batch)
    }

    /// [`Transaction::id`] of each transaction, in their order.
    #[must_use]
    pub fn transaction_ids(&self) -> &[TransactionId] {
        &self.0.transactions
    }
}

impl Deref for HashedBatch {
    type Target = Batch;

    fn deref(&self) -> &Batch {
        &self.0.batch
    }
}

impl Unverified<Batch> {
    /// Stateless validity of everything in the batch (V4), signatures in one pass, unless they are remembered.
    ///
    /// # Errors
    /// Those of [`Batch::check_form`]; [`Reject::UnknownSigner`] for an origin that is not of the set, and
    /// [`Reject::BadSignature`].
    pub fn verify(
        self,
        validators: &Validators,
        parameters: &Parameters,
    ) -> Result<Verified<HashedBatch>, Reject> {
        let batch = HashedBatch::new(self.into_checked());
        let mut verdicts = verify_together(vec![batch], vec![], validators, parameters);
        verdicts.batches.pop().expect("a verdict for each")
    }
}

impl Verified<HashedBatch> {
    /// Packs transactions that were each verified before.
    #[must_use]
    pub fn pack(
        epoch: Epoch,
        origin: ValidatorIndex,
        sequence: u64,
        expiry: BlockTime,
        transactions: Vec<Verified<HashedTransaction>>,
    ) -> Verified<HashedBatch> {
        let transactions = transactions.into_iter().map(Verified::into_inner).collect();
        Verified::trust(HashedBatch::pack(
            epoch,
            origin,
            sequence,
            expiry,
            transactions,
        ))
    }
}

/// Who signed the transactions of a batch, for accounting.
pub fn clients(batch: &Batch) -> impl Iterator<Item = &PublicKey> {
    batch.transactions.iter().map(|t| &t.body.client)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::TransactionBody;
    use quorate_crypto::SecretKey;

    #[test]
    fn a_hashed_batch_knows_what_its_content_says() {
        let key = SecretKey::from_seed(&[1; 32]);
        let signed = |sequence| {
            let body = TransactionBody {
                version: FORMAT_VERSION,
                chain: ChainId::default(),
                client: key.public(),
                sequence,
                valid_until: BlockTime(1),
                commands: Vec::new(),
            };
            body.sign(&key)
        };
        let batch = Batch {
            version: FORMAT_VERSION,
            epoch: Epoch(0),
            origin: ValidatorIndex(1),
            sequence: 7,
            expiry: BlockTime(2),
            transactions: vec![signed(1), signed(2)],
        };
        let hashed = HashedBatch::new(batch.clone());
        assert_eq!(hashed.id(), batch.id());
        let ids: Vec<_> = batch.transactions.iter().map(Transaction::id).collect();
        assert_eq!(hashed.transaction_ids(), ids);
        let each = batch.transactions.iter().cloned();
        let each: Vec<_> = each.map(HashedTransaction::new).collect();
        assert_eq!(hashed.transaction(1).as_ref(), each.get(1));
        assert_eq!(hashed.transaction(2), None);
        let (epoch, origin, expiry) = (batch.epoch, batch.origin, batch.expiry);
        assert_eq!(HashedBatch::pack(epoch, origin, 7, expiry, each), hashed);
        assert_eq!(hashed.clone().into_batch(), batch);
        assert_eq!(hashed.into_batch(), batch);
    }
}
