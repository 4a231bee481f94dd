//! The canonical encoding, the only place that names `bincode`.
//!
//! Integers have fixed width and are little-endian, lengths are 8 bytes, enum tags 4 bytes, an option is one byte 0 or 1.
//! What decodes encodes to the same bytes, since signatures and identifiers are computed over re-encoded values: every
//! type here keeps to sequences, structs and enums, and has no map (bincode would accept one in any order).
//! The input's length is checked before anything is allocated, and trailing bytes are refused.

use alloc::vec::Vec;

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use quorate_crypto::{Digest, Domain, Hasher};
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
    encode_behind(&[], value)
}

/// Encodes a value behind a prefix. Makes room once, for all of it: to walk a value twice costs less than to let the
/// buffer grow.
pub fn encode_behind<T: Serialize>(prefix: &[u8], value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(prefix.len() + encoded_len(value));
    out.extend_from_slice(prefix);
    write(value, Appender(&mut out));
    out
}

/// Encodes a value behind what `out` already holds, to save an allocation on hot paths.
pub fn encode_into<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    out.reserve(encoded_len(value));
    write(value, Appender(out));
}

/// Bytes that [`encode`] would yield.
pub fn encoded_len<T: Serialize>(value: &T) -> usize {
    struct Counter<'a>(&'a mut usize);
    impl Writer for Counter<'_> {
        fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
            *self.0 += bytes.len();
            Ok(())
        }
    }
    let mut bytes = 0;
    write(value, Counter(&mut bytes));
    bytes
}

/// The digest of a value's encoding in a domain, without writing the encoding down.
pub fn digest<T: Serialize>(domain: Domain, value: &T) -> Digest {
    struct Digester<'a>(&'a mut Hasher);
    impl Writer for Digester<'_> {
        fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
            self.0.update(bytes);
            Ok(())
        }
    }
    let mut hasher = Hasher::new(domain);
    write(value, Digester(&mut hasher));
    hasher.finalize()
}

struct Appender<'a>(&'a mut Vec<u8>);

impl Writer for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn write<T: Serialize>(value: &T, to: impl Writer) {
    bincode::serde::encode_into_writer(value, to, CONFIG)
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
    match decode_first(bytes)? {
        (value, []) => Ok(value),
        (_, rest) => Err(DecodeError::Trailing(rest.len())),
    }
}

/// Decodes a list that must fill `bytes` exactly, however long it is: for what a validator wrote for itself, where it made
/// a list as long as it had to be. What a peer sends has a limit, and goes through [`decode`].
///
/// # Errors
/// [`DecodeError::Malformed`], [`DecodeError::Trailing`]. Rot is no reason to run out of memory: each element is bounded as
/// by [`decode`], and no room is made ahead for as many as the list claims to have.
pub fn decode_list<T: DeserializeOwned>(bytes: &[u8]) -> Result<Vec<T>, DecodeError> {
    let (count, mut rest) = decode_first::<u64>(bytes)?;
    // Every element takes a byte at least.
    let most = u64::try_from(rest.len()).map_err(|_| DecodeError::Malformed)?;
    if count > most {
        return Err(DecodeError::Malformed);
    }
    let mut list = Vec::new();
    for _ in 0..count {
        let (element, behind) = decode_first(rest)?;
        list.push(element);
        rest = behind;
    }
    match rest {
        [] => Ok(list),
        rest => Err(DecodeError::Trailing(rest.len())),
    }
}

/// Decodes a value at the beginning, of [`MAX_ENCODED_BYTES`] at most. Returns what follows it, too.
fn decode_first<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    let decoded = bincode::serde::decode_from_slice(bytes, CONFIG);
    let (value, used) = decoded.map_err(|_| DecodeError::Malformed)?;
    let rest = bytes.get(used..).ok_or(DecodeError::Malformed)?;
    Ok((value, rest))
}
