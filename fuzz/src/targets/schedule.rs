//! Any order of events at the engine, by whole replicas: who gets which message when, whatever was sent before; who loses
//! power; and one validator that signs what it likes.
//!
//! An input is a list of steps of three bytes: what, and two arguments. Three replicas are correct; the fourth key signs
//! votes, commit votes, Timeouts and proposals as the input says. Nothing may panic, and `Chain` judges: nobody correct
//! signs twice (I1), and no two commit different blocks at a height (I5).

use quorate_types::vote::Signable;
use quorate_types::{
    CommitVote, Message, Proposal, Round, Signature, Timeout, ValidatorIndex, Verified, Vote,
};

use crate::chain::{Chain, key, put, setup};

/// Steps that are taken of one input.
const MAX_STEPS: usize = 150;
/// Replicas that are correct.
const CORRECT: usize = 3;
/// Who signs what the input says.
const LIAR: usize = 3;

/// See the head of this file.
pub fn schedule(bytes: &[u8]) {
    let mut chain = Chain::new(CORRECT);
    for step in bytes.chunks_exact(3).take(MAX_STEPS) {
        let [what, a, b] = [step[0], step[1], step[2]].map(usize::from);
        let node = b % CORRECT;
        match what % 12 {
            0..=2 => deliver(&mut chain, a, node),
            3 | 4 => chain.settle(),
            5 => chain.wait(u64::from(step[1])),
            6 => chain.wait(u64::from(step[1]) * 10),
            7 => chain.turn(node),
            8 => chain.crash(node, a),
            9 => chain.submit(node, put(u64::from(step[1]))),
            _ => lie(&mut chain, what, a, node),
        }
    }
    // Whatever was done, they hear each other again, and none of them gives up.
    for _ in 0..5 {
        chain.wait(100);
        chain.settle();
    }
}

/// Something that was sent once, to anybody, again or for the first time.
fn deliver(chain: &mut Chain, which: usize, node: usize) {
    let heap = chain.heap();
    // Recent ones first: a byte is too small a number for all of them.
    let place = heap.len().checked_sub(1 + which % heap.len().max(1));
    if let Some((from, _, message)) = place.map(|place| heap[place].clone()) {
        chain.deliver(node, from, message);
        chain.turn(node);
    }
}

/// The liar takes up what somebody sent, and signs something like it.
fn lie(chain: &mut Chain, what: usize, which: usize, node: usize) {
    let heap = chain.heap();
    let place = heap.len().checked_sub(1 + which % heap.len().max(1));
    let Some((_, _, like)) = place.map(|place| heap[place].clone()) else {
        return;
    };
    let ahead = u64::try_from(what / 12 % 4).expect("small");
    if let Some(message) = twisted(like, ahead) {
        chain.deliver(node, LIAR, message);
        chain.turn(node);
    }
}

fn twisted(like: Message, ahead: u64) -> Option<Message> {
    let name = setup(None).validators.chain();
    let voter = ValidatorIndex(u16::try_from(LIAR).expect("small"));
    let signature = Signature::default();
    let later = |round: Round| round.plus(ahead);
    Some(match like {
        Message::Vote(vote) => Message::Vote(sign(
            Vote {
                round: later(vote.round),
                voter,
                signature,
                ..vote
            },
            name,
        )),
        Message::CommitVote(vote) => Message::CommitVote(sign(
            CommitVote {
                round: later(vote.round),
                voter,
                signature,
                ..vote
            },
            name,
        )),
        Message::Timeout(timeout) => Message::Timeout(Box::new(sign(
            Timeout {
                round: later(timeout.round),
                voter,
                signature,
                ..*timeout
            },
            name,
        ))),
        Message::Proposal(proposal) => {
            let mut twin: Proposal = *proposal;
            twin.block.header.proposer = voter;
            twin.block.header.round = later(twin.block.header.round);
            twin.block.header.time = twin.block.header.time.plus_nanos(ahead);
            Message::Proposal(Box::new(sign(twin, name)))
        }
        other => other,
    })
}

fn sign<T: Signable>(value: T, chain: quorate_types::ChainId) -> T {
    Verified::into_inner(value.sign(chain, &key(LIAR)))
}

pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let orderly: Vec<u8> = (0..40)
        .flat_map(|i| [[3, 0, 0], [5, 5, 0], [9 * u8::from(i % 8 == 0), i, i % 3]].concat())
        .collect();
    let crashes: Vec<u8> = (0..40)
        .flat_map(|i| {
            [
                [3, 0, 0],
                [6, 30, 0],
                [if i % 5 == 4 { 8 } else { 7 }, i, i],
            ]
            .concat()
        })
        .collect();
    let lies: Vec<u8> = (0..40)
        .flat_map(|i| [[3, 0, 0], [6, 12, 0], [10 + 12 * (i % 8), i % 9, i]].concat())
        .collect();
    let named = [("orderly", orderly), ("crashes", crashes), ("lies", lies)];
    named.map(|(name, bytes)| (name.to_owned(), bytes)).into()
}
