//! Proofs that a key has a value, or that there is no such key, and their verification.
//!
//! A proof comes from anyone. Verification never panics on one, allocates nothing, and does work in proportion to the
//! proof's size, of which [`MAX_DEPTH`] steps at most are looked at.

use alloc::vec::Vec;

use quorate_crypto::Digest;
use serde::{Deserialize, Serialize};

use super::bits::{self, MAX_DEPTH, MAX_KEY_BYTES};
use super::hash;

/// An inner node on the way from the root to a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The bit that the node decides by. The key's bit tells which way the path goes on.
    pub bit: u16,
    /// Hash of the subtree on the other side.
    pub sibling: Digest,
}

/// Proof that a key is present with a value, or absent. About 34 bytes a step, 20 steps at a million random keys; never
/// more than [`MAX_DEPTH`] steps. A tree has exactly one proof for a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// From the root down.
    pub steps: Vec<Step>,
    /// For an absent key: the key that its bits lead to, with the digest of that key's value. None if there are no keys
    /// at all, or if the key is present.
    pub witness: Option<(Vec<u8>, Digest)>,
}

/// Why a proof is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// A key of more than [`MAX_KEY_BYTES`].
    #[error("a key is too long")]
    KeyTooLong,
    /// More than [`MAX_DEPTH`] steps, or bits that do not ascend, or bits behind the end of the key.
    #[error("the steps are no path of a tree")]
    BadPath,
    /// A witness for a present key, none for an absent one, or one whose path is not that of the key.
    #[error("the witness does not show what is claimed")]
    BadWitness,
    /// The proof leads to another root.
    #[error("the proof leads to another root")]
    WrongRoot,
    /// The end of the range does not lie behind its start.
    #[error("the range is empty")]
    EmptyRange,
    /// Entries are not in order, outside of the range, or not as many as the proof shows.
    #[error("the entries are not those of the range")]
    BadEntries,
    /// A part of the tree that the proof leaves out may hold keys of the range.
    #[error("the proof leaves out a part that may belong to the range")]
    Gap,
}

impl Proof {
    /// Checks that under `root`, `key` has the value with this digest, or with `None`, that there is no such key.
    ///
    /// # Errors
    /// The first reason found not to believe it.
    pub fn verify(
        &self,
        root: &Digest,
        key: &[u8],
        value: Option<&Digest>,
    ) -> Result<(), ProofError> {
        let (leaf_key, leaf_value) = match (value, &self.witness) {
            (Some(value), None) => (key, value),
            (None, Some((witness, value))) if witness != key => (witness.as_slice(), value),
            (None, None) if self.steps.is_empty() => {
                return (hash::empty() == *root)
                    .then_some(())
                    .ok_or(ProofError::WrongRoot);
            }
            _ => return Err(ProofError::BadWitness),
        };
        if key.len().max(leaf_key.len()) > MAX_KEY_BYTES {
            return Err(ProofError::KeyTooLong);
        }
        self.check_path(leaf_key)?;
        // Whoever follows the bits of `key` from the root arrives at the witness. If `key` were in the tree, they would
        // arrive at `key`.
        let leads_here = |step: &Step| bits::bit(key, step.bit) == bits::bit(leaf_key, step.bit);
        if !self.steps.iter().all(leads_here) {
            return Err(ProofError::BadWitness);
        }
        let mut digest = hash::leaf(leaf_key, leaf_value);
        for step in self.steps.iter().rev() {
            digest = if bits::bit(leaf_key, step.bit) {
                hash::inner(step.bit, &step.sibling, &digest)
            } else {
                hash::inner(step.bit, &digest, &step.sibling)
            };
        }
        (digest == *root).then_some(()).ok_or(ProofError::WrongRoot)
    }

    /// Bits ascend, and the last is one of the key's own.
    fn check_path(&self, key: &[u8]) -> Result<(), ProofError> {
        let ascending = self.steps.windows(2).all(|pair| pair[0].bit < pair[1].bit);
        let within = self
            .steps
            .last()
            .is_none_or(|step| usize::from(step.bit) <= 9 * key.len());
        if self.steps.len() > MAX_DEPTH || !ascending || !within {
            return Err(ProofError::BadPath);
        }
        Ok(())
    }
}
