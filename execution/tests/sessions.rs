//! X1: exactly once, in every order, across blocks, restarts and the end of sessions.

mod common;

use common::*;
use quorate_execution::kv::Command;
use quorate_execution::session::{BUCKET_NS, CHUNK, SWEEP_RECORDS};
use quorate_types::{BlockTime, Height, Outcome, Rejection};

fn window(chain_window: u64) -> Chain {
    Chain::with(|parameters| parameters.session_window = chain_window)
}

fn rejected(rejection: Rejection) -> Outcome {
    Outcome::Rejected(rejection)
}

const MARK: &[Command] = &[];

fn incr() -> Vec<Command> {
    vec![put("k", "v")]
}

#[test]
fn a_hundred_copies_execute_once_and_all_name_the_first() {
    let mut chain = Chain::new();
    let transaction = chain.numbered(WRITER, 7, &incr());
    let copies = |n| vec![transaction.clone(); n];
    let first = chain.batches(vec![copies(20), copies(20)]);
    assert!(executed(&first.receipts[0].outcome));
    let duplicate = Outcome::Duplicate {
        height: Height(1),
        index: 0,
    };
    assert!(first.receipts[1..].iter().all(|r| r.outcome == duplicate));
    let _ = chain.empty();
    assert!(
        chain
            .block(copies(30))
            .iter()
            .all(|r| r.outcome == duplicate)
    );
    chain.reopen();
    assert!(
        chain
            .block(copies(30))
            .iter()
            .all(|r| r.outcome == duplicate)
    );
    assert_eq!(chain.executor.revision(), 1);
    assert_eq!(chain.place(&transaction), Some((Height(1), 0)));
}

#[test]
fn a_late_copy_is_still_answered_with_the_first_receipt() {
    let mut chain = Chain::new();
    let transaction = chain.numbered(WRITER, 1, &incr());
    chain.one(transaction.clone());
    chain.time = chain.time.plus_nanos(61 * SECOND);
    // The transaction is over, its session is not swept yet: the bucket of its end goes on.
    assert!(chain.time > transaction.body.valid_until);
    let outcome = chain.one(transaction.clone());
    let (height, index) = (Height(1), 0);
    assert_eq!(outcome, Outcome::Duplicate { height, index });
    assert_eq!(chain.place(&transaction), Some((Height(1), 0)));
}

#[test]
fn strangers_are_refused_and_leave_only_a_place() {
    let mut chain = Chain::new();
    let transaction = chain.numbered(STRANGER, 0, &incr());
    let root = chain.executor.roots().state;
    assert_eq!(
        chain.one(transaction.clone()),
        rejected(Rejection::UnknownClient)
    );
    assert_eq!(chain.executor.roots().state, root);
    assert_eq!(chain.place(&transaction), Some((Height(1), 0)));
    // The first mention stays the place, in the same block and in another.
    let again = chain.numbered(STRANGER, 1, &incr());
    let fresh = chain.numbered(WRITER, 0, &incr());
    let block = [&fresh, &again, &transaction, &again].map(Clone::clone);
    chain.block(block.to_vec());
    assert_eq!(chain.place(&transaction), Some((Height(1), 0)));
    assert_eq!(chain.place(&fresh), Some((Height(2), 0)));
    assert_eq!(chain.place(&again), Some((Height(2), 1)));
}

#[test]
fn expired_and_far_ahead_use_no_number() {
    let mut chain = Chain::new();
    let now = chain.time.plus_nanos(SECOND);
    let late = chain.until(WRITER, 0, BlockTime(now.0 - 1), &incr());
    assert_eq!(chain.one(late), rejected(Rejection::Expired));
    let validity = chain.genesis.parameters.max_validity_ns;
    let far = chain.time.plus_nanos(SECOND + validity + 1);
    let far = chain.until(WRITER, 0, far, &incr());
    assert_eq!(chain.one(far.clone()), rejected(Rejection::TooFarAhead));
    assert_eq!(chain.sessions(), 0);
    // One block later it is near enough, and its place is where it was executed.
    assert!(executed(&chain.one(far.clone())));
    assert_eq!(chain.place(&far), Some((Height(3), 0)));
}

#[test]
fn both_ends_of_validity_are_included() {
    let mut chain = Chain::new();
    let now = chain.time.plus_nanos(SECOND);
    let last = chain.until(WRITER, 0, now, &incr());
    let validity = chain.genesis.parameters.max_validity_ns;
    let first = chain.until(WRITER, 1, now.plus_nanos(validity), &incr());
    let receipts = chain.block(vec![last, first]);
    assert!(receipts.iter().all(|receipt| executed(&receipt.outcome)));
}

