//! The batches of the store that no block has ordered, one at a time. How many there are, anybody decides who may propose
//! blocks: what a block names is stored before it is known whether all of it exists (P1), and stays until it expires. So
//! they must never be in memory together.

use quorate_storage::ledger::{self, LedgerError};
use quorate_storage::{Order, StoreError, Table, View};
use quorate_types::{BatchId, BlockTime, Digest, HashedBatch};

/// Places in the list that are read at a time.
const PAGE: usize = 256;

/// In the order in which they expire.
pub(crate) struct Unordered<'v> {
    view: &'v dyn View,
    from: Vec<u8>,
    end: Vec<u8>,
    page: std::vec::IntoIter<Vec<u8>>,
}

impl<'v> Unordered<'v> {
    /// Those that expire at `from` or later, and before `end`.
    pub(crate) fn new(view: &'v dyn View, from: BlockTime, end: BlockTime) -> Unordered<'v> {
        Unordered {
            view,
            from: ledger::keys::expiry(from),
            end: ledger::keys::expiry(end),
            page: Vec::new().into_iter(),
        }
    }

    fn next_key(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(key) = self.page.next() {
            return Ok(Some(key));
        }
        let page = self.view.scan(
            Table::Ledger,
            &self.from,
            Some(&self.end),
            PAGE,
            Order::Ascending,
        )?;
        if let Some((last, _)) = page.last() {
            self.from = [last.as_slice(), &[0]].concat(); // the next key that there can be
        }
        let keys: Vec<Vec<u8>> = page.into_iter().map(|(key, _)| key).collect();
        self.page = keys.into_iter();
        Ok(self.page.next())
    }

    fn next_batch(&mut self) -> Result<Option<HashedBatch>, LedgerError> {
        while let Some(key) = self.next_key()? {
            let Some(bytes) = key.get(9..).and_then(|bytes| bytes.try_into().ok()) else {
                continue;
            };
            let id = BatchId(Digest::from_bytes(bytes));
            if ledger::ordered_at(self.view, id)?.is_some() {
                continue;
            }
            if let Some(batch) = ledger::batch(self.view, id)? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

impl Iterator for Unordered<'_> {
    type Item = Result<HashedBatch, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}
