//! The simulator's disk: deterministic, and it forgets on demand what a real one may forget.
//!
//! It holds what a reader sees, and for every write since the last synced one what it would take to undo it. A crash
//! undoes all but some first ones of these: what is then left is one of the images that a real disk could come back with.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use quorate_types::Round;

use crate::StoreError;
use crate::error::Fault;
use crate::pending::{Pending, merge};
use crate::store::{Entry, Op, Order, Store, Sync, Table, View, WriteBatch};

/// How the next write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFault {
    /// Nothing reaches the disk, as when it is full.
    Lost,
    /// The batch is written but its sync fails: a crash may forget it, or not.
    NotSynced,
    /// The batch becomes durable, but the caller never learns.
    Silent,
}

/// What an entry was before a write: to be put back, or (`None`) removed again.
type Before = (Table, Vec<u8>, Option<Vec<u8>>);

/// A store in memory. A clone is an independent copy.
#[derive(Clone, Debug, Default)]
pub struct MemStore {
    tables: BTreeMap<Table, BTreeMap<Vec<u8>, Vec<u8>>>,
    /// One a write since the last synced one, oldest first.
    unsynced: Vec<Vec<Before>>,
    /// What is deferred: on no disk.
    pending: Pending,
    /// Entries that cannot be read any more.
    damaged: BTreeSet<(Table, Vec<u8>)>,
    ceiling: Option<Round>,
    fault: Option<WriteFault>,
    failed: bool,
    syncs: u64,
    changes: u64,
}

impl MemStore {
    /// Empty.
    #[must_use]
    pub fn new() -> MemStore {
        MemStore::default()
    }

    /// Writes that a crash may forget.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// Power is cut and comes back: the first `keep` of the unsynced writes are there, the rest is gone, and so is what was
    /// deferred. A store that had failed accepts writes again.
    pub fn crash(&mut self, keep: usize) {
        self.changes += 1;
        self.pending = Pending::default();
        for undo in self.unsynced.drain(..).skip(keep).rev() {
            // Within a write the last change is undone first.
            for (table, key, before) in undo.into_iter().rev() {
                let entries = self.tables.entry(table).or_default();
                match before {
                    Some(value) => entries.insert(key, value),
                    None => entries.remove(&key),
                };
            }
        }
        self.fault = None;
        self.failed = false;
    }

    /// Makes the next write, or raise of the ceiling, fail.
    pub fn fail_next(&mut self, fault: WriteFault) {
        self.fault = Some(fault);
    }

    /// Takes back an armed fault that no write has met.
    pub fn disarm(&mut self) {
        self.fault = None;
    }

    /// Flips the lowest bit of a stored byte, the way a disk rots; false if there is no such byte.
    pub fn rot(&mut self, table: Table, key: &[u8], offset: usize) -> bool {
        let value = self.tables.get_mut(&table).and_then(|t| t.get_mut(key));
        let Some(byte) = value.and_then(|value| value.get_mut(offset)) else {
            return false;
        };
        *byte ^= 1;
        self.changes += 1;
        true
    }

    /// Makes an entry unreadable, as a rotten disk block is under a database with checksums: every read that meets it
    /// fails, until it is written anew. `place` decides which; false if there is none.
    pub fn damage(&mut self, place: u64) -> bool {
        let all = || {
            let tables = self.tables.iter();
            tables.flat_map(|(table, entries)| entries.keys().map(move |key| (*table, key)))
        };
        let Ok(count @ 1..) = u64::try_from(all().count()) else {
            return false;
        };
        let nth = usize::try_from(place % count).expect("below a length");
        let chosen = all().nth(nth).map(|(table, key)| (table, key.clone()));
        self.damaged.extend(chosen);
        self.changes += 1;
        true
    }

    /// Whether an entry is there and would be after a crash that undoes every unsynced write.
    #[must_use]
    pub fn is_durable(&self, table: Table, key: &[u8]) -> bool {
        if self.pending.get(table, key).is_some() {
            return false;
        }
        let entries = self.tables.get(&table);
        let there = entries.is_some_and(|entries| entries.contains_key(key));
        let mut undone = self.unsynced.iter().flatten();
        there && !undone.any(|(t, k, before)| *t == table && k == key && before.is_none())
    }

    /// As [`View::get`], without a copy.
    ///
    /// # Errors
    /// [`StoreError::Database`] for a damaged entry.
    pub fn peek(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StoreError> {
        if let Some(deferred) = self.pending.get(table, key) {
            return Ok(deferred);
        }
        self.check(table, key)?;
        let value = self.tables.get(&table).and_then(|entries| entries.get(key));
        Ok(value.map(Vec::as_slice))
    }

    fn check(&self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        if self.damaged.is_empty() || !self.damaged.contains(&(table, key.to_vec())) {
            return Ok(());
        }
        Err(StoreError::Database {
            operation: "read",
            fault: Fault::Corruption,
            message: String::from("checksum mismatch"),
        })
    }

    /// Grows with whatever changes what a reader sees: while it stays the same, so do all entries.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Synced writes and raises so far, for the cost model of a simulation.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.syncs
    }

