//! Changes that are visible and not yet on disk: what a store was told to defer, and a later write settles.
//!
//! They are kept in order and once a key, whatever the number of changes to it: what a settling write hands to the disk is
//! sorted, and holds of each key only the last value.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::StoreError;
#[cfg(feature = "rocks")]
use crate::WriteBatch;
use crate::store::{Entry, Op, Order, Table};

/// The entries of one table; `None` for deleted ones.
type Entries = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending {
    /// In the order of [`Table::ALL`].
    tables: [Entries; Table::ALL.len()],
}

impl Pending {
    pub(crate) fn put(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.tables[table as usize].insert(key, value);
    }

    /// What is deferred of a key: `None` for nothing, `Some(None)` for its removal.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Option<Option<&[u8]>> {
        let entries = &self.tables[table as usize];
        entries.get(key).map(Option::as_deref)
    }

    /// A change that was not deferred comes after all that were: of the keys it names nothing is left.
    pub(crate) fn supersede(&mut self, op: &Op) {
        match op {
            Op::Put(table, key, _) | Op::Delete(table, key) => {
                let entries = &mut self.tables[*table as usize];
                if !entries.is_empty() {
                    entries.remove(key);
                }
            }
            Op::DeleteRange(table, from, to) => {
                self.tables[*table as usize].retain(|key, _| key < from || key >= to);
            }
            Op::Defer(..) => {}
        }
    }

    /// Takes over what a write defers, and forgets what it writes otherwise.
    #[cfg(feature = "rocks")]
    pub(crate) fn absorb(&mut self, batch: WriteBatch) {
        for op in batch {
            match op {
                Op::Defer(table, key, value) => self.put(table, key, value),
                other => self.supersede(&other),
            }
        }
    }

    /// All changes, as those of a write that settles them.
    pub(crate) fn into_ops(self) -> Vec<Op> {
        let tables = Table::ALL.into_iter().zip(self.tables);
        let ops = tables.flat_map(|(table, entries)| {
            let entries = entries.into_iter();
            entries.map(move |(key, value)| Op::Defer(table, key, value))
        });
        ops.collect()
    }

    /// All changes, sorted within a table.
    #[cfg(feature = "rocks")]
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Table, &[u8], Option<&[u8]>)> {
        Table::ALL.into_iter().flat_map(|table| {
            let entries = self.tables[table as usize].iter();
            entries.map(move |(key, value)| (table, key.as_slice(), value.as_deref()))
        })
    }

    /// Number of changes.
    #[cfg(feature = "rocks")]
    pub(crate) fn len(&self) -> usize {
        self.tables.iter().map(BTreeMap::len).sum()
    }

    /// Bytes of all keys and values.
    #[cfg(feature = "rocks")]
    pub(crate) fn bytes(&self) -> usize {
        let sizes = self.entries();
        let sizes = sizes.map(|(_, key, value)| key.len() + value.map_or(0, <[u8]>::len));
        sizes.sum()
    }

    /// The changes with `from <= key < to` that the first `limit` entries in `order` can be under: to the last of `limit`
    /// values, for those are entries themselves.
    pub(crate) fn range(
        &self,
        table: Table,
        (from, to): (&[u8], Option<&[u8]>),
        limit: usize,
        order: Order,
    ) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        let all = self.tables[table as usize].range::<[u8], _>((Bound::Included(from), end));
        let mut values = 0;
        let needed = |(_, value): &(&Vec<u8>, &Option<Vec<u8>>)| {
            let within = values < limit;
            values += usize::from(value.is_some());
            within
        };
        let copy = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| (key.clone(), value.clone());
        match order {
            Order::Ascending => all.take_while(needed).map(copy).collect(),
            Order::Descending => all.rev().take_while(needed).map(copy).collect(),
        }
    }
}

/// The first `limit` entries in `order` with `from <= key < to`: those that `below` scans, under the changes `above`, in
/// that order. They are all of that range, or as many as it takes for `limit` values (`None` removes a key).
///
/// # Errors
/// Those of `below`.
pub fn merge<K: AsRef<[u8]>, V: Into<Vec<u8>>>(
    above: impl IntoIterator<Item = (K, Option<V>)>,
    (from, to): (&[u8], Option<&[u8]>),
    limit: usize,
    order: Order,
    mut below: impl FnMut(&[u8], Option<&[u8]>, usize) -> Result<Vec<Entry>, StoreError>,
) -> Result<Vec<Entry>, StoreError> {
    let mut above = above.into_iter().peekable();
    if above.peek().is_none() {
        return below(from, to, limit);
    }
    let (mut from, mut to) = (from.to_vec(), to.map(<[u8]>::to_vec));
    let mut found = Vec::new();
    let entry = |(key, value): (K, Option<V>)| Some((key.as_ref().to_vec(), value?.into()));
    // What lies below is read again only if changes removed some of it.
    while found.len() < limit {
        let wanted = limit - found.len();
        let stored = below(&from, to.as_deref(), wanted)?;
        let last = stored.last().filter(|_| stored.len() == wanted);
        let last = last.map(|(key, _)| key.clone());
        for (key, value) in stored {
            let before = |(other, _): &(K, Option<V>)| match order {
                Order::Ascending => other.as_ref() < key.as_slice(),
                Order::Descending => other.as_ref() > key.as_slice(),
            };
            while let Some(change) = above.next_if(before) {
                found.extend(entry(change));
            }
            match above.next_if(|(other, _)| other.as_ref() == key.as_slice()) {
                Some(change) => found.extend(entry(change)),
                None => found.push((key, value)),
            }
        }
        match (last, order) {
            (None, _) => {
                let rest = above.by_ref().filter_map(entry);
                found.extend(rest.take(limit.saturating_sub(found.len())));
                break;
            }
            (Some(mut last), Order::Ascending) => {
                last.push(0);
                from = last;
            }
            (Some(last), Order::Descending) => to = Some(last),
        }
    }
    found.truncate(limit);
    Ok(found)
}
