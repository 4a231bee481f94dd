//! Secret keys: the only place that signs.
//!
//! Owns the private half of a key, its wiping and its PKCS#8 form. It must never print it, copy it,
//! or draw randomness: the seed is an argument.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use ed25519_dalek::SigningKey;
use ed25519_dalek::ed25519::signature::MultipartSigner;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use pkcs8::der::pem::PemLabel as _;
use pkcs8::pkcs5::{pbes2, scrypt};
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef};
use zeroize::Zeroizing;

use crate::domain::Domain;
use crate::public::{KeyError, PublicKey};
use crate::signature::Signature;

/// Size of the seed of a secret key, in bytes.
pub const SEED_BYTES: usize = 32;

/// Size of the entropy that encrypts one key: a salt and an initialisation vector, 16 bytes each.
pub const SEAL_BYTES: usize = 32;

/// scrypt's cost, 2^14 blocks of 1 KiB five times: what OWASP recommends, within the 32 MiB that OpenSSL allows itself.
const SCRYPT: (u8, u32, u32) = (14, 8, 5);

/// How an encrypted key in PEM begins (RFC 7468).
const ENCRYPTED_LABEL: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";

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

    /// The key in encrypted PKCS#8 PEM (PBES2: scrypt, AES-256-CBC), as `openssl pkcs8 -topk8 -scrypt` writes it.
    ///
    /// `entropy` must be drawn anew for each call; it is not secret.
    #[must_use]
    pub fn to_encrypted_pem(&self, passphrase: &str, entropy: &[u8; SEAL_BYTES]) -> String {
        let (log_n, r, p) = SCRYPT;
        let (salt, iv) = entropy.split_at(SEAL_BYTES / 2);
        let iv = iv.try_into().expect("half of 32 bytes");
        let cost = scrypt::Params::new(log_n, r, p).expect("valid costs");
        let parameters = pbes2::Parameters::generate_scrypt_aes256cbc(cost, salt, iv)
            .expect("a salt of 16 bytes is in range");
        let der = self.to_pkcs8_der();
        let key = PrivateKeyInfoRef::try_from(der.as_slice()).expect("encoded a moment ago");
        let sealed = key
            .encrypt_with_params(parameters, passphrase)
            .expect("48 bytes can be encrypted");
        let pem = sealed
            .to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF)
            .expect("PEM holds any bytes");
        // What is encrypted needs no wiping.
        pem.as_str().to_owned()
    }

    /// Whether the text is a key that needs a passphrase.
    #[must_use]
    pub fn is_encrypted_pem(pem: &str) -> bool {
        pem.trim_start().starts_with(ENCRYPTED_LABEL)
    }

    /// Reads a key in encrypted PKCS#8 PEM: PBES2 with scrypt or PBKDF2, and AES.
    ///
    /// # Errors
    /// [`KeyError::Passphrase`] if it does not decrypt to a key: a wrong passphrase and a damaged file look alike.
    /// [`KeyError::Pkcs8`] if the text is no such file at all.
    pub fn from_encrypted_pem(pem: &str, passphrase: &str) -> Result<Self, KeyError> {
        let (label, document) =
            pkcs8::SecretDocument::from_pem(pem).map_err(|_| KeyError::Pkcs8)?;
        if label != EncryptedPrivateKeyInfoRef::PEM_LABEL {
            return Err(KeyError::Pkcs8);
        }
        let sealed = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes());
        let opened = sealed.map_err(|_| KeyError::Pkcs8)?.decrypt(passphrase);
        let opened = opened.map_err(|_| KeyError::Passphrase)?;
        SigningKey::from_pkcs8_der(opened.as_bytes())
            .map(Self)
            .map_err(|_| KeyError::Passphrase)
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