    /// Takes the armed fault. The store is failed from then on.
    fn take_fault(&mut self) -> Result<Option<WriteFault>, StoreError> {
        if self.failed {
            return Err(StoreError::Failed);
        }
        let fault = self.fault.take();
        self.failed = fault.is_some();
        Ok(fault)
    }

    /// Applies a write; returns what undoes it, unless it is durable at once.
    fn apply(&mut self, batch: WriteBatch, durable: bool) -> Vec<Before> {
        self.changes += 1;
        let mut undo = Vec::new();
        let settles = batch.settles();
        let deferred = match settles {
            true => std::mem::take(&mut self.pending).into_ops(),
            false => Vec::new(),
        };
        for op in deferred.into_iter().chain(batch) {
            self.pending.supersede(&op);
            match op {
                Op::Defer(table, key, value) if !settles => self.pending.put(table, key, value),
                Op::Put(table, key, value) | Op::Defer(table, key, Some(value)) => {
                    if !self.damaged.is_empty() {
                        self.damaged.remove(&(table, key.clone()));
                    }
                    let entries = self.tables.entry(table).or_default();
                    if durable {
                        entries.insert(key, value);
                    } else {
                        let before = entries.insert(key.clone(), value);
                        undo.push((table, key, before));
                    }
                }
                Op::Delete(table, key) | Op::Defer(table, key, None) => {
                    let entries = self.tables.entry(table).or_default();
                    if let Some(before) = entries.remove(&key) {
                        undo.push((table, key, Some(before)));
                    }
                }
                Op::DeleteRange(table, from, to) => {
                    let entries = self.tables.entry(table).or_default();
                    let inside: Vec<Vec<u8>> =
                        entries.range(from..to).map(|e| e.0.clone()).collect();
                    for key in inside {
                        let before = entries.remove(&key);
                        undo.push((table, key, before));
                    }
                }
            }
        }
        undo
    }

    /// What is on the disk of a stretch that is not empty.
    fn walk_disk(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        order: Order,
    ) -> impl Iterator<Item = Result<Entry, StoreError>> {
        let entries = self.tables.get(&table);
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        let range = (Bound::Included(from), end);
        let mut range = entries.map(|entries| entries.range::<[u8], _>(range));
        std::iter::from_fn(move || {
            let (key, value) = match (range.as_mut()?, order) {
                (range, Order::Ascending) => range.next()?,
                (range, Order::Descending) => range.next_back()?,
            };
            let readable = self.check(table, key);
            Some(readable.map(|()| (key.clone(), value.clone())))
        })
    }
}

impl View for MemStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.peek(table, key)?.map(<[u8]>::to_vec))
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
        order: Order,
    ) -> Result<Vec<Entry>, StoreError> {
        if to.is_some_and(|to| to <= from) {
            return Ok(Vec::new());
        }
        let above = self.pending.range(table, (from, to), order);
        let below = self.walk_disk(table, from, to, order);
        merge(above, below, order).take(limit).collect()
    }

    fn contains(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.peek(table, key)?.is_some())
    }
}

impl Store for MemStore {
    fn write(&mut self, batch: WriteBatch, sync: Sync) -> Result<(), StoreError> {
        let fault = self.take_fault()?;
        if fault == Some(WriteFault::Lost) {
            return Err(StoreError::Injected);
        }
        let durable = sync == Sync::Yes && fault != Some(WriteFault::NotSynced);
        let undo = self.apply(batch, durable);
        if durable {
            self.unsynced.clear();
            self.syncs += 1;
        } else {
            self.unsynced.push(undo);
        }
        fault.map_or(Ok(()), |_| Err(StoreError::Injected))
    }

    fn ceiling(&self) -> Option<Round> {
        self.ceiling
    }

    fn raise_ceiling(&mut self, to: Round) -> Result<(), StoreError> {
        if let Some(at) = self.ceiling {
            if to < at {
                return Err(StoreError::CeilingFalls { at, to });
            }
            if to == at {
                return Ok(());
            }
        }
        let fault = self.take_fault()?;
        if matches!(fault, None | Some(WriteFault::Silent)) {
            self.ceiling = Some(to);
            self.syncs += 1;
        }
        fault.map_or(Ok(()), |_| Err(StoreError::Injected))
    }
}
