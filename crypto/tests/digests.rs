//! Digests, domains, and the text and binary forms of every fixed-width value.

use std::collections::BTreeSet;

use proptest::prelude::*;
use quorate_crypto::{Digest, Domain, Hasher, ParseHexError, PublicKey, Signature, hash};

/// The tags are consensus: a changed tag is a fork. Changing this list needs a new chain.
const GOLDEN: [&str; 31] = [
    "quorate/genesis",
    "quorate/header",
    "quorate/tx",
    "quorate/txleaf",
    "quorate/batch",
    "quorate/batches",
    "quorate/mknode",
    "quorate/mkleaf",
    "quorate/receipt",
    "quorate/rcnode",
    "quorate/stleaf",
    "quorate/stnode",
    "quorate/stempty",
    "quorate/valset",
    "quorate/tc",
    "quorate/leader",
    "quorate/session",
    "quorate/evidence",
    "quorate/coeffs",
    "quorate/verified",
    "quorate/snapshot",
    "quorate/proposal",
    "quorate/vote",
    "quorate/commit",
    "quorate/timeout",
    "quorate/clienttx",
    "quorate/posses",
    "quorate/descr",
    "quorate/consent",
    "quorate/hello",
    "quorate/syncrep",
];

#[test]
fn tags_are_golden_and_distinct() {
    for (domain, golden) in Domain::ALL.iter().zip(GOLDEN) {
        let mut expected = [0; 16];
        expected[..golden.len()].copy_from_slice(golden.as_bytes());
        assert_eq!(domain.tag(), &expected, "{domain:?}");
    }
    let tags: BTreeSet<_> = Domain::ALL.iter().map(|domain| domain.tag()).collect();
    assert_eq!(tags.len(), Domain::ALL.len());
    let domains: BTreeSet<_> = Domain::ALL.into_iter().collect();
    assert_eq!(domains.len(), Domain::ALL.len(), "ALL repeats a domain");
    assert_eq!(Domain::ALL.last(), domains.last(), "ALL ends too early");
}

/// The expected value is `printf 'quorate/vote\0\0\0\0abc' | sha256sum`.
#[test]
fn a_digest_is_sha256_of_tag_and_message() {
    let expected = "d1a1fa2d94dcc1ba1d739a3206f3095ecf570319b1bb4c5cce3b85d4d5c6bde7";
    assert_eq!(hash(Domain::Vote, &[b"abc"]).to_string(), expected);
    assert_eq!(
        hash(Domain::Vote, &[b"a", b"", b"bc"]).to_string(),
        expected
    );
    let mut hasher = Hasher::new(Domain::Vote);
    hasher.update(b"ab").update(b"c");
    assert_eq!(hasher.finalize().to_string(), expected);
}

/// Short messages are hashed in one go, longer ones piece by piece.
#[test]
fn a_message_of_any_length_in_any_pieces_has_one_digest() {
    let message: Vec<u8> = (0..600).map(|at: u32| at.to_le_bytes()[0] ^ 0x5a).collect();
    for length in 0..=message.len() {
        let whole = &message[..length];
        let mut hasher = Hasher::new(Domain::TreeLeaf);
        hasher.update(whole);
        let expected = hasher.finalize();
        assert_eq!(hash(Domain::TreeLeaf, &[whole]), expected, "{length}");
        let (a, rest) = whole.split_at(length / 7);
        let (b, c) = rest.split_at(rest.len() / 2);
        assert_eq!(hash(Domain::TreeLeaf, &[a, b, &[], c]), expected);
    }
}

#[test]
fn domains_separate_digests() {
    let digests: BTreeSet<_> = (Domain::ALL.iter())
        .map(|domain| hash(*domain, &[b"same"]))
        .collect();
    assert_eq!(digests.len(), Domain::ALL.len());
}

#[test]
fn text_forms() {
    let digest = Digest::from_bytes([0xab; 32]);
    assert_eq!(digest.to_string(), "ab".repeat(32));
    assert_eq!(format!("{digest:?}"), "Digest(abababab…)");
    assert_eq!("AB".repeat(32).parse(), Ok(digest), "either case is read");
    assert_eq!(Digest::default(), Digest::ZERO);
    assert_eq!(Digest::ZERO.as_bytes(), &[0; 32]);

    let short: Result<Digest, _> = "ab".repeat(31).parse();
    let (expected, found) = (64, 62);
    assert_eq!(short, Err(ParseHexError::Length { expected, found }));
    let bad: Result<Digest, _> = format!("{}0g", "ab".repeat(31)).parse();
    assert_eq!(bad, Err(ParseHexError::Digit { at: 63 }));
    // 32 characters of two bytes each: the right number of bytes, and no digit among them.
    let wide: Result<Digest, _> = "é".repeat(32).parse();
    assert_eq!(wide, Err(ParseHexError::Digit { at: 0 }));
}

/// Exactly the bytes, with no length before them, with the wire's configuration of bincode.
#[test]
fn binary_forms_have_no_prefix() {
    fn check<T>(value: T, bytes: &[u8])
    where
        T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        let config = bincode::config::standard().with_fixed_int_encoding();
        let encoded = bincode::serde::encode_to_vec(&value, config).unwrap();
        assert_eq!(encoded, bytes);
        let (decoded, used): (T, _) = bincode::serde::decode_from_slice(bytes, config).unwrap();
        assert_eq!((decoded, used), (value, bytes.len()));
        let cut = &bytes[..bytes.len() - 1];
        assert!(bincode::serde::decode_from_slice::<T, _>(cut, config).is_err());
    }
    let bytes: [u8; 64] = std::array::from_fn(|at| u8::try_from(200 + at % 56).unwrap());
    let half = *bytes.first_chunk().unwrap();
    check(Digest::from_bytes(half), &half);
    check(PublicKey::from_bytes_unchecked(half), &half);
    check(Signature::from_bytes(bytes), &bytes);
}

#[test]
fn json_refuses_what_is_not_exact() {
    let good = format!("\"{}\"", "0f".repeat(64));
    let signature: Signature = serde_json::from_str(&good).unwrap();
    assert_eq!(signature.to_bytes(), [0x0f; 64]);
    assert_eq!(serde_json::to_string(&signature).unwrap(), good);
    for bad in ["\"\"", "\"0f\"", "[15]", "15", "null"] {
        assert!(serde_json::from_str::<Signature>(bad).is_err(), "{bad}");
        assert!(serde_json::from_str::<PublicKey>(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn json_and_text_round_trip(bytes: [u8; 32]) {
        let digest = Digest::from_bytes(bytes);
        prop_assert_eq!(digest.to_string(), hex::encode(bytes));
        prop_assert_eq!(digest.to_string().parse(), Ok(digest));
        let json = serde_json::to_string(&digest).unwrap();
        prop_assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        let key = PublicKey::from_bytes_unchecked(bytes);
        prop_assert_eq!(key.to_string().parse(), Ok(key));
        let json = serde_json::to_string(&key).unwrap();
        prop_assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), key);
    }
}
