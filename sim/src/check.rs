//! The judges. They read what the stores hold and what leaves the validators, and trust nothing that the product says
//! about itself: each check is written anew here, from the protocol's invariants I1–I7 and I10 and rules P1–P3.
//!
//! The liar's store and messages are no business of theirs.
//!
//! | file | what is judged there |
//! |---|---|
//! | `signing`, `rules` | what correct validators sign (I1, P1–P3; V2, V3, C2) |
//! | `certificates` | what correct validators store and send (I3) |
//! | `leaders` | who may propose (V1) |
//! | `ledgers` | what is committed (I4–I8) |
//! | `once` | what may become of a transaction (X1) |
//! | `promises` | what must still be there (P1, C3, P5, I8) |
//! | `pace` | how often something is said (T2, L3) |
//! | `violation` | what they report |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_storage::ledger::{self, LedgerError};
use quorate_storage::{MemStore, Table};
use quorate_types::{BlockId, BlockTime, Finality, Height, Message, Proposal, Qc, Round, Tc};
use quorate_types::{TransactionId, Validators};

use crate::keys::Notary;

use self::ledgers::{Final, Found};
use self::once::{Sessions, Terms};
use self::rules::Rules;
use self::shelf::Shelf;
pub use self::violation::Violation;

mod certificates;
pub(crate) mod leaders;
mod ledgers;
pub(crate) mod once;
pub(crate) mod pace;
mod promises;
mod rules;
mod shelf;
mod signing;
#[cfg(test)]
mod tests;
mod violation;

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
    /// The changes of its store when all of it was looked at last.
    looked: Option<u64>,
    /// What its wall clock showed in the turn that is judged.
    wall: BlockTime,
}

/// All that was ever committed and signed.
#[derive(Debug)]
pub struct Checker {
    validators: Arc<Validators>,
    terms: Terms,
    notary: Option<Arc<Notary>>,
    rules: Rules,
    chain: BTreeMap<u64, Final>,
    executed: BTreeMap<TransactionId, (Height, u32)>,
    /// Which numbers of clients were used (X1).
    sessions: Sessions,
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

impl Checker {
    /// Nothing was seen yet.
    #[must_use]
    pub(crate) fn new(validators: Arc<Validators>, terms: Terms) -> Checker {
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
            sessions: Sessions::new(terms.clone()),
            terms,
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

    /// What this replica's wall clock shows in the turn that is judged next (V1).
    pub(crate) fn shows(&mut self, node: usize, wall: BlockTime) {
        self.seen[node].wall = wall;
    }

    /// Looks at a correct replica's store after a write, and at what the replica sends then.
    pub(crate) fn after_turn(
        &mut self,
        node: usize,
        store: &MemStore,
        sends: &[&Message],
        signed_by_client: impl Fn(&TransactionId) -> bool,
    ) -> Result<Found, Violation> {
        let changed = self.seen[node].looked != Some(store.changes());
        if changed {
            self.record(node, store)?;
        }
        for message in sends {
            self.on_send(node, store, message)?;
            self.rules.note(node, message)?;
            self.certificates(message)?;
        }
        if !changed {
            return Ok(Found::default());
        }
        let found = self.scan(node, store, signed_by_client)?;
        self.seen[node].looked = Some(store.changes());
        Ok(found)
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
