//! Keys that were decompressed before. To decompress one costs a fifth of what its signature costs in a batch, and
//! the same clients sign again and again.
//!
//! What is here is derived from the key's bytes alone. It may be forgotten at any time, and decides nothing.

use alloc::collections::BTreeMap;
use core::mem;

use ed25519_dalek::VerifyingKey;

use crate::public::PublicKey;

/// Keys of a generation: twice as many are remembered at most, with about 250 bytes each.
const GENERATION: usize = 8_192;

/// Two generations of decompressed keys, for [`BatchVerifier::find_keys`](crate::BatchVerifier::find_keys): when the
/// younger is full, the elder is forgotten.
#[derive(Debug, Default)]
pub struct KeyCache {
    young: BTreeMap<PublicKey, VerifyingKey>,
    old: BTreeMap<PublicKey, VerifyingKey>,
}

impl KeyCache {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The key decompressed, and remembered; `None` if it is no point of the curve.
    pub(crate) fn decompress(&mut self, key: &PublicKey) -> Option<VerifyingKey> {
        if let Some(known) = self.young.get(key) {
            return Some(*known);
        }
        let found = match self.old.remove(key) {
            Some(known) => known,
            None => VerifyingKey::from_bytes(key.as_bytes()).ok()?,
        };
        if self.young.len() >= GENERATION {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(*key, found);
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Domain, SecretKey, hash};

    fn key(number: usize) -> PublicKey {
        let seed = hash(Domain::Evidence, &[&number.to_le_bytes()]);
        SecretKey::from_seed(seed.as_bytes()).public()
    }

    #[test]
    fn a_key_is_remembered_as_what_it_is() {
        let mut cache = KeyCache::new();
        for _ in 0..2 {
            let known = cache.decompress(&key(1)).expect("a point");
            assert_eq!(known.as_bytes(), key(1).as_bytes());
        }
        assert_eq!((cache.young.len(), cache.old.len()), (1, 0));
    }

    /// 2 is the y of no point.
    #[test]
    fn what_is_no_point_is_not_remembered() {
        let mut bytes = [0; 32];
        bytes[0] = 2;
        let mut cache = KeyCache::new();
        let key = PublicKey::from_bytes_unchecked(bytes);
        assert!(cache.decompress(&key).is_none());
        assert!(cache.young.is_empty());
    }

    #[test]
    fn there_are_two_generations_at_most_and_who_signs_again_stays() {
        let mut cache = KeyCache::new();
        for number in 0..3 * GENERATION {
            let _ = cache.decompress(&key(number));
            let _ = cache.decompress(&key(0));
            assert!(cache.young.len() <= GENERATION && cache.old.len() <= GENERATION);
        }
        assert!(cache.young.contains_key(&key(0)) || cache.old.contains_key(&key(0)));
        assert!(!cache.young.contains_key(&key(1)) && !cache.old.contains_key(&key(1)));
    }
}
