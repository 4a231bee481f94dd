//! Batch verification: agrees with single verification, and names exactly the bad signatures.

use std::collections::BTreeSet;

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::CompressedEdwardsY;
use proptest::prelude::*;
use quorate_crypto::{
    BatchItem, BatchVerifier, Domain, KeyCache, PublicKey, SecretKey, Signature, verify,
    verify_batch,
};

const ENTROPY: [u8; 32] = [0x5e; 32];
const MESSAGE: &[u8] = b"a block";
/// Signatures of the batches that are searched whole.
const COUNT: usize = 33;

/// What a batch says, which is the same with keys that are decompressed already, once and again.
fn verdict(items: &[BatchItem<'_>], entropy: [u8; 32]) -> Result<(), Vec<usize>> {
    let verdict = verify_batch(items, entropy);
    let mut cache = KeyCache::new();
    for _ in 0..2 {
        let mut batch = BatchVerifier::new();
        items.iter().for_each(|item| batch.push(*item));
        batch.recall_keys(&mut cache);
        assert_eq!(batch.verify(entropy), verdict);
        batch.remember_keys(&mut cache);
    }
    verdict
}

/// `count` good signatures by three keys in two domains.
fn good_items(count: usize) -> Vec<BatchItem<'static>> {
    good_items_of(3, count)
}

/// `count` good signatures by so many keys in two domains.
fn good_items_of(signers: usize, count: usize) -> Vec<BatchItem<'static>> {
    let seeds = (1..=u8::MAX).map(|byte| [byte; 32]);
    let keys: Vec<_> = seeds
        .take(signers)
        .map(|seed| SecretKey::from_seed(&seed))
        .collect();
    let domains = [Domain::Vote, Domain::Timeout];
    (0..count)
        .map(|at| {
            let (key, domain) = (&keys[at % keys.len()], domains[at % 2]);
            BatchItem {
                key: key.public(),
                domain,
                message: MESSAGE,
                signature: key.sign(domain, MESSAGE),
            }
        })
        .collect()
}

/// One of the ways a signature can be bad.
fn spoil(item: &mut BatchItem<'_>, way: usize) {
    let mut bytes = item.signature.to_bytes();
    match way % 5 {
        0 => bytes[0] ^= 1,     // another R, or none
        1 => bytes[32] ^= 1,    // another s
        2 => bytes[63] |= 0xf0, // s above the order of the group
        3 => item.domain = Domain::CommitVote,
        _ => {
            // 2 is the y of no point of the curve.
            let mut key = [0; 32];
            key[0] = 2;
            item.key = PublicKey::from_bytes_unchecked(key);
        }
    }
    item.signature = Signature::from_bytes(bytes);
}

/// With three signers, and with as many as signatures, whose keys are worth looking up.
fn assert_finds(count: usize, bad: &BTreeSet<usize>) {
    for signers in [3, count] {
        assert_finds_in(good_items_of(signers, count), bad);
    }
}

fn assert_finds_in(mut spoiled: Vec<BatchItem<'_>>, bad: &BTreeSet<usize>) {
    for &at in bad {
        spoil(&mut spoiled[at], at + bad.len());
    }
    let expected = Err(bad.iter().copied().collect());
    assert_eq!(verdict(&spoiled, ENTROPY), expected);
}

#[test]
fn good_batches_pass() {
    assert_eq!(verdict(&[], ENTROPY), Ok(()));
    let items = good_items(65);
    for count in 0..=items.len() {
        assert_eq!(verdict(&items[..count], ENTROPY), Ok(()), "{count}");
    }
    // Also with entropy that everyone knows.
    assert_eq!(verdict(&items, [0; 32]), Ok(()));
}

#[test]
fn a_batch_may_be_filled_one_by_one() {
    let mut batch = BatchVerifier::default();
    assert!(batch.is_empty());
    for item in good_items(3) {
        batch.push(item);
    }
    assert_eq!(batch.len(), 3);
    assert_eq!(batch.verify(ENTROPY), Ok(()));
}

/// One bad signature at every place of every size from 1 to 33.
#[test]
fn one_bad_is_found_anywhere() {
    for count in 1..=COUNT {
        for at in 0..count {
            assert_finds(count, &BTreeSet::from([at]));
        }
    }
}

/// Two bad signatures at every pair of places, around the sizes where the halving changes.
#[test]
fn two_bad_are_found_anywhere() {
    for count in [2, 8, 9, 17] {
        for first in 0..count {
            for second in first + 1..count {
                assert_finds(count, &BTreeSet::from([first, second]));
            }
        }
    }
}

/// Three bad signatures: every triple of a small batch; triples spread over the largest.
#[test]
fn three_bad_are_found_anywhere() {
    for first in 0..10 {
        for second in first + 1..10 {
            for third in second + 1..10 {
                assert_finds(10, &BTreeSet::from([first, second, third]));
            }
        }
    }
    for step in 1..11 {
        for first in 0..COUNT - 2 * step {
            let bad = BTreeSet::from([first, first + step, first + 2 * step]);
            assert_finds(COUNT, &bad);
        }
    }
}

