//! Of the desk alone.

use quorate_execution::tree::{Proof, Step};
use quorate_types::{BlockId, BlockTime, ChainId, Claim, Roots, Round, Signers};

use super::*;

const NOW: Instant = Instant(1);

fn root(state: u8) -> Digest {
    Digest::from_bytes([state; 32])
}

/// A path in the state after block `state`.
fn capture(state: u8, steps: usize, record: usize) -> Capture {
    let step = Step {
        bit: 0,
        sibling: Digest::ZERO,
    };
    Capture {
        height: Height(u64::from(state)),
        root: root(state),
        record: Some(vec![7; record]),
        proof: Proof {
            steps: vec![step; steps],
            witness: None,
        },
    }
}

fn ask(desk: &mut ProofDesk, ticket: u64, key: &str, height: u64, state: u8) -> bool {
    let question = (Ticket(ticket), key.as_bytes().to_vec());
    desk.ask(question, NOW, (Height(height), root(state)))
}

/// Final headers that claim these states, one after another, each with its root.
fn finals(claims: &[u8]) -> Arc<Finals> {
    let header = |state: &u8| {
        let time = BlockTime(1);
        let mut header = Header::genesis(ChainId::default(), time, Roots::default());
        header.claim = Claim {
            height: Height(u64::from(*state)),
            roots: Roots {
                state: root(*state),
                ..Roots::default()
            },
        };
        header
    };
    let headers = claims.iter().map(header).collect();
    let cc = Cc {
        round: Round::default(),
        block: BlockId::default(),
        height: Height(9),
        signers: Signers::default(),
        signatures: Vec::new(),
    };
    Arc::new(Finals { headers, cc })
}

/// What is given out at once when they become final.
fn settle(desk: &mut ProofDesk, claims: &[u8]) -> Vec<(Ticket, Reply)> {
    let Finals { headers, cc } = &*finals(claims);
    desk.settle(headers, cc);
    give_out(desk, NOW)
}

fn give_out(desk: &mut ProofDesk, now: Instant) -> Vec<(Ticket, Reply)> {
    let mut answers = Answers::default();
    desk.give_out(now, &mut answers);
    answers.replies
}

fn bytes(desk: &ProofDesk) -> usize {
    desk.keys.values().map(Asked::bytes).sum()
}

fn proved(replies: &[(Ticket, Reply)]) -> Vec<u64> {
    let proofs = replies
        .iter()
        .filter(|(_, reply)| matches!(reply, Reply::Proof(_)));
    proofs.map(|(ticket, _)| ticket.0).collect()
}

/// A writer can make the path of a key thousands of steps long. It was taken once a question and executed block, and
/// kept as often.
#[test]
fn i9_all_who_ask_for_one_key_share_a_path() {
    let mut desk = ProofDesk::default();
    for ticket in 0..256 {
        assert!(ask(&mut desk, ticket, "k", 1, 1));
    }
    assert!(!ask(&mut desk, 256, "k", 1, 1));
    assert_eq!(desk.next(NOW, root(1), true).unwrap(), b"k");
    desk.keep(b"k", capture(1, 9_000, 0));
    assert_eq!(desk.next(NOW, root(1), true), None);
    assert!(bytes(&desk) < 9_000 * 40);
    // A few states of it, oldest first, are enough: a claim of the first settles all.
    for state in 2..9 {
        if let Some(key) = desk.next(NOW, root(state), true) {
            desk.keep(&key, capture(state, 9_000, 0));
        }
    }
    assert!(bytes(&desk) <= MAX_CAPTURES * 9_000 * 40);
    let mut replies = settle(&mut desk, &[1]);
    while let Some(due) = desk.deadline() {
        assert!(bytes(&desk) < 9_000 * 40, "of the others nothing is needed");
        replies.extend(give_out(&mut desk, due));
    }
    assert_eq!(proved(&replies), Vec::from_iter(0..256));
    assert_eq!((desk.questions, bytes(&desk)), (0, 0));
    assert!(desk.is_empty());
}

