//! Real signatures through real threads; who goes first is tested on the queue.

use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use quorate_crypto::{Domain, SecretKey, hash};
use quorate_types::message::{BatchRequest, VerifiedMessage};
use quorate_types::transaction::TransactionBody;
use quorate_types::vote::Signable;
use quorate_types::{
    Batch, BatchId, Blob, BlockId, BlockTime, ChainId, Epoch, FORMAT_VERSION, Height, Round,
    Signature, Transaction, Vote,
};

use super::*;

const V0: ValidatorIndex = ValidatorIndex(0);
const V1: ValidatorIndex = ValidatorIndex(1);

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn chain(name: &str) -> ChainId {
    ChainId(hash(Domain::Genesis, &[name.as_bytes()]))
}

fn rules(name: &str) -> Rules {
    let keys = (0..4).map(|seed| key(seed).public()).collect();
    let anchor = (BlockId::default(), Height::default());
    let validators = Validators::new(chain(name), Epoch::default(), keys, anchor);
    Rules {
        validators: Arc::new(validators.unwrap()),
        parameters: Parameters::default(),
    }
}

fn pool(workers: usize, limits: PoolLimits) -> (VerifyPool, Receiver<Verdict>) {
    let (sender, verdicts) = channel();
    let workers = NonZeroUsize::new(workers).unwrap();
    let pool = VerifyPool::start(workers, limits, rules("here"), move |verdict| {
        let _ = sender.send(verdict);
    });
    (pool.unwrap(), verdicts)
}

fn next<T>(receiver: &Receiver<T>) -> T {
    let next = receiver.recv_timeout(Duration::from_secs(30));
    next.expect("a verdict for everything")
}

fn vote(signer: ValidatorIndex) -> Message {
    let mut vote = Vote {
        round: Round::new(Epoch::default(), 1),
        block: BlockId::default(),
        voter: signer,
        signature: Signature::from_bytes([0; 64]),
        held: Vec::new(),
    };
    let message = vote.signed_bytes(chain("here"));
    let seed = u8::try_from(signer.0).unwrap();
    vote.set_signature(key(seed).sign(Vote::DOMAIN, &message));
    Message::Vote(vote)
}

fn transaction(sequence: u64) -> Transaction {
    transaction_of(&key(9), sequence)
}

fn hashed(transaction: Transaction) -> Unverified<HashedTransaction> {
    Unverified::new(HashedTransaction::new(transaction))
}

fn transaction_of(key: &SecretKey, sequence: u64) -> Transaction {
    let body = TransactionBody {
        version: FORMAT_VERSION,
        chain: chain("here"),
        client: key.public(),
        sequence,
        valid_until: BlockTime(1),
        commands: vec![Blob(vec![1])],
    };
    body.sign(key)
}

/// Earlier ones are larger and take longer to verify.
fn batch(origin: ValidatorIndex, sequence: u64) -> Message {
    let count = 1 + 5 * (20 - sequence.min(20));
    Message::Batch(Box::new(Batch {
        version: FORMAT_VERSION,
        epoch: Epoch::default(),
        origin,
        sequence,
        expiry: BlockTime(1),
        transactions: (0..count).map(transaction).collect(),
    }))
}

fn request() -> Message {
    Message::BatchRequest(BatchRequest {
        batches: vec![BatchId::default()],
    })
}

#[test]
fn good_passes_and_bad_is_refused_with_its_sender() {
    let (pool, verdicts) = pool(1, PoolLimits::default());
    let verifier = pool.verifier();
    verifier.message(V1, vote(V0), Credit::none());
    let good = next(&verdicts);
    assert!(matches!(
        good,
        Verdict::Message { from: V1, message: VerifiedMessage::Vote(vote), .. } if vote.voter == V0
    ));
    let Message::Vote(mut forged) = vote(V0) else {
        unreachable!()
    };
    forged.voter = ValidatorIndex(2);
    verifier.message(V1, Message::Vote(forged), Credit::none());
    let bad = next(&verdicts);
    assert!(matches!(
        bad,
        Verdict::Refused {
            from: V1,
            class: Class::Consensus,
            reject: Reject::BadSignature
        }
    ));
}

