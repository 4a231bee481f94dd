//! Consensus keys: real ones, and stand-ins that cost next to nothing.
//!
//! A stand-in signature is a hash that anybody could compute; what makes it valid is that the `Notary` of its world saw
//! its key make it. The product's own verification then finds it among what "was verified before" and does no curve
//! arithmetic, while every other path of the product stays as it ships. Whatever was not signed by its key is unknown to
//! the notary and meets the real predicate, which it fails.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use quorate_crypto::{Digest, Domain, PublicKey, SIGNATURE_BYTES, SecretKey, Signature, hash};
use quorate_types::vote::Signer;
use quorate_types::{Memory, memory};

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
pub(crate) struct Notary(Mutex<HashSet<Digest, ByDigest>>);

impl fmt::Debug for Notary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notary")
    }
}

impl Memory for Notary {
    fn knows(&self, signature: &Digest) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(signature)
    }

    fn learn(&self, signature: Digest) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(signature);
    }
}

/// A consensus key in the hand of whoever has it.
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
}

impl Signer for Pen {
    fn sign(&self, domain: Domain, message: &[u8]) -> Signature {
        let Some(notary) = &self.notary else {
            return self.secret.sign(domain, message);
        };
        let half = hash(domain, &[self.public.as_bytes(), message]);
        let mut bytes = [0; SIGNATURE_BYTES];
        let (first, second) = bytes.split_at_mut(SIGNATURE_BYTES / 2);
        first.copy_from_slice(half.as_bytes());
        // No scalar of the curve is as large: the real predicate refuses a stand-in that nobody made.
        second.fill(u8::MAX);
        let signature = Signature::from_bytes(bytes);
        notary.learn(memory::name(domain, &self.public, &signature, message));
        signature
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_crypto::verify;

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
}
