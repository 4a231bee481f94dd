//! What a worker of the verification pool does next. A state machine without threads.
//!
//! * Consensus first, always. Among peers in turn, so that a member who floods delays itself most.
//! * Then batches, transactions and sync in turn. All workers but one may be at them at a time.
//! * At most one batch of a peer is in work at a time, so that they come out in order.

use std::collections::{BTreeMap, VecDeque};

use quorate_types::message::Class;
use quorate_types::{Message, Reject, Transaction, ValidatorIndex, Verified};

use super::{Overloaded, PoolLimits};
use crate::net::event::Credit;

/// Most transactions that are verified as one batch: beyond, the gain is small and the first ones wait too long.
const TOGETHER: usize = 256;

/// What becomes of a client's transaction.
pub(super) type Done = Box<dyn FnOnce(Result<Verified<Transaction>, Reject>) + Send>;

/// A client's transaction that waits.
pub(super) struct Submission {
    pub(super) transaction: Transaction,
    pub(super) bytes: usize,
    pub(super) done: Done,
}

/// A piece of work.
pub(super) enum Work {
    Message {
        from: ValidatorIndex,
        message: Box<Message>,
        credit: Credit,
    },
    Transactions(VecDeque<Submission>),
}

/// What [`Queue::done`] needs to know of a piece of work.
#[derive(Clone, Copy)]
pub(super) struct End {
    bulk: bool,
    batch_of: Option<ValidatorIndex>,
}

impl Work {
    pub(super) fn end(&self) -> End {
        match self {
            Work::Message { from, message, .. } => End {
                bulk: message.class() != Class::Consensus,
                batch_of: (message.class() == Class::Batches).then_some(*from),
            },
            Work::Transactions(_) => End {
                bulk: true,
                batch_of: None,
            },
        }
    }
}

/// Everything that waits.
pub(super) struct Queue {
    consensus: Turns,
    batches: Turns,
    sync: Turns,
    transactions: VecDeque<Submission>,
    transaction_bytes: usize,
    limits: PoolLimits,
    /// Pieces of bulk in work, and how many there may be.
    bulk: usize,
    bulk_workers: usize,
    /// Which kind of bulk is next.
    turn: Bulk,
    stopped: bool,
}

#[derive(Clone, Copy)]
enum Bulk {
    Batches,
    Transactions,
    Sync,
}

impl Bulk {
    fn next(self) -> Bulk {
        match self {
            Bulk::Batches => Bulk::Transactions,
            Bulk::Transactions => Bulk::Sync,
            Bulk::Sync => Bulk::Batches,
        }
    }
}

impl Queue {
    pub(super) fn new(limits: PoolLimits, bulk_workers: usize) -> Queue {
        Queue {
            consensus: Turns::default(),
            batches: Turns::default(),
            sync: Turns::default(),
            transactions: VecDeque::new(),
            transaction_bytes: 0,
            limits,
            bulk: 0,
            bulk_workers,
            turn: Bulk::Batches,
            stopped: false,
        }
    }

    pub(super) fn push_message(&mut self, from: ValidatorIndex, message: Message, credit: Credit) {
        if self.stopped {
            return;
        }
        let turns = match message.class() {
            Class::Consensus => &mut self.consensus,
            Class::Batches => &mut self.batches,
            Class::Sync => &mut self.sync,
        };
        turns.push(from, (Box::new(message), credit));
    }

    pub(super) fn push_transaction(&mut self, submission: Submission) -> Result<(), Overloaded> {
        let bytes = self.transaction_bytes.saturating_add(submission.bytes);
        let full = self.transactions.len() >= self.limits.transactions || bytes > self.limits.bytes;
        if full || self.stopped {
            return Err(Overloaded);
        }
        self.transaction_bytes = bytes;
        self.transactions.push_back(submission);
        Ok(())
    }

    /// The next piece of work; [`Queue::done`] must follow.
    pub(super) fn take(&mut self) -> Option<Work> {
        if let Some((from, job)) = self.consensus.take() {
            self.consensus.release(from);
            return Some(message(from, job));
        }
        if self.bulk >= self.bulk_workers {
            return None;
        }
        let work = self.take_bulk()?;
        self.bulk += 1;
        Some(work)
    }

    fn take_bulk(&mut self) -> Option<Work> {
        for _ in 0..3 {
            let turn = self.turn;
            self.turn = turn.next();
            let work = match turn {
                Bulk::Batches => self.batches.take().map(|(from, job)| message(from, job)),
                Bulk::Sync => self.sync.take().map(|(from, job)| {
                    self.sync.release(from);
                    message(from, job)
                }),
                Bulk::Transactions => self.take_transactions(),
            };
            if work.is_some() {
                return work;
            }
        }
        None
    }

    fn take_transactions(&mut self) -> Option<Work> {
        let count = self.transactions.len().min(TOGETHER);
        if count == 0 {
            return None;
        }
        let taken: VecDeque<Submission> = self.transactions.drain(..count).collect();
        let bytes: usize = taken.iter().map(|submission| submission.bytes).sum();
        self.transaction_bytes -= bytes;
        Some(Work::Transactions(taken))
    }

    /// A piece of work is finished and its verdict told.
    pub(super) fn done(&mut self, end: End) {
        if end.bulk {
            self.bulk -= 1;
        }
        if let Some(from) = end.batch_of {
            self.batches.release(from);
        }
    }

    /// Whether [`Queue::take`] would give something.
    pub(super) fn has_work(&self) -> bool {
        let bulk = self.batches.is_ready() || self.sync.is_ready() || !self.transactions.is_empty();
        self.consensus.is_ready() || (bulk && self.bulk < self.bulk_workers)
    }

    /// Drops what waits and takes no more.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.consensus = Turns::default();
        self.batches = Turns::default();
        self.sync = Turns::default();
        self.transactions.clear();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }
}

type Job = (Box<Message>, Credit);

fn message(from: ValidatorIndex, (message, credit): Job) -> Work {
    Work::Message {
        from,
        message,
        credit,
    }
}

/// A queue for each peer; peers take turns. A peer whose job was taken has no turn until it is released.
#[derive(Default)]
struct Turns {
    /// Absent: nothing waits and nothing is taken.
    peers: BTreeMap<ValidatorIndex, VecDeque<Job>>,
    /// Peers with something to take, each once.
    ready: VecDeque<ValidatorIndex>,
}

impl Turns {
    fn push(&mut self, from: ValidatorIndex, job: Job) {
        let ready = &mut self.ready;
        let jobs = self.peers.entry(from).or_insert_with(|| {
            ready.push_back(from);
            VecDeque::new()
        });
        jobs.push_back(job);
    }

    fn take(&mut self) -> Option<(ValidatorIndex, Job)> {
        let from = self.ready.pop_front()?;
        let job = self.peers.get_mut(&from).and_then(VecDeque::pop_front);
        Some((
            from,
            job.expect("a peer that is ready has something to take"),
        ))
    }

    fn release(&mut self, from: ValidatorIndex) {
        match self.peers.get(&from) {
            Some(jobs) if jobs.is_empty() => {
                self.peers.remove(&from);
            }
            Some(_) => self.ready.push_back(from),
            // The queue was emptied by a stop.
            None => {}
        }
    }

    fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }
}
