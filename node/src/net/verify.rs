//! The verification pool: a fixed number of threads between the network and the replica, which takes verified things
//! only.
//!
//! Owns all signature checks of what others send. It must never keep consensus waiting behind bulk (see `queue`), hold
//! more than its callers have credit for, nor reorder the batches of one peer, whose watermarks count on their order.
//! It has no queue behind it: the sink gets each verdict with the credit of its message, which bounds what the sink
//! may hold.

mod known;
mod queue;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use quorate_types::message::{Class, VerifiedMessage};
use quorate_types::together::verify_together;
use quorate_types::{
    HashedBatch, HashedTransaction, Message, Parameters, Reject, ValidatorIndex, Validators,
};
use quorate_types::{Unverified, Verified};

use super::event::Credit;
use queue::{Queue, Streamed, Submission, Work};

/// What the pool found out about a peer's message.
#[derive(Debug)]
pub enum Verdict {
    /// It is good.
    Message {
        /// Who sent it.
        from: ValidatorIndex,
        /// The message.
        message: VerifiedMessage,
        /// To be kept as long as the message is.
        credit: Credit,
    },
    /// It is bad for ever; its sender is at fault.
    Refused {
        /// Who sent it.
        from: ValidatorIndex,
        /// Which stream it came on.
        class: Class,
        /// What is wrong.
        reject: Reject,
    },
}

/// Where verdicts go. Called from all of the pool's threads, and from whoever hands over a vote.
pub trait Sink: Send + Sync {
    /// A verdict. [`Sink::flush`] follows.
    fn tell(&self, verdict: Verdict);

    /// The verdicts of a piece of work, on clients' transactions too, have all been told: who waits for them can be woken.
    fn flush(&self) {}
}

impl<F: Fn(Verdict) + Send + Sync> Sink for F {
    fn tell(&self, verdict: Verdict) {
        self(verdict);
    }
}

/// The same set, which remembers the signatures that were verified against it. To be shared by whoever verifies.
#[must_use]
pub fn remembering(validators: &Validators) -> Arc<Validators> {
    let memory = Arc::new(known::Known::default());
    Arc::new(validators.clone().with_memory(memory))
}

/// What messages are verified against. Replaced as a whole when the epoch changes.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The set of the epoch, which knows the chain.
    pub validators: Arc<Validators>,
    /// The chain's parameters.
    pub parameters: Parameters,
}

/// Bounds on the transactions of clients that wait for verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Their number.
    pub transactions: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl Default for PoolLimits {
    fn default() -> PoolLimits {
        PoolLimits {
            transactions: 16 * 1024,
            bytes: 32 * 1024 * 1024,
        }
    }
}

/// Too many transactions wait; the client should come back later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many transactions wait for verification")]
pub struct Overloaded;

/// The pool's threads. They stop when this is dropped; what waits then is dropped too.
pub struct VerifyPool {
    verifier: Verifier,
    workers: Vec<JoinHandle<()>>,
}

/// Whether a thread is in [`Verifier::together`], and has queued something there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Together {
    No,
    Begun,
    Queued,
}

thread_local! {
    static TOGETHER: Cell<Together> = const { Cell::new(Together::No) };
}

/// Hands work to the pool. Cheap to clone; after the pool has stopped, what it takes is dropped.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    queue: Mutex<Queue>,
    wake: Condvar,
    rules: RwLock<Arc<Rules>>,
    sink: Box<dyn Sink>,
}

/// As many workers as there are cores to run them.
#[must_use]
pub fn default_workers() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

impl VerifyPool {
    /// Starts `workers` threads. With two or more, one is always free of bulk.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start(
        workers: NonZeroUsize,
        limits: PoolLimits,
        rules: Rules,
        sink: impl Sink + 'static,
    ) -> io::Result<VerifyPool> {
        let bulk_workers = workers.get().saturating_sub(1).max(1);
        let verifier = Verifier(Arc::new(Inner {
            queue: Mutex::new(Queue::new(limits, bulk_workers)),
            wake: Condvar::new(),
            rules: RwLock::new(Arc::new(rules)),
            sink: Box::new(sink),
        }));
        let mut pool = VerifyPool {
            verifier,
            workers: Vec::new(),
        };
        for number in 0..workers.get() {
            let inner = Arc::clone(&pool.verifier.0);
            let builder = thread::Builder::new().name(format!("verify-{number}"));
            pool.workers.push(builder.spawn(move || work(&inner))?);
        }
        Ok(pool)
    }

    /// Hands work to the pool.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        self.verifier.clone()
    }
}

impl Drop for VerifyPool {
    fn drop(&mut self) {
        self.verifier.0.lock().stop();
        self.verifier.0.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker that panicked has told so already.
            let _ = worker.join();
        }
    }
}

