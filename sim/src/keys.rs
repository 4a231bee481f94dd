//! Keys of validators and clients: real ones, and stand-ins that cost next to nothing.
//!
//! A stand-in signature is a hash that anybody could compute; what makes it valid is that the `Notary` of its world saw
//! its key make it. The product's own verification then finds it among what "was verified before" and does no curve
//! arithmetic, while every other path of the product stays as it ships. Whatever was not signed by its key is unknown to
//! the notary and meets the real predicate, which it fails.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_crypto::{Digest, Domain, PublicKey, SIGNATURE_BYTES, SecretKey, Signature, hash};
use quorate_types::memory;
use quorate_types::together::verify_together;
use quorate_types::vote::Signer;
use quorate_types::{
    HashedTransaction, Memory, Parameters, Transaction, TransactionBody, Unverified, Validators,
    Verified,
};

/// Takes the first bytes of a digest as its hash: digests are even already.
#[derive(Clone, Copy, Default)]
pub(crate) struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some((first, _)) = bytes.split_first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {}
}

/// For sets and maps that are only looked up, never walked.
pub(crate) type ByDigest = BuildHasherDefault<DigestHasher>;

/// Knows every stand-in signature of its world.
#[derive(Default)]
pub(crate) struct Notary {
    signatures: Mutex<HashSet<Digest, ByDigest>>,
    /// What clients signed, by the first half of the signature: a digest of its own for every text.
    transactions: Mutex<HashMap<Digest, Arc<Transaction>, ByDigest>>,
}

impl Notary {
    /// A client signed this: it verifies, bit by bit as it is.
    pub(crate) fn attest(&self, transaction: Arc<Transaction>) {
        let mut known = lock(&self.transactions);
        known.insert(half(&transaction.signature), transaction);
    }
}

fn half(signature: &Signature) -> Digest {
    let (half, _) = signature
        .as_bytes()
        .split_first_chunk()
        .expect("twice as long");
    Digest::from_bytes(*half)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Notary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notary")
    }
}

impl Memory for Notary {
    fn knows(&self, signature: &Digest) -> bool {
        lock(&self.signatures).contains(signature)
    }

    fn learn(&self, signature: Digest) {
        lock(&self.signatures).insert(signature);
    }

    fn knows_transaction(&self, transaction: &Transaction) -> bool {
        let known = lock(&self.transactions);
        let signed = known.get(&half(&transaction.signature));
        signed.is_some_and(|signed| **signed == *transaction)
    }
}

/// A key in the hand of whoever has it.
#[derive(Clone, Debug)]
pub(crate) struct Pen {
    secret: Arc<SecretKey>,
    public: PublicKey,
    notary: Option<Arc<Notary>>,
}

impl Pen {
    /// Signs for real, or with stand-ins that this notary knows.
    pub(crate) fn new(secret: SecretKey, notary: Option<Arc<Notary>>) -> Pen {
        Pen {
            public: secret.public(),
            secret: Arc::new(secret),
            notary,
        }
    }

    pub(crate) fn public(&self) -> PublicKey {
        self.public
    }

    /// A client signs.
    pub(crate) fn sign_transaction(&self, body: TransactionBody) -> Transaction {
        let Some(notary) = &self.notary else {
            return body.sign(&self.secret);
        };
        let signature = self.stand_in(Domain::ClientTransaction, body.id().as_bytes());
        let transaction = Transaction { body, signature };
        notary.attest(Arc::new(transaction.clone()));
        transaction
    }

    /// A client signs, and the product's own check takes it.
    pub(crate) fn transaction(
        &self,
        body: TransactionBody,
        validators: &Validators,
        parameters: &Parameters,
    ) -> Verified<HashedTransaction> {
        let signed = HashedTransaction::new(self.sign_transaction(body));
        let signed = vec![Unverified::new(signed)];
        let verdicts = verify_together(vec![], signed, validators, parameters);
        let transaction = verdicts.transactions.into_iter().next();
        transaction.and_then(Result::ok).expect("signed here")
    }

    fn stand_in(&self, domain: Domain, message: &[u8]) -> Signature {
        let half = hash(domain, &[self.public.as_bytes(), message]);
        let mut bytes = [0; SIGNATURE_BYTES];
        let (first, second) = bytes.split_at_mut(SIGNATURE_BYTES / 2);
        first.copy_from_slice(half.as_bytes());
        // No scalar of the curve is as large: the real predicate refuses a stand-in that nobody made.
        second.fill(u8::MAX);
        Signature::from_bytes(bytes)
    }
}

impl Signer for Pen {
    fn sign(&self, domain: Domain, message: &[u8]) -> Signature {
        let Some(notary) = &self.notary else {
            return self.secret.sign(domain, message);
        };
        let signature = self.stand_in(domain, message);
        notary.learn(memory::name(domain, &self.public, &signature, message));
        signature
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_crypto::verify;
    use quorate_types::{Blob, BlockId, BlockTime, ChainId, Epoch, FORMAT_VERSION, Height, Reject};

    #[test]
    fn a_stand_in_is_known_and_no_signature() {
        let notary = Arc::new(Notary::default());
        let pen = Pen::new(SecretKey::from_seed(&[1; 32]), Some(Arc::clone(&notary)));
        let signature = pen.sign(Domain::Vote, b"m");
        let name = |text: &[u8]| memory::name(Domain::Vote, &pen.public(), &signature, text);
        assert!(notary.knows(&name(b"m")));
        assert!(!notary.knows(&name(b"n")));
        assert!(verify(&pen.public(), Domain::Vote, b"m", &signature).is_err());
    }

    /// The product's own check takes what a client signed, and nothing that differs in a bit, signature or text.
    #[test]
    fn a_client_s_stand_in_stands_for_one_text() {
        let notary = Arc::new(Notary::default());
        let pen = Pen::new(SecretKey::from_seed(&[1; 32]), Some(Arc::clone(&notary)));
        let parameters = Parameters::default();
        let chain = ChainId::default();
        let anchor = (BlockId::default(), Height(0));
        let validators = Validators::new(chain, Epoch(0), vec![pen.public()], anchor).unwrap();
        let validators = validators.with_memory(notary);
        let signed = pen.sign_transaction(TransactionBody {
            version: FORMAT_VERSION,
            chain,
            client: pen.public(),
            sequence: 1,
            valid_until: BlockTime(1),
            commands: vec![Blob(vec![1])],
        });
        let verdict = |transaction: &Transaction| {
            let alone = HashedTransaction::new(transaction.clone());
            let alone = vec![Unverified::new(alone)];
            let mut verdicts = verify_together(vec![], alone, &validators, &parameters);
            verdicts.transactions.pop().unwrap()
        };
        assert!(verdict(&signed).is_ok());
        let mut other = signed.clone();
        other.body.sequence = 2;
        assert_eq!(verdict(&other), Err(Reject::BadSignature));
        let mut bytes = *signed.signature.as_bytes();
        bytes[SIGNATURE_BYTES - 1] ^= 1;
        let mut other = signed;
        other.signature = Signature::from_bytes(bytes);
        assert_eq!(verdict(&other), Err(Reject::BadSignature));
    }
}
