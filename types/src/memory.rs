//! Signatures that were verified before: a certificate is made of votes that mostly arrived on their own already, and the
//! same certificate comes along with several messages.
//!
//! What is remembered is the hash of everything that the one predicate looks at: domain, key, signature, message. So
//! nothing is ever taken for verified that differs in a single bit from what was.

use core::fmt::Debug;

use quorate_crypto::{Digest, Domain, KeyCache, PublicKey, Signature, hash};

use crate::Transaction;

/// A bounded set of digests. Forgetting costs time only; what was not learned must never be known.
pub trait Memory: Debug + Send + Sync {
    /// Whether this was learned, and is not forgotten.
    fn knows(&self, signature: &Digest) -> bool;

    /// Remembers a signature that verifies.
    fn learn(&self, signature: Digest);

    /// Whether this very transaction, signature included, was verified before. A node remembers whole batches and no
    /// single transactions: each comes to it once.
    fn knows_transaction(&self, _: &Transaction) -> bool {
        false
    }

    /// Lends the keys that were decompressed before, for a moment; without any, each is decompressed where it is
    /// needed.
    fn lend_keys(&self, _look_up: &mut dyn FnMut(&mut KeyCache)) {}
}

/// What a verified signature is remembered by.
#[must_use]
pub fn name(domain: Domain, key: &PublicKey, signature: &Signature, message: &[u8]) -> Digest {
    // Fixed widths before the message, so that no two inputs share their bytes.
    hash(
        Domain::VerifiedSignature,
        &[domain.tag(), key.as_bytes(), signature.as_bytes(), message],
    )
}
