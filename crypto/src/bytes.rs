//! Text and serde forms of fixed-width byte strings.
//!
//! Owns the two encodings every value of this crate has: exactly `N` bytes with no length prefix in
//! a binary format with fixed-width little-endian integers (the only kind there is here),
//! `2 N` hexadecimal digits in a human-readable one. It must never interpret the bytes: decoding is
//! cheap and says nothing about a point being on the curve.

use core::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserializer, Serializer};

/// A text that is not the hexadecimal form of a value of fixed width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseHexError {
    /// The text does not have two digits for each byte.
    #[error("expected {expected} hexadecimal digits, found {found} bytes of text")]
    Length {
        /// Digits that the value takes.
        expected: usize,
        /// Bytes of text that were given.
        found: usize,
    },
    /// A character that is no hexadecimal digit.
    #[error("no hexadecimal digit at byte {at}")]
    Digit {
        /// Offset of the first such character, in bytes.
        at: usize,
    },
}

/// Writes `bytes` as lowercase hexadecimal digits.
pub(crate) fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in bytes {
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

/// Writes `name(01234567…)`: enough to tell two values apart in a log.
pub(crate) fn write_short(name: &str, bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{name}(")?;
    write_hex(bytes.get(..4).unwrap_or(bytes), f)?;
    f.write_str("…)")
}

/// Reads exactly `2 N` hexadecimal digits of either case.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseHexError> {
    let text = text.as_bytes();
    let (expected, found) = (N.saturating_mul(2), text.len());
    if found != expected {
        return Err(ParseHexError::Length { expected, found });
    }
    let mut bytes = [0; N];
    let pairs = text.iter().copied().enumerate();
    for (at, digit) in pairs {
        let nibble = nibble(digit).ok_or(ParseHexError::Digit { at })?;
        bytes[at / 2] = (bytes[at / 2] << 4) | nibble;
    }
    Ok(bytes)
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Bytes that are handed to a binary format at a time.
const WORD: usize = size_of::<u128>();

/// Serializes `bytes` as a tuple of words, or as hexadecimal for people.
///
/// A slice would get a length prefix, and a tuple of single bytes has the same encoding but costs a
/// call of the format for each: digests, keys and signatures are most of what is encoded.
pub(crate) fn serialize<const N: usize, S: Serializer>(
    bytes: &[u8; N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        return serializer.collect_str(&Hex(bytes));
    }
    const { assert!(N.is_multiple_of(WORD)) };
    let mut tuple = serializer.serialize_tuple(N / WORD)?;
    for word in bytes.as_chunks::<WORD>().0 {
        tuple.serialize_element(&u128::from_le_bytes(*word))?;
    }
    tuple.end()
}

/// The inverse of [`serialize`].
pub(crate) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<[u8; N], D::Error> {
    if deserializer.is_human_readable() {
        deserializer.deserialize_str(Bytes::<N>)
    } else {
        deserializer.deserialize_tuple(N / WORD, Bytes::<N>)
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(self.0, f)
    }
}

struct Bytes<const N: usize>;

impl<'de, const N: usize> Visitor<'de> for Bytes<N> {
    type Value = [u8; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{N} bytes, or their hexadecimal digits")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        parse_hex(text).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut bytes = [0; N];
        for (at, word) in bytes.as_chunks_mut::<WORD>().0.iter_mut().enumerate() {
            let value: u128 = seq
                .next_element()?
                .ok_or_else(|| A::Error::invalid_length(at * WORD, &self))?;
            *word = value.to_le_bytes();
        }
        Ok(bytes)
    }
}
