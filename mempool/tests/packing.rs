//! When batches leave (B1), what is in flight, and what becomes of batches that expire.

mod common;

use std::collections::BTreeSet;

use common::*;
use quorate_mempool::{Admission, Limits, Pool, Refusal};
use quorate_types::{Batch, HashedBatch, Instant, Parameters, ValidatorIndex, Verified};

/// What is queued, when, whether something is in flight: and how many batches leave, and what is the deadline.
#[test]
fn the_timing_of_b1() {
    struct Case {
        name: &'static str,
        in_flight: bool,
        queued: u64,
        waited_ms: u64,
        leave: usize,
        deadline: Option<Instant>,
    }
    let case = |name, in_flight, queued, waited_ms, leave, deadline| Case {
        name,
        in_flight,
        queued,
        waited_ms,
        leave,
        deadline,
    };
    let cases = [
        case("nothing queued", false, 0, 0, 0, None),
        case("nothing in flight: at once", false, 1, 0, 1, None),
        case("in flight: the linger", true, 1, 0, 0, Some(ms(5))),
        case("in flight: not yet", true, 1, 4, 0, Some(ms(5))),
        case("in flight: lingered", true, 1, 5, 1, None),
        case("in flight, full: at once", true, 10, 0, 1, None),
        case("the rest lingers anew", true, 12, 3, 1, Some(ms(8))),
        case("full twice, and a rest", true, 25, 0, 2, Some(ms(5))),
        case(
            "nothing in flight, full and a rest",
            false,
            12,
            0,
            1,
            Some(ms(5)),
        ),
    ];
    for case in cases {
        let mut pool = pool_with(Limits {
            batch_target_bytes: 10_036,
            ..Limits::default()
        });
        if case.in_flight {
            queue(&mut pool, 1, 0, 1_000);
            assert_eq!(pool.seal(T0, START).len(), 1);
        }
        // The first has waited since T0; the others come now.
        for sequence in 1..=case.queued {
            queue(&mut pool, 1, sequence, 1_000);
            if sequence == 1 && case.waited_ms > 0 {
                assert!(pool.seal(T0, START).is_empty());
            }
        }
        let left = pool.seal(ms(case.waited_ms), START).len();
        assert_eq!(
            (left, pool.deadline()),
            (case.leave, case.deadline),
            "{}",
            case.name
        );
    }
}

#[test]
fn what_waits_leaves_with_a_vote() {
    let mut pool = pool();
    pool.hasten();
    assert!(pool.seal(T0, START).is_empty(), "of nothing");
    queue(&mut pool, 1, 0, 700);
    assert_eq!(pool.seal(T0, START).len(), 1);
    for sequence in 1..=3 {
        queue(&mut pool, 1, sequence, 700);
    }
    assert!(pool.seal(ms(1), START).is_empty(), "the first vote is over");
    pool.hasten();
    let sealed = pool.seal(ms(2), START);
    assert_eq!(sealed.len(), 1);
    assert_eq!((sealed[0].transactions.len(), pool.deadline()), (3, None));
    queue(&mut pool, 1, 4, 700);
    assert!(pool.seal(ms(3), START).is_empty(), "so is the second");
}

#[test]
fn a_batch_says_what_it_must() {
    let mut pool = Pool::new(seat(), Parameters::default(), Limits::default(), 41);
    queue(&mut pool, 1, 1, 700);
    let batch = pool.seal(T0, START).remove(0);
    let id = batch.id();
    assert_eq!(batch.id(), id);
    assert_eq!(
        (batch.origin, batch.sequence, batch.epoch),
        (ME, 41, seat().epoch)
    );
    let lifetime = Parameters::default().batch_lifetime_ns;
    assert_eq!(batch.expiry, START.plus_nanos(lifetime));
    assert!(batch.check_form(chain(), &Parameters::default()).is_ok());
    assert_eq!((pool.next_sequence(), pool.held()), (42, vec![42, 0, 0, 0]));
    assert!(pool.holds(&id) && pool.get(&id).is_some());
}

#[test]
fn the_largest_transaction_travels_alone_in_a_valid_batch() {
    let parameters = Parameters::default();
    let mut pool = pool();
    queue(&mut pool, 1, 1, 700);
    queue(&mut pool, 1, 2, 256 * 1024);
    queue(&mut pool, 1, 3, 700);
    let mut sealed = pool.seal(T0, START);
    sealed.extend(pool.seal(ms(5), START));
    let counts: Vec<usize> = sealed.iter().map(|b| b.transactions.len()).collect();
    assert_eq!(counts, [1, 1, 1]);
    for batch in &sealed {
        assert_eq!(batch.check_form(chain(), &parameters), Ok(()));
    }
}

