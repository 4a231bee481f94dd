//! What a store held at one moment, for a thread that reads for long while others write.

use rocksdb::{DB, ReadOptions, SnapshotWithThreadMode};

use super::walk::Walk;
use super::{Shared, failed, lock};
use crate::pending::{Pending, merge};
use crate::store::Entry;
use crate::{Order, StoreError, Table, View};

/// See [`super::RocksReader::freeze`]. It shows whole writes only: each batch is in it or not.
pub struct Frozen<'a> {
    shared: &'a Shared,
    snapshot: SnapshotWithThreadMode<'a, DB>,
    /// What was deferred then.
    pending: Pending,
}

impl<'a> Frozen<'a> {
    pub(super) fn new(shared: &'a Shared) -> Frozen<'a> {
        let _writing = lock(&shared.writing);
        Frozen {
            shared,
            snapshot: shared.db.snapshot(),
            pending: shared.pending().clone(),
        }
    }

    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.snapshot);
        // Everything is read once: it should not push out what the replica reads again and again.
        options.fill_cache(false);
        options
    }
}

impl View for Frozen<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(deferred) = self.pending.get(table, key) {
            return Ok(deferred.map(<[u8]>::to_vec));
        }
        let family = self.shared.family(table);
        let found = self.shared.db.get_cf_opt(family, key, &self.options());
        found.map_err(failed("get"))
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
        let below = Walk::new(self.shared, self.options(), table, (from, to), order);
        merge(above, below, order).take(limit).collect()
    }
}
