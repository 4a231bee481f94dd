//! Verification of many signatures at once, and the search for the bad ones.
//!
//! Owns the batch form of the one predicate. It must never answer otherwise than
//! [`crate::VerifyingKey::verify`] would for each signature: ZIP-215 is what makes the two agree on
//! crafted input too. Two libraries do the work, each one multiscalar multiplication:
//!
//! * ed25519-zebra's equation is ZIP-215's, so it decides. It has one term for each signature and one
//!   for each *distinct* key, which it decompresses.
//! * ed25519-dalek's takes keys that are decompressed already ([`KeyCache`]), which saves a quarter
//!   when everyone signs once. It lacks the factor 8 of ZIP-215 and so holds for fewer signatures: where
//!   it holds, it does so multiplied by 8, too. So it is asked first and can only accept; whatever
//!   it does not accept is left to the other one.
//!
//! A batch is sound because each equation is multiplied by a 128-bit coefficient that its signer
//! cannot predict. They come from hashing **the whole content of the batch** (keys, domains, messages,
//! signatures), in ed25519-dalek by Merlin, here by SHA-256 and with the caller's entropy. So even a signer who
//! knows the entropy cannot pick signatures that cancel out: changing one changes every coefficient.

use alloc::vec::Vec;
use core::convert::Infallible;
use core::ops::Range;

use ed25519_zebra::batch::{Item, Verifier};
use rand_core::{TryCryptoRng, TryRng};

use crate::digest::{DIGEST_BYTES, Digest, Hasher};
use crate::domain::Domain;
use crate::keys::KeyCache;
use crate::public::{PublicKey, signed_bytes};
use crate::signature::Signature;

/// Ranges of at most this many signatures are verified one by one once a batch has failed.
///
/// Below it an equation is hardly faster.
const SINGLES: usize = 8;

/// After this many failed equations whatever remains is verified one by one.
///
/// Enough to corner one bad signature in 1024 by halving. It bounds what a flood of bad signatures
/// can cost to about three times their single verification, and the equation that is asked first.
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
#[derive(Clone, Debug)]
pub struct BatchVerifier {
    items: Vec<Signed>,
    /// Of each item, decompressed, and whether it was recalled; empty unless that helps.
    keys: Vec<(Option<ed25519_dalek::VerifyingKey>, bool)>,
}

/// A signature of `bytes`, which is tag and message in one piece.
#[derive(Clone, Debug)]
struct Signed {
    key: PublicKey,
    bytes: Vec<u8>,
    signature: Signature,
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
        if self.items.len() > 1 && self.signers_are_many() {
            let keys = self.items.iter().map(|item| cache.get(&item.key));
            self.keys = keys.map(|key| (key, key.is_some())).collect();
        }
    }

    /// Has the cache remember the keys that it did not know. To be called once the batch has verified, so
    /// that who cannot sign does not fill it.
    pub fn remember_keys(&self, cache: &mut KeyCache) {
        for (item, (key, recalled)) in self.items.iter().zip(&self.keys) {
            if let (Some(key), false) = (key, recalled) {
                cache.put(item.key, *key);
            }
        }
    }

    /// Whether nearly everyone signed once. If not, one term a key is worth more than keys that are
    /// decompressed: a term costs twice that.
    fn signers_are_many(&self) -> bool {
        let mut keys: Vec<&PublicKey> = self.items.iter().map(|item| &item.key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.len() * 4 > self.items.len() * 3
    }

    /// Accepts the batch if every signature is good. An empty batch is good.
    ///
    /// `entropy` should be fresh randomness; see the top of this file for what holds when it is not.
    /// A wrong answer has a probability of about 2^-128.
    ///
    /// # Errors
    /// The indices of the bad signatures, in the order of [`BatchVerifier::push`], ascending. They
    /// are found by halving, with single verification at the end; with many bad ones the halving
    /// gives way to single verification, so the cost stays within about three times that, and one
    /// equation more if keys were looked up.
    pub fn verify(&mut self, entropy: [u8; 32]) -> Result<(), Vec<usize>> {
        if self.items.is_empty() || self.holds_for_keys() {
            // Of an empty batch the equation would hold, at the price of a multiplication.
            return Ok(());
        }
        let mut search = Search::new(&self.items, entropy);
        let all = 0..search.items.len();
        if all.len() == 1 {
            search.one_by_one(all);
        } else if !search.batch(all.clone()) {
            search.halve(all);
        }
        if search.bad.is_empty() {
            Ok(())
        } else {
            Err(search.bad)
        }
    }

    /// Whether the equation without the factor 8 holds, which is asked if keys were looked up. If not,
    /// nothing is known yet. Decompresses the keys that were not recalled.
    fn holds_for_keys(&mut self) -> bool {
        if self.keys.is_empty() {
            return false;
        }
        for (item, (key, _)) in self.items.iter().zip(&mut self.keys) {
            let bytes = item.key.as_bytes();
            *key = key.or_else(|| ed25519_dalek::VerifyingKey::from_bytes(bytes).ok());
        }
        let keys: Option<Vec<_>> = self.keys.iter().map(|(key, _)| *key).collect();
        let messages: Vec<&[u8]> = self.items.iter().map(|item| &*item.bytes).collect();
        let signatures = self.items.iter().map(|item| item.signature.as_bytes());
        let signatures: Vec<_> = signatures
            .map(ed25519_dalek::Signature::from_bytes)
            .collect();
        keys.is_some_and(|keys| ed25519_dalek::verify_batch(&messages, &signatures, &keys).is_ok())
    }
}

