//! The signatures of whatever clients' transactions wait, in batches or alone, in one equation.
//!
//! An equation over a hundred signatures takes three quarters of the time that five over twenty take. It must never let one
//! sender's bad signature cost another its verdict: a failing equation is searched for the bad ones
//! ([`quorate_crypto::BatchVerifier`]).

use alloc::vec::Vec;

use quorate_crypto::{BatchItem, BatchVerifier, Domain};

use crate::{HashedBatch, HashedTransaction, Parameters, Reject, Transaction, TransactionId};
use crate::{Unverified, Validators, Verified};

/// The verdicts of [`verify_together`], each at the place of what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdicts {
    /// Of the batches.
    pub batches: Vec<Result<Verified<HashedBatch>, Reject>>,
    /// Of the single transactions.
    pub transactions: Vec<Result<Verified<HashedTransaction>, Reject>>,
}

/// What `Unverified::verify` says of each batch and of each transaction, at once. A batch comes twice as a rule, from its
/// origin and inside a proposal: the second time its signatures are remembered.
#[must_use]
pub fn verify_together(
    batches: Vec<HashedBatch>,
    transactions: Vec<Unverified<HashedTransaction>>,
    validators: &Validators,
    parameters: &Parameters,
) -> Verdicts {
    let chain = validators.chain();
    let transactions = transactions.into_iter().map(Unverified::into_checked);
    let transactions: Vec<HashedTransaction> = transactions.collect();
    let mut refused_batches: Vec<Option<Reject>> = batches
        .iter()
        .map(|batch| match validators.key(batch.origin) {
            Some(_) => batch.check_form(chain, parameters).err(),
            None => Some(Reject::UnknownSigner),
        })
        .collect();
    let mut refused: Vec<Option<Reject>> = transactions
        .iter()
        .map(|transaction| transaction.check_form(chain, parameters).err())
        .collect();
    let mut equation = BatchVerifier::new();
    let mut owners = Vec::new();
    for (at, batch) in batches.iter().enumerate() {
        if refused_batches[at].is_none() && !validators.knows_batch(batch.id()) {
            let transactions = batch.transactions.iter().zip(batch.transaction_ids());
            let unknown = transactions.filter(|(t, _)| !validators.knows_transaction(t));
            unknown.for_each(|(t, id)| push(&mut equation, t, id));
            owners.resize(equation.len(), Owner::Batch(at));
        }
    }
    for (at, transaction) in transactions.iter().enumerate() {
        if refused[at].is_none() && !validators.knows_transaction(transaction) {
            push(&mut equation, transaction, &transaction.id());
            owners.push(Owner::Transaction(at));
        }
    }
    let verdict = validators.verify_equation(equation);
    for bad in verdict.err().unwrap_or_default() {
        match owners[bad] {
            Owner::Batch(at) => refused_batches[at] = Some(Reject::BadSignature),
            Owner::Transaction(at) => refused[at] = Some(Reject::BadSignature),
        }
    }
    let good = batches.iter().zip(&refused_batches);
    good.filter(|(_, refusal)| refusal.is_none())
        .for_each(|(batch, _)| validators.learn_batch(batch.id()));
    Verdicts {
        batches: judged(batches, refused_batches).collect(),
        transactions: judged(transactions, refused).collect(),
    }
}

/// Whose a signature of the equation is.
#[derive(Clone, Copy)]
enum Owner {
    Batch(usize),
    Transaction(usize),
}

fn push(equation: &mut BatchVerifier, transaction: &Transaction, id: &TransactionId) {
    equation.push(BatchItem {
        key: transaction.body.client,
        domain: Domain::ClientTransaction,
        message: id.as_bytes(),
        signature: transaction.signature,
    });
}

