//! A client's transaction on its way in: through the verifiers to the core, and the core's answer back to whoever waits.

use std::sync::atomic::Ordering;

use quorate_client::Wait;
use quorate_mempool::Refusal;
use quorate_replica::{Input, Reply as CoreReply, SubmitRefusal};
use quorate_types::{HashedTransaction, TransactionId, Unverified};

use super::api::Served;
use super::core::Busy;
use crate::backend::{Progress, SubmitError};

/// What a client is told to wait when a queue is full, in seconds.
pub(super) const RETRY_AFTER: u32 = 1;

impl Served {
    /// Has a transaction checked and admitted, and waits for what the client waits for.
    pub(super) async fn follow(
        &self,
        transaction: Unverified<HashedTransaction>,
        wait: Wait,
    ) -> Result<Progress, SubmitError> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(SubmitError::NotServing);
        }
        // Before its signature is checked: under overload the least is spent on what is turned away.
        if self.core.queued() >= self.setup.limits.max_pending_transactions {
            return Err(full());
        }
        let id = transaction.peek().id();
        let (claim, answer) = self.core.tickets().issue();
        let (core, ticket) = (self.core.clone(), claim.ticket());
        let wait_for = match wait {
            Wait::None => quorate_replica::Wait::Admitted,
            Wait::Committed | Wait::Executed => quorate_replica::Wait::Executed,
        };
        // The verifiers' sink wakes the core, behind the last verdict of the piece of work.
        let done = move |verdict: Result<_, _>| {
            let pushed = match verdict {
                Ok(transaction) => core
                    .try_put(Input::Submit {
                        ticket,
                        transaction: Box::new(transaction),
                        wait: wait_for,
                    })
                    .map_err(busy),
                Err(reject) => Err(SubmitError::Invalid(reject)),
            };
            if let Err(error) = pushed {
                core.tickets().refuse(ticket, error);
            }
        };
        self.verifier
            .transaction(transaction, done)
            .map_err(|_| full())?;
        match answer.take().await.ok_or(SubmitError::NotServing)?? {
            CoreReply::Admitted(id) => Ok(Progress::Accepted(id)),
            CoreReply::Executed(receipt) if wait == Wait::Committed => Ok(Progress::Committed {
                id,
                height: receipt.height,
                index: receipt.index,
            }),
            CoreReply::Executed(receipt) => Ok(Progress::Executed(*receipt)),
            CoreReply::Refused(refusal) => Err(submit_error(id, refusal)),
            CoreReply::Proof(_) => Err(SubmitError::NotServing),
        }
    }
}

fn busy(busy: Busy) -> SubmitError {
    match busy {
        Busy::Full => full(),
        Busy::Stopped => SubmitError::NotServing,
    }
}

/// A queue is full.
pub(super) fn full() -> SubmitError {
    SubmitError::Full {
        retry_after_seconds: RETRY_AFTER,
    }
}

fn submit_error(id: TransactionId, refusal: SubmitRefusal) -> SubmitError {
    match refusal {
        SubmitRefusal::UnknownClient => SubmitError::UnknownClient,
        SubmitRefusal::Pool(Refusal::Expired) => SubmitError::TooLate,
        SubmitRefusal::Pool(Refusal::TooFarAhead) => SubmitError::TooFarAhead,
        SubmitRefusal::Expired => SubmitError::Expired(id),
        SubmitRefusal::Pool(Refusal::Full { .. } | Refusal::ClientFull { .. })
        | SubmitRefusal::TooManyWaiting => full(),
        SubmitRefusal::Pool(_) | SubmitRefusal::NotServing | SubmitRefusal::NoSuchKey => {
            SubmitError::NotServing
        }
    }
}