#[test]
fn all_bad_are_found() {
    for count in 1..=COUNT {
        assert_finds(count, &(0..count).collect());
    }
}

/// More bad signatures than the halving has patience for: the rest is verified one by one.
#[test]
fn floods_of_bad_are_found() {
    let count = 256;
    for step in [1, 2, 9, 17] {
        for first in [0, step - 1] {
            assert_finds(count, &(first..count).step_by(step).collect());
        }
    }
}

/// The attack on batches without good coefficients: errors of two signatures that cancel out.
/// Both are bad alone, and their sum is right.
#[test]
fn errors_that_cancel_are_found() {
    let item = |seed: u8, shift: i8| {
        let key = SecretKey::from_seed(&[seed; 32]);
        let mut bytes = key.sign(Domain::Vote, MESSAGE).to_bytes();
        // s + 1 or s - 1; the low byte of s is neither 0 nor 255 for these keys, so nothing carries.
        assert!((1..255).contains(&bytes[32]));
        bytes[32] = bytes[32].wrapping_add_signed(shift);
        BatchItem {
            key: key.public(),
            domain: Domain::Vote,
            message: MESSAGE,
            signature: Signature::from_bytes(bytes),
        }
    };
    for seeds in [[9, 9], [9, 10]] {
        let items = [item(seeds[0], 1), item(seeds[1], -1)];
        for entropy in [[0; 32], ENTROPY] {
            assert_eq!(verdict(&items, entropy), Err(vec![0, 1]));
        }
    }
}

/// The 14 encodings of points of small order: 8 canonical and 6 others.
fn small_order_encodings() -> Vec<[u8; 32]> {
    let mut encodings: Vec<_> = (EIGHT_TORSION.iter())
        .map(|point| point.compress().to_bytes())
        .collect();
    // x = 0 with the sign bit set, for y = 1 and y = -1.
    let mut one = [0; 32];
    (one[0], one[31]) = (1, 0x80);
    let mut minus_one = [0xff; 32];
    minus_one[0] = 0xec;
    encodings.extend([one, minus_one]);
    // y = p and y = p + 1, which are 0 and 1, with both signs.
    for low in [0xed, 0xee] {
        for high in [0x7f, 0xff] {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (low, high);
            encodings.push(bytes);
        }
    }
    encodings
}

/// ZIP-215: with s = 0, each pair of points of small order is a signature of everything.
#[test]
fn zip_215_small_order_set() {
    let encodings = small_order_encodings();
    let distinct: BTreeSet<_> = encodings.iter().collect();
    assert_eq!(distinct.len(), 14);
    let mut items = Vec::new();
    for key in &encodings {
        let point = CompressedEdwardsY(*key).decompress().unwrap();
        assert!(point.is_small_order());
        let key = PublicKey::from_bytes_unchecked(*key);
        assert!(key.check().is_err(), "no such key is ever registered");
        for r in &encodings {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(r);
            items.push(BatchItem {
                key,
                domain: Domain::Vote,
                message: b"Zcash",
                signature: Signature::from_bytes(signature),
            });
        }
    }
    assert_eq!(items.len(), 196);
    for item in &items {
        let single = verify(&item.key, item.domain, item.message, &item.signature);
        assert_eq!(single, Ok(()));
        assert_eq!(verdict(&[*item], ENTROPY), Ok(()));
    }
    assert_eq!(verdict(&items, ENTROPY), Ok(()));
    // Every key once, with the same R.
    for r in 0..14 {
        let each_key_once: Vec<_> = items.iter().skip(r).step_by(14).copied().collect();
        assert_eq!(verdict(&each_key_once, ENTROPY), Ok(()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens to a batch, it says what single verification says of each signature.
    #[test]
    fn batch_and_single_agree(
        count in 1_usize..40,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..64, any::<u8>()), 0..6),
        keys in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..14), 0..3),
        points in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..14), 0..3),
        entropy: [u8; 32],
    ) {
        let small = small_order_encodings();
        let mut items = good_items(count);
        for (at, byte, mask) in flips {
            let item = &mut items[at.index(count)];
            let mut bytes = item.signature.to_bytes();
            bytes[byte] ^= mask;
            item.signature = Signature::from_bytes(bytes);
        }
        for (at, encoding) in keys {
            items[at.index(count)].key = PublicKey::from_bytes_unchecked(small[encoding]);
        }
        for (at, encoding) in points {
            // R of small order with s = 0: good under a key of small order only.
            let mut bytes = [0; 64];
            bytes[..32].copy_from_slice(&small[encoding]);
            items[at.index(count)].signature = Signature::from_bytes(bytes);
        }
        let bad: Vec<_> = (0..count)
            .filter(|&at| {
                let item = &items[at];
                verify(&item.key, item.domain, item.message, &item.signature).is_err()
            })
            .collect();
        let expected = if bad.is_empty() { Ok(()) } else { Err(bad) };
        prop_assert_eq!(verdict(&items, entropy), expected);
    }
}
