//! The judges. They read what the stores hold and what leaves the validators, and trust nothing that the product says
//! about itself: each check is written anew here, from the protocol's invariants I1–I7 and I10 and rules P1–P3.
//!
//! The liar's store and messages are no business of theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use quorate_crypto::{Digest, Domain, PublicKey, hash, verify};
use quorate_storage::ledger::{self, LedgerError};
use quorate_storage::{MemStore, Table, View};
use quorate_types::memory::{self, Memory};
use quorate_types::vote::{commit_vote_bytes, vote_bytes};
use quorate_types::{
    BatchId, Block, BlockId, Finality, Height, Message, Outcome, Receipt, Roots, Round,
};
use quorate_types::{
    Proposal, Qc, Reject, Rejection, Signature, Signers, Tc, TransactionId, ValidatorIndex,
    Validators, codec,
};

use crate::history::Impossible;
use crate::keys::Notary;

use self::rules::Rules;
use self::shelf::Shelf;

mod certificates;
pub(crate) mod leaders;
pub(crate) mod pace;
mod rules;
mod shelf;

/// Finality proofs whose signatures are verified again: one in so many heights.
const VERIFIED_PROOFS: u64 = 4;

/// What must never be.
#[derive(Debug)]
pub enum Violation {
    /// I5: another correct replica committed another block at this height.
    Fork(Height),
    /// I4: a height is missing, or a block does not name the one below as its parent, or its round does not rise.
    BrokenChain(Height),
    /// I6: another correct replica executed the same block to another state, or to other receipts.
    OtherRoots(Height),
    /// I3: a certificate without a quorum of distinct valid signers.
    BadCertificate(Height),
    /// I7: executed twice.
    ExecutedTwice(TransactionId),
    /// I7: receipts and transactions of a block do not match, or no client signed one.
    StrangeReceipt(Height, u32),
    /// I1: two of these by one validator in one round.
    SignedTwice(&'static str, Round),
    /// I2: what the safety record holds fell.
    RecordFell(Round),
    /// P1–P3: this left before what it promises was durable.
    NotDurable(&'static str, Round),
    /// I8: what a client was told is not in the ledger.
    LostReceipt(TransactionId, Height),
    /// A client got an answer that contradicts another, or is about something else.
    BadAnswer,
    /// I3: a correct validator sent a certificate without a quorum of distinct valid signers.
    SentBadCertificate(Round),
    /// C2: a Timeout reports a lower certificate than its signer has commit-voted on.
    ForgotLock(Round),
    /// V1: a block became final that another should have proposed.
    WrongLeader(Height),
    /// V2: a vote for a block that does not extend what it must.
    UnsafeVote(Round),
    /// V3, C2: this was signed in a round that its signer had given up.
    SignedAfterTimeout(&'static str, Round),
    /// V1, V4, V5: what a correct leader proposed was refused for ever.
    HonestRefused(ValidatorIndex, Reject),
    /// P5: a validator that forgot what it signed, and does not know yet, signs this.
    SignedUnknowing(&'static str, Round),
    /// P5: it takes part again above this round, and has signed above it, or may report a lower certificate.
    LowFence(Round),
    /// P1, C3: a block that this replica voted for is gone.
    PromiseLost(Round),
    /// I8: a client was answered before a quorum held the block.
    NotAtQuorum(TransactionId, Height),
    /// No single machine could have given the clients these answers.
    NotLinearizable(Impossible),
    /// I9: a queue holds more than its bound, of so many.
    OverBound(&'static str, usize),
    /// Nothing breaks any more, and the cluster is in the same state again and again.
    Lasso(&'static str),
    /// I10: evidence against a validator that did nothing wrong.
    FalseEvidence(ValidatorIndex),
    /// A correct replica, whose key nobody else has, says that somebody signs with it.
    FalseTwin(Round),
    /// A correct replica says that it diverged.
    Diverged(Height),
    /// A ledger cannot be read.
    Ledger(LedgerError),
    /// A replica cannot go on.
    Stopped(String),
    /// A replica takes turn after turn and nothing happens.
    Spins,
    /// L3: nothing is to be ordered, and yet so many blocks are.
    Restless(u64),
    /// T2: a correct replica tells the same peer the same certificate, again and again.
    Pesters(Round),
    /// Far more happens than in any sound world: messages that beget messages.
    Storm,
    /// Nothing breaks any more, and yet this many correct replicas did not do in time what they must.
    NoProgress(&'static str, usize),
    /// Somebody's assertion failed.
    Panic(String),
    /// The same seed led to another world.
    NotDeterministic,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl From<LedgerError> for Violation {
    fn from(error: LedgerError) -> Violation {
        Violation::Ledger(error)
    }
}

/// A height of the final chain, as the first correct replica had it.
#[derive(Debug)]
struct Final {
    block: BlockId,
    batches: Vec<BatchId>,
    round: Round,
    roots: Roots,
    receipts: Digest,
}

/// The part of a safety record that may only rise.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    round: Round,
    high_qc: Round,
    highest_timeout: Round,
}

/// What was seen of one replica.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    height: u64,
    durable_height: u64,
    record: Record,
    durable: Record,
}

/// All that was ever committed and signed.
#[derive(Debug)]
pub struct Checker {
    validators: Arc<Validators>,
    notary: Option<Arc<Notary>>,
    rules: Rules,
    chain: BTreeMap<u64, Final>,
    executed: BTreeMap<TransactionId, (Height, u32)>,
    /// Where each stands that the machine rejected: not executed, and its number is used up all the same (X1).
    spent: BTreeMap<TransactionId, (Height, u32)>,
    /// Numbers of clients that were used.
    numbers: BTreeSet<(PublicKey, u64)>,
    signed: BTreeMap<(usize, &'static str, Round), BlockId>,
    seen: Vec<Seen>,
    shelf: Shelf,
    /// Of each replica, the bytes of its safety record as they were read last, and what they say.
    records: Vec<(Option<Vec<u8>>, Record)>,
    /// Certificates that were verified, sent and stored ones apart.
    qcs: BTreeMap<(Round, BlockId), Vec<Qc>>,
    ccs: BTreeMap<(Round, BlockId), Vec<Finality>>,
    tcs: BTreeMap<Round, Vec<Tc>>,
    stored: BTreeMap<Height, Vec<Finality>>,
    /// Blocks above the root that each correct replica voted for.
    promised: Vec<BTreeSet<(Round, BlockId)>>,
    /// Correct replicas on a new disk, until they know what they may have signed.
    unknowing: BTreeSet<usize>,
}

/// What a scan found that is new to the chain.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    pub(crate) blocks: u64,
    pub(crate) view_changes: u64,
    pub(crate) duplicates: u64,
}

impl Checker {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new(validators: Arc<Validators>) -> Checker {
        let promised = vec![BTreeSet::new(); validators.count()];
        Checker {
            seen: vec![Seen::default(); validators.count()],
            records: vec![(None, Record::default()); validators.count()],
            shelf: Shelf::default(),
            rules: Rules::new(&validators),
            validators,
            notary: None,
            chain: BTreeMap::new(),
            executed: BTreeMap::new(),
            spent: BTreeMap::new(),
            numbers: BTreeSet::new(),
            signed: BTreeMap::new(),
            qcs: BTreeMap::new(),
            ccs: BTreeMap::new(),
            tcs: BTreeMap::new(),
            stored: BTreeMap::new(),
            promised,
            unknowing: BTreeSet::new(),
        }
    }

    /// Accepts the stand-ins of this notary for signatures.
    pub(crate) fn with_notary(mut self, notary: Option<Arc<Notary>>) -> Checker {
        self.notary = notary;
        self
    }

    /// Where each executed transaction stands.
    pub(crate) fn executed(&self) -> &BTreeMap<TransactionId, (Height, u32)> {
        &self.executed
    }

    /// A proposal is under way, from anybody: what its TC reports binds whoever votes for it (V2).
    pub(crate) fn overhear(&mut self, proposal: &Proposal) {
        self.rules.overhear(proposal);
    }

    /// The height that some correct replica committed.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.chain.last_key_value().map_or(0, |(height, _)| *height)
    }

    /// Looks at a correct replica's store after a write, and at what the replica sends then.
    pub(crate) fn after_turn(
        &mut self,
        node: usize,
        store: &MemStore,
        sends: &[&Message],
        signed_by_client: impl Fn(&TransactionId) -> bool,
    ) -> Result<Found, Violation> {
        self.record(node, store)?;
        for message in sends {
            self.on_send(node, store, message)?;
            self.rules.note(node, message)?;
            self.certificates(message)?;
        }
        self.scan(node, store, signed_by_client)
    }

    /// As [`Checker::after_turn`] for a correct replica on a disk that cannot be read everywhere: what it signs is judged,
    /// as far as the judges can read; what it holds is not.
    pub(crate) fn over_rot(
        &mut self,
        node: usize,
        store: &MemStore,
        sends: &[&Message],
    ) -> Result<(), Violation> {
        let mut judge = || {
            self.record(node, store)?;
            sends
                .iter()
                .try_for_each(|message| self.on_send(node, store, message))
        };
        match judge() {
            Err(Violation::Ledger(_)) => Ok(()),
            judged => judged,
        }
    }

    /// I2, in memory and on disk.
    fn record(&mut self, node: usize, store: &MemStore) -> Result<(), Violation> {
        let now = self.read_record(node, store)?;
        let seen = &mut self.seen[node];
        risen(&seen.record, &now)?;
        seen.record = now;
        if store.unsynced() == 0 {
            seen.durable = now;
        }
        Ok(())
    }

    /// What the safety record says. Most turns leave it as it was, byte for byte, and it is not decoded again.
    fn read_record(&mut self, node: usize, store: &MemStore) -> Result<Record, Violation> {
        let raw = store.peek(Table::Meta, ledger::keys::RECORD);
        let raw = raw.map_err(LedgerError::from)?;
        let (last, meaning) = &mut self.records[node];
        if last.as_deref() != raw {
            *meaning = ledger::record(store)?.map_or(Record::default(), |record| Record {
                round: record.round,
                high_qc: record.high_qc.round,
                highest_timeout: record.highest_timeout,
            });
            *last = raw.map(<[u8]>::to_vec);
        }
        Ok(*meaning)
    }

    /// A correct replica lost power: what had been synced must be there.
    pub(crate) fn after_crash(&mut self, node: usize, store: &MemStore) -> Result<(), Violation> {
        let now = self.read_record(node, store)?;
        let height = ledger::tip(store)?.height.0;
        let seen = &mut self.seen[node];
        risen(&seen.durable, &now)?;
        if height < seen.durable_height {
            return Err(Violation::BrokenChain(Height(height)));
        }
        seen.record = now;
        seen.durable = now;
        seen.height = seen.height.min(height);
        self.kept(node, store)
    }

    /// I1 and P1–P3.
    fn on_send(
        &mut self,
        node: usize,
        store: &MemStore,
        message: &Message,
    ) -> Result<(), Violation> {
        let (kind, signer, round, block) = match message {
            Message::Proposal(p) => {
                let header = &p.block.header;
                ("proposal", header.proposer, header.round, p.block.id())
            }
            Message::Vote(v) => ("vote", v.voter, v.round, v.block),
            Message::CommitVote(v) => ("commit vote", v.voter, v.round, v.block),
            // Its content may differ from one time to the next; only the promise must be durable.
            Message::Timeout(t) => ("timeout", t.voter, t.round, BlockId::default()),
            _ => return Ok(()),
        };
        if signer.as_usize() != node {
            return Ok(());
        }
        if self.unknowing.contains(&node) {
            return Err(Violation::SignedUnknowing(kind, round));
        }
        if !self.signed.contains_key(&(node, kind, round)) {
            self.on_first(node, store, message, (kind, round))?;
        }
        let first = *self.signed.entry((node, kind, round)).or_insert(block);
        if first != block {
            return Err(Violation::SignedTwice(kind, round));
        }
        let durable = &self.seen[node].durable;
        let promised = match message {
            Message::CommitVote(_) => durable.high_qc,
            Message::Timeout(_) => durable.highest_timeout,
            _ => durable.round,
        };
        let kept = match message {
            Message::Vote(_) | Message::CommitVote(_) => self.holds(store, round, block)?,
            _ => true,
        };
        if matches!(message, Message::Vote(_) | Message::CommitVote(_)) {
            self.promise(node, round, block);
        }
        match promised >= round && kept {
            true => Ok(()),
            false => Err(Violation::NotDurable(kind, round)),
        }
    }

    /// Whether a block above the tip is stored with its batches (P1, C3). At or below it, the ledger answers for it.
    fn holds(&mut self, store: &MemStore, round: Round, block: BlockId) -> Result<bool, Violation> {
        if ledger::tip(store)?.round >= round {
            return Ok(true);
        }
        let Some(block) = self.shelf.block(store, block)? else {
            return Ok(false);
        };
        let mut all = true;
        for batch in &block.batches {
            all &= store
                .contains(Table::Batches, batch.as_bytes())
                .map_err(LedgerError::from)?;
        }
        Ok(all)
    }

    /// V2, V3, C2: a vote that was never sent before.
    fn on_first(
        &mut self,
        node: usize,
        store: &MemStore,
        message: &Message,
        (kind, round): (&'static str, Round),
    ) -> Result<(), Violation> {
        if !matches!(message, Message::Vote(_) | Message::CommitVote(_)) {
            return Ok(());
        }
        self.rules.after_timeout(node, kind, round)?;
        if let Message::Vote(vote) = message
            && let Some(block) = self.shelf.block(store, vote.block)?
        {
            self.rules.extension(&block.header)?;
        }
        Ok(())
    }

    /// What a correct replica committed since it was looked at last.
    fn scan(
        &mut self,
        node: usize,
        store: &MemStore,
        signed_by_client: impl Fn(&TransactionId) -> bool,
    ) -> Result<Found, Violation> {
        let tip = ledger::tip(store)?;
        let mut found = Found::default();
        for height in self.seen[node].height + 1..=tip.height.0 {
            let at = Height(height);
            let block = self.shelf.at_height(store, at)?;
            let (id, block) = block.ok_or(Violation::BrokenChain(at))?;
            let roots = ledger::roots(store, at)?.ok_or(Violation::OtherRoots(at))?;
            self.proof(store, at, id, &block)?;
            if self.chain.contains_key(&height) {
                self.same(at, id, roots)?;
            } else {
                let last = self.chain.get(&(height - 1));
                let follows = match last {
                    Some(last) => {
                        last.block == block.header.parent && last.round < block.header.round
                    }
                    None => height == 1,
                };
                if !follows || block.header.height != at {
                    return Err(Violation::BrokenChain(at));
                }
                self.rules.leader(&block.header)?;
                let receipts = ledger::receipts(store, at)?;
                found.blocks += 1;
                found.view_changes += u64::from(block.header.failed.is_some());
                found.duplicates += self.execute(store, &block, &receipts, &signed_by_client)?;
                self.chain.insert(
                    height,
                    Final {
                        block: id,
                        round: block.header.round,
                        batches: block.batches.clone(),
                        roots,
                        receipts: digest(&receipts),
                    },
                );
            }
            self.seen[node].height = height;
        }
        if store.unsynced() == 0 {
            self.seen[node].durable_height = tip.height.0;
        }
        Ok(found)
    }

    /// I5, I6: the same as the first that committed this height.
    fn same(&self, at: Height, block: BlockId, roots: Roots) -> Result<(), Violation> {
        let known = self.chain.get(&at.0).ok_or(Violation::BrokenChain(at))?;
        if known.block != block {
            return Err(Violation::Fork(at));
        }
        match known.roots == roots {
            true => Ok(()),
            false => Err(Violation::OtherRoots(at)),
        }
    }

    /// I7: the receipts are those of the block's transactions, in order, and none was executed before.
    fn execute(
        &mut self,
        store: &MemStore,
        block: &Block,
        receipts: &[Receipt],
        signed_by_client: impl Fn(&TransactionId) -> bool,
    ) -> Result<u64, Violation> {
        let at = block.header.height;
        let mut ordered = Vec::new();
        for id in &block.batches {
            let batch = ledger::batch(store, *id)?.ok_or(Violation::BrokenChain(at))?;
            ordered.extend(
                batch
                    .transactions
                    .iter()
                    .map(quorate_types::Transaction::id),
            );
        }
        let mut duplicates = 0;
        for (place, receipt) in receipts.iter().enumerate() {
            let strange = Violation::StrangeReceipt(at, receipt.index);
            let id = receipt.transaction;
            if ordered.get(place) != Some(&id) || !signed_by_client(&id) || receipt.height != at {
                return Err(strange);
            }
            let number = (receipt.client, receipt.sequence);
            let ran = match &receipt.outcome {
                Outcome::Executed { .. } => self.executed.insert(id, (at, receipt.index)),
                Outcome::Rejected(why) if by_the_machine(*why) => {
                    self.spent.insert(id, (at, receipt.index))
                }
                Outcome::Rejected(_) => continue,
                Outcome::Duplicate { height, index } => {
                    duplicates += 1;
                    let first = self.executed.get(&id).or(self.spent.get(&id));
                    if first != Some(&(*height, *index)) {
                        return Err(strange);
                    }
                    continue;
                }
            };
            if ran.is_some() || !self.numbers.insert(number) {
                return Err(Violation::ExecutedTwice(id));
            }
        }
        match ordered.len() == receipts.len() {
            true => Ok(duplicates),
            false => Err(Violation::StrangeReceipt(at, 0)),
        }
    }

    /// I3: the finality proof of this height, if it has one of its own.
    fn proof(
        &mut self,
        store: &MemStore,
        at: Height,
        id: BlockId,
        block: &Block,
    ) -> Result<(), Violation> {
        let Some(finality) = ledger::finality(store, at)? else {
            return Ok(());
        };
        if !certificates::first(&mut self.stored, at, &finality) {
            return Ok(());
        }
        let round = block.header.round;
        let Finality { cc, qc } = &finality;
        let named = (cc.block, cc.height, cc.round) == (id, at, round)
            && (qc.block, qc.round) == (id, round);
        let chain = self.validators.chain();
        let deep = at.0.is_multiple_of(VERIFIED_PROOFS);
        let commit = commit_vote_bytes(chain, round, id, at);
        let vote = vote_bytes(chain, round, id);
        let valid = self.quorum(
            deep,
            cc.signers,
            &cc.signatures,
            Domain::CommitVote,
            &commit,
        ) && self.quorum(deep, qc.signers, &qc.signatures, Domain::Vote, &vote);
        match named && valid {
            true => Ok(()),
            false => Err(Violation::BadCertificate(at)),
        }
    }

    fn signed_by(
        &self,
        key: &PublicKey,
        domain: Domain,
        message: &[u8],
        signature: &Signature,
    ) -> bool {
        match &self.notary {
            Some(notary) => notary.knows(&memory::name(domain, key, signature, message)),
            None => verify(key, domain, message, signature).is_ok(),
        }
    }

    fn quorum(
        &self,
        deep: bool,
        signers: Signers,
        signatures: &[Signature],
        domain: Domain,
        message: &[u8],
    ) -> bool {
        let (n, distinct) = (self.validators.count(), signers.iter().count());
        // Counted anew: more than two thirds, whatever the product calls a quorum.
        let quorum = 3 * distinct > 2 * n && distinct == signatures.len() && signers.within(n);
        quorum
            && (!deep
                || signers.iter().zip(signatures).all(|(signer, signature)| {
                    let key = self.validators.key(signer);
                    key.is_some_and(|key| self.signed_by(key, domain, message, signature))
                }))
    }

    /// Reads a whole ledger again, from the first height.
    ///
    /// # Errors
    /// [`Violation`], the first found.
    pub fn audit(&mut self, store: &MemStore) -> Result<(), Violation> {
        let tip = ledger::tip(store)?;
        let mut parent = None;
        for height in 1..=tip.height.0 {
            let at = Height(height);
            let block = self.shelf.at_height(store, at)?;
            let (id, block) = block.ok_or(Violation::BrokenChain(at))?;
            if parent.is_some_and(|parent| parent != block.header.parent) {
                return Err(Violation::BrokenChain(at));
            }
            parent = Some(id);
            let roots = ledger::roots(store, at)?.ok_or(Violation::OtherRoots(at))?;
            self.same(at, id, roots)?;
            let receipts = digest(&ledger::receipts(store, at)?);
            if self
                .chain
                .get(&height)
                .is_none_or(|known| known.receipts != receipts)
            {
                return Err(Violation::OtherRoots(at));
            }
        }
        match parent.is_none_or(|last| last == tip.block) {
            true => Ok(()),
            false => Err(Violation::BrokenChain(tip.height)),
        }
    }

    /// I8: what clients were told is in this ledger.
    ///
    /// # Errors
    /// [`Violation::LostReceipt`].
    pub fn promises<'a>(
        &self,
        store: &MemStore,
        receipts: impl Iterator<Item = &'a Receipt>,
    ) -> Result<(), Violation> {
        for told in receipts {
            let there = ledger::receipt(store, told.height, told.index)?;
            if there.as_ref() != Some(told) {
                return Err(Violation::LostReceipt(told.transaction, told.height));
            }
        }
        Ok(())
    }
}

/// Whether a transaction ran up to this, and was not turned away before.
fn by_the_machine(why: Rejection) -> bool {
    match why {
        Rejection::UnknownClient
        | Rejection::Expired
        | Rejection::TooFarAhead
        | Rejection::TooOld
        | Rejection::SequenceReused => false,
        Rejection::Forbidden
        | Rejection::CostExceeded
        | Rejection::ResultTooLarge
        | Rejection::BadCommand(_)
        | Rejection::UnknownCheckpoint(_)
        | Rejection::CheckpointExists(_)
        | Rejection::TooManyCheckpoints(_) => true,
    }
}

fn risen(before: &Record, after: &Record) -> Result<(), Violation> {
    let fell = after.round < before.round
        || after.high_qc < before.high_qc
        || after.highest_timeout < before.highest_timeout;
    match fell {
        true => Err(Violation::RecordFell(before.round)),
        false => Ok(()),
    }
}

fn digest(receipts: &[Receipt]) -> Digest {
    hash(Domain::Batch, &[&codec::encode(&receipts)])
}

mod promises;
#[cfg(test)]
mod tests;
