//! Every refusal of a transaction, every bound on what is pending, and fairness between clients.

mod common;

use std::collections::BTreeMap;

use common::*;
use quorate_crypto::PublicKey;
use quorate_mempool::{Admission, Limits, Pool, Refusal, Seat};
use quorate_types::{BlockTime, Parameters, TransactionId};

#[test]
fn a_replica_outside_the_set_admits_nothing() {
    let seat = Seat { me: None, ..seat() };
    let mut pool = Pool::new(seat, Parameters::default(), Limits::default(), 0);
    let refused = admit(&mut pool, &transaction(&client(1), 1, 700));
    assert_eq!(refused, Err(Refusal::NotAValidator));
    assert!(pool.seal(T0, START).is_empty());
}

#[test]
fn validity_is_a_window_of_block_time() {
    let parameters = Parameters::default();
    let latest = START.plus_nanos(parameters.max_validity_ns);
    let cases = [
        (BlockTime(START.0 - 1), Err(Refusal::Expired)),
        (START, Ok(Admission::Queued)),
        (latest, Ok(Admission::Queued)),
        (latest.plus_nanos(1), Err(Refusal::TooFarAhead)),
    ];
    for (until, expected) in cases {
        let transaction = valid_until(&client(1), 1, 700, until);
        assert_eq!(admit(&mut pool(), &transaction), expected, "{until:?}");
    }
}

#[test]
fn a_transaction_waits_or_travels_once() {
    let mut pool = pool();
    let transaction = transaction(&client(1), 1, 700);
    assert_eq!(admit(&mut pool, &transaction), Ok(Admission::Queued));
    assert_eq!(admit(&mut pool, &transaction), Ok(Admission::AlreadyQueued));
    let sealed = pool.seal(T0, START);
    assert_eq!(sealed.len(), 1);
    assert_eq!(admit(&mut pool, &transaction), Ok(Admission::AlreadyQueued));
    assert_eq!(pool.transactions(), 0);
    // Once its batch is committed the caller's store answers for it; the pool no longer knows it.
    pool.committed(&ids(&sealed));
    assert_eq!(admit(&mut pool, &transaction), Ok(Admission::Queued));
}

#[test]
fn two_transactions_with_one_number_both_wait_for_execution_to_decide() {
    let mut pool = pool();
    queue(&mut pool, 1, 5, 700);
    queue(&mut pool, 1, 5, 701);
    let sealed = pool.seal(T0, START);
    assert_eq!(sealed[0].transactions.len(), 2);
}

#[test]
fn what_was_executed_elsewhere_leaves_the_queue() {
    let mut pool = pool();
    let executed = queue(&mut pool, 1, 1, 700);
    queue(&mut pool, 1, 2, 800);
    pool.executed(&[executed]);
    assert_eq!((pool.transactions(), pool.queued_bytes()), (1, 800));
    pool.executed(&[executed]);
    assert_eq!((pool.transactions(), pool.queued_bytes()), (1, 800));
}

#[test]
fn what_is_full_refuses_by_bytes_and_by_items_until_something_was_executed() {
    let bytes = Limits {
        max_pending_bytes: 4_000,
        ..Limits::default()
    };
    let items = Limits {
        max_pending_transactions: 4,
        ..Limits::default()
    };
    for limits in [bytes, items] {
        let mut pool = pool_with(limits);
        for seed in 0..4 {
            queue(&mut pool, seed, 1, 1_000);
        }
        let late = transaction(&client(9), 1, 1_000);
        let full = Err(Refusal::Full {
            retry_after_ms: 250,
        });
        assert_eq!(admit(&mut pool, &late), full);
        assert_eq!(pool.transactions(), 4);
        let sealed = pool.seal(T0, START);
        assert_eq!(sealed[0].transactions.len(), 4);
        // Packed is not ordered: it waits just as well.
        assert_eq!(admit(&mut pool, &late), full);
        assert_eq!((pool.pending(), pool.pending_bytes()), (4, 4_000));
        pool.executed(&[sealed[0].transactions[0].id()]);
        assert_eq!(admit(&mut pool, &late), Ok(Admission::Queued));
    }
}

