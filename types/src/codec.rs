//! The canonical encoding, the only place that names `bincode`.
//!
//! Integers have fixed width and are little-endian, lengths are 8 bytes, enum tags 4 bytes, an option is one byte 0 or 1.
//! What decodes encodes to the same bytes, since signatures and identifiers are computed over re-encoded values: every
//! type here keeps to sequences, structs and enums, and has no map (bincode would accept one in any order).
//! The input's length is checked before anything is allocated, and trailing bytes are refused.

use alloc::vec::Vec;

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use serde::{Serialize, de::DeserializeOwned};

/// Largest message or record that any decoder accepts, in bytes: an answer with the largest block that
/// [`MAX_BLOCK_BYTES`] allows, its certificates and its list.
pub const MAX_ENCODED_BYTES: usize = MAX_BLOCK_BYTES + 1024 * 1024;
/// Most bytes of batches that a chain's parameters may allow in a block.
pub const MAX_BLOCK_BYTES: usize = 32 * 1024 * 1024;

/// The limit binds the decoder only. Without one bincode reserves what the length of an owned string says before it
/// looks at the input.
const CONFIG: Configuration<LittleEndian, Fixint, Limit<MAX_ENCODED_BYTES>> =
    bincode::config::standard()
        .with_fixed_int_encoding()
        .with_little_endian()
        .with_limit::<MAX_ENCODED_BYTES>();

/// Room that an encoding begins with, in bytes: most votes, headers and transactions need no other.
const USUAL_BYTES: usize = 512;

/// Why bytes were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input is longer than the caller's bound; nothing was decoded.
    #[error("{actual} bytes are more than the {limit} allowed")]
    TooLong {
        /// Bytes given.
        actual: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The bytes are no encoding of the type: truncated, a bad tag, a length that exceeds the input.
    #[error("the bytes are not a canonical encoding")]
    Malformed,
    /// A whole value was followed by further bytes.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
}

/// Encodes a value. Encoding into memory cannot fail for the types of this project: they contain no map of unknown
/// length and no type that bincode refuses.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_BYTES);
    encode_into(value, &mut out);
    out
}

/// Encodes a value behind what `out` already holds, to save an allocation on hot paths.
pub fn encode_into<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    struct Appender<'a>(&'a mut Vec<u8>);
    impl bincode::enc::write::Writer for Appender<'_> {
        fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }
    bincode::serde::encode_into_writer(value, Appender(out), CONFIG)
        .expect("types of this crate always encode");
}

/// Decodes a value that must fill `bytes` exactly, refusing more than `limit` bytes before looking at them.
///
/// # Errors
/// [`DecodeError`]; never panics, and never allocates more than [`MAX_ENCODED_BYTES`] or a small multiple of `limit`:
/// every element of a sequence takes at least one byte of input, and serde caps what it reserves ahead.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLong {
            actual: bytes.len(),
            limit,
        });
    }
    let (value, used) =
        bincode::serde::decode_from_slice(bytes, CONFIG).map_err(|_| DecodeError::Malformed)?;
    match bytes.len() - used {
        0 => Ok(value),
        rest => Err(DecodeError::Trailing(rest)),
    }
}
