//! What one validator's word is not enough for: the number and the deadline to sign with, and the receipt that allows to
//! sign again.
//!
//! A receipt counts if its proof verifies against the chain's genesis. Any validator may send the genesis: the chain id,
//! which every profile names, is its hash.

use std::time::Instant;

use quorate_types::{BlockTime, Genesis, Outcome, PublicKey, Receipt, Rejection, TransactionId};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::api::{ClientReply, StatusReply, SubmitReply};
use crate::backoff::{Backoff, FIRST_PATIENCE};
use crate::client::{Client, bad, parse, wrong_chain};
use crate::error::ClientError;
use crate::failover::Purpose;
use crate::http::Call;
use crate::proofs;
use crate::validity::{Clocks, wall_clock};

impl Client {
    /// The receipt of a transaction's execution, or of its rejection for good, once a validator proves it.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`] with the id if none does.
    pub(crate) async fn proved_receipt(
        &self,
        id: TransactionId,
        deadline: Instant,
    ) -> Result<Receipt, ClientError> {
        let open = || ClientError::TimedOut {
            pending: Some(id),
            last: Some(String::from(
                "its number is said to be used, and nobody has proved it",
            )),
        };
        let genesis = self.genesis(deadline).await.map_err(|_| open())?;
        let path = format!("/v1/transactions/{id}?proof=true");
        let mut backoff = Backoff::default();
        loop {
            for endpoint in &self.profile().endpoints {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(open());
                }
                let within = left.min(backoff.patience());
                let found = self.get_of(endpoint, &path, within).await.ok();
                if let Some(receipt) = found.and_then(|reply| proved(genesis, id, &reply)) {
                    return Ok(receipt);
                }
            }
            // A block that was committed just now is claimed a few message delays later.
            let left = deadline.saturating_duration_since(Instant::now());
            tokio::time::sleep(backoff.next().min(left)).await;
        }
    }

    /// The chain's genesis.
    async fn genesis(&self, deadline: Instant) -> Result<&Genesis, ClientError> {
        if let Some(known) = self.known_genesis().get() {
            return Ok(known);
        }
        let call = Call::get(String::from("/v1/genesis"));
        let expected = self.profile().chain;
        let read = |answer: &_, endpoint: &str| {
            let genesis: Genesis = parse(answer, endpoint)?;
            if genesis.chain_id() != expected {
                return Err(wrong_chain(endpoint, genesis.chain_id(), expected));
            }
            let checked = genesis.check();
            checked.map_err(|error| bad(endpoint, &error.to_string()))?;
            Ok(genesis)
        };
        let (genesis, _) = self.attempt(&call, deadline, Purpose::Read, read).await?;
        Ok(self.known_genesis().get_or_init(|| genesis))
    }

    /// The first number above all that a key has executed: of a majority's answers the middle one. Used once, a number
    /// near 2^64 would leave the key without any other, so a single liar must not be able to name it.
    pub(crate) async fn next_sequence(
        &self,
        key: &PublicKey,
        deadline: Instant,
    ) -> Result<u64, ClientError> {
        let path = format!("/v1/clients/{key}");
        let fits = |reply: &ClientReply| reply.key == *key;
        let told = self.majority(path, deadline, fits).await;
        match middle(told.iter().map(|reply| reply.next_sequence).collect()) {
            Some(number) => Ok(number),
            None => Ok(self.client_info_until(key, deadline).await?.next_sequence),
        }
    }

    /// What the set's clocks say: of a majority's answers the middle ones. What is signed by a liar's, an hour ahead, the
    /// others refuse, and the liar has it ordered when the hour is over.
    pub(crate) async fn ask_clocks(&self, deadline: Instant) -> Result<Clocks, ClientError> {
        let chain = self.profile().chain;
        let fits = |status: &StatusReply| status.chain == chain;
        let path = String::from("/v1/status");
        let mut told = self.majority(path, deadline, fits).await;
        if told.is_empty() {
            told.push(self.status_until(deadline).await?);
        }
        let middle_of = |clock: fn(&StatusReply) -> BlockTime| {
            middle(told.iter().map(clock).collect()).unwrap_or_default()
        };
        Ok(Clocks {
            local: wall_clock(),
            validator: middle_of(|status| status.now),
            head: middle_of(|status| status.head_time),
        })
    }

    /// The first answers that fit, to a question that all validators are asked at once: of a majority, or of those that
    /// are there.
    async fn majority<T: DeserializeOwned + Send + 'static>(
        &self,
        path: String,
        deadline: Instant,
        fits: impl Fn(&T) -> bool,
    ) -> Vec<T> {
        let endpoints = &self.profile().endpoints;
        let left = deadline.saturating_duration_since(Instant::now());
        let within = left.min(FIRST_PATIENCE);
        let mut asked = JoinSet::new();
        for endpoint in endpoints {
            let (http, endpoint) = (self.http().clone(), endpoint.clone());
            let call = Call::get(path.clone());
            asked.spawn(async move {
                let answer = http.call(&endpoint, &call, within).await.ok()?;
                parse::<T>(&answer, &endpoint).ok()
            });
        }
        let mut told = Vec::new();
        while told.len() <= endpoints.len() / 2
            && let Some(reply) = asked.join_next().await
        {
            told.extend(reply.ok().flatten().filter(&fits));
        }
        told
    }
}

/// The receipt that a proof shows, if it tells what became of the transaction.
fn proved(genesis: &Genesis, id: TransactionId, reply: &SubmitReply) -> Option<Receipt> {
    let facts = proofs::receipt_facts(genesis, id, &reply.proof.as_ref()?.0).ok()?;
    match facts.receipt.outcome {
        // So say also later places of a transaction that was executed before.
        Outcome::Duplicate { .. }
        | Outcome::Rejected(
            Rejection::Expired | Rejection::TooFarAhead | Rejection::TooOld | Rejection::BlockFull,
        ) => None,
        Outcome::Executed { .. } | Outcome::Rejected(_) => Some(facts.receipt),
    }
}

/// The median; of an even count the lower.
fn middle<T: Ord + Copy>(mut numbers: Vec<T>) -> Option<T> {
    numbers.sort_unstable();
    let last = numbers.len().checked_sub(1)?;
    numbers.get(last / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_liar_does_not_choose_the_number() {
        assert_eq!(middle::<u64>(vec![]), None);
        assert_eq!(middle(vec![7]), Some(7));
        assert_eq!(middle(vec![u64::MAX, 7]), Some(7));
        assert_eq!(middle(vec![8, u64::MAX, 7]), Some(8));
        assert_eq!(middle(vec![8, 0, 7]), Some(7));
    }
}
