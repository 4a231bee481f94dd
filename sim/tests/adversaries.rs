//! Every kind of liar, alone and in pairs, under the faults that seeds draw: each must have acted, and whatever they do,
//! all judges are content, and the others get on once nothing else breaks.

use quorate_sim::adversary::KINDS;
use quorate_sim::plan::Plan;
use quorate_sim::run::run_plan;

/// Worlds that a kind gets to act in, at most.
const WORLDS: u64 = 32;

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
