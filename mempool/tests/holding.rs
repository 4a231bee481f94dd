//! Batches of others: what is taken, on whose account, and what a block makes the pool fetch (B3).

mod common;

use std::collections::BTreeSet;
use std::convert::Infallible;

use common::*;
use quorate_mempool::{Limits, Payload, PayloadCheck, Refusal};
use quorate_types::{BlockTime, Epoch, HashedBatch, ValidatorIndex, Verified};

#[test]
fn a_streamed_batch_is_taken_once_and_moves_the_watermark() {
    let mut pool = pool();
    let batch = foreign(2, 5, 700);
    assert_eq!(stream(&mut pool, &batch), Ok(true));
    assert_eq!(stream(&mut pool, &batch), Ok(false));
    // A gap is allowed, and an old number lowers nothing.
    assert_eq!(stream(&mut pool, &foreign(2, 9, 700)), Ok(true));
    assert_eq!(stream(&mut pool, &foreign(2, 6, 700)), Ok(true));
    assert_eq!(pool.held(), [0, 0, 10, 0]);
    assert_eq!((pool.batches(), pool.held_bytes()), (3, 3 * 736));
}

#[test]
fn what_its_origin_did_not_send_is_unasked() {
    let mut pool = pool();
    let (_, batch) = foreign(2, 0, 700);
    let from = ValidatorIndex(3);
    let refused = pool.insert(T0, START, from, batch.clone());
    assert_eq!(refused, Err(Refusal::Unasked));

    let other_epoch = Verified::<HashedBatch>::pack(
        Epoch(7),
        ValidatorIndex(2),
        0,
        batch.expiry,
        vec![transaction(&client(1), 1, 700)],
    );
    let refused = stream(&mut pool, &(other_epoch.id(), other_epoch));
    assert_eq!(refused, Err(Refusal::Unasked));

    let refused = stream(&mut pool, &foreign(4, 0, 700));
    assert_eq!(refused, Err(Refusal::Unasked), "no such validator");
    assert_eq!((pool.batches(), pool.held()), (0, vec![0; 4]));
}

#[test]
fn a_batch_s_expiry_is_a_window() {
    let latest = START.plus_nanos(1_200 * SECOND);
    let cases = [
        (BlockTime(START.0 - 1), Err(Refusal::Expired)),
        (START, Ok(true)),
        (latest, Ok(true)),
        (latest.plus_nanos(1), Err(Refusal::TooFarAhead)),
    ];
    for (expiry, expected) in cases {
        let batch = foreign_until(2, 0, 700, expiry);
        assert_eq!(stream(&mut pool(), &batch), expected, "{expiry:?}");
    }
}

#[test]
fn an_origin_fills_its_own_share_and_nobody_else_s() {
    let bytes = Limits {
        max_origin_bytes: 3 * 736,
        ..Limits::default()
    };
    let items = Limits {
        max_origin_batches: 3,
        ..Limits::default()
    };
    for limits in [bytes, items] {
        let mut pool = pool_with(limits);
        let batches: Vec<_> = (0..4).map(|sequence| foreign(2, sequence, 700)).collect();
        for batch in &batches[..3] {
            assert_eq!(stream(&mut pool, batch), Ok(true));
        }
        assert_eq!(stream(&mut pool, &batches[3]), Err(Refusal::OriginFull));
        assert_eq!(pool.held()[2], 3, "it is not reported as held");
        assert_eq!(stream(&mut pool, &foreign(3, 0, 700)), Ok(true));
        // A block that orders it has it taken all the same.
        let block = block(START, vec![batches[3].0]);
        assert_eq!(
            pool.check(&block),
            PayloadCheck::Missing(vec![batches[3].0])
        );
        assert_eq!(stream(&mut pool, &batches[3]), Ok(true));
        assert_eq!(pool.check(&block), PayloadCheck::Ready);
        // Commits make room.
        pool.committed(&[batches[0].0]);
        assert_eq!(stream(&mut pool, &foreign(2, 4, 700)), Ok(true));
    }
}

