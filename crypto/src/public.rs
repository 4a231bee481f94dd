//! Public keys, and the one predicate that accepts a signature.
//!
//! Owns the rule for registering a key (strict) and the rule for accepting a signature (ZIP-215).
//! The two must never be mixed: a verifier that refused weak keys on its own would disagree with
//! batch verification, and then with other replicas.

use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use curve25519_dalek::edwards::CompressedEdwardsY;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bytes::{self, ParseHexError};
use crate::domain::{Domain, TAG_BYTES};
use crate::signature::Signature;

/// Size of a public key, in bytes.
pub const PUBLIC_KEY_BYTES: usize = 32;

/// Why a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes encode no point of the curve.
    #[error("the public key is no point of the curve")]
    NotAPoint,
    /// The bytes encode a point, but another encoding of it is the canonical one.
    #[error("the public key is not the canonical encoding of its point")]
    NotCanonical,
    /// The point has order 1, 2, 4 or 8: anyone can make signatures that it accepts.
    #[error("the public key has small order")]
    SmallOrder,
    /// The text is no PKCS#8 Ed25519 private key, or its two halves do not match.
    #[error("not an Ed25519 private key in PKCS#8")]
    Pkcs8,
    /// An encrypted key does not open with this passphrase.
    #[error("the passphrase is wrong, or the file is damaged")]
    Passphrase,
}

/// A signature that the key does not accept for this domain and message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad signature")]
pub struct BadSignature;

/// The 32 bytes of an Ed25519 public key.
///
/// Decoding one, with serde or from text, only copies bytes; whoever *registers* a key calls
/// [`PublicKey::from_bytes`] or [`PublicKey::check`]. In binary formats it is exactly 32 bytes, in
/// human-readable ones 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; PUBLIC_KEY_BYTES]);

impl PublicKey {
    /// The key with these bytes, if it may be registered.
    ///
    /// # Errors
    /// As [`PublicKey::check`].
    pub fn from_bytes(bytes: [u8; PUBLIC_KEY_BYTES]) -> Result<Self, KeyError> {
        let key = Self(bytes);
        key.check().map(|()| key)
    }

    /// The key with these bytes, unexamined: for what is registered already, and for tests.
    #[must_use]
    pub const fn from_bytes_unchecked(bytes: [u8; PUBLIC_KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Whether this key may be registered.
    ///
    /// # Errors
    /// [`KeyError::NotAPoint`], [`KeyError::SmallOrder`] or [`KeyError::NotCanonical`], in this
    /// order.
    pub fn check(&self) -> Result<(), KeyError> {
        let compressed = CompressedEdwardsY(self.0);
        let point = compressed.decompress().ok_or(KeyError::NotAPoint)?;
        if point.is_small_order() {
            return Err(KeyError::SmallOrder);
        }
        if point.compress() != compressed {
            return Err(KeyError::NotCanonical);
        }
        Ok(())
    }

    /// The decompressed key, which verifies without decompressing again. Keep it.
    ///
    /// Accepts every encoding of every point, as ZIP-215 demands; registration is stricter.
    ///
    /// # Errors
    /// [`KeyError::NotAPoint`].
    pub fn decompress(&self) -> Result<VerifyingKey, KeyError> {
        ed25519_zebra::VerificationKey::try_from(self.0)
            .map(VerifyingKey)
            .map_err(|_| KeyError::NotAPoint)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        &self.0
    }

    /// A copy of the bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; PUBLIC_KEY_BYTES] {
        self.0
    }
}

impl AsRef<[u8]> for PublicKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bytes::write_hex(&self.0, f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bytes::write_short("PublicKey", &self.0, f)
    }
}

impl FromStr for PublicKey {
    type Err = ParseHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        bytes::parse_hex(text).map(Self)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        bytes::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bytes::deserialize(deserializer).map(Self)
    }
}

/// A decompressed public key, ready to verify. About 200 bytes; keep it and pass it by reference.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey(ed25519_zebra::VerificationKey);

impl VerifyingKey {
    /// The key's bytes, exactly as they were given to [`PublicKey::decompress`].
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.into())
    }

    /// Accepts the signatures of tag ‖ `message` that ZIP-215 accepts.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify(
        &self,
        domain: Domain,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), BadSignature> {
        self.verify_signed(&signed_bytes(domain, message), signature)
    }

    /// The predicate, on tag and message in one piece. Published vectors, which have no tag, enter
    /// here; nothing outside this crate can.
    pub(crate) fn verify_signed(
        &self,
        signed: &[u8],
        signature: &Signature,
    ) -> Result<(), BadSignature> {
        let signature = ed25519_zebra::Signature::from_bytes(signature.as_bytes());
        self.0.verify(&signature, signed).map_err(|_| BadSignature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bytes::write_short("VerifyingKey", self.0.as_ref(), f)
    }
}

/// Verifies one signature by a key that is not decompressed yet.
///
/// For a key that is used again, keep what [`PublicKey::decompress`] returns.
///
/// # Errors
/// [`BadSignature`], also when the key is no point of the curve.
pub fn verify(
    key: &PublicKey,
    domain: Domain,
    message: &[u8],
    signature: &Signature,
) -> Result<(), BadSignature> {
    verify_signed(key, &signed_bytes(domain, message), signature)
}

/// As [`verify`], on tag and message in one piece.
pub(crate) fn verify_signed(
    key: &PublicKey,
    signed: &[u8],
    signature: &Signature,
) -> Result<(), BadSignature> {
    let key = key.decompress().map_err(|_| BadSignature)?;
    key.verify_signed(signed, signature)
}

/// Tag ‖ message: what Ed25519 signs. ed25519-zebra wants it in one piece.
pub(crate) fn signed_bytes(domain: Domain, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(TAG_BYTES.saturating_add(message.len()));
    bytes.extend_from_slice(domain.tag());
    bytes.extend_from_slice(message);
    bytes
}
