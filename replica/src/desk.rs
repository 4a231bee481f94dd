//! Who asks for which key with a proof, and the paths that were taken for them. Reads nothing: [`crate::proofs`] does.
//!
//! Anybody may ask, and a key's path is as long as a writer made it: thousands of steps. So all who ask for one key share
//! its paths, what is kept is bounded in bytes, and a turn that has taken enough paths leaves the rest to later ones (I9).
//!
//! Keys are served in turn, for paths as for answers: a new one joins at the back, and one that was served goes there. So
//! whoever waits is behind no more keys than are here, however many others ask, for whichever keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_execution::proof::KeyProof;
use quorate_execution::tree;
use quorate_types::{Cc, Digest, Header, Height, Instant};

use crate::Ticket;
use crate::output::Reply;

/// Questions kept at once.
const MAX_QUESTIONS: usize = 256;
/// Paths kept for a key: claims are met in order, so that a few are enough however far they lag behind.
const MAX_CAPTURES: usize = 4;
/// Bytes of all paths and records kept; the last may exceed them. Further ones are taken when there is room again.
const MAX_CAPTURED_BYTES: usize = 32 << 20;
/// Bytes of the proofs that are given out at once; the last may exceed them.
const MAX_ANSWER_BYTES: usize = 32 << 20;
/// How long who is left over waits for the next ones: a tenth of a second. Copying them is to be a small part of the time.
const ANSWER_PAUSE_NANOS: u64 = 100_000_000;
/// Bytes of work that a path is besides its own: pages are read.
const PATH_COST: usize = 8 << 10;
/// How long a byte of work counts: 25 MB a second.
const NANOS_PER_BYTE: u64 = 40;
/// Work that is done at once: half a megabyte. The last path may exceed it.
const BURST_NANOS: u64 = 20_000_000;
/// A question is given up after this long: the chain has not moved.
const PATIENCE_NANOS: u64 = 60_000_000_000;

/// Questions that wait for a claim, or for their turn.
#[derive(Debug, Default)]
pub(crate) struct ProofDesk {
    keys: BTreeMap<Vec<u8>, Asked>,
    /// Of all keys.
    questions: usize,
    /// Places that were given: the next is behind them all.
    places: u64,
    /// Until when the work that was done counts.
    busy_until: Instant,
    /// Whether paths wait until it counts no longer.
    more: bool,
    /// Nothing is given out until then.
    pause: Instant,
}

/// A key that somebody asks for.
#[derive(Debug, Default)]
struct Asked {
    /// Oldest first.
    questions: Vec<Question>,
    /// Oldest first. No claim leads to them yet.
    captures: Vec<Capture>,
    /// The answer of those who asked early enough.
    proven: Option<Proven>,
    /// Among those that want a path: the lowest is next.
    path_place: u64,
    /// Among those that are to be answered.
    answer_place: u64,
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

/// A path in a state that a final header claims.
#[derive(Debug)]
struct Proven {
    capture: Capture,
    finals: Arc<Finals>,
    /// Which of the headers claims it.
    place: usize,
}

/// Final headers, each the parent of the next, and the certificate on the last.
#[derive(Debug)]
pub(crate) struct Finals {
    pub(crate) headers: Vec<Header>,
    pub(crate) cc: Cc,
}

impl Asked {
    /// Whether its path in the state with this root is of use.
    fn wants(&self, root: Digest) -> bool {
        let proven = self.proven.as_ref().map(|proven| &proven.capture);
        let newest = self.captures.last().or(proven);
        newest.is_none_or(|newest| newest.root != root)
            && self.captures.len() < MAX_CAPTURES
            && !self.answers(self.questions.last())
    }

    /// Whether somebody is to be answered.
    fn is_due(&self) -> bool {
        self.answers(self.questions.first())
    }

    /// Whether the proven path answers this question, and with it those before.
    fn answers(&self, question: Option<&Question>) -> bool {
        let both = self.proven.as_ref().zip(question);
        both.is_some_and(|(proven, question)| question.height <= proven.capture.height)
    }

    fn bytes(&self) -> usize {
        let captures: usize = self.captures.iter().map(Capture::bytes).sum();
        captures + self.proven_bytes()
    }

    fn proven_bytes(&self) -> usize {
        self.proven.as_ref().map_or(0, Proven::bytes)
    }
}

impl Proven {
    /// Of one answer; also of what is kept.
    fn bytes(&self) -> usize {
        self.capture.bytes() + size_of_val(self.headers())
    }

