//! How records of the state are encoded, and the digest that stands for one in the authenticated tree.
//!
//! A record is one version byte and the canonical encoding of its value. The digest covers all of it, so that a record
//! of another format is another leaf.

use alloc::vec::Vec;

use quorate_crypto::{Digest, Domain, hash};
use quorate_types::codec::{self, DecodeError};
use serde::{Serialize, de::DeserializeOwned};

/// First byte of every record of this release.
pub const RECORD_VERSION: u8 = 1;

/// Encodes a record.
pub fn seal<T: Serialize>(value: &T) -> Vec<u8> {
    codec::encode_behind(&[RECORD_VERSION], value)
}

/// Decodes a record.
///
/// # Errors
/// [`DecodeError::Malformed`] for another version; otherwise as [`codec::decode`].
pub fn unseal<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match bytes.split_first() {
        Some((&RECORD_VERSION, rest)) => codec::decode(rest, codec::MAX_ENCODED_BYTES),
        _ => Err(DecodeError::Malformed),
    }
}

/// The digest that the tree holds for a record.
#[must_use]
pub fn digest(record: &[u8]) -> Digest {
    hash(Domain::MerkleLeaf, &[record])
}
