//! A way through a stretch of a table, read as it is gone.

use rocksdb::{DB, DBRawIteratorWithThreadMode, ReadOptions};

use super::{Shared, failed};
use crate::store::Entry;
use crate::{Order, StoreError, Table};

/// The entries of the database with `from <= key < to`, in order. An error is the last item.
pub(super) struct Walk<'a> {
    iterator: DBRawIteratorWithThreadMode<'a, DB>,
    order: Order,
    /// Whether it stands on an entry that was given out already.
    given: bool,
    ended: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        mut bounds: ReadOptions,
        table: Table,
        (from, to): (&[u8], Option<&[u8]>),
        order: Order,
    ) -> Walk<'a> {
        if !from.is_empty() {
            bounds.set_iterate_lower_bound(from);
        }
        if let Some(to) = to {
            bounds.set_iterate_upper_bound(to);
        }
        let family = shared.family(table);
        let mut iterator = shared.db.raw_iterator_cf_opt(family, bounds);
        match order {
            Order::Ascending => iterator.seek_to_first(),
            Order::Descending => iterator.seek_to_last(),
        }
        Walk {
            iterator,
            order,
            given: false,
            ended: false,
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match (self.given, self.order) {
            (false, _) => self.given = true,
            (true, Order::Ascending) => self.iterator.next(),
            (true, Order::Descending) => self.iterator.prev(),
        }
        if let Some((key, value)) = self.iterator.item() {
            return Some(Ok((key.to_vec(), value.to_vec())));
        }
        // An iterator ends at an error as it does at the end.
        self.ended = true;
        let status = self.iterator.status().map_err(failed("scan"));
        status.err().map(Err)
    }
}
