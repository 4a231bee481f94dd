//! Whole clusters: agreement and progress, with dead, restarted, slow and partitioned validators.
#![allow(missing_docs, reason = "a test has a name")]

mod world;

use world::World;
use world::chain::{MS, SECOND, batch, index, round};

/// Submits a batch every 20 ms, so that the chain is never idle.
fn load(world: &mut World, duration: u64) {
    let end = world.time + duration;
    let mut i = 0;
    while world.time < end {
        world.submit(batch(i));
        i = i.wrapping_add(1);
        world.run_for(20 * MS);
    }
}

#[test]
fn four_validators_commit_everything_three_delays_after_the_proposal() {
    let mut world = World::new(4, 1);
    world.submit(batch(1));
    world.run_for(20 * MS);
    assert!(world.is_final(batch(1)));
    load(&mut world, SECOND);
    world.run_for(SECOND);
    assert!((0..50).all(|i| world.is_final(batch(i))));
    for node in &world.nodes {
        assert!(node.evidence.is_empty() && node.refused.is_empty() && node.diverged.is_empty());
    }
    // The question and the answer of the fence (P5); then proposal, vote, commit vote: a delay each.
    let first = &world.nodes[0];
    assert_eq!(first.commits[0], 5 * MS);
    // The executions are claimed.
    assert!(world.claim(0).height.0 > 0);
}

#[test]
fn one_validator_is_its_own_quorum() {
    let mut world = World::new(1, 1);
    world.submit(batch(1));
    world.run_for(10 * MS);
    assert!(world.is_final(batch(1)));
}

#[test]
fn a_dead_leader_costs_a_timeout_and_the_rest_commits() {
    for dead in 0..4 {
        let mut world = World::new(4, 1);
        world.crash(dead);
        load(&mut world, 2 * SECOND);
        world.run_for(3 * SECOND);
        assert!(
            world.is_final(batch(1)),
            "without {dead}: {:?}",
            world.heights()
        );
        assert!(world.is_final(batch(99)));
        // L1: once it has failed, or does not sign, it is not elected any more.
        let entered = world.max_round();
        load(&mut world, SECOND);
        let committed = world.nodes[(dead + 1) % 4].engine.status();
        assert!(
            committed.committed_round.number > entered + 20,
            "{committed:?}"
        );
    }
}

#[test]
fn without_a_quorum_nothing_commits_and_it_goes_on_when_it_is_back() {
    let mut world = World::new(4, 1);
    world.run_for(100 * MS);
    world.crash(0);
    world.crash(1);
    let before = world.invariants.ledger.len();
    world.submit(batch(1));
    world.run_for(30 * SECOND);
    assert_eq!(world.invariants.ledger.len(), before);
    world.restart(0);
    world.run_for(11 * SECOND);
    assert!(world.is_final(batch(1)), "{:?}", world.heights());
}

#[test]
fn p4_a_restarted_validator_does_not_sign_twice_in_its_round_and_goes_on() {
    let mut world = World::new(4, 3);
    world.delay = (MS, 3 * MS);
    for turn in 0..40u8 {
        // The world asserts I1 across restarts.
        let i = usize::from(turn) % 4;
        world.submit(batch(turn));
        world.run_for(u64::from(turn % 7) * MS);
        world.crash(i);
        world.restart(i);
    }
    world.run_for(10 * SECOND);
    assert!(
        (0..40).all(|i| world.is_final(batch(i))),
        "{:?}",
        world.heights()
    );
}

/// Of an earlier draft: the entry TC was not in the record, so that after a restart of all nobody could build a valid
/// Timeout. Everybody is in a round entered by a TC, has voted or proposed in it, and loses all memory.
#[test]
fn a_restart_of_all_in_a_round_entered_by_a_tc_does_not_halt() {
    let mut world = World::new(4, 1);
    world.run_for(10 * MS);
    // Nobody hears anybody: everybody times out.
    for i in 0..4 {
        world.starved.insert(i);
    }
    world.submit(batch(1));
    while !world.nodes.iter().all(|node| {
        let record = node.disk.record.as_ref();
        record.is_some_and(|record| matches!(record.entry, quorate_types::Entry::Tc(_)))
    }) {
        world.run_for(10 * MS);
    }
    world.starved.clear();
    for i in 0..4 {
        world.crash(i);
    }
    for i in 0..4 {
        world.restart(i);
    }
    world.run_for(30 * SECOND);
    assert!(world.is_final(batch(1)), "{:?}", world.heights());
}

