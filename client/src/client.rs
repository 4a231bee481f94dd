//! The client: signs, submits, waits, and fails over to another validator with the same signed bytes.
//!
//! Rules X1 (one number, one transaction) and the submission states. What makes failing over safe is that an attempt
//! is never signed anew: wherever the same bytes arrive, and however often, they execute once. A new signature is made
//! only after a receipt has proved that the old transaction had no effect.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Method;
use quorate_crypto::SecretKey;
use quorate_types::{Blob, BlockTime, ChainId, FORMAT_VERSION, Genesis, Height, Outcome};
use quorate_types::{PublicKey, Receipt, Rejection};
use quorate_types::{Transaction, TransactionBody, TransactionId, codec};
use serde::de::DeserializeOwned;

use crate::api::{
    Base64, BlockReply, BlocksReply, CANONICAL, ClientReply, JSON_LINES, KeyReply, LogEntry,
    RangeReply, ReceiptReply, StatusReply, SubmitReply, ValidatorsReply,
};
use crate::backoff::{Backoff, FIRST_PATIENCE, MAX_PAUSE};
use crate::error::ClientError;
use crate::http::{Answer, Call, Http, check_endpoint};
use crate::profile::Profile;
use crate::sequence::Sequence;
use crate::validity::{Clocks, DEFAULT_VALIDITY, wall_clock};

/// How long the set's clocks are believed without asking again.
const CLOCKS_AGE: Duration = Duration::from_secs(30);
/// How often an operation is signed again because another process had used the number.
const MAX_COLLISIONS: u32 = 16;

/// How far a submission is to be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until a validator has accepted it.
    None,
    /// Until it has its place in the ledger.
    Committed,
    /// Until there is a receipt.
    Executed,
}

impl Wait {
    /// As in the API's query.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Wait::None => "none",
            Wait::Committed => "committed",
            Wait::Executed => "executed",
        }
    }
}

/// Where a submission stands, and who said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The transaction.
    pub id: TransactionId,
    /// What the validator answered.
    pub reply: SubmitReply,
    /// Which validator.
    pub endpoint: String,
}

/// Talks to the validators of one chain.
#[derive(Debug)]
pub struct Client {
    profile: Profile,
    http: Http,
    /// Index of the endpoint that answered last.
    preferred: AtomicUsize,
    /// Of each key that has signed.
    sequences: Mutex<BTreeMap<PublicKey, Sequence>>,
    /// Once it was needed.
    genesis: OnceLock<Genesis>,
    clocks: Mutex<Option<(Clocks, Instant)>>,
    timeout: Duration,
    validity: Duration,
}

impl Client {
    /// A client of a chain. Nothing is sent yet. `timeout` bounds each operation.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`].
    pub fn new(profile: Profile, timeout: Duration) -> Result<Client, ClientError> {
        profile
            .endpoints
            .iter()
            .try_for_each(|e| check_endpoint(e))?;
        Ok(Client {
            profile,
            http: Http::default(),
            preferred: AtomicUsize::new(0),
            sequences: Mutex::default(),
            genesis: OnceLock::new(),
            clocks: Mutex::default(),
            timeout,
            validity: DEFAULT_VALIDITY,
        })
    }

    /// Sets how long transactions are valid; the chain's `max_validity` bounds it.
    pub fn set_validity(&mut self, validity: Duration) {
        self.validity = validity;
    }

