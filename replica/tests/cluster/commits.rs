//! Transactions, from a client to a receipt that all have: with nobody dead, one, and all of them; with work and without.

use quorate_execution::kv::{Command, LeafRecord};
use quorate_replica::{Input, Reply, SubmitRefusal};
use quorate_storage::{Order, Store as _, Sync, Table, View as _, WriteBatch};
use quorate_types::message::VerifiedMessage;
use quorate_types::vote::Signable as _;
use quorate_types::{
    Blob, BlockId, CommitVote, Epoch, Height, Message, Outcome, Rejection, Round, Signature,
    ValidatorIndex,
};

use crate::cluster::{Cluster, OnTheWay, executed, genesis, key};

#[test]
fn a_signed_put_is_executed_by_all_with_equal_roots() {
    let mut cluster = Cluster::new(4);
    let put = cluster.put(1);
    cluster.submit(0, 1, put);
    let (_, reply) = cluster.answer(1, 2_000);
    assert!(executed(&reply), "{reply:?}");
    cluster.run(1_000);
    assert!(cluster.agreed());
}

#[test]
fn a_lone_validator_commits() {
    let mut cluster = Cluster::new(1);
    let put = cluster.put(1);
    cluster.submit(0, 1, put);
    let (_, reply) = cluster.answer(1, 2_000);
    assert!(executed(&reply), "{reply:?}");
}

#[test]
fn one_of_four_dead_commits_go_on_and_it_catches_up() {
    let mut cluster = Cluster::new(4);
    for dead in 0..4usize {
        cluster.crash(dead);
        for i in 0..20u64 {
            let sequence = u64::try_from(dead).unwrap() * 100 + i + 1;
            let put = cluster.put(sequence);
            cluster.submit((dead + 1) % 4, sequence, put);
            let (_, reply) = cluster.answer(sequence, 5_000);
            assert!(executed(&reply), "{reply:?}");
        }
        cluster.restart(dead);
        cluster.run(3_000);
        assert!(cluster.agreed());
    }
}

#[test]
fn all_restart_and_three_go_on() {
    let mut cluster = Cluster::new(4);
    let put = cluster.put(1);
    cluster.submit(0, 1, put);
    cluster.answer(1, 2_000);
    for round in 0..5u64 {
        for node in 0..4 {
            cluster.crash(node);
        }
        let absent = usize::try_from(round % 4).unwrap();
        for node in (0..4).filter(|node| *node != absent) {
            cluster.restart(node);
        }
        let sequence = 10 + round;
        let put = cluster.put(sequence);
        cluster.submit((absent + 1) % 4, sequence, put);
        let (passed, reply) = cluster.answer(sequence, 5_000);
        assert!(executed(&reply), "{reply:?}");
        assert!(passed < 5_000);
        cluster.restart(absent);
        cluster.run(1_000);
        assert!(cluster.agreed());
    }
}

#[test]
fn a_repeat_is_answered_with_the_first_receipt() {
    let mut cluster = Cluster::new(4);
    let put = cluster.put(1);
    for node in 0..4u64 {
        cluster.submit(usize::try_from(node).unwrap(), node, put.clone());
    }
    let first = cluster.answer(0, 2_000).1;
    for node in 1..4 {
        assert_eq!(cluster.answer(node, 2_000).1, first);
    }
    cluster.submit(2, 9, put);
    assert_eq!(cluster.answer(9, 10).1, first);
}