/// Whichever way a transaction ends, its room is free again.
#[test]
fn whatever_ends_makes_room() {
    let endings: [fn(&mut Pool, TransactionId); 4] = [
        |pool, id| pool.executed(&[id]),
        |pool, id| {
            pool.seal(T0, START);
            pool.executed(&[id]);
        },
        |pool, _| {
            let sealed = pool.seal(T0, START);
            pool.committed(&ids(&sealed));
        },
        |pool, _| {
            let later = START.plus_nanos(Parameters::default().max_validity_ns);
            assert_eq!(pool.expire(later, &Default::default()).len(), 1);
        },
    ];
    for end in endings {
        let mut pool = pool();
        let id = queue(&mut pool, 1, 1, 700);
        assert_eq!((pool.pending(), pool.pending_bytes()), (1, 700));
        end(&mut pool, id);
        assert_eq!((pool.pending(), pool.pending_bytes()), (0, 0));
    }
}

/// How many transactions a client gets in before it is refused.
fn fill(pool: &mut Pool, seed: u8, size: usize) -> (usize, Refusal) {
    for sequence in 0.. {
        if let Err(refusal) = admit(pool, &transaction(&client(seed), sequence, size)) {
            return (usize::try_from(sequence).expect("few"), refusal);
        }
    }
    unreachable!("every queue has a bound");
}

#[test]
fn each_client_may_fill_as_much_as_is_still_free() {
    let bytes = Limits {
        max_pending_bytes: 120_000,
        ..Limits::default()
    };
    let items = Limits {
        max_pending_transactions: 120,
        ..Limits::default()
    };
    for limits in [bytes, items] {
        let mut pool = pool_with(limits);
        let refusal = Refusal::ClientFull {
            retry_after_ms: 250,
        };
        // One alone: half. Those that come later find half of the rest.
        assert_eq!(fill(&mut pool, 1, 1_000), (60, refusal));
        assert_eq!(fill(&mut pool, 2, 1_000), (30, refusal));
        assert_eq!(fill(&mut pool, 3, 1_000), (15, refusal));
        // And one with a single transaction always finds room.
        queue(&mut pool, 4, 0, 1_000);
    }
}

#[test]
fn a_flood_neither_shuts_out_nor_delays_the_polite() {
    let limits = Limits {
        max_pending_bytes: 400_000,
        batch_target_bytes: 64 * 700 + 36,
        ..Limits::default()
    };
    let mut pool = pool_with(limits);
    // Something in flight, so that only full batches leave.
    queue(&mut pool, 250, 0, 700);
    assert_eq!(pool.seal(T0, START).len(), 1);
    let (flooded, _) = fill(&mut pool, 99, 700);
    assert!(flooded > 250, "{flooded} fill half of the queue");
    for polite in 0..63 {
        queue(&mut pool, polite, 0, 700);
    }
    let sealed = pool.seal(T0, START);
    let mut shares: BTreeMap<PublicKey, usize> = BTreeMap::new();
    for transaction in &sealed[0].transactions {
        *shares.entry(transaction.body.client).or_default() += 1;
    }
    assert_eq!(shares.len(), 64, "everybody is in the first batch");
    assert!(shares.values().all(|share| *share == 1), "with one each");
    let rest: usize = sealed[1..].iter().map(|b| b.transactions.len()).sum();
    assert_eq!(rest + pool.transactions(), flooded - 1);
}

#[test]
fn within_a_client_the_order_is_that_of_its_numbers() {
    let mut pool = pool();
    for sequence in [9, 3, 7, 1] {
        queue(&mut pool, 1, sequence, 700);
    }
    let sealed = pool.seal(T0, START);
    let numbers = sealed[0].transactions.iter().map(|t| t.body.sequence);
    assert!(numbers.eq([1, 3, 7, 9]));
}

#[test]
fn what_waits_past_its_validity_is_dropped_by_name() {
    let mut pool = pool();
    let short = valid_until(&client(1), 1, 700, START.plus_nanos(SECOND));
    admit(&mut pool, &short).expect("valid");
    let long = queue(&mut pool, 1, 2, 700);
    let keep = Default::default();
    assert_eq!(pool.expire(START.plus_nanos(SECOND), &keep), vec![]);
    let lapsed = pool.expire(START.plus_nanos(SECOND + 1), &keep);
    assert_eq!(lapsed.len(), 1);
    assert_eq!(
        (lapsed[0].transaction, lapsed[0].reason),
        (short.id(), Refusal::Expired)
    );
    assert_eq!(pool.seal(T0, START)[0].transactions[0].id(), long);
}
