//! P5: behind the strict fence a validator that lost its disk is not even counted as faulty, and each part of the fence is
//! needed.
#![allow(missing_docs, reason = "a test has a name")]

use quorate_model::strict::{Fence, Strict};
use stateright::{Checker, HasDiscoveries, Model};

const TWICE: &str = "one vote and commit vote a round";
const FINAL: &str = "what is final is extended";

/// `make model` explores more.
#[test]
fn a_validator_that_lost_its_disk_harms_nobody() {
    let model = Strict::new(3, 1, 0, Fence::ALL);
    let checker = model.checker().threads(2).symmetry().spawn_dfs().join();
    checker.assert_properties();
    assert!(checker.unique_state_count() > 100_000);
}

/// A way to break a property.
fn breaks(rounds: u8, variants: u8, fence: Fence, property: &'static str) {
    let first = HasDiscoveries::AllOf([property].into_iter().collect());
    let model = Strict::new(rounds, variants, 0, fence);
    let checker = model.checker().threads(2).symmetry().finish_when(first);
    let checker = checker.spawn_dfs().join();
    let path = checker.assert_any_discovery(property).into_actions();
    println!(
        "{property}, {} states: {path:?}",
        checker.unique_state_count()
    );
}

/// It had voted in a round that only one of the others had entered, and that one was not asked.
#[test]
fn with_one_answer_less_it_votes_twice() {
    let fence = Fence {
        answers: 2,
        ..Fence::ALL
    };
    breaks(3, 2, fence, TWICE);
}

/// What the others knew when an earlier start asked them is not what they know now.
#[test]
fn without_a_nonce_it_votes_twice() {
    let fence = Fence {
        nonce: false,
        ..Fence::ALL
    };
    breaks(3, 2, fence, TWICE);
}

/// It helps to make final what it had given up: the certificate that it waits for keeps it from votes below, and nothing
/// from commit votes.
#[test]
fn without_burning_what_was_entered_something_else_is_final() {
    let fence = Fence {
        burns: false,
        ..Fence::ALL
    };
    breaks(3, 1, fence, FINAL);
}

/// It gives up a round in which it had commit-voted, and reports a certificate lower than that of what it helped to make
/// final.
#[test]
fn without_waiting_for_the_floor_something_else_is_final() {
    let fence = Fence {
        waits: false,
        ..Fence::ALL
    };
    breaks(3, 1, fence, FINAL);
}
