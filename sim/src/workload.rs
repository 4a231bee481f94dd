//! Clients: they sign puts, submit them to any replica, and again to another if no answer comes. What they were answered
//! is kept, for it is a promise, and judged as a history ([`crate::history`]) at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_execution::kv::{Command, Keys, KvResult, LeafRecord, state_key};
use quorate_execution::proof::KeyFacts;
use quorate_replica::Ticket;
use quorate_types::{Blob, BlockTime, FORMAT_VERSION, Height, Outcome, Parameters};
use quorate_types::{
    HashedTransaction, Receipt, Rejection, TransactionBody, TransactionId, Validators, Verified,
    codec,
};

use crate::history::{
    Action, Answer, Impossible, MOST_KEYS, Name, Operation, Proved, Refusal, Tag,
};
use crate::history::{in_ledger_order, linearizable};
use crate::keys::Pen;
use crate::plan::{LoadPlan, SECOND, SessionPlan};
use crate::rng::Rng;

/// Transactions without an answer, at most: a client that gets none stops adding.
const MOST_OPEN: usize = 96;
/// Transactions in a burst, at most.
const BURST: u64 = 30;
/// Names of checkpoints: so few that they are met again.
const NAMES: u64 = 4;
/// Numbers in a chunk of a session.
const CHUNK: u64 = 16;
/// Transactions whose numbers a wild client uses again, at most.
const RECENT: usize = 40;
/// How long a transaction may be ordered.
const VALIDITY: u64 = 60 * SECOND;

/// A transaction and what became of it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: TransactionId,
    pub(crate) transaction: Verified<HashedTransaction>,
    pub(crate) receipt: Option<Receipt>,
    pub(crate) attempts: u64,
    operation: Operation,
}

impl Request {
    /// Whether it can no longer be ordered at this time.
    pub(crate) fn is_over(&self, time: BlockTime) -> bool {
        time > self.transaction.body.valid_until
    }

