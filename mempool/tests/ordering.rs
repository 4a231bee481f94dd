//! What a leader orders: hints, inlining, turns, bounds (B2), late origins (B4), and whether there is work (L3).

mod common;

use std::collections::BTreeSet;

use common::*;
use quorate_mempool::{Limits, Pool, Seat};
use quorate_types::proposal::MAX_INLINE_BYTES;
use quorate_types::{BatchId, Parameters, ValidatorIndex};

/// Too large to be inlined at once.
const LARGE: usize = 40_000;

fn take(pool: &mut Pool, origin: u16, sequence: u64, size: usize) -> BatchId {
    let batch = foreign(origin, sequence, size);
    assert_eq!(stream(pool, &batch), Ok(true));
    batch.0
}

fn take_at(pool: &mut Pool, at: u64, origin: u16, sequence: u64, size: usize) -> BatchId {
    let (id, batch) = foreign(origin, sequence, size);
    let taken = pool.insert(ms(at), START, batch.origin, batch);
    assert_eq!(taken, Ok(true));
    id
}

fn reports(pool: &mut Pool, voter: u16, origin: usize, held: u64) {
    let mut marks = [0; 4];
    marks[origin] = held;
    pool.on_held(ValidatorIndex(voter), &marks);
}

fn ordered(pool: &mut Pool) -> Vec<BatchId> {
    pool.candidates(T0, START, &[]).batches
}

#[test]
fn a_large_batch_waits_for_a_quorum_of_reports() {
    let mut pool = pool();
    let batch = take(&mut pool, 2, 5, LARGE);
    assert_eq!(ordered(&mut pool), []);
    reports(&mut pool, 1, 2, 6);
    assert_eq!(ordered(&mut pool), [], "two of three, this one included");
    reports(&mut pool, 0, 2, 6);
    assert_eq!(ordered(&mut pool), [], "this one counts once");
    reports(&mut pool, 2, 2, 5);
    assert_eq!(ordered(&mut pool), [], "up to 5 is without 5");
    reports(&mut pool, 3, 2, 6);
    assert_eq!(ordered(&mut pool), [batch]);
    // The latest report counts: that one restarted with less.
    reports(&mut pool, 3, 2, 0);
    assert_eq!(ordered(&mut pool), []);
}

#[test]
fn reports_of_the_wrong_shape_change_nothing() {
    let mut pool = pool();
    let batch = take(&mut pool, 2, 0, LARGE);
    all_hold(&mut pool);
    for held in [&[][..], &[0; 3], &[0; 5]] {
        pool.on_held(ValidatorIndex(1), held);
    }
    pool.on_held(ValidatorIndex(9), &[0; 4]);
    assert_eq!(ordered(&mut pool), [batch]);
}

#[test]
fn small_batches_travel_inside_the_proposal_as_far_as_they_fit() {
    let mut pool = pool();
    let first = take(&mut pool, 1, 0, 20_000);
    let second = take(&mut pool, 1, 1, 20_000);
    let third = take(&mut pool, 1, 2, 10_000);
    let payload = pool.candidates(T0, START, &[]);
    assert_eq!(
        payload.batches,
        [first, third],
        "passed over, not stopped by"
    );
    let inline: Vec<BatchId> = payload.inline.iter().map(|batch| batch.id()).collect();
    assert_eq!(inline, [first, third]);
    // Known to a quorum, they travel by digest alone.
    all_hold(&mut pool);
    let payload = pool.candidates(T0, START, &[]);
    assert_eq!(payload.batches, [first, second, third]);
    assert_eq!(payload.inline, []);
}

