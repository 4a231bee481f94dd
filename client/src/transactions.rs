//! Transactions: signed once, sent as often as it takes, followed to their end.
//!
//! Rules X1 (one number, one transaction) and the submission states. What makes failing over safe is that an attempt
//! is never signed anew: wherever the same bytes arrive, and however often, they execute once. A new signature is made
//! only after a receipt has proved that the old transaction had no effect.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Method;
use quorate_crypto::SecretKey;
use quorate_types::{Blob, BlockTime, FORMAT_VERSION, Outcome, Receipt, Rejection};
use quorate_types::{Transaction, TransactionBody, TransactionId, codec};

use crate::api::{CANONICAL, ReceiptReply};
use crate::backoff::{Backoff, MAX_PAUSE};
use crate::client::{Client, Submission, Wait, about, parse, receipt_of};
use crate::error::ClientError;
use crate::failover::Purpose;
use crate::http::Call;
use crate::sequence::Sequence;
use crate::validity::Clocks;

/// How long the set's clocks are believed without asking again.
const CLOCKS_AGE: Duration = Duration::from_secs(30);
/// How often an operation is signed again because another process had used the number.
const MAX_COLLISIONS: u32 = 16;

impl Client {
    /// Executes commands in one transaction: signs, submits, waits for the receipt. Exactly once, whatever fails.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`] with the id if the outcome is unknown, without one if nothing was sent;
    /// [`ClientError::Rejected`].
    pub async fn execute(
        &self,
        key: &SecretKey,
        commands: Vec<Blob>,
    ) -> Result<(Receipt, Submission), ClientError> {
        let deadline = self.deadline();
        let mut lifetime = BlockTime(0);
        let mut collisions = 0;
        loop {
            let signed = self.sign_until(key, commands.clone(), lifetime, deadline);
            let transaction = signed.await?;
            let ended = self.follow(&transaction, false, deadline).await;
            let (receipt, submission) = ended.inspect_err(|error| self.learn(key, error))?;
            if !is_reused(&receipt) || collisions == MAX_COLLISIONS {
                return self.conclude(key, receipt, submission);
            }
            collisions += 1;
            // What remembers the number's user is dropped when the last transaction of the key is past its time. The
            // new one keeps it there as long as the old one could still come.
            lifetime = transaction.body.valid_until;
            let next = self.next_sequence(&key.public(), deadline).await?;
            self.sequence(key, |sequence| sequence.collided(next));
        }
    }