#[test]
fn wanted_batches_have_a_bound_of_their_own() {
    let mut pool = pool_with(Limits {
        max_wanted_bytes: 736,
        ..Limits::default()
    });
    let (first, second) = (foreign(1, 0, 700), foreign(1, 1, 700));
    pool.want(&[first.0, second.0]);
    let from = ValidatorIndex(3);
    assert_eq!(pool.insert(T0, START, from, first.1), Ok(true));
    let refused = pool.insert(T0, START, from, second.1.clone());
    assert_eq!(refused, Err(Refusal::WantedFull));
    pool.committed(&[first.0]);
    assert_eq!(pool.insert(T0, START, from, second.1), Ok(true));
}

#[test]
fn what_is_wanted_and_not_here_is_forgotten_oldest_first() {
    let mut pool = pool_with(Limits {
        max_wanted: 2,
        ..Limits::default()
    });
    let batches: Vec<_> = (0..3).map(|sequence| foreign(1, sequence, 700)).collect();
    pool.want(&batches.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    let mut answer = |at: usize| {
        let (_, batch) = batches[at].clone();
        pool.insert(T0, START, ValidatorIndex(3), batch)
    };
    assert_eq!(answer(0), Err(Refusal::Unasked));
    assert_eq!((answer(1), answer(2)), (Ok(true), Ok(true)));
}

#[test]
fn a_block_is_ready_missing_or_expired() {
    let mut pool = pool();
    let here = foreign(1, 0, 700);
    let away = foreign(1, 1, 700);
    stream(&mut pool, &here).expect("room");
    assert_eq!(pool.check(&block(START, vec![])), PayloadCheck::Ready);
    assert_eq!(pool.check(&block(START, vec![here.0])), PayloadCheck::Ready);
    let both = block(START, vec![away.0, here.0]);
    assert_eq!(pool.check(&both), PayloadCheck::Missing(vec![away.0]));
    assert_eq!(pool.missing(&both.batches), [away.0]);
    // Anybody may answer. What was fetched is no part of the origin's stream.
    let (_, batch) = away;
    assert_eq!(pool.insert(T0, START, ValidatorIndex(3), batch), Ok(true));
    assert_eq!(pool.held()[1], 1);
    assert_eq!(pool.check(&both), PayloadCheck::Ready);
    // V4: the block's time decides, not ours.
    let expiry = START.plus_nanos(600 * SECOND);
    assert_eq!(
        pool.check(&block(expiry, both.batches.clone())),
        PayloadCheck::Ready
    );
    let late = block(expiry.plus_nanos(1), both.batches);
    assert_eq!(pool.check(&late), PayloadCheck::Expired);
}

#[test]
fn a_block_may_need_a_batch_that_is_over_or_of_another_epoch() {
    let mut pool = pool();
    let expired = foreign_until(1, 0, 700, BlockTime(START.0 - 1));
    pool.want(&[expired.0]);
    assert_eq!(stream(&mut pool, &expired), Ok(true));
    // A block above the root: it stays (B5) until the block is gone.
    let keep = BTreeSet::from([expired.0]);
    pool.expire(START, &keep);
    assert!(pool.holds(&expired.0));
    pool.expire(START, &BTreeSet::new());
    assert!(!pool.holds(&expired.0));
}

#[test]
fn what_is_committed_is_released_and_not_taken_again() {
    let mut pool = pool();
    let batch = foreign(1, 0, 700);
    stream(&mut pool, &batch).expect("room");
    pool.committed(&[batch.0]);
    assert_eq!((pool.batches(), pool.held_bytes()), (0, 0));
    assert_eq!(stream(&mut pool, &batch), Ok(false));
    assert_eq!(pool.batches(), 0);
    assert!(!pool.has_work(T0, START, &BTreeSet::new()));
}

/// A faulty leader may order a committed batch once more. Nobody must wait for it for ever, and nobody orders it again.
#[test]
fn a_block_that_repeats_a_committed_batch_gets_it_from_the_store() {
    let mut pool = pool();
    let batch = foreign(1, 0, 700);
    pool.committed(&[batch.0]);
    let repeat = block(START, vec![batch.0]);
    assert_eq!(pool.check(&repeat), PayloadCheck::Missing(vec![batch.0]));
    assert_eq!(pool.insert(T0, START, ME, batch.1), Ok(true));
    assert_eq!(pool.check(&repeat), PayloadCheck::Ready);
    all_hold(&mut pool);
    assert_eq!(pool.candidates(T0, START, &[]), Payload::default());
    assert!(!pool.has_work(T0, START, &BTreeSet::new()));
}

#[test]
fn committed_digests_are_remembered_up_to_a_bound() {
    let mut pool = pool_with(Limits {
        max_remembered: 2,
        ..Limits::default()
    });
    let batches: Vec<_> = (0..3).map(|sequence| foreign(1, sequence, 700)).collect();
    pool.committed(&batches.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    pool.committed(&[batches[1].0]); // said twice: the newest now
    assert_eq!(stream(&mut pool, &batches[1]), Ok(false));
    assert_eq!(stream(&mut pool, &batches[2]), Ok(false));
    assert_eq!(stream(&mut pool, &batches[0]), Ok(true), "forgotten");
}

/// A faulty leader orders batches of its own making, in another's name, that expire at the end of time, and its block
/// dies. They stayed for ever: a gigabyte of them, and nothing that a block needed could be fetched any more. Their
/// digests stayed wanted, too, so that they could be sent long after.
#[test]
fn what_only_a_dead_block_needed_goes_with_it() {
    let mut pool = pool_with(Limits {
        max_wanted_bytes: 736,
        ..Limits::default()
    });
    let end = BlockTime(u64::MAX);
    let (first, second) = (foreign_until(1, 0, 700, end), foreign_until(1, 1, 700, end));
    let from = ValidatorIndex(3);
    pool.want(&[first.0, second.0]);
    assert_eq!(pool.insert(T0, START, from, first.1), Ok(true));
    pool.expire(START, &BTreeSet::from([first.0, second.0]));
    assert!(pool.holds(&first.0));
    pool.expire(START, &BTreeSet::new());
    assert!(!pool.holds(&first.0));
    let unasked = pool.insert(T0, START, from, second.1);
    assert_eq!(unasked, Err(Refusal::Unasked));
    // What the origin itself streamed is not forgotten, though a block had asked for it before it came.
    let streamed = foreign(1, 2, 700);
    pool.want(&[streamed.0]);
    assert_eq!(stream(&mut pool, &streamed), Ok(true));
    pool.expire(START, &BTreeSet::new());
    assert!(pool.holds(&streamed.0));
}

/// Batches of 256 KiB of one origin, as a store reads them, and whether each was let go when the next is asked for.
struct Stored {
    left: u64,
    last: Option<HashedBatch>,
    kept: usize,
}

impl Iterator for Stored {
    type Item = Result<HashedBatch, Infallible>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(last) = self.last.take() {
            let here = last.transactions.as_ptr();
            // It is copied if anybody else has it.
            self.kept += usize::from(last.into_batch().transactions.as_ptr() != here);
        }
        self.left = self.left.checked_sub(1)?;
        let batch = HashedBatch::clone(&foreign(2, self.left, 256 * 1024 - 36).1);
        self.last = Some(batch.clone());
        Some(Ok(batch))
    }
}

/// A leader that is faulty proposes blocks with batches that it invents, and one that does not exist: all of them are stored
/// until they expire. A start read them all before it looked at what the pool may hold.
#[test]
fn what_a_restart_cannot_put_back_is_let_go_at_once() {
    let mut pool = pool();
    let mut stored = Stored {
        left: 200,
        last: None,
        kept: 0,
    };
    let most = Limits::default().max_origin_bytes / (256 * 1024);
    assert_eq!(pool.restore(T0, &mut stored), Ok(most));
    assert_eq!((stored.left, stored.kept), (0, most), "all were looked at");
    assert_eq!(pool.batches(), most);
}

/// A store lists them by expiry, and those of one time by digest.
#[test]
fn what_a_restart_puts_back_waits_in_the_order_of_its_making() {
    let mut batches: Vec<_> = (0..20).map(|number| foreign(2, number, 700)).collect();
    let made: Vec<_> = batches.iter().map(|(id, _)| *id).collect();
    batches.sort_by_key(|(id, _)| *id);
    let stored = batches.iter().map(|(_, batch)| HashedBatch::clone(batch));
    let mut pool = pool();
    assert_eq!(restore(&mut pool, T0, stored.collect()), 20);
    all_hold(&mut pool);
    assert_eq!(pool.candidates(T0, START, &[]).batches, made);
}
