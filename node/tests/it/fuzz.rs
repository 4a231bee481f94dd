//! Any bytes to what the node itself reads, with the driver of the crate `fuzz`: bodies of requests, streams of
//! submissions, settings, the genesis.

use bytes::{Bytes, BytesMut};
use quorate_client::api::{Base64, SubmitRequest};
use quorate_client::frames::{Frames, Framing, TooLong, put};
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

/// What a stream holds, and where it becomes too long, does not depend on the parts in which it arrives.
#[test]
fn streams() {
    let target = |bytes: &[u8]| {
        let [size, stream @ ..] = bytes else { return };
        for framing in [Framing::Canonical, Framing::Lines] {
            let whole = pieces(framing, stream, stream.len());
            assert_eq!(pieces(framing, stream, usize::from(*size)), whole);
            assert!(whole.0.iter().all(|piece| piece.len() <= PIECE));
        }
    };
    let seeds = [Framing::Canonical, Framing::Lines].map(|framing| {
        let mut stream = BytesMut::from(&[3][..]);
        for length in [1, PIECE, 2, 0, PIECE] {
            put(framing, &vec![b'x'; length], &mut stream);
        }
        stream.to_vec()
    });
    let ends = [&[25][..], &[b'x'; PIECE], b"\r\n\ny\r"].concat();
    bears(target, &[&seeds[..], &[ends]].concat(), 40_000);
}

/// The longest piece of a stream, in bytes.
const PIECE: usize = 24;

/// The pieces of a stream that arrives in parts of so many bytes, with the last if it lacks its end.
fn pieces(framing: Framing, stream: &[u8], size: usize) -> (Vec<Bytes>, Result<bool, TooLong>) {
    let mut frames = Frames::new(framing, PIECE);
    let mut found = Vec::new();
    for part in stream.chunks(size.max(1)) {
        frames.push(part);
        loop {
            match frames.pop() {
                Ok(Some(piece)) => found.push(piece),
                Ok(None) => break,
                Err(too_long) => return (found, Err(too_long)),
            }
        }
    }
    found.extend(frames.pop_last());
    (found, Ok(frames.is_inside()))
}