/// Its receipt is no answer to a repeat: what stood in its way has passed.
#[test]
fn what_found_its_block_full_is_ordered_again() {
    let mut small = genesis(4);
    small.parameters.max_transaction_cost = 10_000;
    small.parameters.max_block_cost = 20_300;
    let mut cluster = Cluster::of(small);
    for ticket in [1, 2] {
        let wasteful = cluster.put_value(ticket, vec![0; 40_000]);
        cluster.submit(0, ticket, wasteful);
    }
    let late = cluster.put_value(3, vec![0; 1_000]);
    cluster.submit(0, 3, late.clone());
    let (dear, full) = (Rejection::CostExceeded, Rejection::BlockFull);
    for (ticket, why) in [(1, dear), (2, dear), (3, full)] {
        let Reply::Executed(receipt) = cluster.answer(ticket, 2_000).1 else {
            panic!("no receipt");
        };
        assert_eq!(receipt.outcome, Outcome::Rejected(why));
    }
    for (node, ticket) in [(0, 4), (1, 5)] {
        cluster.submit(node, ticket, late.clone());
        let reply = cluster.answer(ticket, 2_000).1;
        assert!(executed(&reply), "{reply:?}");
    }
    cluster.run(1_000);
    assert!(cluster.agreed());
}

/// V5: what a diverged validator took for receipts is not said, to whom repeats a transaction no more than to others. It
/// answered repeats, since it looked for a receipt before it looked at itself.
#[test]
fn a_validator_that_diverged_answers_no_repeat() {
    let mut cluster = Cluster::new(4);
    let first = cluster.put(1);
    cluster.submit(0, 1, first.clone());
    assert!(executed(&cluster.answer(1, 2_000).1));
    cluster.run(100);
    // In one store the value is another one, which the next transaction reads.
    let store = &mut cluster.nodes[3].store;
    let all = store.scan(Table::State, b"", None, 1_000, Order::Ascending);
    let records = all.unwrap().into_iter();
    let mut changed = WriteBatch::new();
    for (key, record) in records.filter(|(key, _)| key.ends_with(b"k1")) {
        let mut record = LeafRecord::decode(&record).unwrap();
        record.value = Blob(b"other".to_vec());
        changed.defer(Table::State, key, Some(record.encode()));
    }
    assert_eq!(changed.len(), 1);
    store.write(changed, Sync::Yes).unwrap();
    let key = Blob(b"k1".to_vec());
    let second = cluster.transaction(2, &Command::Get { key });
    cluster.submit(0, 2, second.clone());
    let (_, reply) = cluster.answer(2, 5_000);
    assert!(matches!(reply, Reply::Executed(_)), "{reply:?}");
    cluster.run(10_000);
    assert!(cluster.status(3).consensus.diverged);
    for (ticket, repeated) in [(10, first), (11, second)] {
        cluster.submit(3, ticket, repeated);
        let (_, reply) = cluster.answer(ticket, 10);
        assert_eq!(reply, Reply::Refused(SubmitRefusal::NotServing));
    }
}

#[test]
fn idle_time_costs_few_rounds_and_work_ends_it_at_once() {
    let mut cluster = Cluster::new(4);
    let put = cluster.put(1);
    cluster.submit(0, 1, put);
    cluster.answer(1, 2_000);
    cluster.run(10_000);
    let before = cluster.status(0);
    cluster.run(60_000);
    let after = cluster.status(0);
    assert!(
        after.height.0 - before.height.0 <= 15,
        "{before:?} {after:?}"
    );
    let put = cluster.put(2);
    cluster.submit(3, 2, put);
    let (passed, reply) = cluster.answer(2, 1_000);
    assert!(executed(&reply), "{reply:?}");
    assert!(passed < 50, "{passed} ms");
}

/// A leader inlines small batches of others as well as its own. They were refused as not asked for, since the batches
/// were taken before the block that needs them: whoever had not got the origin's stream had to fetch what it held in
/// its hands.
#[test]
fn an_inlined_batch_is_taken_whoever_packed_it() {
    let mut cluster = Cluster::new(4);
    cluster.lossy = Some((0, 3));
    for sequence in 1..=4 {
        // An idle leader that is neither the origin nor misses the stream: it proposes before anybody's hints come.
        cluster.run(1_000);
        let inlines = [1, 2].map(|index| Some(ValidatorIndex(index)));
        while !inlines.contains(&cluster.status(0).consensus.leader) {
            cluster.run(100);
        }
        let put = cluster.put(sequence);
        cluster.submit(0, sequence, put);
        let (_, reply) = cluster.answer(sequence, 2_000);
        assert!(executed(&reply), "{reply:?}");
    }
    cluster.run(100);
    assert!(cluster.agreed());
    assert_eq!(cluster.fetches, 0);
}

