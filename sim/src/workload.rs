//! Clients: they sign puts, submit them to any replica, and again to another if no answer comes. What they were answered
//! is kept, for it is a promise.

use std::collections::BTreeMap;

use quorate_crypto::SecretKey;
use quorate_execution::kv::Command;
use quorate_replica::Ticket;
use quorate_types::{Blob, BlockTime, ChainId, FORMAT_VERSION, Parameters, Receipt, Transaction};
use quorate_types::{TransactionBody, TransactionId, Unverified, Verified, codec};

use crate::plan::{LoadPlan, SECOND};
use crate::rng::Rng;

/// Transactions without an answer, at most: a client that gets none stops adding.
const MOST_OPEN: usize = 96;
/// Transactions in a burst, at most.
const BURST: u64 = 30;
/// How long a transaction may be ordered.
const VALIDITY: u64 = 60 * SECOND;

/// A transaction and what became of it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: TransactionId,
    pub(crate) transaction: Verified<Transaction>,
    pub(crate) receipt: Option<Receipt>,
    pub(crate) attempts: u64,
}

/// All clients.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) plan: LoadPlan,
    pub(crate) rng: Rng,
    keys: Vec<SecretKey>,
    sequences: Vec<u64>,
    chain: ChainId,
    parameters: Parameters,
    requests: Vec<Request>,
    by_id: BTreeMap<TransactionId, usize>,
    tickets: BTreeMap<Ticket, usize>,
    next_ticket: u64,
    open: usize,
}

/// An answer that cannot be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadAnswer {
    /// It is about another transaction.
    OtherTransaction,
    /// It differs from the answer before.
    OtherReceipt,
}

impl Workload {
    pub(crate) fn new(
        plan: LoadPlan,
        keys: Vec<SecretKey>,
        chain: ChainId,
        parameters: Parameters,
        rng: Rng,
    ) -> Workload {
        Workload {
            sequences: vec![0; keys.len()],
            plan,
            rng,
            keys,
            chain,
            parameters,
            requests: Vec::new(),
            by_id: BTreeMap::new(),
            tickets: BTreeMap::new(),
            next_ticket: 0,
            open: 0,
        }
    }

    /// How many to sign now.
    pub(crate) fn due(&mut self) -> u64 {
        let most = u64::try_from(MOST_OPEN.saturating_sub(self.open)).expect("small");
        let wanted = match self.rng.chance(self.plan.burst) {
            true => self.rng.between(2, BURST),
            false => 1,
        };
        wanted.min(most)
    }

    /// Signs a put, to be submitted; `time` is that of the chain, as far as a client can know. Returns its number.
    pub(crate) fn sign(&mut self, time: BlockTime) -> usize {
        let client = self.rng.index(self.keys.len());
        self.sequences[client] += 1;
        let size = self.rng.between(1, self.plan.value);
        let command = Command::Put {
            key: Blob(format!("k{}", self.rng.below(50)).into_bytes()),
            value: Blob(vec![7; usize::try_from(size).expect("small")]),
            lease: None,
        };
        let body = TransactionBody {
            version: FORMAT_VERSION,
            chain: self.chain,
            client: self.keys[client].public(),
            sequence: self.sequences[client],
            valid_until: time.plus_nanos(VALIDITY),
            commands: vec![Blob(codec::encode(&command))],
        };
        let transaction = Unverified::new(body.sign(&self.keys[client]))
            .verify(self.chain, &self.parameters)
            .expect("signed here");
        let (number, id) = (self.requests.len(), transaction.id());
        self.by_id.insert(id, number);
        self.requests.push(Request {
            id,
            transaction,
            receipt: None,
            attempts: 0,
        });
        self.open += 1;
        number
    }

    /// A submission of a transaction.
    pub(crate) fn submit(&mut self, number: usize) -> (Ticket, Verified<Transaction>) {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.tickets.insert(ticket, number);
        self.requests[number].attempts += 1;
        (ticket, self.requests[number].transaction.clone())
    }

    pub(crate) fn request(&self, number: usize) -> &Request {
        &self.requests[number]
    }

    /// Whether a client signed this.
    pub(crate) fn signed(&self, id: &TransactionId) -> bool {
        self.by_id.contains_key(id)
    }

    /// An answer; true if it is the first to this transaction.
    pub(crate) fn answered(
        &mut self,
        ticket: Ticket,
        receipt: &Receipt,
    ) -> Result<bool, BadAnswer> {
        let number = self.tickets.get(&ticket).copied();
        let number = number.ok_or(BadAnswer::OtherTransaction)?;
        let request = &mut self.requests[number];
        if request.id != receipt.transaction {
            return Err(BadAnswer::OtherTransaction);
        }
        match &request.receipt {
            Some(first) if first == receipt => Ok(false),
            Some(_) => Err(BadAnswer::OtherReceipt),
            None => {
                request.receipt = Some(receipt.clone());
                self.open -= 1;
                Ok(true)
            }
        }
    }

    /// Every receipt that a client was given.
    pub(crate) fn receipts(&self) -> impl Iterator<Item = &Receipt> {
        self.requests
            .iter()
            .filter_map(|request| request.receipt.as_ref())
    }
}
