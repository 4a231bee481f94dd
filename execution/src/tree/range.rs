//! Proofs that a list holds all keys of a range, and their verification.
//!
//! A range proof is the tree with everything outside of the range cut off, in preorder. Whatever is cut off must be
//! shown not to reach into the range: the leaf that remains on the other side of the inner node above it gives the bits
//! that its keys begin with. Verification is a loop with a stack of its own, since proofs come from anyone.

use alloc::vec::Vec;

use quorate_crypto::Digest;
use serde::{Deserialize, Serialize};

use super::bits::{self, MAX_KEY_BYTES};
use super::hash;
use super::proof::ProofError;
use core::cmp::Ordering;

/// A part of a cut tree, in preorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RangeNode {
    /// An inner node with its bit; its two subtrees follow.
    Inner(u16),
    /// A subtree outside of the range, with its hash.
    Cut(Digest),
    /// The next entry of the list.
    Entry,
    /// A leaf outside of the range: its key and the digest of its value.
    Outside(Vec<u8>, Digest),
}

/// Proof that a list of entries is all that a range holds. At most two nodes a step of the paths to the range's ends,
/// and two for each entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeProof {
    /// The tree from its root, in preorder; empty if there are no keys.
    pub nodes: Vec<RangeNode>,
}

/// Part of a range, from its start on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeReply {
    /// Keys with the digests of their values, ascending.
    pub entries: Vec<(Vec<u8>, Digest)>,
    /// Where the covered part ends (not included). Before the end that was asked for if the limit was reached: ask on
    /// from here.
    pub end: Option<Vec<u8>>,
    /// For `entries` in the range from the start that was asked for to `end`.
    pub proof: RangeProof,
}

/// What is known of a subtree whose nodes were read.
struct Part<'a> {
    hash: Digest,
    /// One of its keys; none if it was cut off.
    key: Option<&'a [u8]>,
    /// Bit of its root; none for leaves.
    bit: Option<u16>,
}

impl RangeProof {
    /// Checks that under `root`, the keys k with start ≤ k < end are exactly those of `entries`, with these digests of
    /// values. No `end` is the end of the key space.
    ///
    /// # Errors
    /// The first reason found not to believe it.
    pub fn verify(
        &self,
        root: &Digest,
        start: &[u8],
        end: Option<&[u8]>,
        entries: &[(Vec<u8>, Digest)],
    ) -> Result<(), ProofError> {
        check_range(start, end)?;
        let inside = |key: &[u8]| key >= start && end.is_none_or(|end| key < end);
        if entries.windows(2).any(|pair| pair[0].0 >= pair[1].0)
            || entries.iter().any(|(key, _)| !inside(key))
        {
            return Err(ProofError::BadEntries);
        }
        if self.nodes.is_empty() && entries.is_empty() {
            return (hash::empty() == *root)
                .then_some(())
                .ok_or(ProofError::WrongRoot);
        }
        // From the end: both subtrees of an inner node have been read before it.
        let mut unread = entries.iter();
        let mut parts: Vec<Part<'_>> = Vec::new();
        for node in self.nodes.iter().rev() {
            let part = match node {
                RangeNode::Inner(bit) => {
                    let left = parts.pop().ok_or(ProofError::BadPath)?;
                    let right = parts.pop().ok_or(ProofError::BadPath)?;
                    merge(*bit, &left, &right, start, end)?
                }
                RangeNode::Cut(hash) => Part {
                    hash: *hash,
                    key: None,
                    bit: None,
                },
                RangeNode::Entry => {
                    let (key, value) = unread.next_back().ok_or(ProofError::BadEntries)?;
                    Part::leaf(key, value)?
                }
                RangeNode::Outside(key, _) if inside(key) => return Err(ProofError::BadEntries),
                RangeNode::Outside(key, value) => Part::leaf(key, value)?,
            };
            parts.push(part);
        }
        let (Some(whole), None) = (parts.pop(), parts.pop()) else {
            return Err(ProofError::BadPath);
        };
        if unread.next().is_some() {
            return Err(ProofError::BadEntries);
        }
        // A tree that is nothing but a cut has no key to show where it lies.
        whole.key.ok_or(ProofError::Gap)?;
        (whole.hash == *root)
            .then_some(())
            .ok_or(ProofError::WrongRoot)
    }
}

/// Bounds of a range: not too long, one behind the last key at most, and in order.
pub(super) fn check_range(start: &[u8], end: Option<&[u8]>) -> Result<(), ProofError> {
    if start.len().max(end.map_or(0, <[u8]>::len)) > MAX_KEY_BYTES + 1 {
        return Err(ProofError::KeyTooLong);
    }
    if end.is_some_and(|end| end <= start) {
        return Err(ProofError::EmptyRange);
    }
    Ok(())
}

/// True if no key of the range begins with the bits of `key` before `bit`, followed by `side`.
pub(super) fn is_outside(
    key: &[u8],
    bit: u16,
    side: bool,
    start: &[u8],
    end: Option<&[u8]>,
) -> bool {
    bits::place(key, bit, side, start) == Ordering::Less
        || end.is_some_and(|end| bits::place(key, bit, side, end) == Ordering::Greater)
}

impl<'a> Part<'a> {
    fn leaf(key: &'a [u8], value: &Digest) -> Result<Self, ProofError> {
        if key.len() > MAX_KEY_BYTES {
            return Err(ProofError::KeyTooLong);
        }
        Ok(Self {
            hash: hash::leaf(key, value),
            key: Some(key),
            bit: None,
        })
    }
}

/// The inner node above two parts, if they can be its subtrees and what is cut off lies outside of the range.
fn merge<'a>(
    bit: u16,
    left: &Part<'a>,
    right: &Part<'a>,
    start: &[u8],
    end: Option<&[u8]>,
) -> Result<Part<'a>, ProofError> {
    let descends = |part: &Part<'_>| part.bit.is_none_or(|below| below > bit);
    let on_side = |part: &Part<'_>, side| {
        part.key
            .is_none_or(|key| bits::bit(key, bit) == side && usize::from(bit) <= 9 * key.len())
    };
    if !(descends(left) && descends(right) && on_side(left, false) && on_side(right, true)) {
        return Err(ProofError::BadPath);
    }
    let key = match (left.key, right.key) {
        (Some(left), Some(right)) if bits::agree(left, right, bit) => left,
        (Some(_), Some(_)) => return Err(ProofError::BadPath),
        (Some(key), None) if is_outside(key, bit, true, start, end) => key,
        (None, Some(key)) if is_outside(key, bit, false, start, end) => key,
        _ => return Err(ProofError::Gap),
    };
    Ok(Part {
        hash: hash::inner(bit, &left.hash, &right.hash),
        key: Some(key),
        bit: Some(bit),
    })
}
