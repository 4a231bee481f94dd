//! What the core's turns tell about traced transactions. Reads what comes in and goes out, as metrics and logs do; the
//! replica knows nothing of it.

use std::collections::{BTreeMap, VecDeque};

use quorate_replica::{Input, Notice, Target};
use quorate_types::message::VerifiedMessage;
use quorate_types::{Batch, BatchId, Height, Message, Proposal, Round, TransactionId};
use quorate_types::{ValidatorIndex, Vote};

use super::{Part, Span, Tracer};

/// Batches with traced transactions that are followed; the oldest is forgotten first.
const MAX_BATCHES: usize = 1_024;
/// Admitted transactions that are followed until they are packed; likewise.
const MAX_ADMITTED: usize = 8_192;
/// Rounds whose proposals are remembered; the lowest is forgotten first.
const MAX_ROUNDS: usize = 256;

/// Follows traced transactions from admission to the disk.
pub struct Journeys {
    tracer: Tracer,
    me: ValidatorIndex,
    /// When each was admitted here.
    admitted: Bounded<TransactionId, u64>,
    batches: Bounded<BatchId, Known>,
    rounds: BTreeMap<Round, Proposed>,
}

/// A batch with traced transactions.
struct Known {
    origin: ValidatorIndex,
    /// When it was here.
    since: u64,
    traced: Vec<Traced>,
}

struct Traced {
    transaction: TransactionId,
    admitted: Option<u64>,
}

/// A round's proposal.
struct Proposed {
    batches: Vec<BatchId>,
    proposer: ValidatorIndex,
    events: Vec<(u64, &'static str)>,
}

impl Journeys {
    /// At the validator `me`.
    #[must_use]
    pub fn new(tracer: Tracer, me: ValidatorIndex) -> Journeys {
        Journeys {
            tracer,
            me,
            admitted: Bounded::new(MAX_ADMITTED),
            batches: Bounded::new(MAX_BATCHES),
            rounds: BTreeMap::new(),
        }
    }

    /// A turn begins with these inputs, at that wall-clock time in nanoseconds.
    pub fn inputs(&mut self, inputs: &[Input], now: u64) {
        for input in inputs {
            match input {
                Input::Submit { transaction, .. } => {
                    let id = transaction.id();
                    if self.tracer.takes(&id) {
                        self.admitted.insert(id, now);
                    }
                }
                Input::Message { message, .. } => self.message(message, now),
                _ => {}
            }
        }
    }

    fn message(&mut self, message: &VerifiedMessage, now: u64) {
        match message {
            VerifiedMessage::Batch(batch) => self.batch(batch, |_| batch.id(), now),
            VerifiedMessage::BatchResponse(batches, _) => {
                for batch in batches {
                    self.batch(batch, |_| batch.id(), now);
                }
            }
            VerifiedMessage::Proposal(proposal, _) => self.proposal(proposal, "proposal here", now),
            _ => {}
        }
    }

    /// A turn ends with these messages.
    pub fn sends(&mut self, sends: &[(Target, Message)], now: u64) {
        for (_, message) in sends {
            match message {
                Message::Batch(batch) if batch.origin == self.me => {
                    self.batch(batch, Batch::id, now);
                }
                Message::Proposal(proposal) => self.proposal(proposal, "proposed", now),
                Message::Vote(Vote { round, .. }) => self.happened(*round, "voted", now),
                Message::CommitVote(vote) => self.happened(vote.round, "voted to commit", now),
                _ => {}
            }
        }
    }

    /// A turn that began at `begun` is durable now.
    pub fn notices(&mut self, notices: &[Notice], begun: u64, now: u64) {
        for notice in notices {
            if let Notice::Committed { height, round, .. } = notice {
                self.committed(*height, *round, begun, now);
            }
        }
    }

