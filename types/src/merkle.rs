//! The Merkle tree over a list, in the shape of RFC 9162 §2.1: the left subtree of n leaves holds the largest power of
//! two below n. [`crate::accumulator`] grows the same tree leaf by leaf.
//!
//! Leaves are digests of another [`Domain`] than inner nodes, so that neither can pass for the other. That holds only for
//! leaves that the verifier hashes itself: a digest that a peer chose is hashed once more before it is one.

use alloc::vec::Vec;

use quorate_crypto::{Digest, Domain, hash};
use serde::{Deserialize, Serialize};

/// Hash of an inner node.
#[must_use]
pub fn node(left: &Digest, right: &Digest) -> Digest {
    hash(Domain::MerkleNode, &[left.as_bytes(), right.as_bytes()])
}

/// Root of the empty list.
#[must_use]
pub fn empty_root() -> Digest {
    hash(Domain::MerkleNode, &[])
}

/// Largest power of two below `count`, which is at least 2.
fn split(count: usize) -> usize {
    debug_assert!(count >= 2);
    1 << (usize::BITS - 1 - (count - 1).leading_zeros())
}

/// Root of a list of leaf digests.
#[must_use]
pub fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(&root(left), &root(right))
        }
    }
}

/// Path from a leaf to the root: at most 64 digests. It proves that the leaf is one of the list. Its place is proved only
/// with a number of leaves that is known otherwise, as that of an [`crate::accumulator`] is by its height, or if the leaf
/// itself says it, as a receipt does: of three leaves, the last leads to the root as the second of two as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// Place of the leaf, from 0.
    pub index: u64,
    /// Leaves in the tree.
    pub count: u64,
    /// Sibling digests, from the leaf upwards.
    pub siblings: Vec<Digest>,
}

impl Path {
    /// The root that this path leads to from `leaf`; `None` if the path has not the shape that its index and count
    /// demand.
    #[must_use]
    pub fn root(&self, leaf: Digest) -> Option<Digest> {
        if self.index >= self.count {
            return None;
        }
        // RFC 9162 §2.1.3.2
        let (mut position, mut last) = (self.index, self.count - 1);
        let mut digest = leaf;
        for sibling in &self.siblings {
            if last == 0 {
                return None;
            }
            if position % 2 == 1 || position == last {
                digest = node(sibling, &digest);
                while position % 2 == 0 && position != 0 {
                    position >>= 1;
                    last >>= 1;
                }
            } else {
                digest = node(&digest, sibling);
            }
            position >>= 1;
            last >>= 1;
        }
        (last == 0).then_some(digest)
    }
}

/// Path of the leaf at `index`.
///
/// # Panics
/// If `index` is not below the number of leaves.
#[must_use]
pub fn path(leaves: &[Digest], index: usize) -> Path {
    assert!(index < leaves.len(), "a leaf of the list");
    let mut siblings = Vec::new();
    collect(leaves, index, &mut siblings);
    Path {
        index: to_u64(index),
        count: to_u64(leaves.len()),
        siblings,
    }
}

fn collect(leaves: &[Digest], index: usize, siblings: &mut Vec<Digest>) {
    if leaves.len() < 2 {
        return;
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    if index < left.len() {
        collect(left, index, siblings);
        siblings.push(root(right));
    } else {
        collect(right, index - left.len(), siblings);
        siblings.push(root(left));
    }
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).expect("memory has fewer than 2^64 leaves")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: u8) -> Vec<Digest> {
        (0..count)
            .map(|i| hash(Domain::MerkleLeaf, &[&[i]]))
            .collect()
    }

    #[test]
    fn every_leaf_of_every_size_is_proved_and_no_other() {
        for count in 1..40u8 {
            let leaves = leaves(count);
            let root = root(&leaves);
            for index in 0..leaves.len() {
                let path = path(&leaves, index);
                assert_eq!(path.root(leaves[index]), Some(root));
                for (other, leaf) in leaves.iter().enumerate() {
                    assert!(other == index || path.root(*leaf) != Some(root));
                }
            }
        }
    }

    #[test]
    fn a_path_of_the_wrong_shape_proves_nothing() {
        let leaves = leaves(11);
        let root = root(&leaves);
        let good = path(&leaves, 6);
        let mut long = good.clone();
        long.siblings.push(Digest::ZERO);
        let mut short = good.clone();
        short.siblings.pop();
        let outside = Path {
            index: 11,
            ..good.clone()
        };
        let moved = Path {
            index: 7,
            ..good.clone()
        };
        for bad in [long, short, outside, moved] {
            assert_ne!(bad.root(leaves[6]), Some(root));
        }
    }

    #[test]
    fn a_place_is_not_proved_without_the_number_of_leaves() {
        let leaves = leaves(3);
        let moved = Path {
            index: 1,
            count: 2,
            siblings: alloc::vec![node(&leaves[0], &leaves[1])],
        };
        assert_eq!(path(&leaves, 2).index, 2);
        assert_eq!(moved.root(leaves[2]), Some(root(&leaves)));
    }

    #[test]
    fn an_inner_node_is_no_leaf() {
        let leaves = leaves(4);
        let inner = node(&leaves[0], &leaves[1]);
        let forged = Path {
            index: 0,
            count: 2,
            siblings: alloc::vec![node(&leaves[2], &leaves[3])],
        };
        // The root matches: so what is proved must be told apart by the leaf's own domain, which `inner` does not have.
        assert_eq!(forged.root(inner), Some(root(&leaves)));
        assert_ne!(inner, hash(Domain::MerkleLeaf, &[&[0]]));
    }
}
