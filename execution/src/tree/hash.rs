//! The three hashes that a root is made of. Nothing else of the tree is part of a commitment; see the page of
//! [`super`] for the layout.

use quorate_crypto::{Digest, Domain, Hasher};

/// Root of the tree without keys.
pub(super) fn empty() -> Digest {
    Hasher::new(Domain::TreeEmpty).finalize()
}

/// H(TreeLeaf ‖ length of the key, 2 bytes ‖ key ‖ digest of the value, 32 bytes).
pub(super) fn leaf(key: &[u8], value: &Digest) -> Digest {
    let len = u16::try_from(key.len()).expect("keys are bounded");
    let mut hasher = Hasher::new(Domain::TreeLeaf);
    hasher.update(&len.to_be_bytes());
    hasher.update(key);
    hasher.update(value.as_bytes());
    hasher.finalize()
}

/// H(TreeNode ‖ bit index, 2 bytes ‖ left, 32 bytes ‖ right, 32 bytes). One buffer, since two calls of the
/// compression function leave little to hide the cost of pieces behind.
pub(super) fn inner(bit: u16, left: &Digest, right: &Digest) -> Digest {
    let mut message = [0; 66];
    message[..2].copy_from_slice(&bit.to_be_bytes());
    message[2..34].copy_from_slice(left.as_bytes());
    message[34..].copy_from_slice(right.as_bytes());
    let mut hasher = Hasher::new(Domain::TreeNode);
    hasher.update(&message);
    hasher.finalize()
}