    fn batch(&mut self, batch: &Batch, id: impl FnOnce(&Batch) -> BatchId, now: u64) {
        let ids = batch
            .transactions
            .iter()
            .map(|transaction| transaction.id());
        let traced: Vec<TransactionId> = ids.filter(|id| self.tracer.takes(id)).collect();
        if traced.is_empty() {
            return;
        }
        let id = id(batch);
        if self.batches.contains(&id) {
            return;
        }
        let own = batch.origin == self.me;
        let traced = traced.into_iter().map(|transaction| Traced {
            admitted: self.admitted.remove(&transaction).filter(|_| own),
            transaction,
        });
        let known = Known {
            origin: batch.origin,
            since: now,
            traced: traced.collect(),
        };
        self.batches.insert(id, known);
    }

    fn proposal(&mut self, proposal: &Proposal, event: &'static str, now: u64) {
        for batch in &proposal.inline {
            self.batch(batch, Batch::id, now);
        }
        let header = &proposal.block.header;
        let proposed = || Proposed {
            batches: proposal.block.batches.clone(),
            proposer: header.proposer,
            events: vec![(now, event)],
        };
        self.rounds.entry(header.round).or_insert_with(proposed);
        while self.rounds.len() > MAX_ROUNDS {
            self.rounds.pop_first();
        }
    }

    fn happened(&mut self, round: Round, event: &'static str, now: u64) {
        if let Some(proposed) = self.rounds.get_mut(&round)
            && proposed.events.iter().all(|(_, known)| *known != event)
        {
            proposed.events.push((now, event));
        }
    }

    fn committed(&mut self, height: Height, round: Round, begun: u64, now: u64) {
        let later = self.rounds.split_off(&round);
        self.rounds = later;
        let Some(proposed) = self.rounds.remove(&round) else {
            return;
        };
        let attributes = [
            ("quorate.height", height.to_string()),
            ("quorate.round", round.number.to_string()),
            ("quorate.proposer", proposed.proposer.0.to_string()),
        ];
        for id in &proposed.batches {
            let Some(known) = self.batches.remove(id) else {
                continue;
            };
            for traced in &known.traced {
                self.emit(traced, &known, begun.max(known.since), now, |span| {
                    let origin = ("quorate.origin", known.origin.0.to_string());
                    span.attributes.extend(attributes.clone());
                    span.attributes.push(origin);
                    if span.part == Part::Order {
                        span.events.clone_from(&proposed.events);
                    }
                });
            }
        }
    }

    fn emit(
        &self,
        traced: &Traced,
        known: &Known,
        ordered: u64,
        now: u64,
        describe: impl Fn(&mut Span),
    ) {
        let queue = traced.admitted.map(|at| (Part::Queue, at, known.since));
        let order = (Part::Order, known.since, ordered);
        let execute = (Part::Execute, ordered, now);
        for (part, start, end) in queue.into_iter().chain([order, execute]) {
            let mut span = Span {
                transaction: traced.transaction,
                part,
                below: Some(known.origin),
                start,
                end: end.max(start),
                attributes: Vec::new(),
                events: Vec::new(),
                error: None,
            };
            describe(&mut span);
            self.tracer.send(span);
        }
    }
}

/// A map that forgets what was put in first.
struct Bounded<K, V> {
    entries: BTreeMap<K, V>,
    order: VecDeque<K>,
    most: usize,
}

impl<K: Ord + Copy, V> Bounded<K, V> {
    fn new(most: usize) -> Bounded<K, V> {
        Bounded {
            entries: BTreeMap::new(),
            order: VecDeque::new(),
            most,
        }
    }

    fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    fn insert(&mut self, key: K, value: V) {
        if self.entries.insert(key, value).is_none() {
            self.order.push_back(key);
        }
        // Keys that were removed leave their place in the order behind, which counts too.
        while self.order.len() > self.most {
            if let Some(oldest) = self.order.pop_front() {
                self.entries.remove(&oldest);
            }
        }
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_first_is_forgotten_first() {
        let mut map = Bounded::new(3);
        for key in 0..5 {
            map.insert(key, key * 10);
        }
        assert_eq!(map.entries.len(), 3);
        assert!(!map.contains(&1) && map.contains(&2));
        assert_eq!((map.remove(&4), map.remove(&4)), (Some(40), None));
        // The same key again takes no second place.
        map.insert(3, 31);
        assert_eq!((map.order.len(), map.remove(&3)), (3, Some(31)));
    }
}
