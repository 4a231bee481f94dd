//! The contract between a replica and its disk.
//!
//! * A [`WriteBatch`] is applied whole or not at all, also across a crash.
//! * A write with [`Sync::Yes`] is durable when it returns, with everything written before it but what is deferred.
//! * A write with [`Sync::No`] is visible at once. After a crash, of the writes since the last synced one some first ones
//!   are there and the rest is not: a prefix, never a hole.
//! * A change may be deferred ([`Op::Defer`]): it is visible at once, and durable with the first write that settles
//!   ([`WriteBatch::settle`]), which applies everything that was deferred until then as if it were its own. A crash before
//!   takes back all that was deferred since. For what can be worked out again from what is written.
//! * An error is fatal (protocol §4, Durability): a failed sync is never retried, because the system may have dropped
//!   the pages and report success the second time.
//!
//! Keys are ordered as bytes, shorter first. Keys and values may be empty.

use quorate_types::Round;

use crate::StoreError;

/// The parts of a store, each with keys of its own; column families of the database.
/// [`crate::ledger`] defines what stands in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Schema, chain id, tip, safety record, roots.
    Meta,
    /// Blocks by id.
    Blocks,
    /// Heights and other indices.
    Ledger,
    /// Finality proofs by height.
    Certificates,
    /// Batches by digest.
    Batches,
    /// The state machine's entries.
    State,
    /// Nodes of the state tree.
    Tree,
    /// Receipts by height and index.
    Receipts,
    /// Where each transaction stands.
    Places,
    /// Subtrees of the accumulator of receipts.
    Accumulator,
    /// A snapshot that is being fetched: its manifest and its chunks, each verified before it is put here.
    Staging,
}

impl Table {
    /// Every table, in the order of declaration.
    pub const ALL: [Table; 11] = [
        Table::Meta,
        Table::Blocks,
        Table::Ledger,
        Table::Certificates,
        Table::Batches,
        Table::State,
        Table::Tree,
        Table::Receipts,
        Table::Places,
        Table::Accumulator,
        Table::Staging,
    ];

    /// Its name on disk and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Table::Meta => "meta",
            Table::Blocks => "blocks",
            Table::Ledger => "ledger",
            Table::Certificates => "certificates",
            Table::Batches => "batches",
            Table::State => "state",
            Table::Tree => "tree",
            Table::Receipts => "receipts",
            Table::Places => "places",
            Table::Accumulator => "accumulator",
            Table::Staging => "staging",
        }
    }
}

impl core::fmt::Display for Table {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// Direction of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Smallest key first.
    Ascending,
    /// Largest key first.
    Descending,
}

/// Whether a write has to be durable when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// It and everything before it.
    Yes,
    /// With the next synced one.
    No,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets an entry.
    Put(Table, Vec<u8>, Vec<u8>),
    /// Removes an entry, if there.
    Delete(Table, Vec<u8>),
    /// Removes all entries with `.1 <= key < .2`.
    DeleteRange(Table, Vec<u8>, Vec<u8>),
    /// Sets an entry, or removes it (`None`): visible at once, durable with the next write that settles.
    Defer(Table, Vec<u8>, Option<Vec<u8>>),
}

impl Op {
    /// Whether it waits for a write that settles.
    #[must_use]
    pub fn is_deferred(&self) -> bool {
        matches!(self, Op::Defer(..))
    }

    /// Bytes of key and value.
    pub(crate) fn len(&self) -> usize {
        match self {
            Op::Put(_, key, value) => key.len() + value.len(),
            Op::Delete(_, key) => key.len(),
            Op::DeleteRange(_, from, to) => from.len() + to.len(),
            Op::Defer(_, key, value) => key.len() + value.as_ref().map_or(0, Vec::len),
        }
    }
}

/// Changes that happen together, in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteBatch {
    ops: Vec<Op>,
    bytes: usize,
    settles: bool,
}

impl WriteBatch {
    /// No change.
    #[must_use]
    pub fn new() -> WriteBatch {
        WriteBatch::default()
    }

