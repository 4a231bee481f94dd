//! The three hashes that a root is made of. Nothing else of the tree is part of a commitment; see the page of
//! [`super`] for the layout.

use quorate_crypto::{Digest, Domain, hash};

/// Root of the tree without keys.
pub(super) fn empty() -> Digest {
    hash(Domain::TreeEmpty, &[])
}

/// H(TreeLeaf ‖ length of the key, 2 bytes ‖ key ‖ digest of the value, 32 bytes).
pub(super) fn leaf(key: &[u8], value: &Digest) -> Digest {
    let len = u16::try_from(key.len()).expect("keys are bounded");
    let parts = [&len.to_be_bytes(), key, value.as_bytes()];
    hash(Domain::TreeLeaf, &parts)
}

/// H(TreeNode ‖ bit index, 2 bytes ‖ left, 32 bytes ‖ right, 32 bytes).
pub(super) fn inner(bit: u16, left: &Digest, right: &Digest) -> Digest {
    let parts = [&bit.to_be_bytes()[..], left.as_bytes(), right.as_bytes()];
    hash(Domain::TreeNode, &parts)
}