/// A batch has no signature: only its origin's own connection vouches for it.
#[test]
fn a_batch_comes_from_its_origin() {
    let (pool, verdicts) = pool(1, PoolLimits::default());
    pool.verifier().message(V1, batch(V0, 19), Credit::none());
    let refused = next(&verdicts);
    assert!(matches!(
        refused,
        Verdict::Refused {
            from: V1,
            class: Class::Batches,
            reject: Reject::Malformed
        }
    ));
}

#[test]
fn new_rules_apply_to_what_comes_after() {
    let (pool, verdicts) = pool(2, PoolLimits::default());
    let verifier = pool.verifier();
    verifier.message(V0, vote(V0), Credit::none());
    assert!(matches!(next(&verdicts), Verdict::Message { .. }));
    verifier.replace_rules(rules("elsewhere"));
    verifier.message(V0, vote(V0), Credit::none());
    assert!(matches!(next(&verdicts), Verdict::Refused { .. }));
}

/// Three workers, and batches that get quicker to verify: each origin's come out as they went in.
#[test]
fn batches_of_one_peer_keep_their_order() {
    let (pool, verdicts) = pool(3, PoolLimits::default());
    for sequence in 0..20 {
        for origin in [V0, V1] {
            let batch = batch(origin, sequence);
            pool.verifier().message(origin, batch, Credit::none());
        }
    }
    let mut seen = [0, 0];
    for _ in 0..40 {
        let verdict = next(&verdicts);
        let Verdict::Message {
            from,
            message: VerifiedMessage::Batch(batch),
            ..
        } = verdict
        else {
            panic!("not a good batch: {verdict:?}");
        };
        assert_eq!(batch.sequence, seen[from.as_usize()]);
        seen[from.as_usize()] += 1;
    }
}

#[test]
fn each_transaction_gets_its_own_verdict() {
    let (pool, _verdicts) = pool(1, PoolLimits::default());
    let (sender, results) = channel();
    for sequence in 0..600 {
        let mut transaction = transaction(sequence);
        if sequence % 100 == 7 {
            transaction.body.sequence += 1;
        }
        let sender = sender.clone();
        let done = move |verdict: Result<Verified<HashedTransaction>, Reject>| {
            sender.send((sequence, verdict)).unwrap();
        };
        pool.verifier()
            .transaction(hashed(transaction), done)
            .unwrap();
    }
    for _ in 0..600 {
        match next(&results) {
            (sequence, Ok(verified)) => {
                assert_eq!(verified.body.sequence, sequence);
                assert_ne!(sequence % 100, 7);
            }
            (sequence, Err(reject)) => {
                assert_eq!((sequence % 100, reject), (7, Reject::BadSignature));
            }
        }
    }
}

/// What was told, and when a piece of work was over.
struct Tape(Sender<char>);

impl Sink for Tape {
    fn tell(&self, _: Verdict) {
        self.0.send('m').unwrap();
    }

    fn flush(&self) {
        self.0.send('|').unwrap();
    }
}

/// A worker is woken for what was submitted together, and whatever is told is flushed.
#[test]
fn nothing_that_was_told_is_left_lying() {
    let (sender, tape) = channel();
    let workers = NonZeroUsize::new(2).unwrap();
    let rules = rules("here");
    let pool = VerifyPool::start(workers, PoolLimits::default(), rules, Tape(sender.clone()));
    let pool = pool.unwrap();
    let verifier = pool.verifier();
    let submit = |sequence| {
        let sender = sender.clone();
        let done = move |_| sender.send('t').unwrap();
        verifier
            .transaction(hashed(transaction(sequence)), done)
            .unwrap();
    };
    let told = |what: char, times: usize| {
        let mut left = times;
        while left > 0 {
            left -= usize::from(next(&tape) == what);
        }
        assert_eq!(next(&tape), '|');
    };
    for _ in 0..50 {
        verifier.together(|| (0..5).for_each(submit));
        told('t', 5);
        verifier.together(|| {});
        submit(5);
        told('t', 1);
        verifier.message(V0, vote(V0), Credit::none());
        told('m', 1);
    }
}

