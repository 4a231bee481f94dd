//! Digests, keys, signatures, and the domains that keep them apart.
//!
//! This crate owns every use of a hash function and of a signature scheme in Quorate. Nothing else
//! may call SHA-256 or Ed25519 on consensus data: a second hasher could forget a domain tag, and a
//! second verifier could disagree with the first, which lets one signer split honest replicas.
//!
//! * Hashing is SHA-256 over a 16-byte [`Domain`] tag and the message.
//! * Signing is Ed25519 over a 16-byte [`Domain`] tag and the message.
//! * Verification has **one** predicate everywhere, [ZIP-215], under which single verification
//!   ([`VerifyingKey::verify`]) and batch verification ([`BatchVerifier`]) always agree.
//! * Weak keys are refused when they are registered ([`PublicKey::from_bytes`],
//!   [`PublicKey::check`]), not when a signature is checked.
//!
//! It has no clock, no source of randomness and no IO: seeds and entropy are arguments.
//!
//! [ZIP-215]: https://zips.z.cash/zip-0215
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod batch;
mod bytes;
mod digest;
mod domain;
mod equation;
mod keys;
mod public;
mod secret;
mod short;
mod signature;
#[cfg(test)]
mod vectors;

pub use batch::{BatchItem, BatchVerifier, verify_batch};
pub use bytes::ParseHexError;
pub use digest::{DIGEST_BYTES, Digest, Hasher, hash};
pub use domain::{Domain, TAG_BYTES};
pub use keys::KeyCache;
pub use public::{BadSignature, KeyError, PUBLIC_KEY_BYTES, PublicKey, VerifyingKey, verify};
pub use secret::{SEAL_BYTES, SEED_BYTES, SecretKey};
pub use signature::{SIGNATURE_BYTES, Signature};