#[test]
fn a_restart_of_all_again_and_again_under_load_loses_nothing() {
    let mut world = World::new(4, 5);
    world.delay = (MS, 2 * MS);
    for turn in 0..10u8 {
        world.submit(batch(turn));
        world.run_for(7 * MS);
        for i in 0..4 {
            world.crash(i);
        }
        for i in 0..4 {
            world.restart(i);
        }
        world.run_for(1_200 * MS);
    }
    world.run_for(20 * SECOND);
    assert!(
        (0..10).all(|i| world.is_final(batch(i))),
        "{:?}",
        world.heights()
    );
}

/// Also of an earlier draft: an idle wait that never happens, because an empty block counts as unclaimed work.
#[test]
fn l3_a_quiet_chain_takes_few_rounds_and_commits_work_at_once() {
    let mut world = World::new(4, 1);
    world.submit(batch(1));
    world.run_for(10 * SECOND);
    assert!(world.is_final(batch(1)));
    let (quiet, claimed) = (world.max_round(), world.claim(0));
    assert!(quiet < 16, "{quiet} rounds in ten idle seconds");
    assert!(
        claimed.height.0 >= 1,
        "what was executed is claimed before the rest"
    );
    world.run_for(60 * SECOND);
    let rounds = world.max_round() - quiet;
    assert!((10..=14).contains(&rounds), "{rounds} rounds a minute");
    assert!(
        world
            .nodes
            .iter()
            .all(|n| n.engine.status().highest_timeout == round(0))
    );
    let start = world.time;
    world.submit(batch(2));
    world.run_for(10 * MS);
    assert!(world.is_final(batch(2)), "{} ns", world.time - start);
}

/// Without the moment's wait each transaction brings two empty blocks with it, and the next one waits for them.
#[test]
fn l3_a_client_that_asks_again_at_once_gets_a_block_a_transaction() {
    let mut world = World::new(4, 1);
    world.run_for(20 * SECOND);
    let before = world.max_round();
    for i in 0..50 {
        world.submit(batch(i));
        while !world.is_final(batch(i)) {
            world.run_for(MS);
        }
    }
    let rounds = world.max_round() - before;
    assert!((50..=52).contains(&rounds), "{rounds} rounds for 50 blocks");
    // Afterwards one empty block, a moment later, claims what the last one did.
    world.run_for(20 * MS);
    assert_eq!(world.max_round() - before, rounds + 1);
    let claimed = world.claim(0).height.0;
    assert_eq!(claimed + 1, world.heights()[0]);
}

#[test]
fn l3_a_leader_that_dies_idle_is_replaced_once_there_is_work() {
    let mut world = World::new(4, 1);
    world.run_for(20 * SECOND);
    let leader = world.nodes[0].engine.status().leader.unwrap().as_usize();
    world.crash(leader);
    world.submit(batch(1));
    // The timer counts from the work, not from the end of the five seconds' wait.
    world.run_for(1_100 * MS);
    assert!(world.is_final(batch(1)), "{:?}", world.heights());
}

#[test]
fn a_validator_that_was_away_for_long_synchronises_and_takes_part() {
    let mut world = World::new(4, 1);
    world.crash(2);
    load(&mut world, 5 * SECOND);
    world.restart(2);
    load(&mut world, SECOND);
    world.run_for(SECOND);
    let heights = world.heights();
    assert!(heights.iter().all(|h| *h == heights[0]), "{heights:?}");
    // It votes again.
    world.crash((0..4).find(|i| *i != 2).unwrap());
    world.submit(batch(251));
    world.run_for(5 * SECOND);
    assert!(world.is_final(batch(251)));
}

