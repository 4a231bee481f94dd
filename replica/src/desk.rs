//! Who asks for which key with a proof, and the paths that were taken for them. Reads nothing: [`crate::proofs`] does.
//!
//! Anybody may ask, and a key's path is as long as a writer made it: thousands of steps. So all who ask for one key share
//! its paths, what is kept is bounded in bytes, and a turn that has taken enough paths leaves the rest to later ones (I9).

use std::collections::BTreeMap;
use std::ops::Bound;

use quorate_execution::proof::KeyProof;
use quorate_execution::tree;
use quorate_types::{Cc, Digest, Header, Height, Instant};

use crate::Ticket;
use crate::output::{Reply, SubmitRefusal};

/// Questions kept at once.
const MAX_QUESTIONS: usize = 256;
/// Paths kept for a key: claims are met in order, so that a few are enough however far they lag behind.
const MAX_CAPTURES: usize = 4;
/// Bytes of all paths and records kept; the last may exceed them. Further ones are taken when a claim has made room.
const MAX_CAPTURED_BYTES: usize = 32 << 20;
/// Bytes of the proofs that are given out at once. Who is left over is refused, and asks again.
const MAX_ANSWER_BYTES: usize = 32 << 20;
/// Bytes of work that a path is besides its own: pages are read.
const PATH_COST: usize = 8 << 10;
/// How long a byte of work counts: 25 MB a second.
const NANOS_PER_BYTE: u64 = 40;
/// Work that is done at once: half a megabyte. The last path may exceed it.
const BURST_NANOS: u64 = 20_000_000;
/// A question is given up after this long: the chain has not moved.
const PATIENCE_NANOS: u64 = 60_000_000_000;

/// Questions that wait for a claim.
#[derive(Debug, Default)]
pub(crate) struct ProofDesk {
    keys: BTreeMap<Vec<u8>, Asked>,
    /// Of all keys.
    questions: usize,
    /// Of all captures.
    bytes: usize,
    /// Whose path was taken last: it is the turn of those behind.
    last: Vec<u8>,
    /// Until when the work that was done counts.
    busy_until: Instant,
    /// Whether paths wait until it counts no longer.
    more: bool,
}

/// A key that somebody asks for.
#[derive(Debug, Default)]
struct Asked {
    questions: Vec<Question>,
    /// Oldest first.
    captures: Vec<Capture>,
}

/// Somebody who asks for it.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) ticket: Ticket,
    asked: Instant,
    /// The newest committed block then: no older state is an answer.
    height: Height,
}

/// A path.
#[derive(Clone, Debug)]
pub(crate) struct Capture {
    /// A height with this state.
    pub(crate) height: Height,
    pub(crate) root: Digest,
    pub(crate) record: Option<Vec<u8>>,
    pub(crate) proof: tree::Proof,
}

impl Asked {
    fn bytes(&self) -> usize {
        self.captures.iter().map(Capture::bytes).sum()
    }
}

impl Capture {
    fn bytes(&self) -> usize {
        let witness = self.proof.witness.as_ref();
        size_of_val(self)
            + size_of_val(self.proof.steps.as_slice())
            + self.record.as_ref().map_or(0, Vec::len)
            + witness.map_or(0, |(key, _)| key.len())
    }
}

impl ProofDesk {
    /// Takes a question about the state at `height`, whose root is `root`. False if there are too many.
    pub(crate) fn ask(
        &mut self,
        (ticket, key): (Ticket, Vec<u8>),
        now: Instant,
        (height, root): (Height, Digest),
    ) -> bool {
        if self.questions >= MAX_QUESTIONS {
            return false;
        }
        let asked = self.keys.entry(key).or_default();
        for capture in asked.captures.iter_mut().filter(|c| c.root == root) {
            capture.height = height;
        }
        asked.questions.push(Question {
            ticket,
            asked: now,
            height,
        });
        self.questions += 1;
        true
    }