    /// Finds out what becomes of a transaction that was signed and kept before, and perhaps sent: by a process that has
    /// ended since, say. Sends it as it is, as often as it takes, and never signs another; one that was executed before
    /// is not executed again, and its receipt is the first one's, also when its `valid_until` is past.
    ///
    /// ```no_run
    /// # use quorate_client::{Client, ClientError};
    /// # use quorate_types::Transaction;
    /// # async fn example(client: &Client, kept: &Transaction) -> Result<(), ClientError> {
    /// match client.settle(kept).await {
    ///     Ok((receipt, _)) => println!("executed at height {}", receipt.height),
    ///     Err(ClientError::TimedOut { .. }) => println!("open: keep the bytes, and settle them again"),
    ///     Err(ClientError::Rejected { rejection, .. }) if rejection.is_final() => {
    ///         println!("it never executes: {rejection}");
    ///     }
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::TimedOut`] with the id while its outcome is unknown: no refusal says that it had no effect before;
    /// [`ClientError::Rejected`].
    pub async fn settle(
        &self,
        transaction: &Transaction,
    ) -> Result<(Receipt, Submission), ClientError> {
        let (receipt, submission) = self.follow(transaction, true, self.deadline()).await?;
        match receipt.outcome {
            Outcome::Rejected(rejection) => Err(ClientError::Rejected {
                id: submission.id,
                rejection,
            }),
            Outcome::Executed { .. } | Outcome::Duplicate { .. } => Ok((receipt, submission)),
        }
    }

    /// The end of an operation that has a receipt.
    fn conclude(
        &self,
        key: &SecretKey,
        receipt: Receipt,
        submission: Submission,
    ) -> Result<(Receipt, Submission), ClientError> {
        let Outcome::Rejected(rejection) = receipt.outcome else {
            self.sequence(key, Sequence::executed);
            return Ok((receipt, submission));
        };
        let id = submission.id;
        let error = ClientError::Rejected { id, rejection };
        self.learn(key, &error);
        Err(error)
    }

    /// Forgets what led to an error, so that the next operation asks for it, and another validator first.
    fn learn(&self, key: &SecretKey, error: &ClientError) {
        match error {
            ClientError::Rejected {
                rejection: Rejection::TooOld,
                ..
            } => self.sequence(key, Sequence::forget),
            ClientError::Rejected {
                rejection: Rejection::Expired,
                ..
            }
            | ClientError::Refused { status: 422, .. }
            | ClientError::TimedOut { .. } => *self.clocks() = None,
            _ => return,
        }
        self.turn_away();
    }

    /// Signs commands with the next number and a deadline that one wrong clock does not spoil.
    ///
    /// # Errors
    /// If the number or the set's clocks have to be asked for, and nobody answers.
    pub async fn sign(
        &self,
        key: &SecretKey,
        commands: Vec<Blob>,
    ) -> Result<Transaction, ClientError> {
        let deadline = self.deadline();
        self.sign_until(key, commands, BlockTime(0), deadline).await
    }

    /// As [`Client::sign`], and valid until `lifetime` at least.
    async fn sign_until(
        &self,
        key: &SecretKey,
        commands: Vec<Blob>,
        lifetime: BlockTime,
        deadline: Instant,
    ) -> Result<Transaction, ClientError> {
        let valid_until = self.valid_until_by(deadline).await?.max(lifetime);
        let sequence = match self.sequence(key, Sequence::take) {
            Some(number) => number,
            None => {
                let next = self.next_sequence(&key.public(), deadline).await?;
                self.sequence(key, |sequence| sequence.take_from(next))
            }
        };
        Ok(TransactionBody {
            version: FORMAT_VERSION,
            chain: self.profile().chain,
            client: key.public(),
            sequence,
            valid_until,
            commands,
        }
        .sign(key))
    }

    /// The deadline of a transaction that is signed now.
    ///
    /// # Errors
    /// If the set's clocks have to be asked for, and nobody answers.
    pub async fn valid_until(&self) -> Result<BlockTime, ClientError> {
        self.valid_until_by(self.deadline()).await
    }

    async fn valid_until_by(&self, deadline: Instant) -> Result<BlockTime, ClientError> {
        let known = *self.clocks();
        if let Some((clocks, at)) = known
            && at.elapsed() < CLOCKS_AGE
        {
            return Ok(clocks.valid_until(self.validity + at.elapsed()));
        }
        let clocks = self.ask_clocks(deadline).await?;
        *self.clocks() = Some((clocks, Instant::now()));
        Ok(clocks.valid_until(self.validity))
    }

    /// Submits a transaction that was signed just now and never sent, to one validator after another until one has
    /// answered or time runs out. For one that may have been sent: [`Client::submit_again`].
    ///
    /// # Errors
    /// [`ClientError::TimedOut`] with the id if some validator may have taken it; [`ClientError::Refused`] if so many
    /// refuse it for good that an honest one is among them; else what the last one said.
    pub async fn submit(
        &self,
        transaction: &Transaction,
        wait: Wait,
    ) -> Result<Submission, ClientError> {
        let deadline = self.deadline();
        self.submit_until(transaction, false, wait, deadline).await
    }

    /// As [`Client::submit`], of a transaction that may have been sent before: no refusal says now that it has no effect.
    /// [`Client::settle`] also sends it again if its block was full.
    ///
    /// # Errors
    /// As [`Client::submit`], and [`ClientError::TimedOut`] with the id instead of any refusal.
    pub async fn submit_again(
        &self,
        transaction: &Transaction,
        wait: Wait,
    ) -> Result<Submission, ClientError> {
        let deadline = self.deadline();
        self.submit_until(transaction, true, wait, deadline).await
    }

    /// Waits until a transaction that was submitted before, by anyone, has a receipt.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] if nobody answered to the last; [`ClientError::TimedOut`] with the id if somebody did,
    /// and knew no receipt; what [`Client::transaction`] returns.
    pub async fn wait(&self, id: TransactionId) -> Result<Submission, ClientError> {
        self.wait_until(id, self.deadline()).await
    }

    async fn wait_until(
        &self,
        id: TransactionId,
        deadline: Instant,
    ) -> Result<Submission, ClientError> {
        let mut backoff = Backoff::default();
        loop {
            let open = match self.transaction_until(id, false, deadline).await {
                Ok(found) if found.reply.receipt.is_some() => return Ok(found),
                Ok(_)
                | Err(
                    ClientError::Refused {
                        status: 404 | 429 | 500..,
                        ..
                    }
                    | ClientError::TimedOut { .. },
                ) => ClientError::TimedOut {
                    pending: Some(id),
                    last: None,
                },
                Err(error @ ClientError::Unreachable { .. }) => error,
                Err(error) => return Err(error),
            };
            let pause = backoff.next();
            if deadline.saturating_duration_since(Instant::now()) <= pause {
                return Err(open);
            }
            // Who does not know it for long may be behind, or lie.
            if pause == MAX_PAUSE {
                self.turn_away();
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Follows a transaction to its end, and sends it again as long as it is rejected for what passes: a full block, time
    /// that has not come near enough. `sent` says that it may have been sent before.
    async fn follow(
        &self,
        transaction: &Transaction,
        mut sent: bool,
        deadline: Instant,
    ) -> Result<(Receipt, Submission), ClientError> {
        let mut backoff = Backoff::default();
        loop {
            let (receipt, submission) = self.receipt(transaction, sent, deadline).await?;
            sent = true;
            let passing = match receipt.outcome {
                Outcome::Rejected(rejection) => Some(rejection).filter(|why| why.passes()),
                Outcome::Executed { .. } | Outcome::Duplicate { .. } => None,
            };
            let Some(passing) = passing else {
                return self.checked(receipt, submission, deadline).await;
            };
            let pause = backoff.next();
            if deadline.saturating_duration_since(Instant::now()) <= pause {
                return Err(ClientError::TimedOut {
                    pending: Some(submission.id),
                    last: Some(passing.to_string()),
                });
            }
            // It is one validator's word.
            self.turn_away();
            tokio::time::sleep(pause).await;
        }
    }

    /// Whether another transaction has our number, so that ours has had no effect, has to be proved: that allows to sign a
    /// new one, and a liar would have the operation executed twice by it.
    async fn checked(
        &self,
        receipt: Receipt,
        submission: Submission,
        deadline: Instant,
    ) -> Result<(Receipt, Submission), ClientError> {
        if !is_reused(&receipt) {
            return Ok((receipt, submission));
        }
        let receipt = self.proved_receipt(submission.id, deadline).await?;
        let submission = submission.with(&receipt);
        Ok((receipt, submission))
    }

    async fn receipt(
        &self,
        transaction: &Transaction,
        sent: bool,
        deadline: Instant,
    ) -> Result<(Receipt, Submission), ClientError> {
        let mut submission = self
            .submit_until(transaction, sent, Wait::Executed, deadline)
            .await?;
        let mut receipt = receipt_of(&submission)?;
        // A repeated transaction can have several places; the first has the answer (X1).
        if matches!(receipt.outcome, Outcome::Duplicate { .. }) {
            submission = self.wait_until(submission.id, deadline).await?;
            receipt = receipt_of(&submission)?;
        }
        Ok((receipt, submission))
    }

    async fn submit_until(
        &self,
        transaction: &Transaction,
        sent: bool,
        wait: Wait,
        deadline: Instant,
    ) -> Result<Submission, ClientError> {
        let id = transaction.id();
        let call = Call {
            method: Method::POST,
            path: format!("/v1/transactions?wait={}", wait.as_str()),
            accept: "application/json",
            body: Some((CANONICAL, Bytes::from(codec::encode(transaction)))),
        };
        let read = |answer: &_, endpoint: &str| {
            let submission = about(id, parse(answer, endpoint)?, endpoint)?;
            if wait == Wait::Executed {
                receipt_of(&submission)?;
            }
            Ok(submission)
        };
        let purpose = Purpose::Submit { id, open: sent };
        let (submission, _) = self.attempt(&call, deadline, purpose, read).await?;
        Ok(submission)
    }

    /// Does something with a key's numbers.
    fn sequence<T>(&self, key: &SecretKey, act: impl FnOnce(&mut Sequence) -> T) -> T {
        let mut all = self
            .sequences
            .lock()
            .expect("nothing panics while it holds the lock");
        act(all.entry(key.public()).or_default())
    }

    fn clocks(&self) -> std::sync::MutexGuard<'_, Option<(Clocks, Instant)>> {
        self.clocks
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl Submission {
    /// The same with another receipt.
    fn with(mut self, receipt: &Receipt) -> Submission {
        self.reply.height = Some(receipt.height);
        self.reply.index = Some(receipt.index);
        self.reply.receipt = Some(ReceiptReply::from(receipt));
        self
    }
}

fn is_reused(receipt: &Receipt) -> bool {
    receipt.outcome == Outcome::Rejected(Rejection::SequenceReused)
}
