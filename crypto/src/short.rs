//! SHA-256 of messages of a few blocks, padded on the stack and compressed in one go.
//!
//! Nodes of trees, records and receipts are such messages, and there are dozens a transaction. What a hasher spends on
//! taking pieces in, keeping what does not fill a block and padding it at the end is a good part of their cost.

use sha2::block_api::compress256;

const BLOCK_BYTES: usize = 64;
const BLOCKS: usize = 4;
/// Padding at least: a bit that ends the message, and its length.
const PADDING_BYTES: usize = 1 + 8;

/// Longest message, in bytes.
pub(crate) const MAX_BYTES: usize = BLOCKS * BLOCK_BYTES - PADDING_BYTES;

/// The state before the first block (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The SHA-256 of `head` and `parts`, which have `bytes` together: [`MAX_BYTES`] at most.
#[inline]
pub(crate) fn sha256(head: &[u8], parts: &[&[u8]], bytes: usize) -> [u8; 32] {
    let mut blocks = [[0; BLOCK_BYTES]; BLOCKS];
    let message = blocks.as_flattened_mut();
    message[..head.len()].copy_from_slice(head);
    let mut at = head.len();
    for part in parts {
        message[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    message[bytes] = 0x80;
    let count = (bytes + PADDING_BYTES).div_ceil(BLOCK_BYTES);
    let bits = u64::try_from(8 * bytes).expect("a few blocks");
    *blocks[count - 1].last_chunk_mut().expect("a block") = bits.to_be_bytes();
    let mut state = INITIAL;
    compress256(&mut state, &blocks[..count]);
    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}
