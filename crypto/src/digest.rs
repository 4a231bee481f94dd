//! Digests: SHA-256 over a domain tag and a message.
//!
//! Owns the only hash function of consensus data. It must never hash without a tag.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::bytes::{self, ParseHexError};
use crate::domain::{Domain, TAG_BYTES};
use crate::short;

/// Size of a digest, in bytes.
pub const DIGEST_BYTES: usize = 32;

/// A SHA-256 digest of a tagged message.
///
/// In binary formats it is exactly 32 bytes, in human-readable ones 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; DIGEST_BYTES]);

impl Digest {
    /// Thirty-two zero bytes. The digest of nothing that anyone knows; used for "none".
    pub const ZERO: Self = Self([0; DIGEST_BYTES]);

    /// The digest with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; DIGEST_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; DIGEST_BYTES] {
        &self.0
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bytes::write_hex(&self.0, f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bytes::write_short("Digest", &self.0, f)
    }
}

impl FromStr for Digest {
    type Err = ParseHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        bytes::parse_hex(text).map(Self)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        bytes::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bytes::deserialize(deserializer).map(Self)
    }
}

/// Hashes a message piece by piece in one domain.
#[derive(Clone)]
pub struct Hasher(Sha256);

impl Hasher {
    /// A hasher that has taken in the tag of `domain` and nothing else.
    #[must_use]
    #[inline]
    pub fn new(domain: Domain) -> Self {
        let mut sha = Sha256::new();
        sha.update(domain.tag());
        Self(sha)
    }

    /// Appends `bytes` to the message.
    ///
    /// Boundaries between calls leave no trace: `update(b"ab")` equals `update(b"a")` then
    /// `update(b"b")`. Write fields of fixed width, or one canonical encoding.
    #[inline]
    pub fn update(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// The digest of the tag and everything appended since.
    #[must_use]
    #[inline]
    pub fn finalize(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").finish_non_exhaustive()
    }
}

/// The digest of the concatenation of `parts` in `domain`.
///
/// The parts are joined without separators, so `["ab", "c"]` and `["a", "bc"]` collide: every part
/// but one must have a fixed width, or the whole must be one canonical encoding.
#[must_use]
#[inline]
pub fn hash(domain: Domain, parts: &[&[u8]]) -> Digest {
    let bytes = TAG_BYTES + parts.iter().map(|part| part.len()).sum::<usize>();
    if bytes <= short::MAX_BYTES {
        return Digest(short::sha256(domain.tag(), parts, bytes));
    }
    let mut hasher = Hasher::new(domain);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}