/// B1: once something is in flight, what comes later waits for the linger, or leaves with a vote.
#[test]
fn what_waits_leaves_with_the_next_vote() {
    let mut cluster = Cluster::new(4);
    cluster.run(1_000);
    for sequence in 1..=2 {
        let put = cluster.put(sequence);
        cluster.submit(0, sequence, put);
        cluster.run(1);
    }
    // The node votes in the step in which the second comes. In the next one the first is committed, and nothing is in flight.
    let came = cluster.now;
    for sequence in 1..=2 {
        assert!(executed(&cluster.answer(sequence, 1_000).1));
    }
    let [_, (left, 0)] = cluster.streamed[..] else {
        panic!("{:?}", cluster.streamed);
    };
    assert_eq!(left, came);
}

/// B2: a batch too large to be inlined waits until a quorum reports it, in votes or in commit votes. What nobody reports
/// is inlined in the end.
#[test]
fn votes_and_commit_votes_report_what_is_held() {
    let nothing: OnTheWay = |_| {};
    let reported = [
        (nothing, true),
        (silence_votes, true),
        (silence_commit_votes, true),
        (silence_all, false),
    ];
    for (on_the_way, soon) in reported {
        let mut cluster = Cluster::new(4);
        cluster.on_the_way = on_the_way;
        cluster.run(1_000);
        let put = cluster.put_value(1, vec![7; 40_000]);
        cluster.submit(0, 1, put);
        let (passed, reply) = cluster.answer(1, 1_000);
        assert!(executed(&reply), "{reply:?}");
        assert_eq!(passed < 20, soon, "{passed} ms");
    }
}

fn silence_all(message: &mut Message) {
    silence_votes(message);
    silence_commit_votes(message);
}

fn silence_votes(message: &mut Message) {
    if let Message::Vote(vote) = message {
        vote.held.clear();
    }
}

fn silence_commit_votes(message: &mut Message) {
    if let Message::CommitVote(vote) = message {
        vote.held.clear();
    }
}

/// B2: no signature covers hints, so that only the voter itself may say them.
#[test]
fn hints_count_from_the_voter_itself_alone() {
    for (relayed, soon) in [(false, true), (true, false)] {
        let mut cluster = Cluster::new(4);
        cluster.on_the_way = silence_all;
        cluster.run(1_000);
        for seat in 0..4u8 {
            let voter = ValidatorIndex(seat.into());
            let vote = CommitVote {
                round: Round::new(Epoch(0), 1),
                block: BlockId::default(),
                height: Height(1),
                voter,
                signature: Signature::from_bytes([0; 64]),
                held: vec![u64::MAX; 4],
            };
            let vote = vote.sign(cluster.genesis.chain_id(), &key(seat + 1));
            for (node, to) in cluster.nodes.iter_mut().enumerate() {
                let others = (0..4)
                    .map(ValidatorIndex)
                    .filter(|from| from.as_usize() != node);
                for from in others.filter(|from| (*from != voter) == relayed) {
                    let message = VerifiedMessage::CommitVote(vote.clone());
                    to.inbox.push(Input::Message { from, message });
                }
            }
        }
        let put = cluster.put_value(1, vec![7; 40_000]);
        cluster.submit(0, 1, put);
        let (passed, reply) = cluster.answer(1, 1_000);
        assert!(executed(&reply), "{reply:?}");
        assert_eq!(passed < 20, soon, "{passed} ms");
    }
}