/// Many clients, all good at first, so that their keys are remembered; then their keys are known, and some are bad.
#[test]
fn clients_whose_keys_are_known_are_judged_alike() {
    let mut rules = rules("here");
    rules.validators = remembering(&rules.validators);
    let workers = NonZeroUsize::new(2).unwrap();
    let pool = VerifyPool::start(workers, PoolLimits::default(), rules, |_| {}).unwrap();
    for sequence in 0..2 {
        let (sender, results) = channel();
        for seed in 0..100 {
            let mut transaction = transaction_of(&key(seed), sequence);
            if sequence == 1 && seed % 30 == 7 {
                transaction.body.sequence += 1;
            }
            let sender = sender.clone();
            let done = move |verdict: Result<Verified<HashedTransaction>, Reject>| {
                sender.send((seed, verdict.err())).unwrap();
            };
            pool.verifier()
                .transaction(hashed(transaction), done)
                .unwrap();
        }
        for _ in 0..100 {
            let (seed, refused) = next(&results);
            let expected = (sequence == 1 && seed % 30 == 7).then_some(Reject::BadSignature);
            assert_eq!(refused, expected, "{seed}");
        }
    }
}

#[test]
fn too_many_transactions_are_turned_away() {
    let size = transaction(0).encoded_len();
    for limits in [
        PoolLimits {
            transactions: 2,
            bytes: usize::MAX,
        },
        PoolLimits {
            transactions: usize::MAX,
            bytes: 2 * size,
        },
    ] {
        let (pool, _verdicts) = pool(1, limits);
        let verifier = pool.verifier();
        // The only worker stands in the first one's verdict.
        let (busy, free) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let gates = (Arc::clone(&busy), Arc::clone(&free));
        let hold = move |_| {
            gates.0.wait();
            gates.1.wait();
        };
        verifier.transaction(hashed(transaction(0)), hold).unwrap();
        busy.wait();
        let (sender, results) = channel();
        let submit = |sequence| {
            let sender = sender.clone();
            verifier.transaction(hashed(transaction(sequence)), move |verdict| {
                sender.send(verdict.is_ok()).unwrap();
            })
        };
        assert_eq!(submit(1), Ok(()));
        assert_eq!(submit(2), Ok(()));
        assert_eq!(submit(3), Err(Overloaded));
        free.wait();
        assert!(next(&results) && next(&results));
        assert_eq!(submit(4), Ok(()), "there is room again");
        assert!(next(&results));
    }
}

#[test]
fn a_stop_drops_what_waits_and_what_comes() {
    let (pool, verdicts) = pool(2, PoolLimits::default());
    let verifier = pool.verifier();
    drop(pool);
    verifier.message(V0, vote(V0), Credit::none());
    assert_eq!(
        verifier.transaction(hashed(transaction(1)), |_| {}),
        Err(Overloaded)
    );
    drop(verifier);
    let end = verdicts.recv_timeout(Duration::from_secs(30));
    assert!(matches!(end, Err(RecvTimeoutError::Disconnected)));
}

mod queue {
    use super::*;
    use crate::net::verify::queue::{Queue, Submission, TOGETHER, Work};

    fn submission(sequence: u64) -> Submission {
        let transaction = transaction(sequence);
        Submission {
            bytes: transaction.encoded_len(),
            transaction: hashed(transaction),
            done: Box::new(|_| {}),
        }
    }

    fn push(queue: &mut Queue, from: u16, message: Message) {
        queue.push_message(ValidatorIndex(from), message, Credit::none());
    }

    /// What is taken: for each part its sender, and whether it is a vote, batch, request or transaction.
    fn name(work: &Work) -> Vec<(u16, char)> {
        match work {
            Work::Transactions {
                batches,
                submissions,
            } => {
                let batches = batches.iter().map(|streamed| (streamed.from.0, 'b'));
                let transactions = submissions.iter().map(|_| (99, 't'));
                batches.chain(transactions).collect()
            }
            Work::Message { from, message, .. } => match message.class() {
                Class::Consensus => vec![(from.0, 'v')],
                _ => vec![(from.0, 's')],
            },
        }
    }

