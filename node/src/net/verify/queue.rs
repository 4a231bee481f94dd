//! What a worker of the verification pool does next. A state machine without threads.
//!
//! * Consensus first, always. Among peers in turn, so that a member who floods delays itself most.
//! * Then clients' transactions and sync in turn. All workers but one may be at them at a time.
//! * Transactions are taken together, those in peers' batches and those that clients sent here: the more there are, the
//!   less a signature costs. So the worse the load, the larger the pieces, and nothing ever waits for company.
//! * At most one batch of a peer is in work at a time, so that they come out in order.

use std::collections::{BTreeMap, VecDeque};

use quorate_types::message::Class;
use quorate_types::{
    Batch, HashedTransaction, Message, Reject, Unverified, ValidatorIndex, Verified,
};

use super::{Overloaded, PoolLimits};
use crate::net::event::Credit;

/// Transactions from which on no more are taken into one piece of work: beyond, the gain is small and the first ones wait too long.
pub(super) const TOGETHER: usize = 256;

/// What becomes of a client's transaction.
pub(super) type Done = Box<dyn FnOnce(Result<Verified<HashedTransaction>, Reject>) + Send>;

/// A client's transaction that waits.
pub(super) struct Submission {
    pub(super) transaction: Unverified<HashedTransaction>,
    pub(super) bytes: usize,
    pub(super) done: Done,
}

/// A peer's batch that waits.
pub(super) struct Streamed {
    pub(super) from: ValidatorIndex,
    pub(super) batch: Box<Batch>,
    pub(super) credit: Credit,
}

/// A piece of work.
pub(super) enum Work {
    /// Consensus or sync.
    Message {
        from: ValidatorIndex,
        message: Box<Message>,
        credit: Credit,
    },
    /// What clients signed. The batches are of different peers.
    Transactions {
        batches: Vec<Streamed>,
        submissions: Vec<Submission>,
    },
}

/// What [`Queue::done`] needs to know of a piece of work.
pub(super) struct End {
    bulk: bool,
    batches_of: Vec<ValidatorIndex>,
}

impl Work {
    pub(super) fn end(&self) -> End {
        match self {
            Work::Message { message, .. } => End {
                bulk: message.class() != Class::Consensus,
                batches_of: Vec::new(),
            },
            Work::Transactions { batches, .. } => End {
                bulk: true,
                batches_of: batches.iter().map(|streamed| streamed.from).collect(),
            },
        }
    }
}

/// Everything that waits.
pub(super) struct Queue {
    consensus: Turns<Job>,
    batches: Turns<(Box<Batch>, Credit)>,
    sync: Turns<Job>,
    transactions: VecDeque<Submission>,
    transaction_bytes: usize,
    limits: PoolLimits,
    /// Pieces of bulk in work, and how many there may be.
    bulk: usize,
    bulk_workers: usize,
    /// Sync is next, if there is any.
    sync_is_next: bool,
    stopped: bool,
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
            sync_is_next: false,
            stopped: false,
        }
    }

    pub(super) fn push_message(&mut self, from: ValidatorIndex, message: Message, credit: Credit) {
        if self.stopped {
            return;
        }
        match message {
            Message::Batch(batch) => self.batches.push(from, (batch, credit)),
            message if message.class() == Class::Consensus => {
                self.consensus.push(from, (Box::new(message), credit));
            }
            message => self.sync.push(from, (Box::new(message), credit)),
        }
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
        let order = match self.sync_is_next {
            true => [Queue::take_sync, Queue::take_transactions],
            false => [Queue::take_transactions, Queue::take_sync],
        };
        self.sync_is_next = !self.sync_is_next;
        order.into_iter().find_map(|take| take(self))
    }

    fn take_sync(&mut self) -> Option<Work> {
        let (from, job) = self.sync.take()?;
        self.sync.release(from);
        Some(message(from, job))
    }

    fn take_transactions(&mut self) -> Option<Work> {
        let mut batches = Vec::new();
        let mut count = 0;
        while count < TOGETHER
            && let Some((from, (batch, credit))) = self.batches.take()
        {
            count += batch.transactions.len();
            batches.push(Streamed {
                from,
                batch,
                credit,
            });
        }
        let room = self.transactions.len().min(TOGETHER.saturating_sub(count));
        let submissions: Vec<Submission> = self.transactions.drain(..room).collect();
        let bytes: usize = submissions.iter().map(|submission| submission.bytes).sum();
        self.transaction_bytes -= bytes;
        let some = !batches.is_empty() || !submissions.is_empty();
        some.then_some(Work::Transactions {
            batches,
            submissions,
        })
    }

    /// A piece of work is finished and its verdict told.
    pub(super) fn done(&mut self, end: End) {
        if end.bulk {
            self.bulk -= 1;
        }
        for from in end.batches_of {
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
struct Turns<T> {
    /// Absent: nothing waits and nothing is taken.
    peers: BTreeMap<ValidatorIndex, VecDeque<T>>,
    /// Peers with something to take, each once.
    ready: VecDeque<ValidatorIndex>,
}

impl<T> Default for Turns<T> {
    fn default() -> Turns<T> {
        Turns {
            peers: BTreeMap::new(),
            ready: VecDeque::new(),
        }
    }
}

impl<T> Turns<T> {
    fn push(&mut self, from: ValidatorIndex, job: T) {
        let ready = &mut self.ready;
        let jobs = self.peers.entry(from).or_insert_with(|| {
            ready.push_back(from);
            VecDeque::new()
        });
        jobs.push_back(job);
    }

    fn take(&mut self) -> Option<(ValidatorIndex, T)> {
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
