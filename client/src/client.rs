//! The client: signs, submits, waits, and fails over to another validator with the same signed bytes.
//!
//! Rules X1 (one number, one transaction) and the submission states. What makes failing over safe is that an attempt
//! is never signed anew: wherever the same bytes arrive, and however often, they execute once. A new signature is made
//! only after a receipt has proved that the old transaction had no effect.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::{Method, StatusCode};
use quorate_crypto::SecretKey;
use quorate_types::{Blob, BlockTime, FORMAT_VERSION, Height, Outcome, PublicKey, Receipt};
use quorate_types::{Rejection, Transaction, TransactionBody, TransactionId, codec};
use serde::de::DeserializeOwned;

use crate::api::{
    Base64, BlockReply, BlocksReply, CANONICAL, ClientReply, JSON_LINES, KeyReply, LogEntry,
    RangeReply, StatusReply, SubmitReply, ValidatorsReply,
};
use crate::error::ClientError;
use crate::http::{Answer, Call, Http, NoAnswer, check_endpoint};
use crate::profile::Profile;
use crate::sequence::Sequence;
use crate::validity::{Clocks, DEFAULT_VALIDITY, wall_clock};

/// How long one validator may take before the next is tried, at first; doubled with every pass over all of them.
const FIRST_ATTEMPT: Duration = Duration::from_secs(3);
/// Pause after a pass over all validators, at first; doubled up to a second.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
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
    sequence: Mutex<Sequence>,
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
            sequence: Mutex::default(),
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
        let mut collisions = 0;
        loop {
            let transaction = self.sign(key, commands.clone()).await?;
            let result = self.settle(&transaction, deadline).await;
            let reused = match &result {
                Ok((receipt, _)) => {
                    matches!(
                        receipt.outcome,
                        Outcome::Rejected(Rejection::SequenceReused)
                    )
                }
                Err(ClientError::Refused { code, .. }) => code == "sequence_reused",
                Err(_) => false,
            };
            // Another transaction has our number, so ours had no effect and never will: a new one may be signed.
            if reused && collisions < MAX_COLLISIONS {
                collisions += 1;
                let next = self.client_info(&key.public()).await?.next_sequence;
                self.lock_sequence().collided(next);
                continue;
            }
            let (receipt, submission) = result?;
            if let Outcome::Rejected(rejection) = receipt.outcome {
                let id = submission.id;
                return Err(ClientError::Rejected { id, rejection });
            }
            self.lock_sequence().executed();
            return Ok((receipt, submission));
        }
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
        let valid_until = self.valid_until().await?;
        if self.lock_sequence().is_unknown() {
            let next = self.client_info(&key.public()).await?.next_sequence;
            self.lock_sequence().learn(next);
        }
        let sequence = self.lock_sequence().take();
        Ok(TransactionBody {
            version: FORMAT_VERSION,
            chain: self.profile.chain,
            client: key.public(),
            sequence: sequence.unwrap_or(u64::MAX),
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
        let known = *self
            .clocks
            .lock()
            .expect("nothing panics while it holds the lock");
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
        *self
            .clocks
            .lock()
            .expect("nothing panics while it holds the lock") = Some((clocks, Instant::now()));
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
        let deadline = Instant::now() + self.timeout;
        let mut pause = FIRST_PAUSE;
        loop {
            let open = match self.transaction(id, false).await {
                Ok(found) if found.reply.receipt.is_some() => return Ok(found),
                Ok(_)
                | Err(
                    ClientError::Refused {
                        status: 404 | 429 | 500..,
                        ..
                    }
                    | ClientError::TimedOut { .. },
                ) => ClientError::TimedOut { pending: Some(id) },
                Err(error @ ClientError::Unreachable { .. }) => error,
                Err(error) => return Err(error),
            };
            if Instant::now() + pause >= deadline {
                return Err(open);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
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
            submission = self.transaction(submission.id, false).await?;
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
        let (answer, endpoint, ambiguous) = self.attempt(&call, deadline, Some(id)).await?;
        if !answer.status.is_success() {
            // One of the earlier attempts may have executed it: a refusal of the repeat says nothing about that.
            return Err(match ambiguous {
                true => ClientError::TimedOut { pending: Some(id) },
                false => answer.refusal(),
            });
        }
        let reply: SubmitReply = parse(&answer, &endpoint)?;
        if reply.id != id {
            let what = format!("it answers for transaction {} instead of {id}", reply.id);
            return Err(ClientError::BadAnswer { endpoint, what });
        }
        Ok(Submission {
            id,
            reply,
            endpoint,
        })
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
        let path = format!("/v1/transactions/{id}{}", proof_query(proof));
        let (reply, endpoint): (SubmitReply, String) = self.get(path).await?;
        Ok(Submission {
            id,
            reply,
            endpoint,
        })
    }

    /// A key's value as one validator has it, possibly old; with `proof`, the proof of it.
    ///
    /// # Errors
    /// [`ClientError`]; an absent key is no error.
    pub async fn key(&self, key: &[u8], proof: bool) -> Result<KeyReply, ClientError> {
        let path = format!("/v1/kv/{}{}", percent(key), proof_query(proof));
        Ok(self.get(path).await?.0)
    }

    /// The keys with a prefix, as one validator has them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn range(&self, prefix: &[u8], limit: u32) -> Result<RangeReply, ClientError> {
        let path = format!("/v1/kv?prefix={}&limit={limit}", percent(prefix));
        Ok(self.get(path).await?.0)
    }

    /// How the first validator that answers is. Checks the chain.
    ///
    /// # Errors
    /// [`ClientError::WrongChain`], and as every read.
    pub async fn status(&self) -> Result<StatusReply, ClientError> {
        let (status, endpoint): (StatusReply, _) = self.get("/v1/status".into()).await?;
        self.check_chain(status, &endpoint)
    }

    /// How one validator is, without failing over.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn status_of(&self, endpoint: &str) -> Result<StatusReply, ClientError> {
        self.check_chain(self.get_of(endpoint, "/v1/status").await?, endpoint)
    }

    /// The validator set as one validator sees it, without failing over.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn validators_of(&self, endpoint: &str) -> Result<ValidatorsReply, ClientError> {
        self.get_of(endpoint, "/v1/validators").await
    }

    async fn get_of<T: DeserializeOwned>(
        &self,
        endpoint: &str,
        path: &str,
    ) -> Result<T, ClientError> {
        let within = self.timeout.min(FIRST_ATTEMPT);
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
            return Err(ClientError::WrongChain {
                endpoint: endpoint.to_owned(),
                found: status.chain.to_string(),
                expected: self.profile.chain.to_string(),
            });
        }
        Ok(status)
    }

    /// The validator set.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn validators(&self) -> Result<ValidatorsReply, ClientError> {
        Ok(self.get("/v1/validators".into()).await?.0)
    }

    /// What the validators know of a client key.
    ///
    /// # Errors
    /// [`ClientError`]; an unregistered key is no error.
    pub async fn client_info(&self, key: &PublicKey) -> Result<ClientReply, ClientError> {
        Ok(self.get(format!("/v1/clients/{key}")).await?.0)
    }

    /// A block.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with status 404 above the head.
    pub async fn block(&self, height: Height) -> Result<BlockReply, ClientError> {
        Ok(self.get(format!("/v1/blocks/{height}")).await?.0)
    }

    /// At most `limit` blocks (1 to 100) from a height downwards, the newest first; from the validator's head if that is
    /// lower.
    ///
    /// # Errors
    /// [`ClientError`]; with status 410 if the height is no longer kept.
    pub async fn blocks(&self, from: Height, limit: u32) -> Result<BlocksReply, ClientError> {
        let path = format!("/v1/blocks?from={from}&limit={limit}");
        Ok(self.get(path).await?.0)
    }

    /// A stretch of the ledger from `from` on: as much as the validator sends at once, nothing above the head.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn log(&self, from: Height, to: Height) -> Result<Vec<LogEntry>, ClientError> {
        let mut call = Call::get(format!("/v1/log?from={from}&to={to}"));
        call.accept = JSON_LINES;
        let deadline = Instant::now() + self.timeout;
        let (answer, endpoint, _) = self.attempt(&call, deadline, None).await?;
        if !answer.status.is_success() {
            return Err(answer.refusal());
        }
        let lines = answer.body.split(|byte| *byte == b'\n');
        lines
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).map_err(|error| bad(&endpoint, &error)))
            .collect()
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<(T, String), ClientError> {
        let deadline = Instant::now() + self.timeout;
        let (answer, endpoint, _) = self.attempt(&Call::get(path), deadline, None).await?;
        if !answer.status.is_success() {
            return Err(answer.refusal());
        }
        Ok((parse(&answer, &endpoint)?, endpoint))
    }

    // -------------------------------------------------------------------------------------------------- failover

    /// Sends a request until a validator answers it with anything but "try elsewhere". Also returns who answered, and
    /// whether some validator may have acted on an earlier attempt.
    async fn attempt(
        &self,
        call: &Call,
        deadline: Instant,
        id: Option<TransactionId>,
    ) -> Result<(Answer, String, bool), ClientError> {
        let count = self.profile.endpoints.len();
        let mut patience = FIRST_ATTEMPT;
        let mut pause = FIRST_PAUSE;
        let mut ambiguous = false;
        let mut last = None;
        loop {
            let start = self.preferred.load(Ordering::Relaxed);
            for index in (0..count).map(|step| (start + step) % count) {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(give_up(last, ambiguous, id));
                }
                let endpoint = &self.profile.endpoints[index];
                match self.http.call(endpoint, call, left.min(patience)).await {
                    Ok(answer) if !goes_elsewhere(answer.status) => {
                        self.preferred.store(index, Ordering::Relaxed);
                        return Ok((answer, endpoint.clone(), ambiguous));
                    }
                    Ok(answer) => {
                        // 504: it was taken, and has no outcome yet.
                        ambiguous |= answer.status == StatusCode::GATEWAY_TIMEOUT;
                        pause = pause.max(answer.retry_after.unwrap_or_default());
                        last = Some(format!("{endpoint}: {}", answer.refusal()));
                    }
                    Err(error) => {
                        ambiguous |= !matches!(error, NoAnswer::Connect(..));
                        last = Some(error.to_string());
                    }
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(Duration::from_secs(1));
            patience *= 2;
        }
    }

    fn lock_sequence(&self) -> std::sync::MutexGuard<'_, Sequence> {
        self.sequence
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

/// Whether another validator may do better: full, not ready, or no outcome yet.
pub(crate) fn goes_elsewhere(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

fn give_up(last: Option<String>, ambiguous: bool, id: Option<TransactionId>) -> ClientError {
    match (last, ambiguous) {
        (Some(last), false) => ClientError::Unreachable { last },
        (Some(last), true) if id.is_none() => ClientError::Unreachable { last },
        _ => ClientError::TimedOut { pending: id },
    }
}

fn receipt_of(submission: &Submission) -> Result<Receipt, ClientError> {
    let bad = |what: &str| ClientError::BadAnswer {
        endpoint: submission.endpoint.clone(),
        what: what.to_owned(),
    };
    let reply = submission.reply.receipt.as_ref();
    let receipt = reply
        .ok_or_else(|| bad("executed, without a receipt"))?
        .decode()?;
    if receipt.transaction != submission.id {
        return Err(bad("the receipt is another transaction's"));
    }
    Ok(receipt)
}

fn parse<T: DeserializeOwned>(answer: &Answer, endpoint: &str) -> Result<T, ClientError> {
    serde_json::from_slice(&answer.body).map_err(|error| bad(endpoint, &error))
}

fn bad(endpoint: &str, error: &serde_json::Error) -> ClientError {
    ClientError::BadAnswer {
        endpoint: endpoint.to_owned(),
        what: error.to_string(),
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
