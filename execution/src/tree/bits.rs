//! The order of keys, bit by bit.
//!
//! A key of L bytes stands for 9·L + 1 bits: each byte is a 1 and its eight bits, highest first; a 0 ends the key. No
//! such string is a prefix of another, and they sort as the keys do: byte by byte, a key before its extensions.

use core::cmp::Ordering;

/// Longest key that the tree takes, in bytes: 1,024 for the client's part, the rest for the prefix of a namespace.
pub const MAX_KEY_BYTES: usize = 1_152;

/// Most inner nodes between the root and a leaf: one for each bit of the longest key.
pub const MAX_DEPTH: usize = 9 * MAX_KEY_BYTES + 1;

const _: () = assert!(MAX_DEPTH < 65_536, "a bit index is 16 bits wide");

/// Bit `index` of `key`; false behind its end.
pub(super) fn bit(key: &[u8], index: u16) -> bool {
    let at = usize::from(index / 9);
    match (key.get(at), index % 9) {
        (None, _) => false,
        (Some(_), 0) => true,
        (Some(byte), offset) => (byte >> (8 - offset)) & 1 == 1,
    }
}

/// The first bit in which two keys differ; `None` if they are equal. Needs keys of at most [`MAX_KEY_BYTES`] + 1.
pub(super) fn crit(a: &[u8], b: &[u8]) -> Option<u16> {
    let (a_words, _) = a.as_chunks::<8>();
    let (b_words, _) = b.as_chunks::<8>();
    let words = a_words
        .iter()
        .zip(b_words)
        .take_while(|(a, b)| a == b)
        .count();
    let rest = a[8 * words..].iter().zip(&b[8 * words..]);
    let same = 8 * words + rest.take_while(|(a, b)| a == b).count();
    let offset = match (a.get(same), b.get(same)) {
        (None, None) => return None,
        (Some(a), Some(b)) => 1 + usize::try_from((a ^ b).leading_zeros()).expect("at most 8"),
        _ => 0,
    };
    Some(u16::try_from(9 * same + offset).expect("keys are bounded"))
}

/// True if both keys agree in all bits before `index`.
pub(super) fn agree(a: &[u8], b: &[u8], index: u16) -> bool {
    crit(a, b).is_none_or(|crit| crit >= index)
}

/// Where all keys lie that begin with the bits of `key` before `index` and go on with `side`, seen from `bound`:
/// before it, after it, or (`Equal`) not decided, because `bound` itself begins like that.
pub(super) fn place(key: &[u8], index: u16, side: bool, bound: &[u8]) -> Ordering {
    match crit(key, bound) {
        Some(crit) if crit < index => bit(key, crit).cmp(&bit(bound, crit)),
        _ => side.cmp(&bit(bound, index)),
    }
}
