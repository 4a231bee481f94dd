//! Changes that are visible and not yet on disk: what a store was told to defer, and a later write settles.
//!
//! They are kept in order and once a key, whatever the number of changes to it: what a settling write hands to the disk is
//! sorted, and holds of each key only the last value.

use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;

use crate::StoreError;
#[cfg(feature = "rocks")]
use crate::WriteBatch;
use crate::store::{Entry, Op, Order, Table, View};

/// Entries that [`walk`] reads at once, once more are needed than were expected.
const STEP: usize = 64;

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

    /// The changes with `from <= key < to`, in `order`.
    pub(crate) fn range(
        &self,
        table: Table,
        (from, to): (&[u8], Option<&[u8]>),
        order: Order,
    ) -> Changes<'_> {
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        let range = (Bound::Included(from), end);
        Changes {
            range: self.tables[table as usize].range::<[u8], _>(range),
            order,
        }
    }
}

/// See [`Pending::range`].
#[derive(Clone)]
pub(crate) struct Changes<'a> {
    range: btree_map::Range<'a, Vec<u8>, Option<Vec<u8>>>,
    order: Order,
}

impl<'a> Iterator for Changes<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = match self.order {
            Order::Ascending => self.range.next()?,
            Order::Descending => self.range.next_back()?,
        };
        Some((key, value.as_deref()))
    }
}

/// The entries that `below` goes through, under the changes `above` (`None` removes a key), both in `order` and each key
/// once. Neither is read further than it takes: of what is removed nothing is an entry, and there may be a lot of it.
///
/// # Errors
/// Those of `below`.
pub fn merge<K: AsRef<[u8]>, V: Into<Vec<u8>>>(
    above: impl IntoIterator<Item = (K, Option<V>)>,
    below: impl IntoIterator<Item = Result<Entry, StoreError>>,
    order: Order,
) -> impl Iterator<Item = Result<Entry, StoreError>> {
    let mut above = above.into_iter().peekable();
    let mut below = below.into_iter().peekable();
    let compare = move |change: &K, stored: &[u8]| match order {
        Order::Ascending => change.as_ref().cmp(stored),
        Order::Descending => stored.cmp(change.as_ref()),
    };
    std::iter::from_fn(move || {
        loop {
            let Some((change, _)) = above.peek() else {
                return below.next();
            };
            let first = match below.peek() {
                Some(Ok((stored, _))) => compare(change, stored),
                Some(Err(_)) => return below.next(),
                None => Ordering::Less,
            };
            if first == Ordering::Greater {
                return below.next();
            }
            if first == Ordering::Equal {
                below.next();
            }
            let (key, value) = above.next()?;
            if let Some(value) = value {
                return Some(Ok((key.as_ref().to_vec(), value.into())));
            }
        }
    })
}

/// The entries with `from <= key < to` of a view, in `order`, read as they are needed: first so many at once.
///
/// # Errors
/// Those of the view.
pub fn walk<'v, V: View + ?Sized>(
    view: &'v V,
    table: Table,
    (from, to): (&[u8], Option<&[u8]>),
    first: usize,
    order: Order,
) -> impl Iterator<Item = Result<Entry, StoreError>> + 'v {
    let (mut from, mut to) = (from.to_vec(), to.map(<[u8]>::to_vec));
    let (mut step, mut read) = (first, Vec::new().into_iter());
    let mut ended = false;
    std::iter::from_fn(move || {
        if let Some(entry) = read.next() {
            return Some(Ok(entry));
        }
        if ended {
            return None;
        }
        let wanted = step.max(1);
        // More than one expects are needed where many are removed: then to start again for each costs the most.
        step = wanted.saturating_mul(2).min(STEP);
        let found = match view.scan(table, &from, to.as_deref(), wanted, order) {
            Ok(found) => found,
            Err(error) => {
                ended = true;
                return Some(Err(error));
            }
        };
        ended = found.len() < wanted;
        match (found.last(), order) {
            (None, _) => {}
            (Some((last, _)), Order::Ascending) => {
                from.clone_from(last);
                from.push(0);
            }
            (Some((last, _)), Order::Descending) => to = Some(last.clone()),
        }
        read = found.into_iter();
        read.next().map(Ok)
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{MemStore, Store, Sync, WriteBatch};

    const MANY: u32 = 10_000;

    fn key(number: u32) -> Vec<u8> {
        number.to_be_bytes().to_vec()
    }

    /// Whoever may write can delete many keys and then ask for ranges: all changes of the range were copied for each.
    #[test]
    fn neither_side_is_read_further_than_it_takes() {
        for order in [Order::Ascending, Order::Descending] {
            let place = |number| match order {
                Order::Ascending => number,
                Order::Descending => MANY - number,
            };
            let (above, below) = (Cell::new(0), Cell::new(0));
            // The first hundred are removed; everything from 5,000 on is, too.
            let changes = (0..MANY).filter(|number| *number < 100 || *number >= 5_000);
            let changes = changes.inspect(|_| above.set(above.get() + 1));
            let changes = changes.map(|number| (key(place(number)), None::<Vec<u8>>));
            let stored = (0..MANY).inspect(|_| below.set(below.get() + 1));
            let stored = stored.map(|number| Ok((key(place(number)), Vec::new())));
            let merged = merge(changes, stored, order).take(3);
            let found: Vec<Entry> = merged.collect::<Result<_, _>>().expect("readable");
            let keys = [100, 101, 102].map(|number| (key(place(number)), Vec::new()));
            assert_eq!(found, keys);
            assert!(above.get() <= 102, "{}", above.get());
            assert!(below.get() <= 104, "{}", below.get());
        }
    }

    struct Counting(MemStore, Cell<usize>);

    impl View for Counting {
        fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
            self.0.get(table, key)
        }

        fn scan(
            &self,
            table: Table,
            from: &[u8],
            to: Option<&[u8]>,
            limit: usize,
            order: Order,
        ) -> Result<Vec<Entry>, StoreError> {
            self.1.set(self.1.get() + 1);
            self.0.scan(table, from, to, limit, order)
        }
    }

    /// The way past removed entries was a scan for each.
    #[test]
    fn a_walk_past_many_entries_is_few_scans() {
        let mut store = MemStore::new();
        let mut batch = WriteBatch::new();
        for number in 0..MANY {
            batch.put(Table::State, key(number), key(number));
        }
        store.write(batch, Sync::Yes).expect("a good disk");
        for order in [Order::Ascending, Order::Descending] {
            let view = Counting(store.clone(), Cell::new(0));
            let (from, to) = (key(10), key(MANY - 10));
            let range = (from.as_slice(), Some(to.as_slice()));
            let all = view.scan(Table::State, range.0, range.1, usize::MAX, order);
            let walked = walk(&view, Table::State, range, 1, order);
            let walked: Vec<Entry> = walked.collect::<Result<_, _>>().expect("readable");
            assert_eq!(walked, all.expect("readable"));
            assert!(view.1.get() < 200, "{}", view.1.get());
        }
    }
}
