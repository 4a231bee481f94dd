//! The client: what it knows of a chain, and what it reads from the validators.
//!
//! A read is one validator's word. What is signed and sent is in `transactions`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use quorate_types::{ChainId, Genesis, Height, PublicKey, Receipt, TransactionId};
use serde::de::DeserializeOwned;

use crate::api::{
    Base64, BlockReply, BlocksReply, ClientReply, JSON_LINES, KeyReply, LogEntry, RangeReply,
    ReceiptsReply, StatusReply, SubmitReply, ValidatorsReply,
};
use crate::backoff::FIRST_PATIENCE;
use crate::error::ClientError;
use crate::failover::Purpose;
use crate::http::{Answer, Call, Http, check_endpoint};
use crate::profile::Profile;
use crate::sequence::Sequence;
use crate::validity::{Clocks, DEFAULT_VALIDITY};

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
    pub(crate) sequences: Mutex<BTreeMap<PublicKey, Sequence>>,
    /// Once it was needed.
    genesis: OnceLock<Genesis>,
    pub(crate) clocks: Mutex<Option<(Clocks, Instant)>>,
    timeout: Duration,
    pub(crate) validity: Duration,
}

impl Client {
    /// A client of a chain. Nothing is sent yet. `timeout` bounds each operation.
    ///
    /// # Errors
    /// [`ClientError::NoEndpoints`], [`ClientError::Endpoint`].
    pub fn new(profile: Profile, timeout: Duration) -> Result<Client, ClientError> {
        if profile.endpoints.is_empty() {
            return Err(ClientError::NoEndpoints);
        }
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

    /// When an operation that begins now has to end.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    pub(crate) fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed)
    }

    pub(crate) fn prefer(&self, index: usize) {
        self.preferred.store(index, Ordering::Relaxed);
    }

    /// Asks another validator first from now on.
    pub(crate) fn turn_away(&self) {
        self.preferred.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn known_genesis(&self) -> &OnceLock<Genesis> {
        &self.genesis
    }

    /// Where a transaction stands; with `proof`, the proof of its receipt.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with status 404 if the validator does not know it.
    pub async fn transaction(
        &self,
        id: TransactionId,
        proof: bool,
    ) -> Result<Submission, ClientError> {
        let deadline = self.deadline();
        self.transaction_until(id, proof, deadline).await
    }

    pub(crate) async fn transaction_until(
        &self,
        id: TransactionId,
        proof: bool,
        deadline: Instant,
    ) -> Result<Submission, ClientError> {
        let call = Call::get(format!("/v1/transactions/{id}{}", proof_query(proof)));
        let read = |answer: &_, endpoint: &str| about(id, parse(answer, endpoint)?, endpoint);
        Ok(self.attempt(&call, deadline, Purpose::Read, read).await?.0)
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
        self.status_until(self.deadline()).await
    }

    pub(crate) async fn status_until(&self, deadline: Instant) -> Result<StatusReply, ClientError> {
        let call = Call::get("/v1/status".into());
        let read =
            |answer: &_, endpoint: &str| self.check_chain(parse(answer, endpoint)?, endpoint);
        Ok(self.attempt(&call, deadline, Purpose::Read, read).await?.0)
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
        self.client_info_until(key, self.deadline()).await
    }

    pub(crate) async fn client_info_until(
        &self,
        key: &PublicKey,
        deadline: Instant,
    ) -> Result<ClientReply, ClientError> {
        let path = format!("/v1/clients/{key}");
        let fits = |reply: &ClientReply| reply.key == *key;
        self.get_until(path, Purpose::Read, deadline, fits).await
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

    /// The receipt of a transaction at a place of the ledger where it stands, once a validator has executed it: one that
    /// found its block full, or was executed before, has several places, and [`Client::wait`] tells of the first.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`] if nobody has; with status 410 if nobody keeps the height.
    pub async fn receipt_at(
        &self,
        height: Height,
        index: u32,
        id: TransactionId,
    ) -> Result<Receipt, ClientError> {
        let path = format!("/v1/blocks/{height}/receipts?from={index}&limit=1");
        let read = |answer: &_, endpoint: &str| {
            let reply: ReceiptsReply = parse(answer, endpoint)?;
            let receipt = reply.receipts.first().and_then(|first| first.decode().ok());
            receipt
                .filter(|receipt| receipt.transaction == id)
                .filter(|receipt| (receipt.height, receipt.index) == (height, index))
                .ok_or_else(|| bad(endpoint, "it has another receipt at the place"))
        };
        let (call, deadline) = (Call::get(path), self.deadline());
        Ok(self
            .attempt(&call, deadline, Purpose::Wanted, read)
            .await?
            .0)
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
        let deadline = self.deadline();
        let read = |answer: &Answer, endpoint: &str| {
            let lines = answer.body.split(|byte| *byte == b'\n');
            lines
                .filter(|line| !line.is_empty())
                .map(serde_json::from_slice)
                .collect::<Result<_, _>>()
                .map_err(|error| bad(endpoint, &error.to_string()))
        };
        Ok(self.attempt(&call, deadline, Purpose::Read, read).await?.0)
    }

    /// What a validator answers; an answer that does not fit the question is none.
    async fn get<T: DeserializeOwned>(
        &self,
        path: String,
        fits: impl Fn(&T) -> bool,
    ) -> Result<T, ClientError> {
        self.get_until(path, Purpose::Read, self.deadline(), fits)
            .await
    }

    pub(crate) async fn get_until<T: DeserializeOwned>(
        &self,
        path: String,
        purpose: Purpose,
        deadline: Instant,
        fits: impl Fn(&T) -> bool,
    ) -> Result<T, ClientError> {
        let read = |answer: &_, endpoint: &str| {
            let reply = parse(answer, endpoint)?;
            match fits(&reply) {
                true => Ok(reply),
                false => Err(bad(endpoint, "it answers another question")),
            }
        };
        let call = Call::get(path);
        Ok(self.attempt(&call, deadline, purpose, read).await?.0)
    }
}

/// An answer about a transaction, if it is about this one.
pub(crate) fn about(
    id: TransactionId,
    reply: SubmitReply,
    endpoint: &str,
) -> Result<Submission, ClientError> {
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

pub(crate) fn receipt_of(submission: &Submission) -> Result<Receipt, ClientError> {
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

pub(crate) fn proof_query(proof: bool) -> &'static str {
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