    fn headers(&self) -> &[Header] {
        &self.finals.headers[self.place..]
    }

    fn answer(&self, key: &[u8]) -> Reply {
        let Capture { record, proof, .. } = self.capture.clone();
        let headers = self.headers().to_vec();
        let cc = self.finals.cc.clone();
        let proof = KeyProof::new(key.to_vec(), record, proof, headers, cc);
        Reply::Proof(Box::new(proof))
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
        let places = &mut self.places;
        let asked = self.keys.entry(key).or_insert_with(|| {
            let place = back(places);
            Asked {
                path_place: place,
                answer_place: place,
                ..Asked::default()
            }
        });
        let proven = asked.proven.as_mut().map(|proven| &mut proven.capture);
        let captures = asked.captures.iter_mut().chain(proven);
        for capture in captures.filter(|c| c.root == root) {
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
        let bytes = match kept {
            true => Asked::bytes,
            false => Asked::proven_bytes,
        };
        if self.keys.values().map(bytes).sum::<usize>() >= MAX_CAPTURED_BYTES {
            return None;
        }
        let wanted = self.keys.iter_mut().filter(|(_, key)| key.wants(root));
        let (key, asked) = wanted.min_by_key(|(_, key)| key.path_place)?;
        self.more = self.busy_until.since(now) >= BURST_NANOS;
        if self.more {
            return None;
        }
        asked.path_place = back(&mut self.places);
        Some(key.clone())
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
            asked.captures.push(capture);
        }
    }

    /// A path in a state that the first of these headers claims already.
    pub(crate) fn prove(&mut self, key: &[u8], capture: Capture, finals: &Arc<Finals>) {
        if let Some(asked) = self.keys.get_mut(key) {
            asked.proven = Some(Proven {
                capture,
                finals: Arc::clone(finals),
                place: 0,
            });
        }
    }

    /// Finds the questions that these newly final headers settle: they are due.
    pub(crate) fn settle(&mut self, headers: &[Header], cc: &Cc) {
        let Some(claimed) = headers.last().map(|header| header.claim.height) else {
            return;
        };
        if self.is_empty() {
            return;
        }
        let finals = Arc::new(Finals {
            headers: headers.to_vec(),
            cc: cc.clone(),
        });
        for asked in self.keys.values_mut() {
            for (place, header) in headers.iter().enumerate() {
                let root = header.claim.roots.state;
                let Some(at) = asked.captures.iter().position(|c| c.root == root) else {
                    continue;
                };
                let capture = asked.captures.remove(at);
                // A newer one than there was is as good for all questions.
                asked.proven = Some(Proven {
                    capture,
                    finals: Arc::clone(&finals),
                    place,
                });
            }
            // Claims never fall, and a state that was left does not come back.
            asked.captures.retain(|c| c.height >= claimed);
        }
        self.forget_answered();
    }

    /// Answers those who are due, as far as there is room: one of each key in turn, so that many who ask for one key exclude
    /// nobody from another. The others stay for the next time.
    pub(crate) fn give_out(&mut self, now: Instant, answers: &mut Answers) {
        if now < self.pause {
            return;
        }
        loop {
            let due = self.keys.iter_mut().filter(|(_, key)| key.is_due());
            let next = due.min_by_key(|(_, key)| key.answer_place);
            let Some((key, asked)) = next else { break };
            if answers.bytes >= MAX_ANSWER_BYTES {
                self.pause = now.plus_nanos(ANSWER_PAUSE_NANOS);
                break;
            }
            let Some(proven) = &asked.proven else { break };
            let question = asked.questions.remove(0);
            self.questions -= 1;
            answers.bytes += proven.bytes();
            answers.replies.push((question.ticket, proven.answer(key)));
            asked.answer_place = back(&mut self.places);
        }
        self.forget_answered();
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
        self.keys.retain(|_, asked| {
            if !asked.is_due() {
                asked.proven = None;
            }
            if asked.answers(asked.questions.last()) {
                asked.captures.clear();
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
        let due = self.keys.values().any(Asked::is_due).then_some(self.pause);
        late.into_iter().chain(free).chain(due).min()
    }
}

/// A place behind all others.
fn back(places: &mut u64) -> u64 {
    *places += 1;
    *places
}

/// What is given out at once.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) replies: Vec<(Ticket, Reply)>,
    bytes: usize,
}

#[cfg(test)]
mod tests;
