//! Who waits for which answer of the core.
//!
//! The core never waits for a client, so answers lie here until they are taken. It must not hold more of them than
//! `MAX_UNTAKEN`: receipts can be large, and who was answered may be slow to take it, or never do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_replica::{Reply, Ticket};
use quorate_types::codec;
use tokio::sync::oneshot;

use super::submission::full;
use crate::backend::SubmitError;

/// Bytes of answers that were given and not taken, for all clients together. Beyond it the answer is that a queue is full:
/// the transaction is executed, and who submits it again gets its receipt.
const MAX_UNTAKEN: usize = 64 << 20;

/// What whoever waits is told: by the core, or why it never got the question.
pub type Answer = Result<Reply, SubmitError>;

type Waiting = BTreeMap<Ticket, oneshot::Sender<Given>>;

/// Who waits for which answer.
#[derive(Debug, Default)]
pub struct Tickets {
    next: AtomicU64,
    waiting: Mutex<Waiting>,
    untaken: Arc<AtomicUsize>,
}

/// An answer with the room that it takes until it is taken.
#[derive(Debug)]
struct Given {
    answer: Answer,
    _room: Option<Room>,
}

/// A part of [`MAX_UNTAKEN`], given back when dropped.
#[derive(Debug)]
struct Room {
    untaken: Arc<AtomicUsize>,
    bytes: usize,
}

/// Where an answer will arrive.
#[derive(Debug)]
pub struct Awaited(oneshot::Receiver<Given>);

impl Awaited {
    /// The answer; none if there will be none.
    pub async fn take(self) -> Option<Answer> {
        self.0.await.ok().map(|given| given.answer)
    }
}

impl Tickets {
    /// A new ticket, and where its answer will arrive.
    pub fn issue(self: &Arc<Self>) -> (Claim, Awaited) {
        let ticket = Ticket(self.next.fetch_add(1, Ordering::Relaxed));
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(ticket, sender);
        let claim = Claim {
            ticket,
            tickets: Arc::clone(self),
        };
        (claim, Awaited(receiver))
    }

    /// Hands out the core's answers.
    pub fn answer(&self, replies: Vec<(Ticket, Reply)>) {
        if replies.is_empty() {
            return;
        }
        let mut waiting = self.lock();
        for (ticket, reply) in replies {
            if let Some(sender) = waiting.remove(&ticket) {
                // Whoever has gone no longer wants to know.
                let _ = sender.send(self.given(reply));
            }
        }
    }

    /// Answers that the core never gets the question.
    pub fn refuse(&self, ticket: Ticket, error: SubmitError) {
        if let Some(sender) = self.lock().remove(&ticket) {
            let _ = sender.send(Given {
                answer: Err(error),
                _room: None,
            });
        }
    }

    fn given(&self, reply: Reply) -> Given {
        let Reply::Executed(receipt) = &reply else {
            return Given {
                answer: Ok(reply),
                _room: None,
            };
        };
        let room = self.room(codec::encoded_len(receipt.as_ref()));
        let answer = match room.is_some() {
            true => Ok(reply),
            false => Err(full()),
        };
        Given {
            answer,
            _room: room,
        }
    }

    /// Only the core takes room, so that nobody else takes it in between.
    fn room(&self, bytes: usize) -> Option<Room> {
        if self.untaken.load(Ordering::Relaxed) + bytes > MAX_UNTAKEN {
            return None;
        }
        self.untaken.fetch_add(bytes, Ordering::Relaxed);
        Some(Room {
            untaken: Arc::clone(&self.untaken),
            bytes,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.untaken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A place in [`Tickets`], given up when dropped.
#[derive(Debug)]
pub struct Claim {
    ticket: Ticket,
    tickets: Arc<Tickets>,
}

impl Claim {
    /// Its name for the replica.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.tickets.lock().remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use quorate_types::{Blob, BlockTime, Height, Outcome, PublicKey, Receipt, TransactionId};

    use super::*;

    const LARGE: usize = 1 << 20;

    fn reply() -> Reply {
        Reply::Executed(Box::new(Receipt {
            transaction: TransactionId::default(),
            client: PublicKey::from_bytes_unchecked([1; 32]),
            sequence: 1,
            height: Height(1),
            index: 0,
            time: BlockTime(1),
            outcome: Outcome::Executed {
                revision: 1,
                results: vec![Blob(vec![0; LARGE])],
            },
        }))
    }

    fn ask(tickets: &Arc<Tickets>) -> (Claim, Awaited) {
        let (claim, awaited) = tickets.issue();
        tickets.answer(vec![(claim.ticket(), reply())]);
        (claim, awaited)
    }

    #[tokio::test]
    async fn answers_that_nobody_takes_are_bounded() {
        let tickets = Arc::new(Tickets::default());
        let mut untaken: Vec<_> = (1..MAX_UNTAKEN / LARGE).map(|_| ask(&tickets)).collect();
        // With what a receipt has around its result, one less than the bound fits.
        let (_claim, refused) = ask(&tickets);
        assert!(matches!(
            refused.take().await,
            Some(Err(SubmitError::Full { .. }))
        ));
        // What is taken, and who goes without, make room.
        let (_claim, first) = untaken.swap_remove(0);
        assert!(matches!(first.take().await, Some(Ok(Reply::Executed(_)))));
        let again = ask(&tickets);
        assert!(matches!(
            ask(&tickets).1.take().await,
            Some(Err(SubmitError::Full { .. }))
        ));
        drop(again);
        untaken.clear();
        assert_eq!(tickets.untaken.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_ticket_that_was_given_up_is_not_answered() {
        let tickets = Arc::new(Tickets::default());
        let (claim, awaited) = tickets.issue();
        let ticket = claim.ticket();
        drop(claim);
        tickets.answer(vec![(ticket, reply())]);
        assert!(awaited.take().await.is_none());
        assert_eq!(tickets.untaken.load(Ordering::Relaxed), 0);
    }
}
