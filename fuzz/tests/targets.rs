//! Each target for a moment, from its corpus: the same inputs at every run.

use quorate_fuzz::driver::{self, Until};
use quorate_fuzz::{corpus, targets};
use quorate_types::codec::{self, MAX_ENCODED_BYTES};
use quorate_types::{Genesis, Message};

/// Which mutations.
const SEED: u64 = 20_261_121;

fn bears(name: &str) {
    let target = targets::TARGETS.iter().find(|target| target.name == name);
    let target = target.expect("a target");
    let seeds = corpus::read(name).expect("its corpus");
    if let Err(failure) = driver::run(target.run, &seeds, SEED, Until::Inputs(target.inputs)) {
        let failure = driver::shrink(target.run, failure);
        panic!("{name}: {} by {:?}", failure.message, failure.input);
    }
}

#[test]
fn message() {
    bears("message");
}

#[test]
fn formats() {
    bears("formats");
}

#[test]
fn genesis() {
    bears("genesis");
}

#[test]
fn proof() {
    bears("proof");
}

#[test]
fn certificates() {
    bears("certificates");
}

#[test]
fn schedule() {
    bears("schedule");
}

#[test]
fn recovery() {
    bears("recovery");
}

/// A corpus of another format would try the refusal of old bytes only. What the chain that it is made of does may change
/// with every version; what it says must still be read.
#[test]
fn the_corpus_is_of_this_release() {
    let again = "write the corpus anew: cargo run --release -p quorate-fuzz corpus";
    for seed in corpus::read("message").expect("its corpus") {
        let message = codec::decode::<Message>(&seed, MAX_ENCODED_BYTES);
        assert!(message.is_ok(), "a message: {again}");
    }
    for seed in corpus::read("genesis").expect("its corpus") {
        let genesis = serde_json::from_slice::<Genesis>(&seed);
        let sound = genesis.is_ok_and(|genesis| genesis.check().is_ok());
        assert!(sound, "a genesis: {again}");
    }
    // With another chain id none would verify, and the target would see refusals only.
    for seed in corpus::read("certificates").expect("its corpus") {
        assert!(targets::verifies(&seed), "a certificate: {again}");
    }
    for target in targets::TARGETS {
        assert!(!(target.seeds)().is_empty(), "{} has no seeds", target.name);
    }
}