    /// What the client was made from.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed)
    }

    pub(crate) fn prefer(&self, index: usize) {
        self.preferred.store(index, Ordering::Relaxed);
    }

    /// Asks another validator first from now on.
    fn turn_away(&self) {
        self.preferred.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn known_genesis(&self) -> &OnceLock<Genesis> {
        &self.genesis
    }

    // ---------------------------------------------------------------------------------------------- transactions

    /// Executes commands in one transaction: signs, submits, waits for the receipt. Exactly once, whatever fails.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`] with the id if the outcome is unknown; [`ClientError::Rejected`].
    pub async fn execute(
        &self,
        key: &SecretKey,
        commands: Vec<Blob>,
    ) -> Result<(Receipt, Submission), ClientError> {
        let deadline = Instant::now() + self.timeout;
        let mut lifetime = BlockTime(0);
        let mut collisions = 0;
        loop {
            let transaction = self.sign_until(key, commands.clone(), lifetime).await?;
            let settled = self.settle_in_a_block(&transaction, deadline).await;
            let (receipt, submission) = settled.inspect_err(|error| self.learn(key, error))?;
            if !is_reused(&receipt) {
                return self.conclude(key, receipt, submission);
            }
            // Another transaction has our number, so ours has had no effect. That allows to sign a new one, and a liar
            // would have the operation executed twice by it: so it has to be proved.
            let receipt = self.proved_receipt(submission.id, deadline).await?;
            if !is_reused(&receipt) || collisions == MAX_COLLISIONS {
                let submission = submission.with(&receipt);
                return self.conclude(key, receipt, submission);
            }
            collisions += 1;
            // What remembers the number's user is dropped when the last transaction of the key is past its time. The
            // new one keeps it there as long as the old one could still come.
            lifetime = transaction.body.valid_until;
            let next = self.next_sequence(&key.public()).await?;
            self.sequence(key, |sequence| sequence.collided(next));
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
                rejection: Rejection::Expired | Rejection::TooFarAhead,
                ..
            }
            | ClientError::Refused { status: 422, .. } => *self.clocks() = None,
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
        self.sign_until(key, commands, BlockTime(0)).await
    }

    /// As [`Client::sign`], and valid until `lifetime` at least.
    async fn sign_until(
        &self,
        key: &SecretKey,
        commands: Vec<Blob>,
        lifetime: BlockTime,
    ) -> Result<Transaction, ClientError> {
        let valid_until = self.valid_until().await?.max(lifetime);
        let sequence = match self.sequence(key, Sequence::take) {
            Some(number) => number,
            None => {
                let next = self.next_sequence(&key.public()).await?;
                self.sequence(key, |sequence| sequence.take_from(next))
            }
        };
        Ok(TransactionBody {
            version: FORMAT_VERSION,
            chain: self.profile.chain,
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
        let known = *self.clocks();
        if let Some((clocks, at)) = known
            && at.elapsed() < CLOCKS_AGE
        {
            return Ok(clocks.valid_until(self.validity + at.elapsed()));
        }
        let status = self.status().await?;
        let clocks = Clocks {
            local: wall_clock(),
            validator: status.now,
            head: status.head_time,
        };
        *self.clocks() = Some((clocks, Instant::now()));
        Ok(clocks.valid_until(self.validity))
    }

    /// Submits a signed transaction, to one validator after another until one has answered or time runs out.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`] with the id if some validator may have taken it; else what the last one said.
    pub async fn submit(
        &self,
        transaction: &Transaction,
        wait: Wait,
    ) -> Result<Submission, ClientError> {
        let deadline = Instant::now() + self.timeout;
        self.submit_until(transaction, wait, deadline).await
    }

    /// Waits until a transaction that was submitted before, by anyone, has a receipt.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] if nobody answered to the last; [`ClientError::TimedOut`] with the id if somebody did,
    /// and knew no receipt; what [`Client::transaction`] returns.
    pub async fn wait(&self, id: TransactionId) -> Result<Submission, ClientError> {
        self.wait_until(id, Instant::now() + self.timeout).await
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

    /// Settles; as long as its blocks have no room for the transaction's cost, sends it again as it is.
    async fn settle_in_a_block(
        &self,
        transaction: &Transaction,
        deadline: Instant,
    ) -> Result<(Receipt, Submission), ClientError> {
        let mut backoff = Backoff::default();
        loop {
            let settled = self.settle(transaction, deadline).await?;
            if settled.0.outcome != Outcome::Rejected(Rejection::BlockFull) {
                return Ok(settled);
            }
            let pause = backoff.next();
            if deadline.saturating_duration_since(Instant::now()) <= pause {
                return Err(ClientError::TimedOut {
                    pending: Some(settled.1.id),
                    last: Some(Rejection::BlockFull.to_string()),
                });
            }
            // It is one validator's word.
            self.turn_away();
            tokio::time::sleep(pause).await;
        }
    }

    async fn settle(
        &self,
        transaction: &Transaction,
        deadline: Instant,
    ) -> Result<(Receipt, Submission), ClientError> {
        let mut submission = self
            .submit_until(transaction, Wait::Executed, deadline)
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
        let (submission, _) = self.attempt(&call, deadline, Some(id), read).await?;
        Ok(submission)
    }

    // ----------------------------------------------------------------------------------------------------- reads

    /// Where a transaction stands; with `proof`, the proof of its receipt.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with status 404 if the validator does not know it.
    pub async fn transaction(
        &self,
        id: TransactionId,
        proof: bool,
    ) -> Result<Submission, ClientError> {
        let deadline = Instant::now() + self.timeout;
        self.transaction_until(id, proof, deadline).await
    }

    async fn transaction_until(
        &self,
        id: TransactionId,
        proof: bool,
        deadline: Instant,
    ) -> Result<Submission, ClientError> {
        let call = Call::get(format!("/v1/transactions/{id}{}", proof_query(proof)));
        let read = |answer: &_, endpoint: &str| about(id, parse(answer, endpoint)?, endpoint);
        Ok(self.attempt(&call, deadline, None, read).await?.0)
    }

    /// A key's value as one validator has it, possibly old; with `proof`, the proof of it.
    ///
    /// # Errors
    /// [`ClientError`]; an absent key is no error.
    pub async fn key(&self, key: &[u8], proof: bool) -> Result<KeyReply, ClientError> {
        let path = format!("/v1/kv/{}{}", percent(key), proof_query(proof));
        self.get(path, |reply: &KeyReply| reply.key.0 == key).await
    }

    /// The keys with a prefix, as one validator has them; beginning at `from`, the `next` of the answer before, if there
    /// was one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn range(
        &self,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: u32,
    ) -> Result<RangeReply, ClientError> {
        let from = percent(from.unwrap_or_default());
        let path = format!(
            "/v1/kv?prefix={}&from={from}&limit={limit}",
            percent(prefix)
        );
        self.get(path, |_| true).await
    }

    /// How the first validator that answers is. Checks the chain.
    ///
    /// # Errors
    /// [`ClientError::WrongChain`], and as every read.
    pub async fn status(&self) -> Result<StatusReply, ClientError> {
        let call = Call::get("/v1/status".into());
        let read =
            |answer: &_, endpoint: &str| self.check_chain(parse(answer, endpoint)?, endpoint);
        let deadline = Instant::now() + self.timeout;
        Ok(self.attempt(&call, deadline, None, read).await?.0)
    }

    /// How one validator is, without failing over.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn status_of(&self, endpoint: &str) -> Result<StatusReply, ClientError> {
        let within = self.timeout.min(FIRST_PATIENCE);
        self.check_chain(self.get_of(endpoint, "/v1/status", within).await?, endpoint)
    }

    /// The validator set as one validator sees it, without failing over.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn validators_of(&self, endpoint: &str) -> Result<ValidatorsReply, ClientError> {
        let within = self.timeout.min(FIRST_PATIENCE);
        self.get_of(endpoint, "/v1/validators", within).await
    }

    pub(crate) async fn get_of<T: DeserializeOwned>(
        &self,
        endpoint: &str,
        path: &str,
        within: Duration,
    ) -> Result<T, ClientError> {
        let call = Call::get(path.into());
        let answer = self.http.call(endpoint, &call, within).await;
        let answer = answer.map_err(|error| ClientError::Unreachable {
            last: error.to_string(),
        })?;
        if !answer.status.is_success() {
            return Err(answer.refusal());
        }
        parse(&answer, endpoint)
    }

    fn check_chain(&self, status: StatusReply, endpoint: &str) -> Result<StatusReply, ClientError> {
        if status.chain != self.profile.chain {
            return Err(wrong_chain(endpoint, status.chain, self.profile.chain));
        }
        Ok(status)
    }

    /// The validator set.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn validators(&self) -> Result<ValidatorsReply, ClientError> {
        self.get("/v1/validators".into(), |_| true).await
    }

    /// What the validators know of a client key.
    ///
    /// # Errors
    /// [`ClientError`]; an unregistered key is no error.
    pub async fn client_info(&self, key: &PublicKey) -> Result<ClientReply, ClientError> {
        let path = format!("/v1/clients/{key}");
        self.get(path, |reply: &ClientReply| reply.key == *key)
            .await
    }

    /// A block.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with status 404 above the head.
    pub async fn block(&self, height: Height) -> Result<BlockReply, ClientError> {
        let path = format!("/v1/blocks/{height}");
        self.get(path, |reply: &BlockReply| reply.height == height)
            .await
    }

    /// At most `limit` blocks (1 to 100) from a height downwards, the newest first; from the validator's head if that is
    /// lower.
    ///
    /// # Errors
    /// [`ClientError`]; with status 410 if the height is no longer kept.
    pub async fn blocks(&self, from: Height, limit: u32) -> Result<BlocksReply, ClientError> {
        let path = format!("/v1/blocks?from={from}&limit={limit}");
        self.get(path, |_| true).await
    }

    /// A stretch of the ledger from `from` on: as much as the validator sends at once, nothing above the head.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn log(&self, from: Height, to: Height) -> Result<Vec<LogEntry>, ClientError> {
        let mut call = Call::get(format!("/v1/log?from={from}&to={to}"));
        call.accept = JSON_LINES;
        let deadline = Instant::now() + self.timeout;
        let read = |answer: &Answer, endpoint: &str| {
            let lines = answer.body.split(|byte| *byte == b'\n');
            lines
                .filter(|line| !line.is_empty())
                .map(serde_json::from_slice)
                .collect::<Result<_, _>>()
                .map_err(|error| bad(endpoint, &error.to_string()))
        };
        Ok(self.attempt(&call, deadline, None, read).await?.0)
    }

    /// What a validator answers; an answer that does not fit the question is none.
    async fn get<T: DeserializeOwned>(
        &self,
        path: String,
        fits: impl Fn(&T) -> bool,
    ) -> Result<T, ClientError> {
        let read = |answer: &_, endpoint: &str| {
            let reply = parse(answer, endpoint)?;
            match fits(&reply) {
                true => Ok(reply),
                false => Err(bad(endpoint, "it answers another question")),
            }
        };
        let deadline = Instant::now() + self.timeout;
        let call = Call::get(path);
        Ok(self.attempt(&call, deadline, None, read).await?.0)
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

/// An answer about a transaction, if it is about this one.
fn about(id: TransactionId, reply: SubmitReply, endpoint: &str) -> Result<Submission, ClientError> {
    if reply.id != id {
        let what = format!("it answers for transaction {} instead of {id}", reply.id);
        return Err(bad(endpoint, &what));
    }
    let submission = Submission {
        id,
        reply,
        endpoint: endpoint.to_owned(),
    };
    if submission.reply.receipt.is_some() {
        receipt_of(&submission)?;
    }
    Ok(submission)
}

fn receipt_of(submission: &Submission) -> Result<Receipt, ClientError> {
    let bad = |what: &str| bad(&submission.endpoint, what);
    let reply = submission.reply.receipt.as_ref();
    let reply = reply.ok_or_else(|| bad("executed, without a receipt"))?;
    let receipt = reply.decode().map_err(|error| bad(&error.to_string()))?;
    if receipt.transaction != submission.id {
        return Err(bad("the receipt is another transaction's"));
    }
    Ok(receipt)
}

pub(crate) fn parse<T: DeserializeOwned>(
    answer: &Answer,
    endpoint: &str,
) -> Result<T, ClientError> {
    serde_json::from_slice(&answer.body).map_err(|error| bad(endpoint, &error.to_string()))
}

pub(crate) fn bad(endpoint: &str, what: &str) -> ClientError {
    ClientError::BadAnswer {
        endpoint: endpoint.to_owned(),
        what: what.to_owned(),
    }
}

pub(crate) fn wrong_chain(endpoint: &str, found: ChainId, expected: ChainId) -> ClientError {
    ClientError::WrongChain {
        endpoint: endpoint.to_owned(),
        found: found.to_string(),
        expected: expected.to_string(),
    }
}

fn proof_query(proof: bool) -> &'static str {
    if proof { "?proof=true" } else { "" }
}

/// Bytes in a path or query: everything but unreserved characters is escaped, so that any key can be named.
#[must_use]
pub fn percent(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(*byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

impl From<Vec<u8>> for Base64 {
    fn from(bytes: Vec<u8>) -> Base64 {
        Base64(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_can_stand_in_a_path() {
        assert_eq!(percent(b"a/b c\xff~"), "a%2Fb%20c%FF~");
    }
}