    /// Whether it was executed, or rejected for what the judges of histories explain. Anything else serves nobody.
    pub(crate) fn is_served(&self) -> bool {
        let outcome = self.receipt.as_ref().map(|receipt| &receipt.outcome);
        match outcome {
            Some(Outcome::Executed { .. }) => true,
            Some(Outcome::Rejected(Rejection::ResultTooLarge)) => {
                matches!(self.operation.action, Action::Revert { .. })
            }
            Some(Outcome::Rejected(why)) => refusal(*why).is_some(),
            Some(Outcome::Duplicate { .. }) | None => false,
        }
    }
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
    /// Chunks of numbers that each client has used since its session began.
    chunks: Vec<BTreeSet<u64>>,
    by_id: BTreeMap<TransactionId, usize>,
    tickets: BTreeMap<Ticket, usize>,
    /// Who waits for the proof of which key.
    readers: BTreeMap<Ticket, u64>,
    proved: Vec<Proved>,
    next_ticket: u64,
    /// The chain's time when a number was chosen last.
    signed_last: BlockTime,
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
            chunks: vec![BTreeSet::new(); pens.len()],
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
            signed_last: BlockTime::default(),
        }
    }

    /// How many have no answer, and may still be ordered at this time.
    pub(crate) fn open(&self, time: BlockTime) -> usize {
        let open = |request: &&Request| request.receipt.is_none() && !request.is_over(time);
        self.requests.iter().filter(open).count()
    }

    /// How many to sign now; `time` is that of the chain.
    pub(crate) fn due(&mut self, time: BlockTime) -> u64 {
        let most = MOST_OPEN.saturating_sub(self.open(time));
        let most = match &self.plan.sessions {
            Some(hard) if hard.rests(time) => 0,
            _ => u64::try_from(most).expect("small"),
        };
        let wanted = match self.rng.chance(self.plan.burst) {
            true => self.rng.between(2, BURST),
            false => 1,
        };
        wanted.min(most)
    }

    /// Signs what is to be submitted, with whatever number and end a client may choose; `time` is that of the chain, as far as
    /// a client can know. Returns its number.
    pub(crate) fn sign(&mut self, time: BlockTime) -> usize {
        let client = self.rng.index(self.pens.len());
        let (number, until) = match self.plan.sessions.clone() {
            Some(hard) => {
                // No two end at one moment: under one number, what asks for the same would be the same transaction.
                let apart = u64::try_from(self.requests.len()).expect("few");
                let until = BlockTime(hard.until(time).0 - apart);
                (self.number(&hard, client, time), until)
            }
            None => (self.sequences[client] + 1, time.plus_nanos(VALIDITY)),
        };
        self.sign_as(client, number, until)
    }

    /// Signs what nothing in X1 stands against.
    pub(crate) fn sign_sound(&mut self, time: BlockTime) -> usize {
        let client = self.rng.index(self.pens.len());
        let number = self.sequences[client] + 1;
        self.sign_as(client, number, time.plus_nanos(VALIDITY))
    }

    /// A number for a client whose session is to be hard: mostly in the next chunk, until there are as many as there are to
    /// be; else anywhere in those. A wild client uses numbers again, goes back, and takes the window far ahead.
    fn number(&mut self, hard: &SessionPlan, client: usize, time: BlockTime) -> u64 {
        let highest = self.sequences[client];
        if hard.is_over(time) && !hard.is_over(self.signed_last) {
            self.chunks.iter_mut().for_each(BTreeSet::clear);
        }
        self.signed_last = time;
        let used: Vec<u64> = self.chunks[client].iter().copied().collect();
        let number = match self.rng.index(4) {
            kind if highest > 0 && self.rng.chance(hard.wild) => match kind {
                0 | 1 => self.used(client),
                2 => highest - self.rng.below(highest.min(2 * hard.window)),
                _ => highest + self.rng.between(1, 2 * hard.window),
            },
            _ if used.len() < hard.chunks => (highest / CHUNK + 1) * CHUNK + self.rng.below(CHUNK),
            _ => self.rng.pick(&used) * CHUNK + self.rng.below(CHUNK),
        };
        self.chunks[client].insert(number / CHUNK);
        number
    }

    /// A number that this client has used: for another transaction, if not for the very same.
    fn used(&mut self, client: usize) -> u64 {
        let by = |request: &&Request| request.operation.client == client;
        let requests = self.requests.iter().rev().filter(by);
        let numbers = requests.map(|request| request.transaction.body.sequence);
        let numbers: Vec<u64> = numbers.take(RECENT).collect();
        match numbers.is_empty() {
            true => 1,
            false => self.rng.pick(&numbers),
        }
    }

    fn sign_as(&mut self, client: usize, sequence: u64, valid_until: BlockTime) -> usize {
        self.sequences[client] = self.sequences[client].max(sequence);
        let (key, action) = (self.rng.below(self.plan.keys), self.action());
        debug_assert!(key < MOST_KEYS, "an answer names keys by bits");
        let command = self.command(key, action);
        let body = TransactionBody {
            version: FORMAT_VERSION,
            chain: self.validators.chain(),
            client: self.pens[client].public(),
            sequence,
            valid_until,
            commands: vec![Blob(codec::encode(&command))],
        };
        let pen = &self.pens[client];
        let transaction = pen.transaction(body, &self.validators, &self.parameters);
        let (number, id) = (self.requests.len(), transaction.id());
        self.by_id.insert(id, number);
        self.requests.push(Request {
            id,
            transaction,
            receipt: None,
            attempts: 0,
            operation: Operation {
                key,
                client,
                action,
                called: u64::MAX,
                returned: None,
            },
        });
        number
    }

    /// A submission of a transaction.
    pub(crate) fn submit(
        &mut self,
        now: u64,
        number: usize,
    ) -> (Ticket, Verified<HashedTransaction>) {
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
                Ok(true)
            }
        }
    }

    fn action(&mut self) -> Action {
        let value = tag(self.requests.len());
        // Not even asked where there are none, so that such worlds are what they were before there were checkpoints.
        if self.plan.checkpoints > 0 && self.rng.chance(self.plan.checkpoints) {
            return self.on_checkpoints();
        }
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

    fn on_checkpoints(&mut self) -> Action {
        let name = Name::try_from(self.rng.below(NAMES)).expect("few");
        match self.rng.index(5) {
            0 | 1 => Action::Checkpoint(name),
            2 => Action::Release(name),
            _ => Action::Revert {
                to: name,
                all: self.rng.chance(500),
            },
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
            Action::Checkpoint(name) => Command::Checkpoint {
                name: name_bytes(name),
            },
            Action::Revert { to, all } => Command::Revert {
                checkpoint: name_bytes(to),
                keys: match all {
                    true => Keys::Range {
                        start: Blob(Vec::new()),
                        end: None,
                        limit: 0,
                    },
                    false => Keys::Named(vec![key]),
                },
            },
            Action::Release(name) => Command::Release {
                checkpoint: Some(name_bytes(name)),
                limit: u32::MAX,
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
        let happened = executed.iter().filter_map(|(id, (height, index))| {
            let number = self.by_id.get(id)?;
            Some(((height.0, *index), self.requests[*number].operation))
        });
        // What was refused had no effect, and its reason must have held at its place.
        let refused = self.requests.iter().filter_map(|request| {
            let (_, answer) = request.operation.returned?;
            let receipt = request.receipt.as_ref()?;
            let place = (receipt.height.0, receipt.index);
            matches!(answer, Answer::Refused(_)).then_some((place, request.operation))
        });
        in_ledger_order(&happened.chain(refused).collect(), &self.proved)?;
        let asked = self.requests.iter().filter(|request| request.attempts > 0);
        let may_happen = asked
            .filter(|request| request.receipt.is_none() || request.operation.returned.is_some());
        let operations: Vec<Operation> = may_happen.map(|request| request.operation).collect();
        linearizable(&operations)
    }

    /// What was asked and answered about checkpoints: made, released, reverts, keys taken back by them, refusals.
    pub(crate) fn on_places(&self) -> [u64; 5] {
        let mut counts = [0; 5];
        for operation in self.requests.iter().map(|request| request.operation) {
            match (operation.action, operation.returned) {
                (Action::Checkpoint(_), Some((_, Answer::Done))) => counts[0] += 1,
                (Action::Release(_), Some((_, Answer::Done))) => counts[1] += 1,
                (_, Some((_, Answer::Reverted(keys)))) => {
                    counts[2] += 1;
                    counts[3] += u64::from(keys.count_ones());
                }
                (_, Some((_, Answer::Refused(_)))) => counts[4] += 1,
                _ => {}
            }
        }
        counts
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

/// The key of these bytes, if it is one that clients write.
fn key_of(bytes: &[u8]) -> Option<u64> {
    let number = core::str::from_utf8(bytes.strip_prefix(b"k")?).ok()?;
    number.parse().ok().filter(|key| *key < MOST_KEYS)
}

fn name_bytes(name: Name) -> Blob {
    Blob(format!("c{name}").into_bytes())
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
    let results = match &receipt.outcome {
        Outcome::Executed { results, .. } => results,
        // Clients ask for nothing that cannot be, and little.
        Outcome::Rejected(
            Rejection::BadCommand(_) | Rejection::CostExceeded | Rejection::BlockFull,
        ) => return None,
        Outcome::Rejected(why) => return Some(refusal(*why).map(Answer::Refused)),
        Outcome::Duplicate { .. } => return Some(None),
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
        KvResult::Checkpoint(_) | KvResult::Released { more: false, .. } => Answer::Done,
        KvResult::Reverted {
            changes,
            next: None,
        } => {
            let bits = changes.iter().map(|change| key_of(&change.key.0));
            let bits: Option<Vec<u64>> = bits.collect();
            Answer::Reverted(bits?.into_iter().fold(0, |bits, key| bits | (1 << key)))
        }
        _ => return None,
    }))
}

/// A rejection that the checkpoints there are must explain.
fn refusal(why: Rejection) -> Option<Refusal> {
    match why {
        Rejection::CheckpointExists(_) => Some(Refusal::Exists),
        Rejection::UnknownCheckpoint(_) => Some(Refusal::Unknown),
        Rejection::TooManyCheckpoints(_) => Some(Refusal::TooMany),
        Rejection::Forbidden => Some(Refusal::Forbidden),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever is turned away has made no progress, unless there is a reason that the judges know.
    #[test]
    fn a_rejection_serves_nobody_without_a_reason() {
        use crate::genesis::{CLIENT, genesis, key};
        let genesis = genesis("work", 4, 1);
        let setup = quorate_replica::Setup::new(&genesis, None).unwrap();
        let load = crate::plan::Plan::draw(3).load;
        let pens = vec![Pen::new(key(CLIENT, 0), None)];
        let (validators, parameters) = (Arc::clone(&setup.validators), setup.parameters.clone());
        let mut workload = Workload::new(load, pens, validators, parameters, Rng::new(1));
        let number = workload.sign_sound(genesis.time);
        let served = |workload: &mut Workload, outcome| {
            let request = &mut workload.requests[number];
            request.receipt = Some(Receipt {
                transaction: request.id,
                client: request.transaction.body.client,
                sequence: request.transaction.body.sequence,
                height: Height(1),
                index: 0,
                time: genesis.time,
                outcome,
            });
            let readable = answer(request.receipt.as_ref().unwrap()).is_some();
            (request.is_served(), readable)
        };
        assert!(!workload.requests[number].is_served());
        for why in [
            Rejection::Expired,
            Rejection::TooOld,
            Rejection::SequenceReused,
        ] {
            let rejected = Outcome::Rejected(why);
            assert_eq!(served(&mut workload, rejected), (false, true));
        }
        // Nobody asks for what cannot be, or for much.
        for why in [Rejection::BadCommand(0), Rejection::CostExceeded] {
            let rejected = Outcome::Rejected(why);
            assert_eq!(served(&mut workload, rejected), (false, false));
        }
        let refused = Outcome::Rejected(Rejection::CheckpointExists(0));
        assert!(served(&mut workload, refused).0);
    }

    /// What the checkpoints refuse must have its reason; what is too dear, or too late, had none of their doing.
    #[test]
    fn rejections_are_told_apart() {
        assert_eq!(
            refusal(Rejection::UnknownCheckpoint(0)),
            Some(Refusal::Unknown)
        );
        assert_eq!(
            refusal(Rejection::CheckpointExists(0)),
            Some(Refusal::Exists)
        );
        assert_eq!(
            refusal(Rejection::TooManyCheckpoints(0)),
            Some(Refusal::TooMany)
        );
        assert_eq!(refusal(Rejection::Forbidden), Some(Refusal::Forbidden));
        assert_eq!(refusal(Rejection::CostExceeded), None);
        assert_eq!(key_of(b"k7"), Some(7));
        assert_eq!(key_of(b"k64"), None);
        assert_eq!(key_of(b"7"), None);
    }
}
