//! Signatures as bytes.
//!
//! Owns the 64-byte form of a signature. It must never judge one: [`crate::VerifyingKey`] does.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bytes::{self, ParseHexError};

/// Size of a signature, in bytes: the point R, then the scalar s.
pub const SIGNATURE_BYTES: usize = 64;

/// An Ed25519 signature that nobody has checked yet.
///
/// In binary formats it is exactly 64 bytes, in human-readable ones 128 lowercase hexadecimal
/// digits. Under ZIP-215 one message may have several valid signatures by one key: never put
/// signature bytes into an identity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; SIGNATURE_BYTES]);

impl Signature {
    /// The signature with these bytes. Any bytes will do; verification decides.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; SIGNATURE_BYTES]) -> Self {
        Self(bytes)
    }

    /// A copy of the bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; SIGNATURE_BYTES] {
        self.0
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SIGNATURE_BYTES] {
        &self.0
    }
}

impl Default for Signature {
    /// Sixty-four zero bytes: a placeholder that no registrable key accepts.
    fn default() -> Self {
        Self([0; SIGNATURE_BYTES])
    }
}

impl AsRef<[u8]> for Signature {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bytes::write_hex(&self.0, f)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bytes::write_short("Signature", &self.0, f)
    }
}

impl FromStr for Signature {
    type Err = ParseHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        bytes::parse_hex(text).map(Self)
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        bytes::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bytes::deserialize(deserializer).map(Self)
    }
}