/// Where links are slow, reports take longer than the batch and the proposal together.
#[test]
fn what_has_waited_for_reports_travels_inside_the_proposal_once_in_a_while() {
    let inline = |pool: &mut Pool, at: u64| {
        let payload = pool.candidates(ms(at), START, &[]);
        let inline: Vec<BatchId> = payload.inline.iter().map(|batch| batch.id()).collect();
        inline
    };
    let mut pool = pool();
    let first = take(&mut pool, 1, 0, LARGE);
    let second = take(&mut pool, 2, 0, 5 * LARGE);
    assert_eq!(inline(&mut pool, 19), [], "reports may still come");
    assert_eq!(inline(&mut pool, 20), [first, second], "240,000 bytes");
    assert_eq!(inline(&mut pool, 219), [], "a moment ago");
    let third = take(&mut pool, 3, 0, LARGE);
    let small = take_at(&mut pool, 219, 3, 1, 700);
    // What is new has its own share, and what is too much for all is passed over.
    assert_eq!(inline(&mut pool, 220), [first, second, small]);
    pool.committed(&[first]);
    assert_eq!(inline(&mut pool, 420), [second, third, small]);
}

/// What a leader sends to all others together is bounded, however many they are.
#[test]
fn the_more_validators_the_less_is_inlined() {
    let seat = Seat {
        n: 100,
        quorum: 67,
        ..seat()
    };
    let mut pool = Pool::new(seat, Parameters::default(), Limits::default(), 0);
    let first = take(&mut pool, 1, 0, 6_000);
    let second = take(&mut pool, 2, 0, 6_000);
    for at in [0, 20, 1_000] {
        let payload = pool.candidates(ms(at), START, &[]);
        assert_eq!(payload.batches, [first], "of {:?}", [first, second]);
    }
}

#[test]
fn origins_take_turns_oldest_first() {
    let mut pool = pool();
    all_hold(&mut pool);
    let c = [take(&mut pool, 3, 0, 700), take(&mut pool, 3, 1, 700)];
    let a: Vec<_> = (0..3).map(|s| take(&mut pool, 1, s, 700)).collect();
    let b = take(&mut pool, 2, 0, 700);
    assert_eq!(ordered(&mut pool), [c[0], a[0], b, c[1], a[1], a[2]]);
    let excluded = pool.candidates(T0, START, &[c[0], a[0]]).batches;
    assert_eq!(excluded, [c[1], a[1], b, a[2]]);
}

#[test]
fn a_block_holds_so_many_batches_and_bytes_and_always_one() {
    let parameters = Parameters {
        max_block_batches: 3,
        ..Parameters::default()
    };
    let mut by_items = Pool::new(seat(), parameters, Limits::default(), 0);
    let mut by_bytes = pool_with(Limits {
        max_block_bytes: 3 * 736,
        ..Limits::default()
    });
    let mut tiny = pool_with(Limits {
        max_block_bytes: 0,
        ..Limits::default()
    });
    for (pool, most) in [(&mut by_items, 3), (&mut by_bytes, 3), (&mut tiny, 1)] {
        all_hold(pool);
        let all: Vec<_> = (0..5).map(|s| take(pool, 1, s, 700)).collect();
        assert_eq!(ordered(pool), all[..most]);
    }
}

#[test]
fn what_expires_soon_after_the_block_is_left_out() {
    let mut pool = pool();
    all_hold(&mut pool);
    let batch = foreign_until(1, 0, 700, START.plus_nanos(10 * SECOND));
    stream(&mut pool, &batch).expect("room");
    let mut at = |seconds: u64| {
        let time = START.plus_nanos(seconds * SECOND);
        let work = pool.has_work(T0, time, &BTreeSet::new());
        (pool.candidates(T0, time, &[]).batches.len(), work)
    };
    assert_eq!(at(9), (1, true), "the margin is one second");
    assert_eq!(at(10), (0, false));
}

fn late(pool: &mut Pool, origin: u16, proposers: &[u16], at: u64) {
    for proposer in proposers {
        pool.on_late(ValidatorIndex(origin), ValidatorIndex(*proposer), ms(at));
    }
}

