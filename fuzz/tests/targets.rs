//! Each target for a moment, from its corpus: the same inputs at every run.

use quorate_fuzz::driver::{self, Until};
use quorate_fuzz::{corpus, targets};

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

/// A corpus of another format would try the refusal of old bytes only: most seeds must still be read.
#[test]
fn the_corpus_is_of_this_release() {
    for target in targets::TARGETS {
        let written: Vec<Vec<u8>> = (target.seeds)()
            .into_iter()
            .map(|(_, bytes)| bytes)
            .collect();
        let read = corpus::read(target.name).expect("its corpus");
        for seed in &written {
            assert!(
                read.contains(seed),
                "{}: write the corpus anew: cargo run --release -p quorate-fuzz corpus",
                target.name
            );
        }
    }
}