#[test]
fn past_the_bound_in_flight_nothing_leaves_until_something_lands() {
    let mut pool = pool_with(Limits {
        batch_target_bytes: 10_036,
        max_in_flight_bytes: 20_500,
        ..Limits::default()
    });
    for sequence in 0..40 {
        queue(&mut pool, 1, sequence, 1_000);
    }
    // Two full ones are 20,072 bytes; a third must wait, though the limits on a transaction would let it be larger.
    let sealed = pool.seal(T0, START);
    assert_eq!(sealed.len(), 2);
    assert_eq!(
        (pool.seal(ms(100), START).len(), pool.deadline()),
        (0, None)
    );
    assert_eq!(pool.transactions(), 20);
    pool.committed(&ids(&sealed));
    assert_eq!(pool.seal(ms(101), START).len(), 2);
}

#[test]
fn one_batch_may_be_in_flight_however_small_the_bound() {
    let mut pool = pool_with(Limits {
        max_in_flight_bytes: 0,
        ..Limits::default()
    });
    queue(&mut pool, 1, 1, 700);
    assert_eq!(pool.seal(T0, START).len(), 1);
    queue(&mut pool, 1, 2, 700);
    assert!(pool.seal(ms(50), START).is_empty());
}

/// With commits slow, a partly full batch every linger would need more places than blocks have: batches grow instead.
#[test]
fn when_blocks_have_no_room_left_only_full_batches_leave() {
    let mut pool = pool();
    let room = Parameters::default().max_block_batches * 2 / 4;
    for sequence in 0..room {
        queue(&mut pool, 1, sequence, 700);
        assert_eq!(
            pool.seal(ms(0), START).len() + pool.seal(ms(5), START).len(),
            1
        );
    }
    queue(&mut pool, 1, room, 700);
    pool.seal(ms(5), START);
    assert_eq!(
        (pool.deadline(), pool.seal(ms(500), START).len()),
        (None, 0)
    );
    for sequence in 0..400 {
        queue(&mut pool, 2, sequence, 700);
    }
    let sealed = pool.seal(ms(500), START);
    assert_eq!(sealed.len(), 1);
    assert!(sealed[0].encoded_len() > 255 * 1024);
    pool.committed(&ids(&pool.resend()));
    assert_eq!(
        pool.seal(ms(501), START).len(),
        1,
        "and what is left, at once"
    );
}

#[test]
fn an_expired_batch_gives_its_transactions_back() {
    let mut pool = pool();
    let short = valid_until(&client(1), 1, 700, START.plus_nanos(500 * SECOND));
    let long = valid_until(&client(1), 2, 700, START.plus_nanos(1_500 * SECOND));
    let done = valid_until(&client(1), 3, 700, START.plus_nanos(1_500 * SECOND));
    for transaction in [&short, &long, &done] {
        admit(&mut pool, transaction).expect("valid");
    }
    let sealed = pool.seal(T0, START);
    pool.executed(&[done.id()]); // in somebody else's batch
    let end = START.plus_nanos(600 * SECOND);
    assert_eq!(pool.expire(end, &BTreeSet::new()), vec![]);
    assert!(pool.holds(&sealed[0].id()), "valid at its expiry itself");

    let keep: BTreeSet<_> = ids(&sealed).into_iter().collect();
    assert_eq!(pool.expire(end.plus_nanos(1), &keep), vec![]);
    assert!(
        pool.holds(&sealed[0].id()),
        "B5: a block above the root has it"
    );

    let lapsed = pool.expire(end.plus_nanos(1), &BTreeSet::new());
    assert_eq!(lapsed.len(), 1, "only the one that is over: {lapsed:?}");
    assert_eq!(
        (lapsed[0].transaction, lapsed[0].reason),
        (short.id(), Refusal::Expired)
    );
    assert_eq!(
        (pool.batches(), pool.held_bytes(), pool.transactions()),
        (0, 0, 1)
    );
    let again = pool.seal(ms(1), end.plus_nanos(1));
    assert_eq!(again[0].transactions[0].id(), long.id());
    assert!(again[0].sequence > sealed[0].sequence);
}