    /// The next key whose path in the state with this root is to be taken now: to be kept, or as an answer.
    pub(crate) fn next(&mut self, now: Instant, root: Digest, kept: bool) -> Option<Vec<u8>> {
        self.more = false;
        if kept && self.bytes >= MAX_CAPTURED_BYTES {
            return None;
        }
        let behind = (Bound::Excluded(self.last.as_slice()), Bound::Unbounded);
        let before = (Bound::Unbounded, Bound::Included(self.last.as_slice()));
        let keys = self.keys.range::<[u8], _>(behind);
        let mut keys = keys.chain(self.keys.range::<[u8], _>(before));
        let wants = |asked: &Asked| {
            let new = asked.captures.last().is_none_or(|last| last.root != root);
            new && asked.captures.len() < MAX_CAPTURES
        };
        let next = keys.find(|(_, asked)| wants(asked));
        let next = next.map(|(key, _)| key.clone());
        self.more = next.is_some() && self.busy_until.since(now) >= BURST_NANOS;
        let next = next.filter(|_| !self.more)?;
        self.last.clone_from(&next);
        Some(next)
    }

    /// A path was taken: it counts from now on.
    pub(crate) fn count(&mut self, now: Instant, capture: &Capture) {
        let cost = u64::try_from(capture.bytes().saturating_add(PATH_COST)).unwrap_or(u64::MAX);
        let busy = self.busy_until.max(now);
        self.busy_until = busy.plus_nanos(cost.saturating_mul(NANOS_PER_BYTE));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn keep(&mut self, key: &[u8], capture: Capture) {
        if let Some(asked) = self.keys.get_mut(key) {
            self.bytes += capture.bytes();
            asked.captures.push(capture);
        }
    }

    /// Forgets the paths of a key, and takes its questions.
    pub(crate) fn take(&mut self, key: &[u8]) -> Vec<Question> {
        let asked = self.keys.remove(key).unwrap_or_default();
        self.questions -= asked.questions.len();
        self.bytes -= asked.bytes();
        asked.questions
    }

    /// Answers the questions that these newly final headers settle.
    pub(crate) fn settle(&mut self, headers: &[Header], cc: &Cc) -> Vec<(Ticket, Reply)> {
        let Some(claimed) = headers.last().map(|header| header.claim.height) else {
            return Vec::new();
        };
        let mut answers = Answers::default();
        for (key, asked) in &mut self.keys {
            for (place, header) in headers.iter().enumerate() {
                let root = header.claim.roots.state;
                let Some(at) = asked.captures.iter().position(|c| c.root == root) else {
                    continue;
                };
                let capture = asked.captures.remove(at);
                self.bytes -= capture.bytes();
                let old_enough = |question: &mut Question| question.height <= capture.height;
                for question in asked.questions.extract_if(.., old_enough) {
                    self.questions -= 1;
                    answers.add(&question, (key, &capture), &headers[place..], cc);
                }
            }
            // Claims never fall, and a state that was left does not come back.
            for passed in asked.captures.extract_if(.., |c| c.height < claimed) {
                self.bytes -= passed.bytes();
            }
        }
        self.forget_answered();
        answers.replies
    }

    /// Takes the questions that have waited for too long.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Question> {
        let mut expired = Vec::new();
        for asked in self.keys.values_mut() {
            let late = |question: &mut Question| now.since(question.asked) >= PATIENCE_NANOS;
            expired.extend(asked.questions.extract_if(.., late));
        }
        if !expired.is_empty() {
            self.questions -= expired.len();
            self.forget_answered();
        }
        expired
    }

    /// Paths that nobody asks for any more go.
    fn forget_answered(&mut self) {
        let bytes = &mut self.bytes;
        self.keys.retain(|_, asked| {
            if asked.questions.is_empty() {
                *bytes -= asked.bytes();
            }
            !asked.questions.is_empty()
        });
    }

