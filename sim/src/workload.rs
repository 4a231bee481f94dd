//! Clients: they sign puts, submit them to any replica, and again to another if no answer comes. What they were answered
//! is kept, for it is a promise, and judged as a history ([`crate::history`]) at the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_execution::kv::{Command, KvResult, LeafRecord, state_key};
use quorate_execution::proof::KeyFacts;
use quorate_replica::Ticket;
use quorate_types::together::verify_together;
use quorate_types::{Blob, BlockTime, FORMAT_VERSION, Height, Outcome, Parameters};
use quorate_types::{
    Receipt, Transaction, TransactionBody, TransactionId, Validators, Verified, codec,
};

use crate::history::linearizable;
use crate::history::{Action, Answer, Impossible, Operation, Proved, Tag, in_ledger_order};
use crate::keys::Pen;
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
    operation: Operation,
}

/// All clients.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) plan: LoadPlan,
    pub(crate) rng: Rng,
    pens: Vec<Pen>,
    sequences: Vec<u64>,
    validators: Arc<Validators>,
    parameters: Parameters,
    requests: Vec<Request>,
    by_id: BTreeMap<TransactionId, usize>,
    tickets: BTreeMap<Ticket, usize>,
    /// Who waits for the proof of which key.
    readers: BTreeMap<Ticket, u64>,
    proved: Vec<Proved>,
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
    /// It is no answer to such an operation.
    Unreadable,
}

