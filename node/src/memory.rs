//! A state in memory, for tools that execute a ledger again.

use std::collections::BTreeMap;
use std::convert::Infallible;

use quorate_execution::{Change, Reader, Space};

/// What the executor keeps, without what it only writes.
#[derive(Debug, Default)]
pub struct Memory(BTreeMap<(Space, Vec<u8>), Vec<u8>>);

impl Reader for Memory {
    type Error = Infallible;

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.get(&(space, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Infallible> {
        let entries = self.0.range((space, from.to_vec())..);
        let entries = entries.take_while(|((found, key), _)| {
            *found == space && to.is_none_or(|to| key.as_slice() < to)
        });
        let entries = entries.map(|((_, key), value)| (key.clone(), value.clone()));
        Ok(entries.take(limit).collect())
    }
}

impl Memory {
    /// Applies what the tree needs, and leaves the records out.
    pub fn apply_tree(&mut self, mut changes: Vec<Change>) {
        changes.retain(|change| change.space != Space::State);
        self.apply(changes);
    }

    /// Applies changes, except of what no root depends on.
    pub fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            if matches!(
                change.space,
                Space::Receipts | Space::Places | Space::Accumulator
            ) {
                continue;
            }
            let key = (change.space, change.key);
            match change.value {
                Some(value) => drop(self.0.insert(key, value)),
                None => drop(self.0.remove(&key)),
            }
        }
    }
}
