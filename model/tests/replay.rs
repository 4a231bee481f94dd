//! Sampled paths of the model, replayed through the real engine: the same votes, commit votes, Timeouts and refusals.
#![allow(missing_docs, reason = "a test has a name")]

use quorate_model::replay::{Counts, replay};

fn paths(seeds: std::ops::Range<u64>, rounds: u8, variants: u8, steps: usize) -> Counts {
    let mut all = Counts::default();
    for seed in seeds {
        println!("seed {seed}, {rounds} rounds, {variants} variants, {steps} steps");
        all.add(replay(seed, rounds, variants, steps));
    }
    println!("{all:?}");
    all
}

#[test]
fn the_engine_signs_what_the_model_signs() {
    let mut all = paths(0..100, 4, 2, 150);
    all.add(paths(100..200, 5, 1, 150));
    // Each kind of decision was compared often.
    assert!(all.votes > 1_000 && all.commit_votes > 500 && all.timeouts > 1_000);
    assert!(all.refusals > 1_000 && all.unsafe_extensions > 50 && all.crashes > 500);
    assert!(all.certified > 300);
}
