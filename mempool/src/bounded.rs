//! A set that forgets its oldest member when it is full.

use alloc::collections::BTreeMap;

use quorate_types::BatchId;

/// Digests in the order of their coming, at most `limit` of them (I9).
#[derive(Debug)]
pub(crate) struct BoundedSet {
    limit: usize,
    next: u64,
    order: BTreeMap<u64, BatchId>,
    members: BTreeMap<BatchId, u64>,
}

impl BoundedSet {
    pub(crate) fn new(limit: usize) -> BoundedSet {
        BoundedSet {
            limit,
            next: 0,
            order: BTreeMap::new(),
            members: BTreeMap::new(),
        }
    }

    pub(crate) fn contains(&self, id: &BatchId) -> bool {
        self.members.contains_key(id)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Adds a digest as the newest, also one that is there already.
    pub(crate) fn insert(&mut self, id: BatchId) {
        if let Some(place) = self.members.insert(id, self.next) {
            self.order.remove(&place);
        }
        self.order.insert(self.next, id);
        self.next += 1;
        if self.order.len() > self.limit
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.members.remove(&oldest);
        }
        assert!(self.members.len() <= self.limit, "I9: digests remembered");
        assert_eq!(self.members.len(), self.order.len(), "one place a digest");
    }

    /// Forgets what `keep` does not hold.
    pub(crate) fn retain(&mut self, keep: impl Fn(&BatchId) -> bool) {
        self.members.retain(|id, _| keep(id));
        self.order.retain(|_, id| keep(id));
    }

    pub(crate) fn remove(&mut self, id: &BatchId) -> bool {
        let Some(place) = self.members.remove(id) else {
            return false;
        };
        self.order.remove(&place);
        true
    }
}
