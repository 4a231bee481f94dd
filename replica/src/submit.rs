//! Clients' transactions: admission, and who waits for which receipt.

use std::collections::BTreeSet;

use quorate_mutants::{Mutant, mutant};
use quorate_storage::{View, ledger};
use quorate_types::{Batch, HashedTransaction, Message, Outcome, Receipt, TransactionId, Verified};

use crate::output::{Notice, Reply, SubmitRefusal};
use crate::replica::{Replica, ReplicaError};
use crate::turn::Turn;
use crate::{Target, Ticket, Wait};

/// Most tickets that wait for receipts.
const MAX_WAITING: usize = 131_072;

impl Replica {
    /// Admits a transaction, or answers with the receipt of its first execution (X1), or of a rejection that would come
    /// again. One that has diverged has no receipts to answer with, only what it took for them (V5).
    pub(crate) fn on_submit(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: Ticket,
        transaction: Verified<HashedTransaction>,
        wait: Wait,
    ) -> Result<(), ReplicaError> {
        if self.engine.status().diverged {
            turn.reply(ticket, Reply::Refused(SubmitRefusal::NotServing));
            return Ok(());
        }
        let id = transaction.id();
        let receipt = first_receipt(turn.view(), &id)?.filter(|receipt| !receipt.outcome.passes());
        if let Some(receipt) = receipt.filter(|_| !mutant(Mutant::OtherAnswer)) {
            turn.reply(ticket, Reply::Executed(Box::new(receipt)));
            return Ok(());
        }
        if let Err(refusal) = self.admit(turn, transaction, wait) {
            turn.reply(ticket, Reply::Refused(refusal));
            return Ok(());
        }
        match wait {
            Wait::Admitted => turn.reply(ticket, Reply::Admitted(id)),
            Wait::Executed => {
                self.waiters.entry(id).or_default().push(ticket);
                self.waiting += 1;
            }
        }
        Ok(())
    }

    fn admit(
        &mut self,
        turn: &Turn<'_>,
        transaction: Verified<HashedTransaction>,
        wait: Wait,
    ) -> Result<(), SubmitRefusal> {
        if self.setup.me.is_none() {
            return Err(SubmitRefusal::NotServing);
        }
        if !self.setup.clients.contains(&transaction.body.client) {
            return Err(SubmitRefusal::UnknownClient);
        }
        if wait == Wait::Executed && self.waiting >= MAX_WAITING {
            return Err(SubmitRefusal::TooManyWaiting);
        }
        let time = self.pool_time(turn.now);
        self.pool
            .admit(transaction, time)
            .map_err(SubmitRefusal::Pool)?;
        Ok(())
    }

    /// Answers those who wait for the transactions of a block. A transaction that had been executed before is answered
    /// with its first receipt.
    pub(crate) fn answer(
        &mut self,
        turn: &mut Turn<'_>,
        receipts: &[Receipt],
    ) -> Result<(), ReplicaError> {
        if self.waiters.is_empty() {
            return Ok(());
        }
        let diverged = self.engine.status().diverged;
        for receipt in receipts {
            let Some(tickets) = self.waiters.remove(&receipt.transaction) else {
                continue;
            };
            self.waiting -= tickets.len();
            if diverged {
                for ticket in tickets {
                    turn.reply(ticket, Reply::Refused(SubmitRefusal::NotServing));
                }
                continue;
            }
            let answer = match &receipt.outcome {
                Outcome::Duplicate { height, index } if !mutant(Mutant::OtherAnswer) => {
                    ledger::receipt(turn.view(), *height, *index)?
                        .unwrap_or_else(|| receipt.clone())
                }
                Outcome::Duplicate { .. } | Outcome::Executed { .. } | Outcome::Rejected(_) => {
                    receipt.clone()
                }
            };
            for ticket in tickets {
                turn.reply(ticket, Reply::Executed(Box::new(answer.clone())));
            }
        }
        Ok(())
    }

    /// Packs what waits, stores it, and streams it to all (B1).
    pub(crate) fn seal(&mut self, turn: &mut Turn<'_>) -> Result<(), ReplicaError> {
        let time = self.pool_time(turn.now);
        for batch in self.pool.seal(turn.now.monotonic, time) {
            turn.write(|writes| ledger::put_batch(writes, batch.id(), &batch));
            let message = Message::Batch(Box::new(Batch::clone(&batch)));
            turn.send(Target::All, message);
        }
        Ok(())
    }

    /// Drops what can no longer be ordered, and tells those who wait for it.
    pub(crate) fn expire(&mut self, turn: &mut Turn<'_>) {
        let time = self.pool_time(turn.now);
        self.pruned.let_go(self.tip);
        if self.pool.is_settled(time) {
            return; // as in most turns
        }
        let keep: BTreeSet<_> = self
            .blocks
            .values()
            .flat_map(|block| block.batches.iter().copied())
            .collect();
        let lapsed = self.pool.expire(time, &keep);
        if lapsed.is_empty() {
            return;
        }
        turn.notice(Notice::Expired(
            u64::try_from(lapsed.len()).expect("memory is bounded"),
        ));
        for entry in lapsed {
            let tickets = self.waiters.remove(&entry.transaction).unwrap_or_default();
            self.waiting -= tickets.len();
            for ticket in tickets {
                turn.reply(ticket, Reply::Refused(SubmitRefusal::Expired));
            }
        }
    }
}

/// The receipt of a transaction's first place in the ledger.
pub(crate) fn first_receipt(
    view: &dyn View,
    id: &TransactionId,
) -> Result<Option<Receipt>, ReplicaError> {
    let Some((height, index)) = ledger::place(view, *id)? else {
        return Ok(None);
    };
    Ok(ledger::receipt(view, height, index)?)
}