    /// Who waits.
    pub(crate) fn tickets(self) -> impl Iterator<Item = Ticket> {
        let questions = self.keys.into_values().flat_map(|asked| asked.questions);
        questions.map(|question| question.ticket)
    }

    /// When there is something to do, though nothing arrives.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let first = self.keys.values().filter_map(|key| key.questions.first());
        let first = first.map(|question| question.asked).min();
        let late = first.map(|asked| asked.plus_nanos(PATIENCE_NANOS));
        let free = self.busy_until.0.saturating_sub(BURST_NANOS - 1);
        let free = self.more.then_some(Instant(free));
        late.into_iter().chain(free).min()
    }
}

/// What is given out at once.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) replies: Vec<(Ticket, Reply)>,
    bytes: usize,
}

impl Answers {
    pub(crate) fn add(
        &mut self,
        question: &Question,
        (key, capture): (&[u8], &Capture),
        headers: &[Header],
        cc: &Cc,
    ) {
        if self.bytes >= MAX_ANSWER_BYTES {
            let refused = Reply::Refused(SubmitRefusal::TooManyWaiting);
            self.replies.push((question.ticket, refused));
            return;
        }
        self.bytes += capture.bytes() + size_of_val(headers);
        let Capture { record, proof, .. } = capture.clone();
        let proof = KeyProof::new(key.to_vec(), record, proof, headers.to_vec(), cc.clone());
        let reply = Reply::Proof(Box::new(proof));
        self.replies.push((question.ticket, reply));
    }
}

#[cfg(test)]
mod tests {
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
    fn settle(desk: &mut ProofDesk, claims: &[u8]) -> Vec<(Ticket, Reply)> {
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
        let headers: Vec<Header> = claims.iter().map(header).collect();
        let cc = Cc {
            round: Round::default(),
            block: BlockId::default(),
            height: Height(9),
            signers: Signers::default(),
            signatures: Vec::new(),
        };
        desk.settle(&headers, &cc)
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
        assert!(desk.bytes < 9_000 * 40);
        // A few states of it, oldest first, are enough: a claim of the first settles all.
        for state in 2..9 {
            if let Some(key) = desk.next(NOW, root(state), true) {
                desk.keep(&key, capture(state, 9_000, 0));
            }
        }
        assert!(desk.bytes <= MAX_CAPTURES * 9_000 * 40);
        let replies = settle(&mut desk, &[1]);
        assert_eq!(replies.len(), 256);
        assert_eq!((desk.questions, desk.bytes), (0, 0));
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
        assert!(desk.bytes >= MAX_CAPTURED_BYTES && desk.bytes < MAX_CAPTURED_BYTES + (2 << 20));
        assert_eq!(desk.deadline(), Some(NOW.plus_nanos(PATIENCE_NANOS)));
        // An answer is not kept.
        assert!(desk.next(NOW, root(1), false).is_some());
        let answered = settle(&mut desk, &[1]).len();
        assert!((30..34).contains(&answered), "{answered}");
        assert_eq!(desk.bytes, 0);
        let key = desk
            .next(NOW, root(2), true)
            .expect("the rest has its turn");
        desk.keep(&key, capture(2, 20, 1 << 20));
        // Claims have passed it by: it will never be an answer.
        assert!(settle(&mut desk, &[3]).is_empty());
        assert_eq!(desk.bytes, 0);
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

    #[test]
    fn i9_what_is_given_out_at_once_is_bounded() {
        let mut desk = ProofDesk::default();
        for ticket in 0..100 {
            ask(&mut desk, ticket, "k", 1, 1);
        }
        desk.keep(b"k", capture(1, 20, 1 << 20));
        let replies = settle(&mut desk, &[1]);
        let full = Reply::Refused(SubmitRefusal::TooManyWaiting);
        let refused = replies.iter().filter(|(_, reply)| *reply == full).count();
        assert_eq!((replies.len(), refused), (100, 68));
    }
}
