//! P5: the restart fence keeps a restored validator from signing twice, and each part of it is needed.
#![allow(missing_docs, reason = "a test has a name")]

use quorate_model::fence::{Fence, Restart};
use stateright::{Checker, HasDiscoveries, Model};

const TWICE: &str = "one vote and commit vote a round";

/// A shortest way to two votes in one round.
fn breaks(fence: Fence, rounds: u8) {
    let first = HasDiscoveries::AllOf([TWICE].into_iter().collect());
    let model = Restart::new(rounds, 2, fence);
    let checker = model.checker().finish_when(first).spawn_bfs().join();
    let path = checker.assert_any_discovery(TWICE).into_actions();
    println!("{path:?}");
}

/// Depth first and bounded: the whole of three rounds takes minutes, and is explored by nobody at every change.
#[test]
fn a_restored_validator_signs_no_round_twice() {
    let model = Restart::new(3, 1, Fence::ALL);
    let checker = model
        .checker()
        .threads(2)
        .symmetry()
        .target_state_count(2_000_000);
    let checker = checker.spawn_dfs().join();
    for property in ["agreement", "one QC a round", TWICE] {
        checker.assert_no_discovery(property);
    }
    assert!(checker.unique_state_count() > 100_000);
}

#[test]
fn without_burning_what_was_entered_it_votes_twice() {
    let fence = Fence {
        burns: false,
        ..Fence::ALL
    };
    breaks(fence, 2);
}

/// It had entered a round before all who answer.
#[test]
fn without_one_round_more_it_votes_twice() {
    let fence = Fence {
        one_more: false,
        ..Fence::ALL
    };
    breaks(fence, 2);
}