#[test]
fn a_number_belongs_to_one_transaction() {
    let mut chain = Chain::new();
    let one = chain.numbered(WRITER, 3, &incr());
    let two = chain.numbered(WRITER, 3, &[put("k", "other")]);
    assert!(executed(&chain.one(one)));
    assert_eq!(chain.one(two.clone()), rejected(Rejection::SequenceReused));
    // Another client's numbers are its own.
    let other = chain.numbered(OTHER, 3, &incr());
    assert!(executed(&chain.one(other)));
}

/// So a client that signs again what was rejected for its number has to wait until the first is over itself
/// (docs/API.md): nothing in the state says that the first never executes.
#[test]
fn a_number_that_another_used_is_free_again_after_the_session() {
    let mut chain = Chain::new();
    let one = chain.numbered(WRITER, 3, &incr());
    let long = chain.time.plus_nanos(3_000 * SECOND);
    let two = chain.until(WRITER, 3, long, &[put("k", "other")]);
    assert!(executed(&chain.one(one.clone())));
    assert_eq!(chain.one(two.clone()), rejected(Rejection::SequenceReused));
    chain.time = chain.time.plus_nanos(60 * SECOND + BUCKET_NS);
    assert!(executed(&chain.one(two)), "the first one's session is over");
    assert_eq!(chain.one(one), rejected(Rejection::Expired));
}

/// Nor does the floor outlive the session that raised it.
#[test]
fn a_number_below_the_window_is_free_again_after_the_session() {
    let mut chain = window(64);
    let high = chain.numbered(WRITER, 1_000, &incr());
    let long = chain.time.plus_nanos(3_000 * SECOND);
    let low = chain.until(WRITER, 3, long, &incr());
    assert!(executed(&chain.one(high)));
    assert_eq!(chain.one(low.clone()), rejected(Rejection::TooOld));
    chain.time = chain.time.plus_nanos(60 * SECOND + BUCKET_NS);
    assert!(executed(&chain.one(low)));
}

#[test]
fn failed_commands_use_their_number_up() {
    let mut chain = Chain::new();
    let until = chain.time.plus_nanos(60 * SECOND);
    let bad = chain.raw(WRITER, 0, until, vec![blob([0xff; 4])]);
    let forbidden = chain.numbered(READER, 0, &incr());
    let receipts = chain.block(vec![bad.clone(), forbidden.clone()]);
    assert_eq!(receipts[0].outcome, rejected(Rejection::BadCommand(0)));
    assert_eq!(receipts[1].outcome, rejected(Rejection::Forbidden));
    for (index, transaction) in [(0, bad), (1, forbidden)] {
        let height = Height(1);
        assert_eq!(chain.one(transaction), Outcome::Duplicate { height, index });
    }
    let again = chain.numbered(WRITER, 0, &incr());
    assert_eq!(chain.one(again), rejected(Rejection::SequenceReused));
}

#[test]
fn the_window_has_exact_edges() {
    let mut chain = window(64);
    // The highest is 100 chunks up: 64 numbers down, rounded down to a chunk.
    let highest = 100 * CHUNK + 5;
    let floor = (highest - 63) / CHUNK * CHUNK;
    let transactions = [highest, floor, floor - 1, highest + 1]
        .map(|sequence| chain.numbered(WRITER, sequence, &incr()));
    let receipts = chain.block(transactions.to_vec());
    assert!(executed(&receipts[0].outcome));
    assert!(executed(&receipts[1].outcome));
    assert_eq!(receipts[2].outcome, rejected(Rejection::TooOld));
    assert!(executed(&receipts[3].outcome));
}

#[test]
fn every_number_within_the_window_is_accepted_in_any_order() {
    let mut orders = vec![(0..64).collect::<Vec<u64>>(), (0..64).rev().collect()];
    let mut dice = Dice(1);
    let mut shuffled: Vec<u64> = (0..64).collect();
    for i in (1..shuffled.len()).rev() {
        shuffled.swap(i, usize::try_from(dice.roll(i as u64 + 1)).unwrap());
    }
    orders.push(shuffled);
    for order in orders {
        let mut chain = window(64);
        for some in order.chunks(10) {
            let some = some
                .iter()
                .map(|n| chain.numbered(WRITER, 1_000 + n, &incr()));
            let some = some.collect();
            assert!(chain.block(some).iter().all(|r| executed(&r.outcome)));
        }
        assert_eq!(chain.executor.revision(), 64);
    }
}

