//! The scenarios, short enough for every change. `make scenarios` runs them at full length.

use std::sync::{Mutex, PoisonError};

use quorate_scenarios::catalogue::find;
use quorate_scenarios::chaos;
use quorate_scenarios::chaos::plan::{Kind, Pace, Plan};

/// Clusters run one at a time: two of them on two cores would measure each other.
static ONE: Mutex<()> = Mutex::new(());

fn holds(name: &str, times: usize) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scenario = find(name).expect("a scenario of the catalogue");
    for finding in (scenario.run)(times) {
        println!("{name}: {finding}");
    }
}

#[test]
fn the_leader_killed_and_commits_resume() {
    holds("leader-killed", 3);
}

#[test]
fn two_killed_refuse_writes_and_return() {
    holds("two-killed", 1);
}

#[test]
fn three_of_four_start_after_all_were_killed() {
    holds("three-started", 1);
}

#[test]
fn nothing_acknowledged_is_lost_when_all_are_killed() {
    holds("all-killed", 2);
}

#[test]
fn nothing_acknowledged_is_lost_when_all_lose_power() {
    holds("power-cut", 2);
}

#[test]
fn a_restored_home_signs_nothing_twice_and_votes_again() {
    holds("restored-home", 1);
}

#[test]
fn a_flipped_byte_is_refused_or_not_served() {
    holds("rotten-disk", 3);
}

#[test]
fn a_home_that_is_restored_during_a_partition_signs_nothing_twice() {
    holds("restored-apart", 3);
}

#[test]
fn a_validator_without_its_disk_is_recovered() {
    holds("lost-disk", 2);
}

#[test]
fn a_set_that_is_put_back_as_a_whole_says_so() {
    holds("all-restored", 1);
}

#[test]
fn blows_on_snapshots_and_their_transfer_are_survived() {
    holds("blows", 6);
}

#[test]
fn a_copy_that_has_its_name_is_whole() {
    holds("copies", 6);
}

#[test]
fn two_processes_with_one_key_both_say_so() {
    holds("twin-key", 1);
}

#[test]
fn a_validator_that_was_away_votes_again() {
    holds("restart-gap", 3);
}

#[test]
fn a_put_waits_for_the_disk() {
    holds("slow-disk", 2);
}

#[test]
fn one_transaction_sent_often_is_executed_once() {
    holds("same-transaction", 40);
}

#[test]
fn bad_transactions_have_their_own_errors() {
    holds("bad-transactions", 2);
}

#[test]
fn snapshots_are_made_verified_and_restored() {
    holds("snapshot-files", 1);
}

#[test]
fn bad_homes_are_refused() {
    holds("bad-homes", 1);
}

#[test]
fn a_full_queue_says_so() {
    holds("full-queue", 1);
}

#[test]
fn restarts_in_turn_lose_nothing() {
    holds("rolling-restart", 1);
}

#[test]
fn who_was_away_catches_up() {
    holds("catch-up", 3);
}

/// Every kind of fault, from a fixed seed; `make chaos` has the others.
#[test]
fn nothing_acknowledged_is_lost_in_chaos() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let kinds = Kind::ALL.map(|(kind, _)| kind);
    let plan = Plan::of(5, 10, &kinds, Pace::Mixed);
    plan.steps.iter().for_each(|step| println!("{step}"));
    let report = chaos::run(&plan);
    println!("{report:?}");
    assert!(report.acknowledged > 0, "clients wrote");
    assert!(report.contended > 0, "contenders set their counter");
}

#[test]
fn other_sizes_serve() {
    holds("sizes", 3);
}
