//! An append-only tree: the root at every size, and paths from any leaf to any later root.
//!
//! Its root over n leaves is [`merkle::root`] of them. To append needs only the peaks (at most 64 digests); to prove
//! needs the roots of full subtrees, which [`Accumulator::append`] hands out once each to be stored. The receipts of a
//! chain are kept so: one leaf a height.

use alloc::vec::Vec;

use quorate_crypto::Digest;
use serde::{Deserialize, Serialize};

use crate::merkle::{self, Path};

/// Name of a full subtree: the `index`-th of those with `2^level` leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId {
    /// 0 for leaves.
    pub level: u8,
    /// From 0, from the left.
    pub index: u64,
}

/// The right edge of the tree: what is needed to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accumulator {
    count: u64,
    /// Roots of the full subtrees, largest first: one for each set bit of `count`.
    peaks: Vec<Digest>,
}

impl Accumulator {
    /// Leaves so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether there are as many subtrees as that many leaves make: of what a peer sent, only such a one may be gone on
    /// with.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        u32::try_from(self.peaks.len()) == Ok(self.count.count_ones())
    }

    /// The accumulator of the first `count` leaves, from stored subtrees.
    ///
    /// # Errors
    /// Whatever `node` answers for a subtree that it cannot read.
    pub fn at<E>(
        count: u64,
        mut node: impl FnMut(NodeId) -> Result<Digest, E>,
    ) -> Result<Accumulator, E> {
        let ids = peak_ids(count);
        let peaks = ids.into_iter().map(&mut node).collect::<Result<_, E>>()?;
        Ok(Accumulator { count, peaks })
    }

    /// The full subtrees that it ends in, to be stored so that later leaves can be proved.
    #[must_use]
    pub fn peaks(&self) -> Vec<(NodeId, Digest)> {
        let ids = peak_ids(self.count);
        ids.into_iter().zip(self.peaks.iter().copied()).collect()
    }

    /// Root over all leaves.
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else {
            return merkle::empty_root();
        };
        peaks.fold(*last, |right, left| merkle::node(left, &right))
    }

    /// Appends a leaf. Returns the subtrees that it completed, itself first, each to be stored for proofs.
    pub fn append(&mut self, leaf: Digest) -> Vec<(NodeId, Digest)> {
        let mut id = NodeId {
            level: 0,
            index: self.count,
        };
        let mut digest = leaf;
        let mut completed = alloc::vec![(id, digest)];
        while id.index % 2 == 1 {
            let left = self.peaks.pop().expect("a peak for each set bit of count");
            digest = merkle::node(&left, &digest);
            id = NodeId {
                level: id.level + 1,
                index: id.index / 2,
            };
            completed.push((id, digest));
        }
        self.peaks.push(digest);
        self.count += 1;
        assert_eq!(
            self.peaks.len(),
            usize::try_from(self.count.count_ones()).expect("at most 64"),
            "a peak for each set bit of count"
        );
        completed
    }
}

/// Names of the largest full subtrees over the first `count` leaves, largest first.
fn peak_ids(count: u64) -> Vec<NodeId> {
    let mut ids = Vec::new();
    let mut start = 0u64;
    for level in (0..64u8).rev() {
        let size = 1u64 << level;
        if count & size != 0 {
            let index = start >> level;
            ids.push(NodeId { level, index });
            start += size;
        }
    }
    ids
}

/// Path of leaf `index` in the tree of the first `count` leaves, from stored subtrees.
///
/// # Errors
/// Whatever `node` answers for a subtree that it cannot read. `None` if `index` is not below `count`.
pub fn path<E>(
    index: u64,
    count: u64,
    mut node: impl FnMut(NodeId) -> Result<Digest, E>,
) -> Result<Option<Path>, E> {
    if index >= count {
        return Ok(None);
    }
    let mut siblings = Vec::new();
    descend(0, count, index, &mut siblings, &mut node)?;
    Ok(Some(Path {
        index,
        count,
        siblings,
    }))
}

/// Pushes the siblings of `index` within the subtree over leaves `start..start + count`, lowest first.
fn descend<E>(
    start: u64,
    count: u64,
    index: u64,
    siblings: &mut Vec<Digest>,
    node: &mut impl FnMut(NodeId) -> Result<Digest, E>,
) -> Result<(), E> {
    if count < 2 {
        return Ok(());
    }
    let half = 1u64 << (63 - (count - 1).leading_zeros());
    let middle = start + half;
    if index < middle {
        descend(start, half, index, siblings, node)?;
        siblings.push(range_root(middle, count - half, node)?);
    } else {
        descend(middle, count - half, index, siblings, node)?;
        siblings.push(range_root(start, half, node)?);
    }
    Ok(())
}

/// Root over leaves `start..start + count`, where `start` is a multiple of the largest power of two in `count`.
fn range_root<E>(
    start: u64,
    count: u64,
    node: &mut impl FnMut(NodeId) -> Result<Digest, E>,
) -> Result<Digest, E> {
    if count.is_power_of_two() {
        let level = u8::try_from(count.trailing_zeros()).expect("at most 63");
        return node(NodeId {
            level,
            index: start >> level,
        });
    }
    let half = 1u64 << (63 - (count - 1).leading_zeros());
    let left = range_root(start, half, node)?;
    let right = range_root(start + half, count - half, node)?;
    Ok(merkle::node(&left, &right))
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use core::convert::Infallible;

    use quorate_crypto::{Domain, hash};

    use super::*;

    #[test]
    fn grows_the_tree_of_the_list_and_proves_every_leaf_against_every_later_root() {
        let mut accumulator = Accumulator::default();
        let mut stored = BTreeMap::new();
        let mut leaves = Vec::new();
        let mut roots = alloc::vec![accumulator.root()];
        for i in 0..70u8 {
            let leaf = hash(Domain::MerkleLeaf, &[&[i]]);
            leaves.push(leaf);
            stored.extend(accumulator.append(leaf));
            assert_eq!(accumulator.root(), merkle::root(&leaves));
            roots.push(accumulator.root());
            let again = Accumulator::at(accumulator.count(), |id| Ok::<_, Infallible>(stored[&id]));
            assert_eq!(again, Ok(accumulator.clone()));
            assert!(accumulator.is_whole());
            assert!(accumulator.peaks().iter().all(|(id, d)| stored[id] == *d));
        }
        for count in 1..=70u64 {
            for index in 0..count {
                let path = path(index, count, |id| Ok::<_, Infallible>(stored[&id]));
                let path = path.expect("infallible").expect("a leaf of the tree");
                let (leaf, root) = (leaves[index as usize], roots[count as usize]);
                assert_eq!(path.root(leaf), Some(root));
            }
            let outside = path(count, count, |id| Ok::<_, Infallible>(stored[&id]));
            assert_eq!(outside, Ok(None));
        }
    }
}