#[test]
fn the_window_moves_and_a_session_stays_small() {
    let mut chain = window(64);
    for block in 0..50u64 {
        let some = (0..20).map(|n| chain.numbered(WRITER, block * 20 + n, &incr()));
        let some = some.collect();
        assert!(chain.block(some).iter().all(|r| executed(&r.outcome)));
        assert!(chain.sessions() <= 64 / 16 + 2, "{}", chain.sessions());
    }
    // A jump to the last number there is takes the window along.
    let last = chain.numbered(WRITER, u64::MAX, &incr());
    let before = chain.numbered(WRITER, u64::MAX - 63, &incr());
    let old = chain.numbered(WRITER, 2_000, &incr());
    let receipts = chain.block(vec![last, before, old]);
    assert!(executed(&receipts[0].outcome) && executed(&receipts[1].outcome));
    assert_eq!(receipts[2].outcome, rejected(Rejection::TooOld));
    assert!(chain.sessions() <= 3);
}

#[test]
fn a_session_that_is_over_is_dropped_by_the_next_block_that_is_not_empty() {
    let mut chain = Chain::new();
    let some: Vec<_> = (0..40)
        .map(|n| chain.numbered(WRITER, n, &incr()))
        .collect();
    chain.block(some);
    assert_eq!(chain.sessions(), 3 + 1);
    chain.time = chain.time.plus_nanos(60 * SECOND + BUCKET_NS);
    let root = chain.executor.roots().state;
    let _ = chain.empty();
    assert_eq!(chain.sessions(), 4);
    assert_eq!(chain.executor.roots().state, root, "an empty block");
    let other = chain.numbered(OTHER, 0, MARK);
    chain.block(vec![other]);
    assert_eq!(chain.sessions(), 2, "only the other client's");
    assert_eq!(
        chain
            .memory
            .count(quorate_execution::Space::State, b"sys/expiry/"),
        1
    );
}

/// Were chunks dropped one by one, the floor would fall with the highest chunk, and number 1, pushed out of the window
/// while still valid, would be executed a second time.
#[test]
fn what_left_the_window_while_valid_never_executes_again() {
    let mut chain = window(64);
    let long = chain.time.plus_nanos(3_000 * SECOND);
    let early = chain.until(WRITER, 1, long, &incr());
    assert!(executed(&chain.one(early.clone())));
    let short = chain.time.plus_nanos(2 * SECOND);
    let high = chain.until(WRITER, 1_000, short, &incr());
    assert!(executed(&chain.one(high)));
    chain.time = chain.time.plus_nanos(4 * BUCKET_NS);
    let other = chain.numbered(OTHER, 0, MARK);
    chain.block(vec![other]);
    assert_eq!(chain.one(early.clone()), rejected(Rejection::TooOld));
    // When it is over itself, the session may go: then it is expired.
    chain.time = long.plus_nanos(2 * BUCKET_NS);
    let other = chain.numbered(OTHER, 1, MARK);
    chain.block(vec![other]);
    assert_eq!(chain.one(early), rejected(Rejection::Expired));
}

#[test]
fn a_large_session_is_dropped_in_bounded_steps_and_stays_sound() {
    let mut chain = Chain::new();
    let many: Vec<_> = (0..150)
        .map(|n| chain.numbered(WRITER, n * CHUNK, &incr()))
        .collect();
    chain.block(many.clone());
    assert_eq!(chain.sessions(), 151);
    chain.time = chain.time.plus_nanos(60 * SECOND + BUCKET_NS);
    let mut left = chain.sessions();
    for n in 0..3 {
        let copy = many[149].clone();
        let other = chain.numbered(OTHER, n, MARK);
        let receipts = chain.block(vec![copy, other]);
        assert!(
            !executed(&receipts[0].outcome),
            "over or known, never executed"
        );
        let now = chain.sessions();
        assert!(left - now <= 64, "{left} - {now}");
        left = now;
    }
    assert_eq!(left, 2);
}

/// The step that ends with a session's head is the one that once forgot to take the session off the list of those that are
/// over: the next block then dropped what the client had done since, and the same bytes were executed again.
#[test]
fn a_client_that_comes_back_in_the_block_that_drops_its_session_is_remembered() {
    for chunks in [1, 2, 62, 63, 64, 65, 126, 127, 128, 129] {
        let mut chain = Chain::new();
        let many = (0..chunks).map(|n| chain.numbered(WRITER, n * CHUNK, &incr()));
        let many = many.collect();
        chain.block(many);
        chain.time = chain.time.plus_nanos(60 * SECOND + BUCKET_NS);
        // More blocks than it takes, each with a new number: one of them meets the last step.
        let mut back = Vec::new();
        for n in 0..4 {
            let number = (chunks + n) * CHUNK;
            let until = chain.time.plus_nanos(3_000 * SECOND);
            back.push(chain.until(WRITER, number, until, &incr()));
            let outcomes = chain.block(back.clone()).into_iter().map(|r| r.outcome);
            let fresh = outcomes.filter(executed).count();
            assert_eq!(fresh, 1, "{chunks} chunks, block {n}");
        }
        let copies = chain.block(back);
        assert!(!copies.iter().any(|copy| executed(&copy.outcome)));
    }
}

