//! Secret keys: the only place that signs.
//!
//! Owns the private half of a key, its wiping and its PKCS#8 form. It must never print it, copy it,
//! or draw randomness: the seed is an argument.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use ed25519_dalek::SigningKey;
use ed25519_dalek::ed25519::signature::MultipartSigner;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use zeroize::Zeroizing;

use crate::domain::Domain;
use crate::public::{KeyError, PublicKey};
use crate::signature::Signature;

/// Size of the seed of a secret key, in bytes.
pub const SEED_BYTES: usize = 32;

/// An Ed25519 secret key. Wiped when dropped, neither `Clone` nor printable.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key grown from 32 bytes of the caller's best randomness (RFC 8032, 5.1.5).
    ///
    /// The caller wipes its own copy of the seed: keep it in a [`Zeroizing`].
    #[must_use]
    pub fn from_seed(seed: &[u8; SEED_BYTES]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::from_bytes_unchecked(self.0.verifying_key().to_bytes())
    }

    /// Signs the 16-byte tag of `domain` followed by `message` (Ed25519, deterministic).
    #[must_use]
    pub fn sign(&self, domain: Domain, message: &[u8]) -> Signature {
        self.sign_parts(&[domain.tag(), message])
    }

    /// Signs the concatenation of `parts`, which begins with a tag except in this crate's tests.
    pub(crate) fn sign_parts(&self, parts: &[&[u8]]) -> Signature {
        Signature::from_bytes(self.0.multipart_sign(parts).to_bytes())
    }

    /// The key in PKCS#8 v1 DER (RFC 8410), as `openssl genpkey` writes it and rustls reads it.
    #[must_use]
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        let document = self
            .pkcs8()
            .to_pkcs8_der()
            .expect("32 bytes fit PKCS#8 whatever they are");
        document.to_bytes()
    }

    /// The key in PKCS#8 v1 PEM (RFC 8410), as `openssl genpkey -algorithm ed25519` writes it.
    #[must_use]
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        self.pkcs8()
            .to_pkcs8_pem(LineEnding::LF)
            .expect("32 bytes fit PKCS#8 whatever they are")
    }

    /// Reads a key in PKCS#8 PEM, v1 or v2.
    ///
    /// # Errors
    /// [`KeyError::Pkcs8`] if the text is anything else, or if it carries a public key that is not
    /// the secret key's.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, KeyError> {
        SigningKey::from_pkcs8_pem(pem)
            .map(Self)
            .map_err(|_| KeyError::Pkcs8)
    }

    /// Without the public half: OpenSSL 3.0 does not read PKCS#8 v2.
    fn pkcs8(&self) -> KeypairBytes {
        KeypairBytes {
            secret_key: self.0.to_bytes(),
            public_key: None,
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey")
            .field("public", &self.public())
            .finish_non_exhaustive()
    }
}
