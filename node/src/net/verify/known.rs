//! The memory of verified signatures and of keys that the pool's threads share.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use quorate_crypto::KeyCache;
use quorate_types::{Digest, Memory};

/// Signatures of one generation. Two are kept: a certificate refers to votes of the last few rounds.
const GENERATION: usize = 16 * 1024;

/// Two generations of digests: when the younger is full, the elder is forgotten. And the keys of those who signed.
#[derive(Debug, Default)]
pub(crate) struct Known {
    signatures: Mutex<Generations>,
    keys: Mutex<KeyCache>,
}

#[derive(Debug, Default)]
struct Generations {
    young: BTreeSet<Digest>,
    old: BTreeSet<Digest>,
}

impl Memory for Known {
    fn knows(&self, signature: &Digest) -> bool {
        let generations = self
            .signatures
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        generations.young.contains(signature) || generations.old.contains(signature)
    }

    fn learn(&self, signature: Digest) {
        let mut generations = self
            .signatures
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if generations.young.len() >= GENERATION {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(signature);
    }

    fn lend_keys(&self, look_up: &mut dyn FnMut(&mut KeyCache)) {
        look_up(&mut self.keys.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use quorate_crypto::{Domain, hash};

    use super::*;

    #[test]
    fn the_latest_are_known_the_oldest_forgotten_and_the_rest_never_was() {
        let digest = |number: usize| hash(Domain::MerkleLeaf, &[&number.to_le_bytes()]);
        let known = Known::default();
        for number in 0..3 * GENERATION {
            known.learn(digest(number));
        }
        assert!(known.knows(&digest(3 * GENERATION - 1)));
        assert!(known.knows(&digest(2 * GENERATION)));
        assert!(!known.knows(&digest(0)));
        assert!(!known.knows(&digest(3 * GENERATION)));
    }
}