impl Verifier {
    /// Queues a message. What waits is bounded by the credit that comes along. A vote has one signature: it is checked at
    /// once, by whoever calls, which takes no longer than to wake a worker.
    pub fn message(&self, from: ValidatorIndex, message: Message, credit: Credit) {
        if matches!(message, Message::Vote(_) | Message::CommitVote(_)) {
            if self.0.lock().is_stopped() {
                return;
            }
            let rules = self.0.rules();
            let class = message.class();
            let verdict = message.verify(&rules.validators, &rules.parameters);
            self.0.sink.tell(told(from, class, verdict, credit));
            return self.0.sink.flush();
        }
        self.0.lock().push_message(from, message, credit);
        self.0.wake.notify_one();
    }

    /// Queues a client's transaction; `done` is called with the verdict, on a worker, before its [`Sink::flush`], and must
    /// not block. Those that wait at the same time are verified as one batch.
    ///
    /// # Errors
    /// [`Overloaded`]; `done` is not called.
    pub fn transaction(
        &self,
        transaction: Unverified<HashedTransaction>,
        done: impl FnOnce(Result<Verified<HashedTransaction>, Reject>) + Send + 'static,
    ) -> Result<(), Overloaded> {
        self.0.lock().push_transaction(Submission {
            bytes: transaction.peek().encoded_len(),
            transaction,
            done: Box::new(done),
        })?;
        match TOGETHER.get() {
            Together::No => self.0.wake.notify_one(),
            Together::Begun | Together::Queued => TOGETHER.set(Together::Queued),
        }
        Ok(())
    }

    /// Lets `submit` queue as many transactions as it has, and wakes a worker behind the last: woken for the first, it would
    /// begin with that one alone, and an equation with few signatures is dear. `submit` must not wait for anything.
    pub fn together(&self, submit: impl FnOnce()) {
        TOGETHER.set(Together::Begun);
        submit();
        if TOGETHER.replace(Together::No) == Together::Queued {
            self.0.wake.notify_one();
        }
    }

    /// From the next message on, verification is against these.
    pub fn replace_rules(&self, rules: Rules) {
        let mut current = self.0.rules.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(rules);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for work; `None` at the end.
    fn next(&self) -> Option<Work> {
        let mut queue = self.lock();
        loop {
            if queue.is_stopped() {
                return None;
            }
            if let Some(work) = queue.take() {
                if queue.has_work() {
                    // Each push wakes one worker, but it may have found nothing that it was allowed to begin then.
                    self.wake.notify_one();
                }
                return Some(work);
            }
            queue = self
                .wake
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn rules(&self) -> Arc<Rules> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&rules)
    }
}

fn work(inner: &Inner) {
    while let Some(work) = inner.next() {
        let rules = inner.rules();
        let end = work.end();
        match work {
            Work::Message {
                from,
                message,
                credit,
            } => {
                let class = message.class();
                let verdict = message.verify(&rules.validators, &rules.parameters);
                inner.sink.tell(told(from, class, verdict, credit));
            }
            Work::Transactions {
                batches,
                submissions,
            } => judge(inner, batches, submissions, &rules),
        }
        inner.sink.flush();
        // Only now may the next batch of the same peer begin: its verdict is behind this one's.
        inner.lock().done(end);
    }
}

fn told(
    from: ValidatorIndex,
    class: Class,
    verdict: Result<VerifiedMessage, Reject>,
    credit: Credit,
) -> Verdict {
    match verdict {
        Ok(message) => Verdict::Message {
            from,
            message,
            credit,
        },
        Err(reject) => Verdict::Refused {
            from,
            class,
            reject,
        },
    }
}

/// Everything that clients signed, in one equation.
fn judge(inner: &Inner, streamed: Vec<Streamed>, submissions: Vec<Submission>, rules: &Rules) {
    let mut batches = Vec::with_capacity(streamed.len());
    let mut senders = Vec::with_capacity(streamed.len());
    for Streamed {
        from,
        batch,
        credit,
    } in streamed
    {
        // Nobody signs a batch, so the connection vouches for its origin: another's would disturb its watermarks.
        if batch.origin == from {
            batches.push(HashedBatch::new(*batch));
            senders.push((from, credit));
        } else {
            let refused = Err(Reject::Malformed);
            let refused = told(from, Class::Batches, refused, credit);
            inner.sink.tell(refused);
        }
    }
    let (transactions, callbacks): (Vec<_>, Vec<_>) = submissions
        .into_iter()
        .map(|submission| (submission.transaction, submission.done))
        .unzip();
    let verdicts = verify_together(batches, transactions, &rules.validators, &rules.parameters);
    for ((from, credit), verdict) in senders.into_iter().zip(verdicts.batches) {
        let verdict = verdict.map(VerifiedMessage::Batch);
        inner.sink.tell(told(from, Class::Batches, verdict, credit));
    }
    for (done, verdict) in callbacks.into_iter().zip(verdicts.transactions) {
        done(verdict);
    }
}