#[test]
fn a_validator_that_missed_a_few_blocks_fetches_them() {
    let mut world = World::new(4, 1);
    world.run_for(20 * MS);
    for other in [0, 1, 2] {
        world.cut.insert((other, 3));
    }
    load(&mut world, 60 * MS);
    world.cut.clear();
    load(&mut world, 200 * MS);
    world.run_for(SECOND);
    let heights = world.heights();
    assert!(heights.iter().all(|h| *h == heights[0]), "{heights:?}");
}

#[test]
fn a_replica_that_executes_wrongly_stops_signing_and_the_others_go_on() {
    let mut world = World::new(4, 1);
    world.nodes[1].corrupt = true;
    load(&mut world, SECOND);
    world.run_for(5 * SECOND);
    assert_eq!(world.nodes[1].diverged.len(), 1);
    assert!(world.nodes[1].engine.status().diverged);
    assert_eq!(world.nodes[1].engine.deadline(), None);
    assert!(
        world
            .nodes
            .iter()
            .enumerate()
            .all(|(i, n)| i == 1 || n.diverged.is_empty())
    );
    // A restart does not make it forget: it would serve a state that a quorum contradicts, until the next claim.
    world.crash(1);
    world.restart(1);
    assert!(world.nodes[1].engine.status().diverged);
    assert_eq!(world.nodes[1].diverged.len(), 2, "said again");
    world.submit(batch(251));
    world.run_for(5 * SECOND);
    assert!(world.is_final(batch(251)));
}

#[test]
fn with_random_delay_and_loss_nobody_disagrees_and_it_commits() {
    for seed in 0..4 {
        let n = [4, 5, 7][usize::try_from(seed % 3).unwrap()];
        let mut world = World::new(n, seed);
        world.delay = (MS, 30 * MS);
        world.loss = 20 + 30 * seed;
        load(&mut world, SECOND);
        let lossy = world.invariants.ledger.len();
        world.loss = 0;
        world.reconnect_all();
        world.run_for(8 * SECOND);
        world.submit(batch(251));
        world.run_for(6 * SECOND);
        assert!(
            world.is_final(batch(251)),
            "seed {seed}: {:?}",
            world.heights()
        );
        assert!(world.invariants.ledger.len() > lossy);
        assert!(
            world.nodes.iter().all(|node| node.evidence.is_empty()),
            "I10"
        );
    }
}

#[test]
fn with_random_crashes_nobody_disagrees_and_it_commits() {
    for seed in 100..104u64 {
        let mut world = World::new(4, seed);
        world.delay = (MS, 10 * MS);
        world.loss = 10;
        let mut x = seed;
        for turn in 0..30u8 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let i = usize::try_from((x >> 40) % 4).unwrap();
            if world.nodes[i].up {
                world.crash(i);
            } else {
                world.restart(i);
            }
            world.submit(batch(turn));
            world.run_for(((x >> 20) % 400) * MS);
        }
        world.loss = 0;
        for i in 0..4 {
            if !world.nodes[i].up {
                world.restart(i);
            }
        }
        world.reconnect_all();
        world.run_for(30 * SECOND);
        assert!(
            (0..30).all(|i| world.is_final(batch(i))),
            "seed {seed}: {:?}",
            world.heights()
        );
        assert!(
            world.nodes.iter().all(|node| node.evidence.is_empty()),
            "I10"
        );
    }
}

#[test]
fn an_equivocating_leader_is_reported_and_neither_forks_nor_stops_the_chain() {
    for (seed, n) in [(1, 4), (2, 7)] {
        let mut world = World::new(n, seed);
        world.delay = (MS, 5 * MS);
        world.equivocator = Some(1);
        load(&mut world, 3 * SECOND);
        world.run_for(6 * SECOND);
        // Whichever of the two blocks is certified: a split only costs its round.
        assert!(
            (0..150).all(|i| world.is_final(batch(i))),
            "{:?}",
            world.heights()
        );
        let reported: Vec<_> = world.nodes.iter().flat_map(|node| &node.evidence).collect();
        assert!(!reported.is_empty());
        assert!(reported.iter().all(|case| case.signer == index(1)), "I10");
    }
}
