//! The state as a block sees it while it is executed: what is stored, under what the block has changed so far. A
//! transaction that fails takes its changes back. Owns no rule; writes nothing to storage.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

use crate::executor::ExecuteError;
use crate::machine::{Access, CommandError, StorageFailed};
use crate::meter::{self, CostExceeded, Meter};
use crate::outlines::{Known, Outlines};
use crate::persist::Pages;
use crate::space::{Entry, Reader, Space};
use crate::tree::Tree;

/// Changed records, by key; `None` for deleted ones.
pub(crate) type Changed = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A key with what [`Changed`] held for it before; `None` for nothing.
type Undo = (Vec<u8>, Option<Option<Vec<u8>>>);

/// What a range passes, by the bytes of its key and value.
enum Passed {
    /// An entry of the state before the block.
    Stored(usize),
    /// An entry that the block has written.
    Written(usize),
    /// A key that the block has deleted.
    Deleted(usize),
}

/// Takes what passing something costs.
type Pay<'a> = dyn FnMut(Passed) -> Result<(), CostExceeded> + 'a;

/// Keys asked of the tree at once, at most.
const MOST_KEYS: usize = 256;

pub(crate) struct Overlay<'r, R: Reader> {
    reader: &'r R,
    outlines: &'r Outlines,
    /// Of the state before the block.
    tree: &'r mut Tree,
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
    pub(crate) fn new(reader: &'r R, outlines: &'r Outlines, tree: &'r mut Tree) -> Self {
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
        &mut self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Entry>, ExecuteError<R::Error>> {
        let found = self.walk((from, to), limit, &mut |_| Ok(()));
        found.map(|found| found.expect("nothing is paid"))
    }

    /// The same; `pay` is asked for each entry that is passed, found or hidden. Which those are is agreed, for they are the
    /// state's, before the block or in it. Ends where it is refused.
    ///
    /// The tree says which keys there are, and storage is asked for them one by one. A scan of storage would pass all that
    /// was deleted lately, for which nobody could pay: how much of it is still there differs from replica to replica.
    fn walk(
        &mut self,
        (from, to): (&[u8], &[u8]),
        limit: usize,
        pay: &mut Pay<'_>,
    ) -> Result<Result<Vec<Entry>, CostExceeded>, ExecuteError<R::Error>> {
        let (mut found, mut from) = (Vec::new(), from.to_vec());
        let mut page = 0;
        while found.len() < limit && from.as_slice() < to {
            // Where the block has deleted much, pages grow.
            page = (limit - found.len()).max(2 * page).min(MOST_KEYS);
            let source = Pages(self.reader);
            let stored = self.tree.keys(&source, (&from, to), page)?;
            // What lies behind the last key is known only if there are no more of them.
            let next = match stored.last() {
                Some(last) if stored.len() == page => successor(last),
                _ => to.to_vec(),
            };
            let merged = self.merge(stored, (&from, &next), limit, &mut found, pay)?;
            if let Err(exceeded) = merged {
                return Ok(Err(exceeded));
            }
            from = next;
        }
        Ok(Ok(found))
    }

    /// Appends the entries of `from..to`, of whose keys `stored` are in the tree, until there are `limit`.
    fn merge(
        &self,
        stored: Vec<Vec<u8>>,
        (from, to): (&[u8], &[u8]),
        limit: usize,
        found: &mut Vec<Entry>,
        pay: &mut Pay<'_>,
    ) -> Result<Result<(), CostExceeded>, ExecuteError<R::Error>> {
        let range = (Bound::Included(from), Bound::Excluded(to));
        let mut changed = self.changed.range::<[u8], _>(range).peekable();
        let mut stored = stored.into_iter().peekable();
        while found.len() < limit {
            let stored_first = match (stored.peek(), changed.peek()) {
                (None, None) => break,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some(a), Some((b, _))) => a < *b,
            };
            let paid = if stored_first {
                let key = stored.next().expect("peeked");
                let value = self.reader.get(Space::State, &key);
                let value = value.map_err(ExecuteError::Source)?;
                let value = value.ok_or(ExecuteError::Damaged)?;
                let bytes = key.len() + value.len();
                found.push((key, value));
                pay(Passed::Stored(bytes))
            } else {
                let (key, value) = changed.next().expect("peeked");
                stored.next_if_eq(key);
                match value {
                    Some(value) => {
                        found.push((key.clone(), value.clone()));
                        pay(Passed::Written(key.len() + value.len()))
                    }
                    None => pay(Passed::Deleted(key.len())),
                }
            };
            if let Err(exceeded) = paid {
                return Ok(Err(exceeded));
            }
        }
        Ok(Ok(()))
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
        let mut pay = |passed| {
            let (units, bytes) = match passed {
                Passed::Stored(bytes) => (meter::READ, bytes),
                Passed::Written(bytes) | Passed::Deleted(bytes) => (meter::ENTRY, bytes),
            };
            if let Passed::Deleted(_) = passed {
                meter.note_deleted();
            }
            meter.charge(units)?;
            meter.charge_bytes(bytes, meter::READ_BYTES_PER_UNIT)
        };
        match self.walk(range, limit, &mut pay) {
            Ok(found) => Ok(found?),
            Err(ExecuteError::Source(error)) => Err(CommandError::Storage(self.fail(error))),
            Err(ExecuteError::Damaged) => Err(CommandError::DAMAGED),
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
pub(crate) mod tests {
    use core::cell::Cell;

    use super::*;
    use crate::record;
    use crate::tree::{NoPages, TreeLimits};

    /// The state's records; counts those that are read.
    pub(crate) struct Counting(BTreeMap<Vec<u8>, Vec<u8>>, Cell<usize>);

    impl Reader for Counting {
        type Error = core::convert::Infallible;

        fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error> {
            assert_eq!(space, Space::State, "the tree is in memory");
            self.1.set(self.1.get() + 1);
            Ok(self.0.get(key).cloned())
        }

        fn scan(
            &self,
            _: Space,
            _: &[u8],
            _: Option<&[u8]>,
            _: usize,
        ) -> Result<Vec<Entry>, Self::Error> {
            unreachable!("storage may hold any number of deleted keys")
        }
    }

    /// A state that holds these records and no others.
    pub(crate) fn state_of(records: BTreeMap<Vec<u8>, Vec<u8>>) -> (Counting, Tree) {
        let digest = |(key, value): (&Vec<u8>, &Vec<u8>)| {
            let digest = record::digest(value);
            (key.clone(), Some(digest))
        };
        let digests: Vec<_> = records.iter().map(digest).collect();
        let mut tree = Tree::new(TreeLimits::default());
        tree.apply(&NoPages, &digests).unwrap();
        (Counting(records, Cell::new(0)), tree)
    }

    /// Ranges over what was deleted, in this block or lately, cost storage nothing: nobody pays for what is not there.
    #[test]
    fn a_range_reads_what_it_finds_and_nothing_else() {
        let key = |key: u32| key.to_be_bytes().to_vec();
        let stored: BTreeMap<_, _> = (0..1_000).map(|n| (key(n), Vec::from([1]))).collect();
        let (reader, mut tree) = state_of(stored);
        // Of an earlier block: storage has not heard of it yet.
        let earlier: Vec<_> = (100..500).map(|n| (key(n), None)).collect();
        tree.apply(&NoPages, &earlier).unwrap();
        let outlines = Outlines::default();
        let mut overlay = Overlay::new(&reader, &outlines, &mut tree);
        for n in (0..100).chain(500..1_000).filter(|n| n % 900 != 0) {
            overlay.set(key(n), None);
        }
        overlay.set(key(300), Some(Vec::from([2])));
        let found = overlay.scan(b"", b"\xff", 9).unwrap();
        let entries = [(0, 1), (300, 2), (900, 1)].map(|(n, value)| (key(n), Vec::from([value])));
        assert_eq!(found, entries);
        assert_eq!(reader.1.get(), 2);
        assert_eq!(overlay.scan(b"", b"\xff", 2).unwrap(), entries[..2]);
        assert_eq!(overlay.scan(&key(301), &key(900), 2).unwrap(), []);
    }
}
