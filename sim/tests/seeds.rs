//! Whole validators in five hundred worlds, and what makes those worlds worth anything: that they are the same each time,
//! that they differ from each other, that the rare paths are walked, and that a cluster that does not get on is noticed.

use quorate_sim::check::Violation;
use quorate_sim::plan::{Liar, Plan, SECOND};
use quorate_sim::run::{check_all, run, run_plan};
use quorate_sim::shrink::shrink;

#[test]
fn five_hundred_seeds() {
    let counters = match check_all(0..500, 2, |_| {}) {
        Ok((counters, _)) => counters,
        Err(failure) => panic!("{failure}"),
    };
    println!("{counters}");
    let rare = [
        ("losses", counters.lost),
        ("duplicates", counters.duplicated),
        ("replays", counters.replayed),
        ("corruptions", counters.corrupted),
        ("refusals", counters.refused),
        ("disconnects", counters.disconnects),
        ("partitions", counters.partitions),
        ("timeouts", counters.timeouts),
        ("view changes", counters.view_changes),
        ("block fetches", counters.block_fetches),
        ("batch fetches", counters.batch_fetches),
        ("ledger fetches", counters.ledger_fetches),
        ("synced commits", counters.synced),
        ("crashes", counters.crashes),
        ("lost writes", counters.undone),
        ("disk faults", counters.disk_faults),
        ("pauses", counters.pauses),
        ("clock jumps", counters.clock_jumps),
        ("equivocations", counters.acts["equivocations"]),
        ("double votes", counters.acts["double votes"]),
        ("clogged links", counters.clogged),
        ("slow disks", counters.slow_disks),
        ("wiped liars", counters.wipes),
        ("liars with old disks", counters.backups),
        ("rotten disks refused", counters.refusals),
        ("restarts with a burnt round", counters.burnt),
        ("validators on an old disk", counters.restored),
        ("fences passed", counters.fences),
        ("validators on a new disk", counters.forgotten),
        ("strict fences passed", counters.strict),
        ("checkpoints", counters.checkpoints),
        ("released checkpoints", counters.released),
        ("reverts", counters.reverts),
        ("keys taken back", counters.reverted),
        ("operations on checkpoints refused", counters.unplaced),
        ("keys proved", counters.proved),
        ("submissions turned away", counters.turned_away),
        ("histories judged without the ledger", counters.histories),
        ("evidence", counters.evidence),
        ("repeated submissions", counters.retries),
        ("duplicates not executed", counters.duplicates),
    ];
    for (path, times) in rare {
        assert!(times > 0, "no world had {path}");
    }
    assert!(counters.acknowledged > 5_000, "{counters}");
}

#[test]
fn a_seed_is_the_same_world_each_time_and_another_seed_another() {
    let first = run(4, false).unwrap();
    assert_eq!(run(4, false).unwrap(), first);
    assert_ne!(run(2, false).unwrap().trace, first.trace);
}

#[test]
fn an_equivocator_is_reported_and_nobody_else() {
    // Evidence against anybody else is a violation. Now and then a liar that seldom leads is honest each time.
    let (mut equivocations, mut double_votes) = (0, 0);
    for seed in 0..4 {
        let mut plan = Plan::draw(seed);
        plan.byzantine = vec![Liar {
            node: 1,
            kind: "equivocator".into(),
        }];
        plan.faults.clear();
        plan.tight = false;
        let counters = run_plan(plan, false).unwrap().counters;
        let times = |act| counters.acts.get(act).copied().unwrap_or_default();
        equivocations += times("equivocations");
        double_votes += times("double votes");
        assert!(counters.evidence > 0, "seed {seed}");
    }
    assert!(equivocations > 0 && double_votes > 0);
}

#[test]
fn a_cluster_that_does_not_get_on_is_noticed() {
    let mut plan = Plan::draw(0);
    plan.network.delay = 100 * SECOND;
    let failure = run_plan(plan, false).unwrap_err();
    assert!(
        matches!(failure.violation, Violation::Lasso(_)),
        "{failure}"
    );
    let text = failure.to_string();
    assert!(text.contains("quorate-sim --seed 0"), "{text}");
}

#[test]
fn a_world_in_which_far_too_much_happens_is_noticed() {
    let mut plan = Plan::draw(0);
    plan.load.interval = 2;
    let failure = run_plan(plan, false).unwrap_err();
    assert!(matches!(failure.violation, Violation::Storm), "{failure}");
}

#[test]
fn a_failing_world_is_shrunk_to_what_makes_it_fail() {
    let mut plan = Plan::draw(1);
    plan.network.delay = 100 * SECOND;
    let violation = run_plan(plan.clone(), false).unwrap_err().violation;
    let small = shrink(plan, &violation);
    assert!(small.faults.is_empty() && small.byzantine.is_empty());
    assert_eq!((small.network.loss, small.network.corrupt), (0, 0));
    assert_eq!(small.network.delay, 100 * SECOND);
}
