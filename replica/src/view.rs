//! What the store will hold once the turn is persisted: its content under the turn's writes.

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::ops::Bound;

use quorate_execution::{Change, Entry, Reader, Space};
use quorate_storage::{Op, Order, StoreError, Table, View, WriteBatch, merge, walk};

/// A store under the writes of a turn.
pub(crate) struct Overlay<'a> {
    store: &'a dyn View,
    writes: WriteBatch,
    /// What `writes` holds of each table, in the order of [`Table::ALL`].
    tables: [RefCell<Written>; Table::ALL.len()],
}

/// The writes to one table. Most turns read back few of the tables that they write, so keys are sorted at the first read.
#[derive(Default)]
struct Written {
    /// The last operation on each key, by its place in the writes.
    index: BTreeMap<Vec<u8>, usize>,
    /// Places of operations that are not in the index yet.
    fresh: Vec<usize>,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(store: &'a dyn View) -> Overlay<'a> {
        Overlay {
            store,
            writes: WriteBatch::new(),
            tables: Default::default(),
        }
    }

    /// Adds writes, visible to every later read.
    ///
    /// # Panics
    /// If a range is deleted: no part of a turn does, and reads would not see it.
    pub(crate) fn write(&mut self, add: impl FnOnce(&mut WriteBatch)) {
        let before = self.writes.len();
        add(&mut self.writes);
        for (offset, op) in self.writes.ops()[before..].iter().enumerate() {
            let (Op::Put(table, ..) | Op::Delete(table, _) | Op::Defer(table, ..)) = op else {
                panic!("a turn deletes single keys only");
            };
            self.tables[*table as usize]
                .get_mut()
                .fresh
                .push(before + offset);
        }
    }

    /// What is written to a table, by key.
    fn written(&self, table: Table) -> RefMut<'_, BTreeMap<Vec<u8>, usize>> {
        let mut written = self.tables[table as usize].borrow_mut();
        let Written { index, fresh } = &mut *written;
        for place in fresh.drain(..) {
            let (Op::Put(_, key, _)
            | Op::Delete(_, key)
            | Op::DeleteRange(_, key, _)
            | Op::Defer(_, key, _)) = &self.writes.ops()[place];
            index.insert(key.clone(), place);
        }
        RefMut::map(written, |written| &mut written.index)
    }

    pub(crate) fn into_writes(self) -> WriteBatch {
        self.writes
    }

    fn pending(&self, place: usize) -> Option<&[u8]> {
        match &self.writes.ops()[place] {
            Op::Put(_, _, value) | Op::Defer(_, _, Some(value)) => Some(value),
            Op::Delete(..) | Op::DeleteRange(..) | Op::Defer(_, _, None) => None,
        }
    }
}

impl View for Overlay<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.written(table).get(key) {
            Some(place) => Ok(self.pending(*place).map(<[u8]>::to_vec)),
            None => self.store.get(table, key),
        }
    }

    fn contains(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        match self.written(table).get(key) {
            Some(place) => Ok(self.pending(*place).is_some()),
            None => self.store.contains(table, key),
        }
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
        let written = self.written(table);
        let range = (
            Bound::Included(from),
            to.map_or(Bound::Unbounded, Bound::Excluded),
        );
        let above = written
            .range::<[u8], _>(range)
            .map(|(key, place)| (key.as_slice(), self.pending(*place)));
        let below = walk(self.store, table, (from, to), limit, order);
        match order {
            Order::Ascending => merge(above, below, order).take(limit).collect(),
            Order::Descending => merge(above.rev(), below, order).take(limit).collect(),
        }
    }
}

/// The executor's window on a view.
pub struct StateReader<'a>(pub &'a dyn View);

/// Adds what the executor hands out.
pub fn put(writes: &mut WriteBatch, changes: Vec<Change>) {
    for change in changes {
        match change.value {
            Some(value) => writes.put(table(change.space), change.key, value),
            None => writes.delete(table(change.space), change.key),
        }
    }
}

/// Where each space of the executor is stored.
#[must_use]
pub const fn table(space: Space) -> Table {
    match space {
        Space::State => Table::State,
        Space::Tree => Table::Tree,
        Space::Accumulator => Table::Accumulator,
        Space::Receipts => Table::Receipts,
        Space::Places => Table::Places,
        Space::Roots | Space::Meta => Table::Meta,
    }
}

impl Reader for StateReader<'_> {
    type Error = StoreError;

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(table(space), key)
    }

    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.0.scan(table(space), from, to, limit, Order::Ascending)
    }
}

#[cfg(test)]
mod tests {
    use quorate_storage::{MemStore, Store, Sync};

    use super::*;

    #[test]
    fn a_read_sees_the_store_under_the_writes_of_the_turn() {
        let mut store = MemStore::new();
        let mut base = WriteBatch::new();
        for key in [1u8, 3, 5, 7] {
            base.put(Table::State, [key], [key]);
        }
        store.write(base, Sync::Yes).unwrap();
        let mut overlay = Overlay::new(&store);
        overlay.write(|batch| {
            batch.delete(Table::State, [3]);
            batch.put(Table::State, [4], [40]);
            batch.put(Table::State, [7], [70]);
            batch.put(Table::State, [4], [44]);
            batch.put(Table::Meta, [5], [0]);
        });
        let value = |key: u8| overlay.get(Table::State, &[key]).unwrap();
        assert_eq!(value(1), Some(vec![1]));
        assert_eq!(value(3), None);
        assert_eq!(value(4), Some(vec![44]));
        assert_eq!(value(7), Some(vec![70]));
        assert!(!overlay.contains(Table::State, &[3]).unwrap());
        assert!(overlay.contains(Table::State, &[4]).unwrap());
        assert!(overlay.contains(Table::State, &[5]).unwrap());
        let scan = |limit, order| -> Vec<u8> {
            let entries = overlay.scan(Table::State, &[1], Some(&[8]), limit, order);
            entries
                .unwrap()
                .into_iter()
                .map(|(key, _)| key[0])
                .collect()
        };
        assert_eq!(scan(9, Order::Ascending), [1, 4, 5, 7]);
        assert_eq!(scan(2, Order::Ascending), [1, 4]);
        assert_eq!(scan(2, Order::Descending), [7, 5]);
    }
}
