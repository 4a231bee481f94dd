//! The state as a block sees it while it is executed: what is stored, under what the block has changed so far. A
//! transaction that fails takes its changes back. Owns no rule; writes nothing to storage.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

use crate::machine::{Access, CommandError, StorageFailed};
use crate::meter::{self, CostExceeded, Meter};
use crate::outlines::{Known, Outlines};
use crate::space::{Entry, Reader, Space};
use crate::tree::Tree;

/// Changed records, by key; `None` for deleted ones.
pub(crate) type Changed = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A key with what [`Changed`] held for it before; `None` for nothing.
type Undo = (Vec<u8>, Option<Option<Vec<u8>>>);

/// Takes what passing an entry of so many bytes costs.
type Pay<'a> = dyn FnMut(usize) -> Result<(), CostExceeded> + 'a;

/// Stored entries read at once where the block's own changes hide them, at most.
const MOST_PAGE: usize = 64;

pub(crate) struct Overlay<'r, R: Reader> {
    reader: &'r R,
    outlines: &'r Outlines,
    /// Of the state before the block.
    tree: &'r Tree,
    changed: Changed,
    /// What the transaction at hand changed, newest last.
    undo: Vec<Undo>,
    recording: bool,
    /// What storage holds for the few keys that nearly every command needs.
    hot: Changed,
    /// Why storage failed, for a caller whose errors do not carry it.
    failure: Option<R::Error>,
}

impl<'r, R: Reader> Overlay<'r, R> {
    pub(crate) fn new(reader: &'r R, outlines: &'r Outlines, tree: &'r Tree) -> Self {
        Overlay {
            reader,
            outlines,
            tree,
            changed: BTreeMap::new(),
            undo: Vec::new(),
            recording: false,
            hot: BTreeMap::new(),
            failure: None,
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, R::Error> {
        match self.changed.get(key) {
            Some(value) => Ok(value.clone()),
            // All records of the state are keys of the tree, and no others (I6): the tree knows in memory what storage would
            // search its files for.
            None if self.tree.lacks(key) => Ok(None),
            None => self.reader.get(Space::State, key),
        }
    }

    pub(crate) fn set(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        if self.recording {
            let before = self.changed.insert(key.clone(), value);
            self.undo.push((key, before));
        } else {
            self.changed.insert(key, value);
        }
    }

    /// The first `limit` entries with `from` ≤ key < `to`, ascending.
    pub(crate) fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Entry>, R::Error> {
        let found = self.walk((from, to), limit, &mut |_| Ok(()));
        found.map(|found| found.expect("nothing is paid"))
    }

    /// The same; `pay` is asked for each entry that is passed, with the bytes of its key and value: stored ones, whether they
    /// are found or the block has replaced or deleted them, and the block's own. Which those are is agreed, for all of them
    /// are the state's, before the block or in it. Ends where it is refused.
    fn walk(
        &self,
        (from, to): (&[u8], &[u8]),
        limit: usize,
        pay: &mut Pay<'_>,
    ) -> Result<Result<Vec<Entry>, CostExceeded>, R::Error> {
        let (mut found, mut from) = (Vec::new(), from.to_vec());
        let mut page = 0;
        while found.len() < limit && from.as_slice() < to {
            // Where the block has deleted much, pages grow: no more is read in vain than was paid for.
            page = (limit - found.len()).max((2 * page).min(MOST_PAGE));
            let stored = self.reader.scan(Space::State, &from, Some(to), page)?;
            // What lies behind the last stored entry read is known only if there are no more of them.
            let next = match stored.last() {
                Some((last, _)) if stored.len() == page => successor(last),
                _ => to.to_vec(),
            };
            if let Err(exceeded) = self.merge(stored, (&from, &next), limit, &mut found, pay) {
                return Ok(Err(exceeded));
            }
            from = next;
        }
        Ok(Ok(found))
    }

    /// Appends the entries of `from..to`, of which `stored` are the stored ones, until there are `limit`.
    fn merge(
        &self,
        stored: Vec<Entry>,
        (from, to): (&[u8], &[u8]),
        limit: usize,
        found: &mut Vec<Entry>,
        pay: &mut Pay<'_>,
    ) -> Result<(), CostExceeded> {
        let bytes = |key: &[u8], value: Option<&Vec<u8>>| key.len() + value.map_or(0, Vec::len);
        let range = (Bound::Included(from), Bound::Excluded(to));
        let mut changed = self.changed.range::<[u8], _>(range).peekable();
        let mut stored = stored.into_iter().peekable();
        while found.len() < limit {
            let stored_first = match (stored.peek(), changed.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some((a, _)), Some((b, _))) => a < *b,
            };
            if stored_first {
                let (key, value) = stored.next().expect("peeked");
                pay(bytes(&key, Some(&value)))?;
                found.push((key, value));
                continue;
            }
            let (key, value) = changed.next().expect("peeked");
            if let Some((other, hidden)) = stored.next_if(|(other, _)| other == key) {
                pay(bytes(&other, Some(&hidden)))?;
            }
            pay(bytes(key, value.as_ref()))?;
            found.extend(value.clone().map(|value| (key.clone(), value)));
        }
        Ok(())
    }

    /// From here on, changes can be taken back.
    pub(crate) fn begin(&mut self) {
        self.undo.clear();
        self.recording = true;
    }

    /// Keeps the changes since [`Overlay::begin`]. True if there are any.
    pub(crate) fn keep(&mut self) -> bool {
        self.recording = false;
        let any = !self.undo.is_empty();
        self.undo.clear();
        any
    }

    /// Takes the changes since [`Overlay::begin`] back, newest first.
    pub(crate) fn take_back(&mut self) {
        self.recording = false;
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(value) => self.changed.insert(key, value),
                None => self.changed.remove(&key),
            };
        }
    }

    /// Why storage failed, if an [`Access`] call failed.
    pub(crate) fn take_failure(&mut self) -> Option<R::Error> {
        self.failure.take()
    }

    pub(crate) fn reader(&self) -> &'r R {
        self.reader
    }

    pub(crate) fn into_changed(self) -> Changed {
        self.changed
    }
}

