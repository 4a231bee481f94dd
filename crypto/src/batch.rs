//! Verification of many signatures at once, and the search for the bad ones.
//!
//! Owns the batch form of the one predicate. It must never answer otherwise than
//! [`crate::VerifyingKey::verify`] would for each signature: ZIP-215 is what makes the two agree on
//! crafted input too. The [equation](crate::equation) has one term for each signature and one for each
//! *distinct* key, which need not be decompressed again if a [`KeyCache`] knows it.

use alloc::vec::Vec;
use core::ops::Range;

use curve25519_dalek::EdwardsPoint;
use curve25519_dalek::edwards::CompressedEdwardsY;

use crate::domain::Domain;
use crate::equation::Equations;
use crate::keys::KeyCache;
use crate::public::{PublicKey, signed_bytes, verify_signed};
use crate::signature::Signature;

/// Ranges of at most this many signatures are verified one by one once a batch has failed.
///
/// To halve fewer saves hardly anything.
const SINGLES: usize = 8;

/// After this many failed equations whatever remains is verified one by one.
///
/// Enough to corner one bad signature in 512 by halving. It bounds what a flood of bad signatures
/// can cost to about three times their single verification.
const FAILED_EQUATIONS_MAX: usize = 8;

/// One signature to verify in a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchItem<'a> {
    /// Who is said to have signed. It need not be a point: then the signature is bad.
    pub key: PublicKey,
    /// The domain of the signature.
    pub domain: Domain,
    /// The message, without the domain's tag.
    pub message: &'a [u8],
    /// The signature of tag ‖ message.
    pub signature: Signature,
}

/// Collects signatures and verifies them together.
///
/// Each message is kept until then. The caller bounds their number and their bytes.
#[derive(Clone, Debug, Default)]
pub struct BatchVerifier {
    items: Vec<Signed>,
    /// The distinct keys of those, ascending, once they were looked up.
    keys: Vec<Key>,
}

/// A signature of `bytes`, which is tag and message in one piece.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) key: PublicKey,
    pub(crate) bytes: Vec<u8>,
    pub(crate) signature: Signature,
}

#[derive(Clone, Debug)]
struct Key {
    key: PublicKey,
    /// Decompressed, unless it is not yet or is no point.
    point: Option<EdwardsPoint>,
    recalled: bool,
}

impl BatchVerifier {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// An empty batch with room for `capacity` signatures.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            items: Vec::with_capacity(capacity),
            keys: Vec::new(),
        }
    }

    /// Adds a signature.
    pub fn push(&mut self, item: BatchItem<'_>) {
        let signed = signed_bytes(item.domain, item.message);
        self.push_signed(item.key, signed, item.signature);
    }

    /// Adds a signature of `bytes`, which is tag and message in one piece.
    pub(crate) fn push_signed(&mut self, key: PublicKey, bytes: Vec<u8>, signature: Signature) {
        self.keys.clear();
        self.items.push(Signed {
            key,
            bytes,
            signature,
        });
    }

    /// How many signatures were added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether no signature was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Looks up the keys of what was added so far, and nothing else: a lock on the cache is held for short.
    /// [`BatchVerifier::verify`] is quicker then, and says the same.
    pub fn recall_keys(&mut self, cache: &mut KeyCache) {
        self.collect_keys();
        for key in &mut self.keys {
            key.point = cache.get(&key.key);
            key.recalled = key.point.is_some();
        }
    }

    /// Has the cache remember the keys that it did not know. To be called once the batch has verified, so
    /// that whoever has no key to sign with does not fill it.
    pub fn remember_keys(&self, cache: &mut KeyCache) {
        for key in &self.keys {
            if let (Some(point), false) = (key.point, key.recalled) {
                cache.put(key.key, point);
            }
        }
    }

    /// Finds the distinct keys, of which nothing is known then.
    fn collect_keys(&mut self) {
        let mut keys: Vec<PublicKey> = self.items.iter().map(|item| item.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let unknown = |key| Key {
            key,
            point: None,
            recalled: false,
        };
        self.keys = keys.into_iter().map(unknown).collect();
    }

    /// Accepts the batch if every signature is good. An empty batch is good.
    ///
    /// `entropy` should be fresh randomness; without it a batch is as sound as SHA-256 is unpredictable.
    /// A wrong answer has a probability of about 2^-128.
    ///
    /// # Errors
    /// The indices of the bad signatures, in the order of [`BatchVerifier::push`], ascending. They
    /// are found by halving, with single verification at the end; with many bad ones the halving
    /// gives way to single verification, so the cost stays within about three times that.
    pub fn verify(&mut self, entropy: [u8; 32]) -> Result<(), Vec<usize>> {
        match self.items.as_slice() {
            // The equation would hold, at the price of a multiplication.
            [] => return Ok(()),
            // Alone it is quicker without.
            [item] => {
                let verdict = verify_signed(&item.key, &item.bytes, &item.signature);
                return verdict.map_err(|_| alloc::vec![0]);
            }
            _ => {}
        }
        if self.keys.is_empty() {
            self.collect_keys();
        }
        for Key { key, point, .. } in &mut self.keys {
            *point = point.or_else(|| CompressedEdwardsY(key.to_bytes()).decompress());
        }
        let points: Vec<_> = self.keys.iter().map(|key| key.point).collect();
        let signer = |item: &Signed| {
            let place = self.keys.binary_search_by_key(&item.key, |key| key.key);
            place.expect("the keys of all items were collected")
        };
        let signers: Vec<usize> = self.items.iter().map(signer).collect();
        let mut search = Search {
            items: &self.items,
            equations: Equations::new(&self.items, &signers, &points, entropy),
            failed: 0,
            bad: Vec::new(),
        };
        let all = 0..self.items.len();
        if !search.batch(all.clone()) {
            search.halve(all);
        }
        if search.bad.is_empty() {
            Ok(())
        } else {
            Err(search.bad)
        }
    }
}