fn judged<T>(
    items: Vec<T>,
    refusals: Vec<Option<Reject>>,
) -> impl Iterator<Item = Result<Verified<T>, Reject>> {
    let pairs = items.into_iter().zip(refusals);
    pairs.map(|(item, refusal)| match refusal {
        Some(reject) => Err(reject),
        None => Ok(Verified::trust(item)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Batch;
    use crate::Memory;
    use crate::transaction::TransactionBody;
    use crate::{
        Blob, BlockTime, ChainId, Epoch, FORMAT_VERSION, Height, Unverified, ValidatorIndex,
    };
    use alloc::sync::Arc;
    use alloc::vec;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use quorate_crypto::{Digest, SecretKey, hash};

    fn chain() -> ChainId {
        ChainId(hash(Domain::Genesis, &[b"here"]))
    }

    fn validators() -> Validators {
        let keys = (0..4u8).map(|i| SecretKey::from_seed(&[i; 32]).public());
        let anchor = (crate::BlockId::default(), Height(0));
        Validators::new(chain(), Epoch(0), keys.collect(), anchor).expect("four keys")
    }

    fn transaction(seed: u8) -> Transaction {
        let key = SecretKey::from_seed(&[seed; 32]);
        let body = TransactionBody {
            version: FORMAT_VERSION,
            chain: chain(),
            client: key.public(),
            sequence: u64::from(seed),
            valid_until: BlockTime(1),
            commands: vec![Blob(vec![seed])],
        };
        body.sign(&key)
    }

    fn hashed(transaction: Transaction) -> Unverified<HashedTransaction> {
        Unverified::new(HashedTransaction::new(transaction))
    }

    fn batch(origin: u16, transactions: Vec<Transaction>) -> Batch {
        Batch {
            version: FORMAT_VERSION,
            epoch: Epoch(0),
            origin: ValidatorIndex(origin),
            sequence: 7,
            expiry: BlockTime(2),
            transactions,
        }
    }

    /// Together they get the verdicts that each gets alone, at its own place.
    #[test]
    fn all_get_the_verdicts_that_each_gets_alone() {
        let (validators, parameters) = (validators(), Parameters::default());
        let mut transactions: Vec<_> = (0..20).map(transaction).collect();
        transactions[3].signature = transactions[4].signature;
        transactions[5].body.version = 9;
        transactions[7].body.commands.clear();
        transactions[11].body.sequence += 1;
        transactions[13].body.chain = ChainId::default();
        let mut forged: Vec<_> = (30..40).map(transaction).collect();
        forged[9].body.sequence += 1;
        let batches = vec![
            batch(0, (20..30).map(transaction).collect()),
            batch(1, forged),
            batch(4, vec![transaction(40)]),
            batch(2, Vec::new()),
            batch(3, vec![transaction(41)]),
        ];
        let batches: Vec<_> = batches.into_iter().map(HashedBatch::new).collect();
        let alone = Verdicts {
            batches: batches
                .iter()
                .map(|batch| {
                    let origin = validators.key(batch.origin);
                    origin.ok_or(Reject::UnknownSigner)?;
                    batch.check_form(chain(), &parameters)?;
                    for transaction in &batch.transactions {
                        hashed(transaction.clone()).verify(chain(), &parameters)?;
                    }
                    Ok(Verified::trust(batch.clone()))
                })
                .collect(),
            transactions: transactions
                .iter()
                .map(|t| hashed(t.clone()).verify(chain(), &parameters))
                .collect(),
        };
        let refused = |verdict: &Result<_, Reject>| verdict.is_err();
        assert_eq!(alone.transactions.iter().filter(|v| v.is_err()).count(), 5);
        let batches_refused: Vec<bool> = alone.batches.iter().map(refused).collect();
        assert_eq!(batches_refused, [false, true, true, true, false]);
        let transactions = transactions.into_iter().map(hashed).collect();
        let together = verify_together(batches.clone(), transactions, &validators, &parameters);
        assert_eq!(together, alone);
        for batch in batches {
            let verdict = Unverified::new(batch.into_batch()).verify(&validators, &parameters);
            assert!(alone.batches.contains(&verdict));
        }
        let none = verify_together(Vec::new(), Vec::new(), &validators, &parameters);
        assert_eq!((none.batches.len(), none.transactions.len()), (0, 0));
    }

    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    impl Memory for Counting {
        fn knows(&self, _: &Digest) -> bool {
            self.0.load(Ordering::Relaxed) > 0
        }

        fn learn(&self, _: Digest) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Only a batch that verifies is learned; then its signatures are not looked at, but its form still is.
    #[test]
    fn a_batch_that_verified_is_not_verified_again() {
        let parameters = Parameters::default();
        let memory = Arc::new(Counting::default());
        let validators = validators().with_memory(memory.clone());
        let verify =
            |batch: &Batch| Unverified::new(batch.clone()).verify(&validators, &parameters);
        let mut forged = batch(0, vec![transaction(1)]);
        forged.transactions[0].body.sequence += 1;
        assert_eq!(verify(&forged), Err(Reject::BadSignature));
        assert_eq!(memory.0.load(Ordering::Relaxed), 0);
        assert!(verify(&batch(0, vec![transaction(1)])).is_ok());
        assert_eq!(memory.0.load(Ordering::Relaxed), 1);
        // This memory claims to know everything now, which shows that it is asked.
        assert!(verify(&forged).is_ok());
        forged.version = 9;
        assert_eq!(verify(&forged), Err(Reject::WrongVersion));
        assert_eq!(
            verify(&batch(7, vec![transaction(1)])),
            Err(Reject::UnknownSigner)
        );
    }

    /// A memory whose keys must not be asked for, and that knows all signatures or none.
    #[derive(Debug)]
    struct Locked(bool);

    impl Memory for Locked {
        fn knows(&self, _: &Digest) -> bool {
            self.0
        }

        fn learn(&self, _: Digest) {}

        fn lend_keys(&self, _: &mut dyn FnMut(&mut quorate_crypto::KeyCache)) {
            panic!("keys were looked up");
        }
    }

    /// Known batches are looked at again in each proposal: they cost neither an equation nor the lock on the keys. A single
    /// signature is no equation either.
    #[test]
    fn without_an_equation_no_keys_are_looked_up() {
        let parameters = Parameters::default();
        let judge = |known, transactions: Vec<Transaction>| {
            let validators = validators().with_memory(Arc::new(Locked(known)));
            let batches = vec![HashedBatch::new(batch(0, transactions))];
            let verdicts = verify_together(batches, Vec::new(), &validators, &parameters);
            verdicts.batches[0].is_ok()
        };
        assert!(judge(true, vec![transaction(1), transaction(2)]));
        assert!(judge(false, vec![transaction(1)]));
    }

    /// A memory that knows one transaction.
    #[derive(Debug)]
    struct One(Transaction);

    impl Memory for One {
        fn knows(&self, _: &Digest) -> bool {
            false
        }

        fn learn(&self, _: Digest) {}

        fn knows_transaction(&self, transaction: &Transaction) -> bool {
            self.0 == *transaction
        }
    }

    /// A transaction that is known is not looked at again, alone or in a batch; its neighbours are, and so is its form.
    #[test]
    fn a_transaction_that_is_known_vouches_for_itself_alone() {
        let parameters = Parameters::default();
        let forged = |seed| {
            let mut forged = transaction(seed);
            forged.body.sequence += 1;
            forged
        };
        let validators = validators().with_memory(Arc::new(One(forged(1))));
        let alone = |transaction| {
            let verdicts =
                verify_together(vec![], vec![hashed(transaction)], &validators, &parameters);
            verdicts.transactions.into_iter().next().expect("a verdict")
        };
        assert!(alone(forged(1)).is_ok());
        assert_eq!(alone(forged(2)), Err(Reject::BadSignature));
        let mut long = forged(1);
        long.body.commands.clear();
        let unformed = validators.clone().with_memory(Arc::new(One(long.clone())));
        let verdicts = verify_together(vec![], vec![hashed(long)], &unformed, &parameters);
        assert_eq!(verdicts.transactions, [Err(Reject::Malformed)]);
        let packed = |transactions| {
            let batch = Unverified::new(batch(0, transactions));
            batch.verify(&validators, &parameters).map(|_| ())
        };
        assert_eq!(packed(vec![forged(1), transaction(3)]), Ok(()));
        assert_eq!(
            packed(vec![forged(1), forged(3)]),
            Err(Reject::BadSignature)
        );
    }
}
