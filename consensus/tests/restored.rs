//! P5 in whole clusters: homes that are put back, lost disks, and starts of everybody. The world asserts I1 across all of
//! it: no second vote, commit vote or proposal of anybody in any round.
#![allow(missing_docs, reason = "a test has a name")]

mod world;

use world::World;
use world::chain::{MS, SECOND, batch, round};

fn load(world: &mut World, from: u8, to: u8) {
    for i in from..to {
        world.submit(batch(i));
        world.run_for(20 * MS);
    }
}

#[test]
fn p5_a_restored_home_signs_no_round_twice_and_takes_part() {
    for restored in 0..4 {
        for (seed, age) in [(1, 1), (2, 40), (3, 100)] {
            let mut world = World::new(4, seed);
            world.delay = (MS, 3 * MS);
            load(&mut world, 0, 100 - age);
            let copy = world.nodes[restored].disk.clone();
            load(&mut world, 100 - age, 100);
            world.restore(restored, copy);
            load(&mut world, 100, 140);
            world.run_for(10 * SECOND);
            assert!((0..140).all(|i| world.is_final(batch(i))));
            let voted = world.nodes[restored].engine.status().last_voted;
            assert!(voted.number + 20 > world.max_round(), "it votes again");
        }
    }
}

/// Two of seven at once, from copies of different age: as many as may be faulty (f = 2).
#[test]
fn p5_two_of_seven_may_be_restored_at_once() {
    for (seed, ages) in [(11, [1, 60]), (12, [30, 30]), (13, [90, 5])] {
        let mut world = World::new(7, seed);
        world.delay = (MS, 3 * MS);
        let pair = [
            usize::try_from(seed).unwrap() % 7,
            6 - (usize::try_from(seed).unwrap() % 3),
        ];
        let mut copies = Vec::new();
        let mut done = 0;
        let mut order: Vec<(u8, usize)> = ages.iter().map(|age| 100 - age).zip(pair).collect();
        order.sort_unstable();
        for (at, node) in order {
            load(&mut world, done, at);
            copies.push((node, world.nodes[node].disk.clone()));
            done = at;
        }
        load(&mut world, done, 100);
        for (node, copy) in copies {
            world.restore(node, copy);
        }
        load(&mut world, 100, 140);
        world.run_for(10 * SECOND);
        assert!((0..140).all(|i| world.is_final(batch(i))));
        for node in pair {
            let voted = world.nodes[node].engine.status().last_voted;
            assert!(voted.number + 20 > world.max_round(), "it votes again");
        }
    }
}

/// Beside one that says nothing at all, which is how a liar at the fence can hold up most.
#[test]
fn p5_of_seven_one_is_restored_and_one_has_lost_everything_beside_a_dead_one() {
    for forgetful in [false, true] {
        let mut world = World::new(7, 14);
        world.delay = (MS, 2 * MS);
        let empty = world.nodes[2].disk.clone();
        load(&mut world, 0, 60);
        let copy = world.nodes[2].disk.clone();
        load(&mut world, 60, 80);
        world.crash(5);
        if forgetful {
            world.forgetful.insert(2);
        }
        world.restore(2, if forgetful { empty } else { copy });
        load(&mut world, 80, 130);
        world.run_for(10 * SECOND);
        assert!((0..130).all(|i| world.is_final(batch(i))));
        let passed = world.nodes[2].passed.last().expect("passed");
        assert_eq!(passed.strict, forgetful);
        let status = world.nodes[2].engine.status();
        assert!(status.last_voted > passed.burnt, "it votes again");
    }
}

/// Behind the partition nobody answers enough: it signs nothing, however long that lasts.
#[test]
fn p5_a_home_restored_during_a_partition_waits_for_its_end() {
    let mut world = World::new(4, 4);
    let copy = world.nodes[0].disk.clone();
    load(&mut world, 0, 60);
    for other in 2..4 {
        world.cut.extend([(0, other), (other, 0)]);
    }
    world.restore(0, copy);
    load(&mut world, 60, 80);
    world.run_for(10 * SECOND);
    assert!(world.nodes[0].engine.status().fenced);
    assert_eq!(world.nodes[0].engine.status().last_voted, round(1));
    world.cut.clear();
    world.reconnect_all();
    world.run_for(10 * SECOND);
    assert!(!world.nodes[0].engine.status().fenced);
    assert!(
        (0..80).all(|i| world.is_final(batch(i))),
        "{:?}",
        world.heights()
    );
}

/// One after the other, each from a copy of another moment; at no time more than one that has not caught up.
#[test]
fn p5_all_may_be_restored_one_after_the_other() {
    let mut world = World::new(4, 5);
    world.delay = (MS, 2 * MS);
    let mut copies = Vec::new();
    for i in 0..4u8 {
        load(&mut world, 20 * i, 20 * i + 20);
        copies.push(world.nodes[usize::from(i)].disk.clone());
    }
    for (i, copy) in copies.into_iter().enumerate() {
        world.restore(i, copy);
        let first = 80 + u8::try_from(i).unwrap() * 30;
        load(&mut world, first, first + 30);
        world.run_for(3 * SECOND);
    }
    assert!(
        (0..200).all(|i| world.is_final(batch(i))),
        "{:?}",
        world.heights()
    );
}

#[test]
fn p5_a_whole_set_starts_again_with_one_dead() {
    for dead in 0..4 {
        let mut world = World::new(4, 6);
        load(&mut world, 0, 30);
        for i in 0..4 {
            world.crash(i);
        }
        for i in (0..4).filter(|i| *i != dead) {
            world.restart(i);
        }
        load(&mut world, 30, 60);
        world.run_for(10 * SECOND);
        assert!(
            (0..60).all(|i| world.is_final(batch(i))),
            "{:?}",
            world.heights()
        );
        assert!(world.nodes.iter().all(|node| node.twins.is_empty()));
    }
}

/// The strict fence, from nothing at all to voting again; I1 is asserted by the world.
#[test]
fn p5_a_validator_that_lost_everything_votes_again_behind_the_strict_fence() {
    let mut world = World::new(4, 7);
    world.delay = (MS, 2 * MS);
    let empty = world.nodes[2].disk.clone();
    load(&mut world, 0, 80);
    world.forgetful.insert(2);
    world.restore(2, empty);
    assert!(world.nodes[2].engine.status().fenced);
    load(&mut world, 80, 130);
    world.run_for(10 * SECOND);
    assert!(
        (0..130).all(|i| world.is_final(batch(i))),
        "{:?}",
        world.heights()
    );
    let passed = world.nodes[2].passed.last().expect("passed");
    assert!(passed.strict);
    let status = world.nodes[2].engine.status();
    assert!(status.last_voted > passed.burnt, "it votes again");
}

/// Two that have forgotten everything are more than one faulty validator: neither may ever vote again.
#[test]
fn p5_two_that_lost_everything_stay_silent() {
    let mut world = World::new(4, 8);
    let empty = [2, 3].map(|i: usize| world.nodes[i].disk.clone());
    load(&mut world, 0, 40);
    for (i, disk) in [2, 3].into_iter().zip(empty) {
        world.forgetful.insert(i);
        world.restore(i, disk);
    }
    world.run_for(20 * SECOND);
    assert!(
        [2, 3]
            .iter()
            .all(|i| world.nodes[*i].engine.status().fenced)
    );
}