#[test]
fn an_origin_that_comes_late_is_left_out_for_a_window() {
    let mut pool = pool();
    all_hold(&mut pool);
    let slow = take(&mut pool, 2, 0, 700);
    let quick = take(&mut pool, 3, 0, 700);
    let at = |pool: &mut Pool, at| pool.candidates(ms(at), START, &[]).batches;
    late(&mut pool, 2, &[1, 3], 0);
    assert_eq!(at(&mut pool, 0), [slow, quick], "two are not yet enough");
    late(&mut pool, 2, &[1], 10_000);
    assert_eq!(at(&mut pool, 10_000), [quick]);
    assert_eq!(at(&mut pool, 19_999), [quick]);
    assert_eq!(at(&mut pool, 20_000), [slow, quick]);
}

#[test]
fn late_batches_long_ago_do_not_count() {
    let mut pool = pool();
    all_hold(&mut pool);
    let slow = take(&mut pool, 2, 0, 700);
    late(&mut pool, 2, &[1, 3], 0);
    late(&mut pool, 2, &[1], 10_001);
    assert_eq!(pool.candidates(ms(10_001), START, &[]).batches, [slow]);
}

/// Nobody signs a batch. A faulty leader could order batches in another origin's name that this origin never made, and
/// so have it left out by all: it takes the blocks of f + 1 proposers.
#[test]
fn one_proposer_cannot_have_an_origin_left_out() {
    let mut pool = pool();
    all_hold(&mut pool);
    let victim = take(&mut pool, 2, 0, 700);
    late(&mut pool, 2, &[1; 50], 0);
    assert_eq!(ordered(&mut pool), [victim]);
    late(&mut pool, 2, &[3], 0);
    assert_eq!(ordered(&mut pool), []);
}

#[test]
fn own_batches_are_never_late_and_unknown_names_are_ignored() {
    let mut pool = pool();
    queue(&mut pool, 1, 1, 700);
    let own = pool.seal(T0, START);
    late(&mut pool, 0, &[1, 2, 3], 0);
    late(&mut pool, 77, &[1, 2, 3], 0);
    late(&mut pool, 1, &[777, 778, 779], 0);
    assert_eq!(ordered(&mut pool), ids(&own));
}

#[test]
fn work_is_what_is_neither_ordered_nor_committed() {
    let nothing = BTreeSet::new();
    let mut pool = pool();
    assert!(!pool.has_work(T0, START, &nothing));
    queue(&mut pool, 1, 1, 700);
    assert!(pool.has_work(T0, START, &nothing), "queued");
    let own = pool.seal(T0, START);
    assert!(pool.has_work(T0, START, &nothing), "in flight");
    let on_branch: BTreeSet<_> = ids(&own).into_iter().collect();
    assert!(!pool.has_work(T0, START, &on_branch), "ordered");
    assert!(
        pool.has_work(T0, START, &nothing),
        "the branch was abandoned"
    );
    pool.committed(&ids(&own));
    assert!(!pool.has_work(T0, START, &nothing), "committed");
}

/// A faulty origin that sends a large batch to one replica only must not keep the chain from being idle (L3).
#[test]
fn a_large_batch_that_nobody_else_reports_is_work_for_a_second() {
    let nothing = BTreeSet::new();
    let mut pool = pool();
    take(&mut pool, 2, 0, MAX_INLINE_BYTES);
    assert!(pool.has_work(ms(999), START, &nothing));
    assert!(!pool.has_work(ms(1_000), START, &nothing));
    all_hold(&mut pool);
    assert!(
        pool.has_work(ms(1_000), START, &nothing),
        "now it can be ordered"
    );
    late(&mut pool, 2, &[1, 3, 1], 1_000);
    assert!(
        !pool.has_work(ms(1_000), START, &nothing),
        "nobody orders it"
    );
    assert!(pool.has_work(ms(11_000), START, &nothing));
}

#[test]
fn a_lone_validator_needs_no_reports() {
    let mut seat = seat();
    (seat.n, seat.quorum) = (1, 1);
    let mut pool = Pool::new(seat, Parameters::default(), Limits::default(), 0);
    queue(&mut pool, 1, 1, LARGE);
    let own = pool.seal(T0, START);
    assert_eq!(ordered(&mut pool), ids(&own));
    assert_eq!(pool.candidates(T0, START, &[]).inline, []);
}
