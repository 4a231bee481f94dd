//! Every kind of liar, alone and in pairs, under the faults that seeds draw: each must have acted, and whatever they do,
//! all judges are content, and the others get on once nothing else breaks.

use quorate_sim::adversary::KINDS;
use quorate_sim::faults::Fault;
use quorate_sim::plan::{MILLISECOND, Plan, SECOND};
use quorate_sim::run::run_plan;

/// Worlds that a kind gets to act in, at most: who serves the ledger is asked for it in one of sixty or so.
const WORLDS: u64 = 512;

#[test]
fn every_kind_acts_alone_and_with_crashes() {
    assert!(KINDS.len() >= 20);
    for (place, kind) in (0..).zip(KINDS) {
        let mut acted = 0;
        for seed in place * WORLDS..(place + 1) * WORLDS {
            let plan = Plan::draw(seed).with_liars(&[kind.name]);
            let report = run_plan(plan, false).unwrap_or_else(|failure| {
                panic!("{} in the world of seed {seed}: {failure}", kind.name)
            });
            acted += report.counters.acts.values().sum::<u64>();
            if acted > 0 {
                break;
            }
        }
        assert!(acted > 0, "a {} never did anything", kind.name);
    }
}

#[test]
fn pairs_of_liars_among_seven() {
    let sevens = (0..).filter(|seed| Plan::draw(*seed).n == 7);
    for (place, seed) in sevens.take(KINDS.len()).enumerate() {
        let other = KINDS[(place * 17 + 5) % KINDS.len()].name;
        let pair = [KINDS[place].name, other];
        let plan = Plan::draw(seed).with_liars(&pair);
        if let Err(failure) = run_plan(plan, false) {
            panic!("{pair:?} in the world of seed {seed}: {failure}");
        }
    }
}

/// Among seven, with f = 2: whoever comes back with an old disk, or with none, is told as little as possible by one of the
/// others.
#[test]
fn a_liar_at_the_fence_of_one_that_was_put_back() {
    let sevens = (0..).filter(|seed| Plan::draw(*seed).n == 7);
    let (mut back, mut passed, mut lies) = (0, 0, 0);
    for (place, seed) in sevens.take(8).enumerate() {
        let mut plan = Plan::draw(seed).with_liars(&["fence liar"]);
        let node = (plan.byzantine[0].node + 1) % 7;
        for at in [SECOND, 2 * SECOND] {
            let fault = match place % 2 {
                0 => Fault::Restore {
                    node,
                    age: 400 * MILLISECOND,
                },
                _ => Fault::Forget {
                    node,
                    ceiling: false,
                },
            };
            plan.faults.push((at, fault));
        }
        let report = run_plan(plan, false);
        let report = report.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        back += report.counters.restored + report.counters.forgotten;
        passed += report.counters.strict;
        lies += report.counters.acts["lied at a fence"];
    }
    assert!(
        back >= 16 && passed > 0 && lies > 16,
        "{back} {passed} {lies}"
    );
}
