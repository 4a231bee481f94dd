//! Keys that were decompressed before. To decompress one costs a quarter of what its signature costs in a batch, and
//! the same clients and validators sign again and again.
//!
//! What is here is derived from the key's bytes alone. It may be forgotten at any time, and decides nothing.

use alloc::collections::BTreeMap;
use core::mem;

use curve25519_dalek::EdwardsPoint;

use crate::public::PublicKey;

/// Keys of a generation: twice as many are remembered at most, with 192 bytes each besides what a map takes.
const GENERATION: usize = 8_192;

/// Two generations of decompressed keys, for [`BatchVerifier::recall_keys`](crate::BatchVerifier::recall_keys):
/// when the younger is full, the elder is forgotten.
#[derive(Debug, Default)]
pub struct KeyCache {
    young: BTreeMap<PublicKey, EdwardsPoint>,
    old: BTreeMap<PublicKey, EdwardsPoint>,
}

impl KeyCache {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The key decompressed, if it is remembered.
    pub(crate) fn get(&mut self, key: &PublicKey) -> Option<EdwardsPoint> {
        if let Some(known) = self.young.get(key) {
            return Some(*known);
        }
        let known = self.old.remove(key)?;
        self.put(*key, known);
        Some(known)
    }

    /// Remembers a key.
    pub(crate) fn put(&mut self, key: PublicKey, decompressed: EdwardsPoint) {
        if self.young.len() >= GENERATION {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, decompressed);
    }
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::edwards::CompressedEdwardsY;

    use super::*;
    use crate::{Domain, SecretKey, hash};

    fn key(number: usize) -> PublicKey {
        let seed = hash(Domain::Evidence, &[&number.to_le_bytes()]);
        SecretKey::from_seed(seed.as_bytes()).public()
    }

    fn put(cache: &mut KeyCache, number: usize) {
        let decompressed = CompressedEdwardsY(key(number).to_bytes()).decompress();
        cache.put(key(number), decompressed.expect("a point"));
    }

    #[test]
    fn a_key_is_remembered_as_what_it_is() {
        let mut cache = KeyCache::new();
        assert!(cache.get(&key(1)).is_none());
        put(&mut cache, 1);
        let known = cache.get(&key(1)).expect("it was put there");
        assert_eq!(known.compress().as_bytes(), key(1).as_bytes());
        assert!(cache.get(&key(2)).is_none());
    }

    #[test]
    fn there_are_two_generations_at_most_and_who_signs_again_stays() {
        let mut cache = KeyCache::new();
        for number in 0..3 * GENERATION {
            put(&mut cache, number);
            assert!(cache.get(&key(0)).is_some());
            assert!(cache.young.len() <= GENERATION && cache.old.len() <= GENERATION);
        }
        assert!(cache.get(&key(3 * GENERATION - 1)).is_some());
        assert!(cache.get(&key(1)).is_none());
    }
}