/// 256 records of 62 KiB, each as it was after 32 blocks: half a gigabyte, while claims lagged behind.
#[test]
fn i9_paths_are_bounded_in_bytes_and_a_claim_makes_room() {
    let mut desk = ProofDesk::default();
    for ticket in 0..64 {
        assert!(ask(&mut desk, ticket, &format!("k{ticket}"), 1, 1));
    }
    while let Some(key) = desk.next(NOW, root(1), true) {
        desk.keep(&key, capture(1, 20, 1 << 20));
    }
    assert!(bytes(&desk) >= MAX_CAPTURED_BYTES && bytes(&desk) < MAX_CAPTURED_BYTES + (2 << 20));
    assert_eq!(desk.deadline(), Some(NOW.plus_nanos(PATIENCE_NANOS)));
    // An answer is not kept.
    assert!(desk.next(NOW, root(1), false).is_some());
    let answered = settle(&mut desk, &[1]).len();
    assert!((30..34).contains(&answered), "{answered}");
    assert_eq!(bytes(&desk), 0);
    let key = desk
        .next(NOW, root(2), true)
        .expect("the rest has its turn");
    desk.keep(&key, capture(2, 20, 1 << 20));
    // Claims have passed it by: it will never be an answer.
    assert!(settle(&mut desk, &[3]).is_empty());
    assert_eq!(bytes(&desk), 0);
    assert!(desk.next(NOW, root(4), true).is_some());
}

#[test]
fn i9_a_turn_takes_few_long_paths_and_later_ones_the_rest() {
    let mut desk = ProofDesk::default();
    for ticket in 0..20 {
        assert!(ask(&mut desk, ticket, &format!("k{ticket}"), 1, 1));
    }
    let (mut now, mut taken, mut turns) = (NOW, Vec::new(), 0);
    while taken.len() < 20 {
        let before = taken.len();
        while let Some(key) = desk.next(now, root(1), true) {
            let capture = capture(1, 9_000, 0);
            desk.count(now, &capture);
            desk.keep(&key, capture);
            taken.push(key);
        }
        assert!((1..=2).contains(&(taken.len() - before)));
        turns += 1;
        let due = desk.deadline().unwrap();
        assert!(taken.len() == 20 || due.since(now) < 2 * BURST_NANOS);
        now = due;
    }
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), 20, "each once");
    assert!(turns >= 10);
}

#[test]
fn no_state_from_before_the_question_is_an_answer() {
    let mut desk = ProofDesk::default();
    ask(&mut desk, 1, "k", 1, 1);
    desk.keep(b"k", capture(1, 1, 1));
    // Empty blocks change nothing: the path is as good for this one.
    ask(&mut desk, 2, "k", 3, 1);
    // The key may have changed with block 4.
    ask(&mut desk, 3, "k", 4, 4);
    assert_eq!(proved(&settle(&mut desk, &[0, 1])), [1, 2]);
    desk.keep(b"k", capture(4, 1, 1));
    assert_eq!(proved(&settle(&mut desk, &[4])), [3]);
}

/// Whoever was left over was refused, and had to ask again.
#[test]
fn i9_what_is_given_out_at_once_is_bounded_and_the_rest_waits() {
    let mut desk = ProofDesk::default();
    for ticket in 0..100 {
        ask(&mut desk, ticket, "k", 1, 1);
    }
    desk.keep(b"k", capture(1, 20, 1 << 20));
    let (mut now, mut given) = (NOW, settle(&mut desk, &[1]));
    for all in [32, 64, 96, 100] {
        assert_eq!(proved(&given), Vec::from_iter(0..all));
        assert!(give_out(&mut desk, now).is_empty(), "a pause");
        assert!(bytes(&desk) < 2 << 20, "they share a path");
        now = desk.deadline().unwrap_or(now);
        given.extend(give_out(&mut desk, now));
    }
    assert!(desk.is_empty() && desk.questions == 0);
    assert_eq!(now, NOW.plus_nanos(3 * ANSWER_PAUSE_NANOS));
}

