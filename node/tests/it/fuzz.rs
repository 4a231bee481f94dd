//! Any bytes to what the node itself reads, with the driver of the crate `fuzz`: bodies of requests, settings, the genesis.

use quorate_client::api::{Base64, SubmitRequest};
use quorate_fuzz::chain;
use quorate_fuzz::driver::{self, Until};
use quorate_node::http::{CODES, submitted};
use quorate_node::{config, genesis};
use quorate_types::codec;

/// Which mutations.
const SEED: u64 = 20_261_121;
/// The largest transaction of a chain, in bytes.
const LIMIT: usize = 256 * 1024;

fn bears(target: fn(&[u8]), seeds: &[Vec<u8>], inputs: u64) {
    if let Err(failure) = driver::run(target, seeds, SEED, Until::Inputs(inputs)) {
        let failure = driver::shrink(target, failure);
        let input = String::from_utf8_lossy(&failure.input);
        panic!("{} by {input:?}", failure.message);
    }
}

/// A body is a transaction, or a problem that the API names.
#[test]
fn bodies() {
    let transaction = codec::encode(&chain::put(1));
    let json = serde_json::to_vec(&SubmitRequest {
        transaction: Base64(transaction.clone()),
    });
    let target = |bytes: &[u8]| {
        for media in [None, Some("application/json"), Some("text/plain; x=y")] {
            match submitted(media, bytes, LIMIT) {
                Ok(transaction) => assert!(codec::encode(&transaction).len() <= LIMIT),
                Err((code, detail)) => {
                    assert!(CODES.iter().any(|known| known.0 == code), "{code}");
                    assert!(!detail.is_empty(), "{code} without a word");
                }
            }
        }
    };
    bears(target, &[transaction, json.expect("JSON")], 10_000);
}

/// Settings are a table, or refused with the line.
#[test]
fn settings() {
    let target = |bytes: &[u8]| {
        if let Ok(text) = str::from_utf8(bytes)
            && let Err(why) = config::parse(text)
        {
            assert!(!why.is_empty());
        }
    };
    let seed = config::Config::default().to_toml();
    bears(target, &[seed.into_bytes()], 3_000);
}

/// The text of a genesis is read and writes itself again, or is refused with a word.
#[test]
fn genesis_texts() {
    let target = |bytes: &[u8]| {
        if let Ok(text) = str::from_utf8(bytes) {
            match genesis::parse(text) {
                Ok(read) => assert_eq!(genesis::parse(&genesis::to_json(&read)), Ok(read)),
                Err(why) => assert!(!why.is_empty()),
            }
        }
    };
    let seed = genesis::to_json(&chain::genesis());
    bears(target, &[seed.into_bytes()], 3_000);
}
