//! Published Ed25519 vectors, through this crate's own signing and verifying code.
//!
//! They live inside the crate because they have no domain tag, and nothing outside may sign or
//! verify without one. Where they come from: `tests/vectors/README.md`.

use alloc::string::String;
use alloc::vec::Vec;

use serde::Deserialize;

use crate::batch::Signed;
use crate::equation::tests::holds;
use crate::public::verify_signed;
use crate::{BatchVerifier, KeyCache, PublicKey, SecretKey, Signature};

#[derive(Deserialize)]
struct Rfc8032 {
    name: String,
    seed: String,
    public: PublicKey,
    message: String,
    signature: Signature,
}

#[derive(Deserialize)]
struct SpecCheck {
    message: String,
    pub_key: PublicKey,
    signature: Signature,
    zip215: bool,
    paper_case: Option<usize>,
}

fn single(key: PublicKey, message: &[u8], signature: &Signature) -> bool {
    verify_signed(&key, message, signature).is_ok()
}

fn batch(key: PublicKey, message: &[u8], signature: &Signature) -> bool {
    let (bytes, signature) = (message.to_vec(), *signature);
    holds(&[Signed {
        key,
        bytes,
        signature,
    }])
}

fn speccheck() -> Vec<SpecCheck> {
    serde_json::from_str(include_str!("../tests/vectors/speccheck.json")).unwrap()
}

#[test]
fn rfc_8032() {
    let vectors: Vec<Rfc8032> =
        serde_json::from_str(include_str!("../tests/vectors/rfc8032.json")).unwrap();
    assert_eq!(vectors.len(), 5);
    for vector in vectors {
        let mut seed = [0; 32];
        hex::decode_to_slice(&vector.seed, &mut seed).unwrap();
        let message = hex::decode(&vector.message).unwrap();
        let key = SecretKey::from_seed(&seed);
        assert_eq!(key.public(), vector.public, "{}", vector.name);
        assert_eq!(vector.public.check(), Ok(()), "{}", vector.name);
        let signature = key.sign_parts(&[&message]);
        assert_eq!(signature, vector.signature, "{}", vector.name);
        assert!(single(vector.public, &message, &signature));
        assert!(batch(vector.public, &message, &signature));
    }
}

#[test]
fn taming_the_many_eddsas() {
    for (at, case) in speccheck().iter().enumerate() {
        let message = hex::decode(&case.message).unwrap();
        let verdict = single(case.pub_key, &message, &case.signature);
        assert_eq!(verdict, case.zip215, "single, case {at}");
        let verdict = batch(case.pub_key, &message, &case.signature);
        assert_eq!(verdict, case.zip215, "batch, case {at}");
    }
}

/// The row of Zebra in the paper's table: V V V V V V X X X V V V.
#[test]
fn the_papers_row() {
    let mut row: Vec<_> = speccheck()
        .into_iter()
        .filter_map(|case| Some((case.paper_case?, case.zip215)))
        .collect();
    row.sort_unstable();
    let rejected: Vec<_> = (row.iter().filter(|case| !case.1))
        .map(|case| case.0)
        .collect();
    assert_eq!((row.len(), rejected), (12, [6, 7, 8].to_vec()));
}

/// In one batch too, among each other, the refused cases are found and no other.
#[test]
fn speccheck_cases_in_one_batch() {
    let cases = speccheck();
    let mut batch = BatchVerifier::new();
    for case in &cases {
        let message = hex::decode(&case.message).unwrap();
        batch.push_signed(case.pub_key, message, case.signature);
    }
    let mut looked_up = batch.clone();
    looked_up.recall_keys(&mut KeyCache::new());
    for mut batch in [batch, looked_up] {
        assert_eq!(batch.verify([7; 32]), Err([9, 10, 11].to_vec()));
    }
}