/// One round of answers may take more than is given out at once: the next time goes on behind it.
#[test]
fn keys_are_answered_in_turn() {
    let mut desk = ProofDesk::default();
    for ticket in 0..120 {
        assert!(ask(
            &mut desk,
            ticket,
            &format!("k{:02}", ticket % 60),
            1,
            1
        ));
    }
    for key in 0..60 {
        desk.prove(
            format!("k{key:02}").as_bytes(),
            capture(1, 1, 1 << 20),
            &finals(&[1]),
        );
    }
    // Each is kept until all who ask for it have their answer, and nothing more meanwhile.
    assert!(ask(&mut desk, 120, "new", 1, 1));
    assert_eq!(desk.next(NOW, root(1), true), None);
    assert_eq!(desk.next(NOW, root(1), false), None);
    let (mut now, mut given) = (NOW, give_out(&mut desk, NOW));
    while given.len() < 120 {
        now = desk.deadline().unwrap();
        given.extend(give_out(&mut desk, now));
    }
    assert_eq!(proved(&given), Vec::from_iter(0..120));
    assert_eq!(desk.next(now, root(1), true).unwrap(), b"new");
}

/// The state did not change: the path that others wait to be given is as good for who asks meanwhile.
#[test]
fn who_asks_for_a_proven_state_takes_no_path() {
    let mut desk = ProofDesk::default();
    for ticket in 0..40 {
        assert!(ask(&mut desk, ticket, "k", 1, 1));
    }
    desk.keep(b"k", capture(1, 20, 1 << 20));
    assert_eq!(settle(&mut desk, &[1]).len(), 32);
    // Nor does the next state, if all who are left over asked before.
    assert_eq!(desk.next(NOW, root(2), true), None);
    assert!(ask(&mut desk, 40, "k", 2, 1));
    assert_eq!(desk.next(NOW, root(1), false), None);
    // The key may have changed with block 3.
    assert!(ask(&mut desk, 41, "k", 3, 3));
    assert_eq!(desk.next(NOW, root(3), true).unwrap(), b"k");
    let due = desk.deadline().unwrap();
    assert_eq!(proved(&give_out(&mut desk, due)), Vec::from_iter(32..41));
    assert_eq!(desk.next(due, root(3), true).unwrap(), b"k");
    assert_eq!((desk.questions, bytes(&desk)), (1, 0));
}

/// The longest path, asked for often enough, used up what may be given out: all larger keys were refused at each claim.
#[test]
fn many_who_ask_for_one_key_exclude_nobody_from_another() {
    for (many, one) in [("a", "b"), ("b", "a")] {
        let mut desk = ProofDesk::default();
        for ticket in 0..120 {
            assert!(ask(&mut desk, ticket, many, 1, 1));
        }
        assert!(ask(&mut desk, 120, one, 1, 1));
        desk.keep(many.as_bytes(), capture(1, 9_000, 0));
        desk.keep(one.as_bytes(), capture(1, 9_000, 0));
        let replies = settle(&mut desk, &[1]);
        assert!(proved(&replies).contains(&120), "{one}");
        assert_eq!(proved(&replies).len(), replies.len(), "nobody is refused");
    }
}

/// Paths were taken in the order of keys, on and on: who kept asking for the next larger key kept smaller ones waiting.
#[test]
fn fresh_keys_are_not_served_before_one_that_waits() {
    let mut desk = ProofDesk::default();
    assert!(ask(&mut desk, 0, "b000", 1, 1));
    assert_eq!(desk.next(NOW, root(1), true).unwrap(), b"b000");
    desk.keep(b"b000", capture(1, 1, 1));
    assert!(ask(&mut desk, 1, "a", 1, 1));
    let mut calls = 0;
    loop {
        calls += 1;
        assert!(ask(&mut desk, 1 + calls, &format!("b{calls:03}"), 1, 1));
        let key = desk.next(NOW, root(1), true).unwrap();
        if key == b"a" {
            break;
        }
        desk.keep(&key, capture(1, 1, 1));
        assert!(calls < 20, "it waits for ever");
    }
}

/// A key may have a path in each of a few states: those that have none yet come first.
#[test]
fn a_key_that_was_served_joins_at_the_back() {
    let mut desk = ProofDesk::default();
    let mut taken = Vec::new();
    for (ticket, key) in (0..).zip(["a", "b", "c"]) {
        assert!(ask(&mut desk, ticket, key, 1, 1));
    }
    for state in 1..5 {
        let key = desk.next(NOW, root(state), true).unwrap();
        desk.keep(&key, capture(state, 1, 1));
        taken.push(key);
    }
    assert_eq!(taken, [b"a", b"b", b"c", b"a"]);
}