    fn drain(queue: &mut Queue) -> Vec<Vec<(u16, char)>> {
        let mut names = Vec::new();
        while let Some(work) = queue.take() {
            names.push(name(&work));
            queue.done(work.end());
        }
        names
    }

    #[test]
    fn consensus_goes_first_and_peers_take_turns() {
        let mut queue = Queue::new(PoolLimits::default(), 1);
        push(&mut queue, 0, request());
        push(&mut queue, 0, batch(V0, 20));
        for _ in 0..3 {
            push(&mut queue, 0, vote(V0));
        }
        push(&mut queue, 1, vote(V1));
        push(&mut queue, 2, vote(V1));
        let order = drain(&mut queue);
        let votes = [(0, 'v'), (1, 'v'), (2, 'v'), (0, 'v'), (0, 'v')];
        assert_eq!(order[..5].concat(), votes);
        assert_eq!(order[5..], [[(0, 'b')], [(0, 's')]]);
        assert!(!queue.has_work());
    }

    #[test]
    fn transactions_and_sync_take_turns() {
        let mut queue = Queue::new(PoolLimits::default(), 1);
        for sequence in 0..2 * TOGETHER {
            let sequence = u64::try_from(sequence).unwrap();
            assert_eq!(queue.push_transaction(submission(sequence)), Ok(()));
        }
        for _ in 0..2 {
            push(&mut queue, 0, request());
        }
        let order = drain(&mut queue);
        let (transactions, sync) = (vec![(99, 't'); TOGETHER], vec![(0, 's')]);
        let turn = [transactions, sync];
        assert_eq!(order, [turn.clone(), turn].concat());
    }

    /// One of each peer, so that the batches of a peer stay in order, and what clients sent, up to a limit.
    #[test]
    fn what_clients_signed_is_taken_together() {
        let mut queue = Queue::new(PoolLimits::default(), 8);
        for _ in 0..2 {
            push(&mut queue, 0, batch(V0, 20));
            push(&mut queue, 1, batch(V1, 20));
        }
        for sequence in 0..3 {
            assert_eq!(queue.push_transaction(submission(sequence)), Ok(()));
        }
        let first = queue.take().unwrap();
        let expected = [(0, 'b'), (1, 'b'), (99, 't'), (99, 't'), (99, 't')];
        assert_eq!(name(&first), expected);
        assert!(queue.take().is_none() && !queue.has_work());
        queue.done(first.end());
        assert_eq!(
            queue.take().map(|work| name(&work)),
            Some(vec![(0, 'b'), (1, 'b')])
        );
    }

    #[test]
    fn one_worker_stays_free_of_bulk() {
        let mut queue = Queue::new(PoolLimits::default(), 2);
        for from in 0..3 {
            push(&mut queue, from, request());
        }
        let first = queue.take().unwrap();
        let _second = queue.take().unwrap();
        assert!(queue.take().is_none() && !queue.has_work());
        push(&mut queue, 5, vote(V0));
        assert!(queue.has_work());
        let vote = queue.take().unwrap();
        assert_eq!(name(&vote), [(5, 'v')]);
        queue.done(vote.end());
        assert!(queue.take().is_none());
        queue.done(first.end());
        assert_eq!(queue.take().map(|work| name(&work)), Some(vec![(2, 's')]));
    }

    #[test]
    fn work_that_outlives_a_stop_ends_quietly() {
        let mut queue = Queue::new(PoolLimits::default(), 8);
        push(&mut queue, 0, batch(V0, 20));
        push(&mut queue, 0, batch(V0, 20));
        assert_eq!(queue.push_transaction(submission(1)), Ok(()));
        let work = queue.take().unwrap();
        queue.stop();
        queue.done(work.end());
        assert!(queue.take().is_none() && queue.is_stopped());
    }
}
