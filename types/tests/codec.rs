//! The canonical encoding of every format: what decodes encodes to the same bytes, and hostile bytes are refused quickly.

mod common;

use std::time::{Duration, Instant};

use common::formats::{Format, formats};
use common::*;
use proptest::prelude::*;
use quorate_types::codec::{self, DecodeError, MAX_ENCODED_BYTES};
use quorate_types::merkle::Path;
use quorate_types::{Batch, Blob, Digest, Entry, Genesis, Header, Message, Transaction};

#[test]
fn every_format_survives_the_round_trip() {
    for format in formats() {
        assert_eq!(
            format.again(&format.bytes),
            Ok(format.bytes.clone()),
            "{}",
            format.name
        );
    }
}

#[test]
fn encoding_behind_something_appends() {
    let mut out = vec![1, 2];
    codec::encode_into(&batch(), &mut out);
    assert_eq!(out[..2], [1, 2]);
    assert_eq!(out[2..], codec::encode(&batch()));
}

#[test]
fn sizes_are_known_without_encoding() {
    assert_eq!(
        transaction().encoded_len(),
        codec::encode(&transaction()).len()
    );
    assert_eq!(batch().encoded_len(), codec::encode(&batch()).len());
}

#[test]
fn truncation_at_every_length_is_refused() {
    for format in formats() {
        for length in 0..format.bytes.len() {
            let cut = format.again(&format.bytes[..length]);
            assert_eq!(
                cut,
                Err(DecodeError::Malformed),
                "{} of {length}",
                format.name
            );
        }
    }
}

#[test]
fn a_trailing_byte_is_refused() {
    for format in formats() {
        let mut longer = format.bytes.clone();
        longer.push(0);
        assert_eq!(
            format.again(&longer),
            Err(DecodeError::Trailing(1)),
            "{}",
            format.name
        );
    }
}

#[test]
fn what_is_longer_than_allowed_is_not_looked_at() {
    let bytes = codec::encode(&transaction());
    let (actual, limit) = (bytes.len(), bytes.len() - 1);
    let refused = codec::decode::<Transaction>(&bytes, limit);
    assert_eq!(refused, Err(DecodeError::TooLong { actual, limit }));
    assert_eq!(
        codec::decode::<Transaction>(&bytes, actual),
        Ok(transaction())
    );
}

/// Whatever decodes must be what its encoding says, or one object would have two identities.
fn assert_canonical(format: &Format, bytes: &[u8]) {
    if let Ok(again) = format.again(bytes) {
        assert_eq!(again, bytes, "{}", format.name);
    }
}

/// At every place a length that no input can have: refused, before that much is reserved.
#[test]
fn hostile_lengths_are_refused_quickly() {
    let start = Instant::now();
    for format in formats() {
        for place in 0..format.bytes.len().saturating_sub(7) {
            for length in [u64::MAX, 1 << 63, 1 << 40, 1 << 32] {
                let mut bytes = format.bytes.clone();
                bytes[place..place + 8].copy_from_slice(&length.to_le_bytes());
                assert_canonical(&format, &bytes);
            }
        }
    }
    // No claim about speed: what reserves a gibibyte each time takes minutes, or dies.
    assert!(start.elapsed() < Duration::from_secs(120));
}

/// bincode reads an owned string by reserving what its length says, before it looks at the input: with no limit in the
/// configuration, 8 hostile bytes in a genesis stopped the process.
#[test]
fn a_string_s_hostile_length_is_an_error() {
    let bytes = codec::encode(&genesis());
    for length in [u64::MAX, 1 << 46, 1 << 31] {
        let mut hostile = bytes.clone();
        hostile[2..10].copy_from_slice(&length.to_le_bytes()); // the name's, behind the version
        let refused = codec::decode::<Genesis>(&hostile, MAX_ENCODED_BYTES);
        assert_eq!(refused, Err(DecodeError::Malformed));
    }
}

#[test]
fn every_byte_counts() {
    for format in formats() {
        for place in 0..format.bytes.len() {
            for value in [0, 1, 2, 255] {
                let mut bytes = format.bytes.clone();
                bytes[place] = value;
                assert_canonical(&format, &bytes);
            }
        }
    }
}

/// What a validator wrote for itself may be longer than any message, and is refused for everything else that messages are.
#[test]
fn a_list_of_one_s_own_may_be_of_any_length() {
    let element = Blob(vec![7; 1 << 20]);
    let list = vec![element; (MAX_ENCODED_BYTES >> 20) + 1];
    let mut bytes = codec::encode(&list);
    assert!(bytes.len() > MAX_ENCODED_BYTES);
    assert_eq!(codec::decode_list::<Blob>(&bytes), Ok(list));
    bytes.push(0);
    let refused = codec::decode_list::<Blob>(&bytes);
    assert_eq!(refused, Err(DecodeError::Trailing(1)));
    bytes.truncate(bytes.len() - 2);
    let refused = codec::decode_list::<Blob>(&bytes);
    assert_eq!(refused, Err(DecodeError::Malformed));
}