/// Verifies `items` together: [`BatchVerifier`] for a slice.
///
/// # Errors
/// The indices of the bad signatures in `items`, ascending; as [`BatchVerifier::verify`].
pub fn verify_batch(items: &[BatchItem<'_>], entropy: [u8; 32]) -> Result<(), Vec<usize>> {
    let mut batch = BatchVerifier::with_capacity(items.len());
    for item in items {
        batch.push(*item);
    }
    batch.verify(entropy)
}

/// The search for the bad signatures of a complete batch.
struct Search<'a> {
    items: &'a [Signed],
    equations: Equations<'a>,
    /// Equations that have failed.
    failed: usize,
    /// Bad signatures found, ascending.
    bad: Vec<usize>,
}

impl Search<'_> {
    /// Whether all of `range` is good, by one equation.
    fn batch(&mut self, range: Range<usize>) -> bool {
        let good = self.equations.holds(range);
        if !good {
            self.failed += 1;
        }
        good
    }

    /// Finds the bad signatures of `range`, whose equation has failed.
    fn halve(&mut self, range: Range<usize>) {
        if range.len() <= SINGLES || self.failed >= FAILED_EQUATIONS_MAX {
            return self.one_by_one(range);
        }
        let middle = range.start.midpoint(range.end);
        let (left, right) = (range.start..middle, middle..range.end);
        let left_is_good = self.batch(left.clone());
        if !left_is_good {
            self.halve(left);
        }
        // With a good left half the fault is on the right, and an equation would only confirm it.
        // Once too many have failed, another would likely fail too.
        let right_is_suspect = left_is_good || self.failed >= FAILED_EQUATIONS_MAX;
        if right_is_suspect || !self.batch(right.clone()) {
            self.halve(right);
        }
    }

    fn one_by_one(&mut self, range: Range<usize>) {
        let items = self.items;
        let is_bad = |&at: &usize| {
            let Signed {
                key,
                bytes,
                signature,
            } = &items[at];
            verify_signed(key, bytes, signature).is_err()
        };
        self.bad.extend(range.filter(is_bad));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;

    #[test]
    fn what_is_added_after_keys_were_looked_up_is_verified_and_remembered_too() {
        let keys = [1, 2, 3, 4].map(|seed| SecretKey::from_seed(&[seed; 32]));
        let (mut batch, mut cache) = (BatchVerifier::new(), KeyCache::new());
        for pair in keys.chunks(2) {
            batch.recall_keys(&mut cache);
            for key in pair {
                let message: &[u8] = b"message";
                batch.push(BatchItem {
                    key: key.public(),
                    domain: Domain::Vote,
                    message,
                    signature: key.sign(Domain::Vote, message),
                });
            }
        }
        assert_eq!(batch.verify([0; 32]), Ok(()));
        batch.remember_keys(&mut cache);
        assert!(keys.iter().all(|key| cache.get(&key.public()).is_some()));
    }
}