impl<R: Reader> Access for Overlay<'_, R> {
    fn read(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageFailed> {
        self.get(key).map_err(|error| self.fail(error))
    }

    fn read_hot(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageFailed> {
        if let Some(value) = self.changed.get(key).or_else(|| self.hot.get(key)) {
            return Ok(value.clone());
        }
        let value = self.read(key)?;
        self.hot.insert(key.to_vec(), value.clone());
        Ok(value)
    }

    fn outline(&self, key: &[u8]) -> Option<Known> {
        match self.changed.contains_key(key) {
            true => None,
            false => self.outlines.get(key),
        }
    }

    fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.set(key, value);
    }

    fn range(
        &mut self,
        range: (&[u8], &[u8]),
        limit: usize,
        meter: &mut Meter,
    ) -> Result<Vec<Entry>, CommandError> {
        let mut pay = |bytes| {
            meter.charge(meter::ENTRY)?;
            meter.charge_bytes(bytes, meter::READ_BYTES_PER_UNIT)
        };
        match self.walk(range, limit, &mut pay) {
            Ok(found) => Ok(found?),
            Err(error) => Err(CommandError::Storage(self.fail(error))),
        }
    }
}

impl<R: Reader> Overlay<'_, R> {
    fn fail(&mut self, error: R::Error) -> StorageFailed {
        self.failure = Some(error);
        StorageFailed(())
    }
}

/// The first key behind `key`.
pub(crate) fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;
    use crate::tree::TreeLimits;

    struct Counting(BTreeMap<Vec<u8>, Vec<u8>>, Cell<usize>);

    impl Reader for Counting {
        type Error = core::convert::Infallible;

        fn get(&self, _: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error> {
            Ok(self.0.get(key).cloned())
        }

        fn scan(
            &self,
            _: Space,
            from: &[u8],
            to: Option<&[u8]>,
            limit: usize,
        ) -> Result<Vec<Entry>, Self::Error> {
            self.1.set(self.1.get() + 1);
            let to = to.map_or(Bound::Unbounded, Bound::Excluded);
            let range = self.0.range::<[u8], _>((Bound::Included(from), to));
            let copy = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
            Ok(range.take(limit).map(copy).collect())
        }
    }

    /// A block that has deleted many keys may go on with ranges over them: each deleted one was a scan of its own.
    #[test]
    fn a_range_over_what_the_block_deleted_is_few_scans() {
        let stored = (0..1_000u32).map(|key| (key.to_be_bytes().to_vec(), Vec::from([1])));
        let reader = Counting(stored.collect(), Cell::new(0));
        let outlines = Outlines::default();
        let tree = Tree::new(TreeLimits::default());
        let mut overlay = Overlay::new(&reader, &outlines, &tree);
        for key in (0..1_000u32).filter(|key| key % 900 != 0) {
            overlay.set(key.to_be_bytes().to_vec(), None);
        }
        let found = overlay.scan(b"", b"\xff", 2).unwrap();
        let keys = [0, 900].map(|key: u32| (key.to_be_bytes().to_vec(), Vec::from([1])));
        assert_eq!(found, keys);
        assert!(reader.1.get() < 30, "{}", reader.1.get());
    }
}