/// The budget is shared: sessions that are dropped before leave as much of it as the last one needs.
#[test]
fn the_last_session_of_a_step_is_remembered_if_its_client_comes_back() {
    for before in 0..=SWEEP_RECORDS {
        let mut chain = Chain::new();
        let many = (0..before as u64).map(|n| chain.numbered(WRITER, n * CHUNK, &incr()));
        let mut many: Vec<_> = many.collect();
        many.push(chain.numbered(OTHER, 0, &incr()));
        chain.block(many);
        chain.time = chain.time.plus_nanos(60 * SECOND + BUCKET_NS);
        let mut back = Vec::new();
        for client in [WRITER, OTHER] {
            let until = chain.time.plus_nanos(3_000 * SECOND);
            back.push(chain.until(client, 5_000, until, &incr()));
        }
        let first = chain.block(back.clone());
        assert!(first.iter().all(|receipt| executed(&receipt.outcome)));
        for _ in 0..3 {
            let copies = chain.block(back.clone());
            let again = copies.iter().any(|copy| executed(&copy.outcome));
            assert!(!again, "{before} records before");
        }
    }
}

/// What a replica remembers of sessions decides nothing: one that starts anew before each block says the same, across
/// chunks in any order, floors that rise and sessions that end.
#[test]
fn a_replica_that_remembers_and_one_that_has_just_started_agree() {
    for seed in 0..6 {
        let mut dice = Dice(seed);
        let mut chain = window(64);
        let mut forgetful = chain.restarted(chain.memory.clone(), Height(0));
        let mut sent = Vec::new();
        for _ in 0..150 {
            let mut block = Vec::new();
            for _ in 0..dice.roll(10) {
                if !sent.is_empty() && dice.roll(4) == 0 {
                    let at = dice.roll(sent.len() as u64) as usize;
                    block.push(sent[at]);
                    continue;
                }
                let client = [WRITER, OTHER][dice.roll(2) as usize];
                let sequence = dice.roll(90) + sent.len() as u64 / 3;
                let until = chain.time.plus_nanos(dice.roll(400) * SECOND);
                sent.push((client, sequence, until));
                block.push(*sent.last().unwrap());
            }
            let block = block.into_iter().map(|(client, sequence, until)| {
                chain.until(client, sequence, until, &[put([client], "v")])
            });
            let block: Vec<_> = block.collect();
            forgetful.reopen();
            let (remembered, read) = (chain.block(block.clone()), forgetful.block(block));
            assert_eq!(remembered, read, "seed {seed}");
            assert_eq!(chain.executor.roots(), forgetful.executor.roots());
            if dice.roll(8) == 0 {
                chain.time = chain.time.plus_nanos(dice.roll(700) * SECOND);
                forgetful.time = chain.time;
            }
        }
        assert!(sent.len() > 300, "{}", sent.len());
    }
}

/// Random numbers, clients, times and restarts, held against the plain statement of X1.
#[test]
fn a_random_history_executes_nothing_twice() {
    for seed in 0..6 {
        let mut dice = Dice(seed);
        let mut chain = window(64);
        let mut sent = Vec::new();
        let mut done = std::collections::BTreeSet::new();
        for _ in 0..120 {
            let mut block = Vec::new();
            for _ in 0..dice.roll(12) {
                if !sent.is_empty() && dice.roll(2) == 0 {
                    let at = dice.roll(sent.len() as u64) as usize;
                    block.push(sent[at]);
                    continue;
                }
                let client = [WRITER, OTHER][dice.roll(2) as usize];
                let sequence = dice.roll(200) + sent.len() as u64 / 2;
                let until = chain.time.plus_nanos(dice.roll(600) * SECOND);
                sent.push((client, sequence, until, dice.roll(3)));
                block.push(*sent.last().unwrap());
            }
            let block = block.into_iter().map(|(client, sequence, until, value)| {
                let value = [u8::try_from(value).unwrap()];
                chain.until(client, sequence, until, &[put("k", value)])
            });
            let block = block.collect();
            for receipt in chain.block(block) {
                if executed(&receipt.outcome) {
                    assert!(done.insert(receipt.transaction), "I7, seed {seed}");
                }
            }
            if dice.roll(10) == 0 {
                chain.reopen();
            }
            if dice.roll(20) == 0 {
                chain.time = chain.time.plus_nanos(dice.roll(900) * SECOND);
            }
        }
        assert!(done.len() > 50, "{}", done.len());
    }
}