/// What finds no room when it comes back is lost, but not silently.
#[test]
fn what_cannot_be_admitted_again_is_named() {
    let limits = Limits {
        max_pending_transactions: 1,
        ..Limits::default()
    };
    let far = START.plus_nanos(1_500 * SECOND);
    let first = valid_until(&client(1), 1, 700, far);
    let second = valid_until(&client(2), 1, 700, far.plus_nanos(1));
    // Two batches of an earlier start, which had other limits.
    let mut before = pool();
    let mut stored = Vec::new();
    for transaction in [&first, &second] {
        admit(&mut before, transaction).expect("room");
        let sealed = before.seal(ms(0), START.plus_nanos(SECOND));
        stored.extend(sealed.iter().cloned());
        before.committed(&ids(&sealed));
    }
    let mut pool = pool_with(limits);
    assert_eq!(restore(&mut pool, T0, stored), 2);
    assert_eq!(pool.pending(), 2);
    let third = admit(&mut pool, &valid_until(&client(3), 1, 700, far));
    assert!(matches!(third, Err(Refusal::Full { .. })), "{third:?}");
    let lapsed = pool.expire(START.plus_nanos(602 * SECOND), &BTreeSet::new());
    assert_eq!(lapsed.len(), 1);
    assert!([first.id(), second.id()].contains(&lapsed[0].transaction));
    assert!(matches!(lapsed[0].reason, Refusal::Full { .. }));
    assert_eq!(pool.pending(), 1, "the other one waits again");
}

/// A transaction that was executed through another batch may be submitted and packed again while its first batch is
/// still in flight: the first batch's end must not forget the second.
#[test]
fn the_end_of_one_batch_leaves_the_copy_in_another_alone() {
    let mut pool = pool();
    let transaction = valid_until(&client(1), 1, 700, START.plus_nanos(1_500 * SECOND));
    admit(&mut pool, &transaction).expect("new");
    let first = pool.seal(T0, START);
    pool.executed(&[transaction.id()]);
    assert_eq!(admit(&mut pool, &transaction), Ok(Admission::Queued));
    assert_eq!(pool.seal(ms(0), START).len(), 0);
    assert_eq!(pool.seal(ms(5), START).len(), 1);
    pool.committed(&ids(&first));
    assert_eq!(admit(&mut pool, &transaction), Ok(Admission::AlreadyQueued));
}

#[test]
fn what_is_in_flight_is_sent_again_in_order() {
    let mut pool = pool();
    let mut sealed = Vec::new();
    for sequence in 0..5 {
        queue(&mut pool, 1, sequence, 700);
        pool.seal(ms(sequence * 10), START)
            .into_iter()
            .for_each(|b| sealed.push(b));
        pool.seal(ms(sequence * 10 + 5), START)
            .into_iter()
            .for_each(|b| sealed.push(b));
    }
    stream(&mut pool, &foreign(2, 0, 700)).expect("room");
    assert_eq!(ids(&pool.resend()), ids(&sealed));
    pool.committed(&ids(&sealed[..2]));
    assert_eq!(ids(&pool.resend()), ids(&sealed[2..]));
}

#[test]
fn a_restart_puts_back_what_was_not_committed() {
    let mut before = pool();
    let carried = transaction(&client(1), 1, 700);
    admit(&mut before, &carried).expect("new");
    let own = before.seal(T0, START);
    let other = foreign(2, 17, 700);
    let gone = foreign(3, 4, 700);
    let stored = |(_, batch): &(_, Verified<HashedBatch>)| HashedBatch::clone(batch);
    let store = vec![stored(&other), own[0].clone(), stored(&gone)];

    let mut after = pool();
    after.committed(&[gone.0]);
    assert_eq!(restore(&mut after, T0, store.clone()), 2);
    assert_eq!(restore(&mut after, T0, store), 0, "once is enough");
    assert_eq!(after.held(), [1, 0, 18, 0]);
    assert_eq!(after.next_sequence(), 1);
    assert_eq!(ids(&after.resend()), ids(&own));
    assert_eq!(admit(&mut after, &carried), Ok(Admission::AlreadyQueued));
    assert!(after.seal(ms(9), START).is_empty());
    all_hold(&mut after);
    assert_eq!(after.candidates(T0, START, &[]).batches.len(), 2);
}

/// A replica that lost its disk may number its batches from 0 again, and pack the very same content.
#[test]
fn numbers_used_again_stop_nobody() {
    let mut before = pool();
    queue(&mut before, 1, 1, 700);
    let batch = before.seal(T0, START).remove(0);
    let id = batch.id();
    let mut after = pool();
    after.want(&[id]);
    let returned = quorate_types::Unverified::new(Batch::clone(&batch))
        .verify(&validators(), &Parameters::default())
        .expect("ours");
    assert_eq!(returned.id(), id);
    assert_eq!(
        after.insert(T0, START, ValidatorIndex(2), returned),
        Ok(true)
    );
    queue(&mut after, 1, 1, 700);
    let sealed = after.seal(T0, START);
    assert_ne!(sealed[0].id(), id);
    assert_eq!(sealed[0].sequence, 1);
}