#[test]
fn a_list_s_hostile_lengths_are_errors() {
    let bytes = codec::encode(&vec!["a string".to_owned()]);
    let decoded = codec::decode_list::<String>(&bytes);
    assert_eq!(decoded, Ok(vec!["a string".to_owned()]));
    for length in [u64::MAX, 1 << 46, 1 << 31, 2] {
        // The list's, and that of the string in it: bincode would make room for that.
        for place in [0, 8] {
            let mut hostile = bytes.clone();
            hostile[place..place + 8].copy_from_slice(&length.to_le_bytes());
            assert!(codec::decode_list::<String>(&hostile).is_err());
        }
    }
    for length in 0..bytes.len() {
        let cut = codec::decode_list::<String>(&bytes[..length]);
        assert_eq!(cut, Err(DecodeError::Malformed));
    }
}

fn with_byte<T>(value: &T, place: usize, byte: u8) -> Vec<u8>
where
    T: serde::Serialize,
{
    let mut bytes = codec::encode(value);
    bytes[place] = byte;
    bytes
}

#[test]
fn options_and_tags_have_one_encoding_each() {
    // Behind version, round, height, parent and justify.
    let option = 2 + 16 + 8 + 32 + (16 + 32 + 16);
    let header = second().header;
    assert_eq!(codec::encode(&header)[option], 0);
    let bytes = with_byte(&header, option, 2);
    let refused = codec::decode::<Header>(&bytes, MAX_ENCODED_BYTES);
    assert_eq!(refused, Err(DecodeError::Malformed));

    let entry = with_byte(&Entry::Qc(qc(1, some_block(1))), 0, 2);
    let refused = codec::decode::<Entry>(&entry, MAX_ENCODED_BYTES);
    assert_eq!(refused, Err(DecodeError::Malformed));

    for (tag, (name, message)) in (0..).zip(messages()) {
        assert_eq!(codec::encode(&message)[..4], [tag, 0, 0, 0], "{name}");
        for (place, byte) in [(0, 255), (1, 1), (3, 1)] {
            let bytes = with_byte(&message, place, byte);
            let refused = codec::decode::<Message>(&bytes, MAX_ENCODED_BYTES);
            assert_eq!(refused, Err(DecodeError::Malformed), "{name}");
        }
    }

    let mut name = codec::encode(&genesis());
    name[10] = 0xff;
    let refused = codec::decode::<Genesis>(&name, MAX_ENCODED_BYTES);
    assert_eq!(refused, Err(DecodeError::Malformed), "no UTF-8");
}

/// The largest block that the parameters allow must fit into an answer that its receiver decodes, or who is behind stays
/// behind for ever.
#[test]
fn the_largest_block_fits_into_a_message() {
    let parameters = parameters();
    let most = parameters.max_batch_bytes * parameters.max_block_batches;
    assert!(usize::try_from(most).expect("small") + (1 << 20) <= MAX_ENCODED_BYTES);
}

/// Two batches with the same transactions under different signatures have different digests; the transaction has one
/// identity whatever its signature.
#[test]
fn signatures_are_in_a_batch_s_identity_and_in_no_transaction_s() {
    let mut other = transaction();
    other.signature = quorate_types::Signature::default();
    assert_eq!(transaction().id(), other.id());
    let (one, two): (Batch, Batch) = (batch_of(vec![transaction()]), batch_of(vec![other]));
    assert_ne!(one.id(), two.id());
}

thread_local! {
    /// Made once: they are full of signatures.
    static FORMATS: Vec<Format> = formats();
}

proptest! {
    #[test]
    fn what_decodes_encodes_to_the_same_bytes(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        shorten in prop::bool::weighted(0.2),
    ) {
        FORMATS.with(|all| {
            let format = &all[which.index(all.len())];
            let mut bytes = format.bytes.clone();
            for (place, value) in changes {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            if shorten {
                bytes.truncate(cut.index(bytes.len()));
            }
            assert_canonical(format, &bytes);
        });
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        FORMATS.with(|all| all.iter().for_each(|format| assert_canonical(format, &bytes)));
        let _ = codec::decode::<Message>(&bytes, MAX_ENCODED_BYTES);
    }

    /// A path is the peer's: any shape is answered, and only the right one leads to the root.
    #[test]
    fn a_hostile_path_leads_nowhere(index: u64, count: u64, siblings in 0usize..70) {
        let siblings = vec![Digest::from_bytes([3; 32]); siblings];
        let path = Path { index, count, siblings };
        let leaf = Digest::from_bytes([4; 32]);
        prop_assert_ne!(path.root(leaf), Some(quorate_types::merkle::root(&[leaf, leaf, leaf])));
    }
}