    /// No change of its own, but what was deferred.
    #[must_use]
    pub fn settling() -> WriteBatch {
        WriteBatch {
            settles: true,
            ..WriteBatch::default()
        }
    }

    /// Sets an entry.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.push(Op::Put(table, key.into(), value.into()));
    }

    /// Removes an entry; nothing happens if it is not there.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.push(Op::Delete(table, key.into()));
    }

    /// Removes all entries with `from <= key < to`; none if `to` is not above `from`.
    pub fn delete_range(&mut self, table: Table, from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) {
        let (from, to) = (from.into(), to.into());
        if from < to {
            self.push(Op::DeleteRange(table, from, to));
        }
    }

    /// Sets an entry, or removes it (`None`), to be durable with the first write that settles.
    ///
    /// A key that has a deferred change is deferred again or left alone until that: a change that is not deferred takes its
    /// place, and a crash may leave that one and forget this.
    pub fn defer(&mut self, table: Table, key: impl Into<Vec<u8>>, value: Option<Vec<u8>>) {
        self.push(Op::Defer(table, key.into(), value));
    }

    /// Makes this write settle: all that was deferred, before and in it, is applied with it.
    pub fn settle(&mut self) {
        self.settles = true;
    }

    /// Whether it settles what was deferred.
    #[must_use]
    pub fn settles(&self) -> bool {
        self.settles
    }

    /// Appends the changes of another batch.
    pub fn extend(&mut self, other: WriteBatch) {
        self.bytes += other.bytes;
        self.settles |= other.settles;
        self.ops.extend(other.ops);
    }

    /// The changes, in order.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether nothing changes, and nothing is settled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && !self.settles
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a change.
    pub(crate) fn push(&mut self, op: Op) {
        self.bytes += op.len();
        self.ops.push(op);
    }
}

impl<'a> IntoIterator for &'a WriteBatch {
    type Item = &'a Op;
    type IntoIter = std::slice::Iter<'a, Op>;

    fn into_iter(self) -> Self::IntoIter {
        self.ops.iter()
    }
}

impl IntoIterator for WriteBatch {
    type Item = Op;
    type IntoIter = std::vec::IntoIter<Op>;

    fn into_iter(self) -> Self::IntoIter {
        self.ops.into_iter()
    }
}

/// Key and value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// What can be read. [`crate::ledger`] reads through it, so that a reader on another thread and an overlay of writes
/// that are still to come serve as well as a store.
pub trait View {
    /// The value of a key.
    ///
    /// # Errors
    /// Fatal: the disk failed or its content is damaged.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// The entries with `from <= key < to` (to the end of the table if `None`), at most `limit`: the first in `order`.
    ///
    /// # Errors
    /// Fatal: the disk failed or its content is damaged.
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
        order: Order,
    ) -> Result<Vec<Entry>, StoreError>;

    /// Whether a key is there.
    ///
    /// # Errors
    /// As [`View::get`].
    fn contains(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.get(table, key)?.is_some())
    }
}

/// A disk; the module's page is the contract.
pub trait Store: View {
    /// Applies all of the batch or nothing.
    ///
    /// # Errors
    /// Fatal: the caller stops and never tries again. Whether the batch took effect shows when the store is opened anew.
    /// Every further write is refused ([`StoreError::Failed`]).
    fn write(&mut self, batch: WriteBatch, sync: Sync) -> Result<(), StoreError>;

    /// The durable promise that no round above it was ever signed; `None` if nothing was ever signed.
    fn ceiling(&self) -> Option<Round>;

    /// Raises the ceiling. Durable when it returns. Nothing happens if it is there already.
    ///
    /// # Errors
    /// [`StoreError::CeilingFalls`]; otherwise fatal, as for [`Store::write`].
    fn raise_ceiling(&mut self, to: Round) -> Result<(), StoreError>;
}

impl<V: View + ?Sized> View for &V {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
        order: Order,
    ) -> Result<Vec<Entry>, StoreError> {
        (**self).scan(table, from, to, limit, order)
    }

    fn contains(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        (**self).contains(table, key)
    }
}

/// The smallest key above all that start with `prefix`; `None` if there is none. With it a scan covers a prefix.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