impl Workload {
    pub(crate) fn new(
        plan: LoadPlan,
        pens: Vec<Pen>,
        validators: Arc<Validators>,
        parameters: Parameters,
        rng: Rng,
    ) -> Workload {
        Workload {
            sequences: vec![0; pens.len()],
            plan,
            rng,
            pens,
            validators,
            parameters,
            requests: Vec::new(),
            by_id: BTreeMap::new(),
            tickets: BTreeMap::new(),
            readers: BTreeMap::new(),
            proved: Vec::new(),
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
        let client = self.rng.index(self.pens.len());
        self.sequences[client] += 1;
        let (key, action) = (self.rng.below(self.plan.keys), self.action());
        let command = self.command(key, action);
        let body = TransactionBody {
            version: FORMAT_VERSION,
            chain: self.validators.chain(),
            client: self.pens[client].public(),
            sequence: self.sequences[client],
            valid_until: time.plus_nanos(VALIDITY),
            commands: vec![Blob(codec::encode(&command))],
        };
        let signed = vec![self.pens[client].sign_transaction(body)];
        let verdicts = verify_together(vec![], signed, &self.validators, &self.parameters);
        let transaction = verdicts.transactions.into_iter().next();
        let transaction = transaction.and_then(Result::ok).expect("signed here");
        let (number, id) = (self.requests.len(), transaction.id());
        self.by_id.insert(id, number);
        self.requests.push(Request {
            id,
            transaction,
            receipt: None,
            attempts: 0,
            operation: Operation {
                key,
                action,
                called: u64::MAX,
                returned: None,
            },
        });
        self.open += 1;
        number
    }

    /// A submission of a transaction.
    pub(crate) fn submit(&mut self, now: u64, number: usize) -> (Ticket, Verified<Transaction>) {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.tickets.insert(ticket, number);
        let request = &mut self.requests[number];
        request.attempts += 1;
        request.operation.called = request.operation.called.min(now);
        (ticket, request.transaction.clone())
    }

    pub(crate) fn request(&self, number: usize) -> &Request {
        &self.requests[number]
    }

    /// Whether a client signed this.
    pub(crate) fn signed(&self, id: &TransactionId) -> bool {
        self.by_id.contains_key(id)
    }

    /// Which request this ticket was for.
    pub(crate) fn asked(&self, ticket: Ticket) -> Option<usize> {
        self.tickets.get(&ticket).copied()
    }

    /// An answer; true if it is the first to this transaction.
    pub(crate) fn answered(
        &mut self,
        now: u64,
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
                let answer = answer(receipt).ok_or(BadAnswer::Unreadable)?;
                request.operation.returned = answer.map(|answer| (now, answer));
                self.open -= 1;
                Ok(true)
            }
        }
    }

    fn action(&mut self) -> Action {
        let value = tag(self.requests.len());
        if !self.rng.chance(self.plan.mixed) {
            return Action::Put(value);
        }
        match self.rng.index(4) {
            0 | 1 => Action::Get,
            2 => {
                // What some earlier operation wrote, or perhaps nothing.
                let expect = self.rng.index(self.requests.len() + 1);
                let expect = (expect < self.requests.len()).then(|| tag(expect));
                Action::Swap { expect, value }
            }
            _ => Action::Delete,
        }
    }

    fn command(&self, key: u64, action: Action) -> Command {
        let (key, value) = (Blob(key_bytes(key)), |tag| Blob(self.value(tag)));
        match action {
            Action::Put(tag) => Command::Put {
                key,
                value: value(tag),
                lease: None,
            },
            Action::Get => Command::Get { key },
            Action::Delete => Command::Delete { key },
            Action::Swap { expect, value: tag } => Command::CompareAndSet {
                key,
                expect: expect.map(value),
                value: Some(value(tag)),
            },
        }
    }

    /// The bytes that a tag stands for; their number follows from the tag, too.
    fn value(&self, tag: Tag) -> Vec<u8> {
        let size = Rng::new(tag).between(1, self.plan.value.max(2));
        let mut bytes = tag.to_le_bytes().to_vec();
        bytes.resize(usize::try_from(size).expect("small").max(bytes.len()), 7);
        bytes
    }

    /// A client asks for a proof of a key; which, in full.
    pub(crate) fn read(&mut self) -> (Ticket, Vec<u8>) {
        self.next_ticket += 1;
        let (ticket, key) = (Ticket(self.next_ticket), self.rng.below(self.plan.keys));
        self.readers.insert(ticket, key);
        (ticket, state_key(&key_bytes(key)))
    }

    /// A verified proof came.
    pub(crate) fn proved(&mut self, ticket: Ticket, facts: &KeyFacts) -> Result<(), BadAnswer> {
        let key = self.readers.remove(&ticket);
        let key = key.ok_or(BadAnswer::OtherTransaction)?;
        if facts.key != state_key(&key_bytes(key)) {
            return Err(BadAnswer::OtherTransaction);
        }
        let value = match &facts.record {
            Some(record) => {
                let record = LeafRecord::decode(record).map_err(|_| BadAnswer::Unreadable)?;
                Some(tag_of(&record).ok_or(BadAnswer::Unreadable)?)
            }
            None => None,
        };
        let height = facts.height.0;
        self.proved.push(Proved { height, key, value });
        Ok(())
    }

    /// Whether one machine could have given all the answers, in the order of the ledger and without knowing it.
    pub(crate) fn judge(
        &self,
        executed: &BTreeMap<TransactionId, (Height, u32)>,
    ) -> Result<(u64, u64), Impossible> {
        let placed = executed.iter().filter_map(|(id, (height, index))| {
            let number = self.by_id.get(id)?;
            Some(((height.0, *index), self.requests[*number].operation))
        });
        in_ledger_order(&placed.collect(), &self.proved)?;
        let asked = self.requests.iter().filter(|request| request.attempts > 0);
        let may_happen = asked
            .filter(|request| request.receipt.is_none() || request.operation.returned.is_some());
        let operations: Vec<Operation> = may_happen.map(|request| request.operation).collect();
        linearizable(&operations)
    }

    /// Every receipt that a client was given.
    pub(crate) fn receipts(&self) -> impl Iterator<Item = &Receipt> {
        self.requests
            .iter()
            .filter_map(|request| request.receipt.as_ref())
    }
}

fn key_bytes(key: u64) -> Vec<u8> {
    format!("k{key}").into_bytes()
}

/// What the request of this number writes.
fn tag(number: usize) -> Tag {
    u64::try_from(number).expect("small") + 1
}

/// Which tag a stored value stands for.
fn tag_of(record: &LeafRecord) -> Option<Tag> {
    let (tag, _) = record.value.0.split_first_chunk::<8>()?;
    Some(u64::from_le_bytes(*tag))
}

/// What a receipt says; `Some(None)` if the operation had no effect, `None` if it says nothing that makes sense.
fn answer(receipt: &Receipt) -> Option<Option<Answer>> {
    let Outcome::Executed { results, .. } = &receipt.outcome else {
        return Some(None);
    };
    let [result] = results.as_slice() else {
        return None;
    };
    Some(Some(match KvResult::decode(&result.0).ok()? {
        KvResult::Put { .. } => Answer::Put,
        KvResult::Get(None) => Answer::Get(None),
        KvResult::Get(Some(record)) => Answer::Get(Some(tag_of(&record)?)),
        KvResult::Delete { existed } => Answer::Delete(existed),
        KvResult::CompareAndSet { swapped, .. } => Answer::Swap(swapped),
        _ => return None,
    }))
}