impl Default for BatchVerifier {
    fn default() -> Self {
        Self::new()
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
struct Search {
    items: Vec<Item>,
    /// The digest of the whole batch, which seeds the coefficients of every equation.
    seed: Digest,
    /// Equations that have failed.
    failed: usize,
    /// Bad signatures found, ascending.
    bad: Vec<usize>,
}

impl Search {
    /// Of the whole batch.
    fn new(batch: &[Signed], entropy: [u8; 32]) -> Self {
        let mut content = Hasher::new(Domain::BatchCoefficients);
        let mut items = Vec::with_capacity(batch.len());
        for signed in batch {
            content
                .update(signed.key.as_bytes())
                .update(signed.signature.as_bytes())
                .update(&length(signed.bytes.len()))
                .update(&signed.bytes);
            let key = ed25519_zebra::VerificationKeyBytes::from(signed.key.to_bytes());
            let signature = ed25519_zebra::Signature::from_bytes(signed.signature.as_bytes());
            items.push(Item::from((key, signature, &*signed.bytes)));
        }
        content.update(&length(items.len())).update(&entropy);
        Self {
            items,
            seed: content.finalize(),
            failed: 0,
            bad: Vec::new(),
        }
    }

    /// Whether all of `range` is good, by one equation.
    fn batch(&mut self, range: Range<usize>) -> bool {
        let coefficients = Coefficients::new(&self.seed, &range);
        let mut verifier = Verifier::new();
        for item in &self.items[range] {
            verifier.queue(item.clone());
        }
        let good = verifier.verify(coefficients).is_ok();
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
        let items = &self.items;
        let is_bad = |&at: &usize| items[at].clone().verify_single().is_err();
        self.bad.extend(range.filter(is_bad));
    }
}

/// SHA-256 in counter mode: the generator of a batch's coefficients, deterministic in its seed.
struct Coefficients {
    seed: Hasher,
    counter: u64,
    block: [u8; DIGEST_BYTES],
    used: usize,
}

impl Coefficients {
    /// The stream of the part `range` of the batch with this seed.
    fn new(seed: &Digest, range: &Range<usize>) -> Self {
        let mut hasher = Hasher::new(Domain::BatchCoefficients);
        hasher
            .update(seed.as_bytes())
            .update(&length(range.start))
            .update(&length(range.end));
        Self {
            seed: hasher,
            counter: 0,
            block: [0; DIGEST_BYTES],
            used: DIGEST_BYTES,
        }
    }

    fn next_byte(&mut self) -> u8 {
        if self.used == DIGEST_BYTES {
            let mut hasher = self.seed.clone();
            hasher.update(&self.counter.to_le_bytes());
            self.block = *hasher.finalize().as_bytes();
            self.counter = self
                .counter
                .checked_add(1)
                .expect("2^64 blocks are never drawn");
            self.used = 0;
        }
        let byte = self.block[self.used];
        self.used += 1;
        byte
    }

    fn next_bytes<const N: usize>(&mut self) -> [u8; N] {
        core::array::from_fn(|_| self.next_byte())
    }
}

impl TryRng for Coefficients {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.next_bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.next_bytes()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill_with(|| self.next_byte());
        Ok(())
    }
}

impl TryCryptoRng for Coefficients {}

/// A length in 8 bytes, little-endian, whatever the width of `usize`.
fn length(length: usize) -> [u8; 8] {
    u64::try_from(length)
        .expect("a usize has at most 64 bits")
        .to_le_bytes()
}
