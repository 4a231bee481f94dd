//! The protocol holds in every order of everything, and each rule is needed: with one switched off, the checker finds
//! how it goes wrong. A model that cannot fail would show nothing.
#![allow(missing_docs, reason = "a test has a name")]

use quorate_model::protocol::{Action, Protocol};
use quorate_model::rules::Rules;
use stateright::{Checker, HasDiscoveries, Model};

/// Explores all of it; the states visited.
fn holds(model: Protocol) -> usize {
    let checker = model.checker().threads(2).symmetry().spawn_dfs().join();
    checker.assert_properties();
    checker.unique_state_count()
}

/// A shortest way to break the property in two rounds under those rules.
fn breaks(rules: Rules, property: &'static str) -> Vec<Action> {
    falls(Protocol::new(2, 2, None).under(rules), property)
}

fn falls(model: Protocol, property: &'static str) -> Vec<Action> {
    let first = HasDiscoveries::AllOf([property].into_iter().collect());
    let checker = model.checker().finish_when(first).spawn_bfs().join();
    let path = checker.assert_any_discovery(property).into_actions();
    println!("{property}: {path:?}");
    path
}

#[test]
fn two_rounds_with_everything() {
    let mut model = Protocol::new(2, 2, None);
    model.eager = true;
    assert!(holds(model) > 10_000);
}

#[test]
fn three_rounds_with_crashes() {
    let mut model = Protocol::new(3, 1, None);
    model.focused = true;
    assert!(holds(model) > 100_000);
}

#[test]
fn three_rounds_of_an_equivocator() {
    let mut model = Protocol::new(3, 2, Some(0));
    model.focused = true;
    assert!(holds(model) > 1_000_000);
}

const ALL: Rules = Rules::ALL;
const FINAL: &str = "what is final is extended";
const WEDGED: &str = "never wedged";

#[test]
fn without_v2_a_tc_leads_past_what_is_final() {
    let model = || Protocol::new(3, 1, Some(0)).under(Rules { v2: false, ..ALL });
    falls(model(), FINAL);
    falls(model(), "agreement");
}

#[test]
fn without_v3_a_round_has_two_certificates() {
    breaks(Rules { v3: false, ..ALL }, "one QC a round");
}

#[test]
fn without_c1_a_commit_vote_is_forgotten_in_the_timeout() {
    breaks(Rules { c1: false, ..ALL }, FINAL);
}

#[test]
fn without_c2_a_round_is_given_up_and_committed() {
    breaks(Rules { c2: false, ..ALL }, FINAL);
}

#[test]
fn without_the_record_before_a_vote_there_are_two() {
    let rules = Rules {
        p1_record: false,
        ..ALL
    };
    breaks(rules, "one vote and commit vote a round");
    breaks(rules, "one QC a round");
}

#[test]
fn without_the_block_before_a_vote_nobody_has_it() {
    let rules = Rules {
        p1_block: false,
        ..ALL
    };
    breaks(rules, WEDGED);
}

#[test]
fn without_p2_a_crash_forgets_the_certificate() {
    breaks(Rules { p2: false, ..ALL }, FINAL);
}

#[test]
fn without_p3_a_crash_forgets_the_timeout() {
    breaks(Rules { p3: false, ..ALL }, FINAL);
}

#[test]
fn without_p4_a_crash_forgets_the_vote() {
    breaks(Rules { p4: false, ..ALL }, "one QC a round");
}

/// Nobody can build a valid Timeout of a round that it cannot prove: halted for ever.
#[test]
fn without_the_entry_in_the_record_all_are_wedged() {
    breaks(
        Rules {
            entry: false,
            ..ALL
        },
        WEDGED,
    );
}
