//! Outlines of the records that were written last ([`StateMachine::outline`](crate::machine::StateMachine::outline)): what
//! a command that replaces a record wants to know of it, without looking it up on disk. What is here is what the records
//! say; it may be lost at any time, and decides nothing that they would not.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::machine::Outline;

/// Records remembered at most. With their keys they take up to 30 MB.
const MOST: usize = 1 << 18;
/// Longest key of a record that is remembered, namespace included, in bytes: clients choose how long keys are.
const LONGEST: usize = 64;
/// Slots at first.
const FEW: usize = 1 << 10;

/// A record's key, with what is known of it.
#[derive(Debug)]
struct Entry {
    key: Box<[u8]>,
    known: Known,
}

/// What is known of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Its size, in bytes.
    pub(crate) bytes: u32,
    pub(crate) outline: Outline,
}

/// See the [module](self). Each key has one slot; of two keys with the same one the later is remembered.
#[derive(Debug, Default)]
pub(crate) struct Outlines {
    /// As many as a power of two, or none.
    slots: Vec<Option<Entry>>,
    filled: usize,
}

impl Outlines {
    pub(crate) fn get(&self, key: &[u8]) -> Option<Known> {
        let entry = self.slots.get(self.slot(key))?.as_ref()?;
        (*entry.key == *key).then_some(entry.known)
    }

    pub(crate) fn put(&mut self, key: &[u8], known: Known) {
        if key.len() > LONGEST {
            return;
        }
        if 2 * self.filled >= self.slots.len() && self.slots.len() < MOST {
            self.grow();
        }
        let slot = self.slot(key);
        match &mut self.slots[slot] {
            Some(entry) if *entry.key == *key => entry.known = known,
            other => {
                let key = key.into();
                let before = other.replace(Entry { key, known });
                self.filled += usize::from(before.is_none());
            }
        }
    }

    /// The record was changed to one without an outline, or it is gone.
    pub(crate) fn forget(&mut self, key: &[u8]) {
        let slot = self.slot(key);
        let known = |entry: &mut Entry| *entry.key == *key;
        if let Some(slot) = self.slots.get_mut(slot)
            && slot.take_if(known).is_some()
        {
            self.filled -= 1;
        }
    }

    fn grow(&mut self) {
        let more = (2 * self.slots.len()).max(FEW);
        let before = core::mem::take(&mut self.slots);
        self.slots.resize_with(more, || None);
        self.filled = 0;
        for entry in before.into_iter().flatten() {
            let slot = self.slot(&entry.key);
            let other = self.slots[slot].replace(entry);
            self.filled += usize::from(other.is_none());
        }
    }

    /// Which slot is the key's. Whoever looks for keys that share one loses no more than what was remembered.
    fn slot(&self, key: &[u8]) -> usize {
        let (words, rest) = key.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        let mix = |hash: u64, word: &[u8; 8]| {
            let hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^ (hash >> 32)
        };
        let hash = words.iter().chain([&last]).fold(0, mix);
        let mask = u64::try_from(self.slots.len().saturating_sub(1)).expect("a size");
        usize::try_from(hash & mask).expect("below a size")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Vec<u8> {
        alloc::format!("kv/key/{n}").into_bytes()
    }

    fn known(n: usize) -> Known {
        let number = u64::try_from(n).expect("small");
        Known {
            bytes: 9,
            outline: [number, 0, number],
        }
    }

    #[test]
    fn long_keys_take_no_room() {
        let mut outlines = Outlines::default();
        for length in [LONGEST, LONGEST + 1] {
            let key = alloc::vec![b'k'; length];
            outlines.put(&key, known(1));
            assert_eq!(outlines.get(&key).is_some(), length == LONGEST);
        }
        assert_eq!(outlines.filled, 1);
    }

    #[test]
    fn what_was_written_last_is_known_until_it_is_forgotten() {
        let mut outlines = Outlines::default();
        assert_eq!(outlines.get(&key(1)), None);
        outlines.forget(&key(1));
        outlines.put(&key(1), known(1));
        outlines.put(&key(2), known(2));
        outlines.put(&key(1), known(3));
        assert_eq!(outlines.get(&key(1)), Some(known(3)));
        assert_eq!(outlines.get(&key(2)), Some(known(2)));
        outlines.forget(&key(1));
        assert_eq!(outlines.get(&key(1)), None);
        assert_eq!(outlines.get(&key(2)), Some(known(2)));
        assert_eq!(outlines.filled, 1);
    }

    /// Whatever is forgotten because another key has its slot: what is known of a key is what was said of it last.
    #[test]
    fn it_grows_to_its_bound_and_never_takes_one_key_for_another() {
        let mut outlines = Outlines::default();
        for n in 0..3 * MOST {
            outlines.put(&key(n), known(n));
            assert_eq!(outlines.get(&key(n)), Some(known(n)));
        }
        assert_eq!(outlines.slots.len(), MOST);
        let there = (0..3 * MOST).filter(|n| {
            let found = outlines.get(&key(*n));
            assert!(found.is_none_or(|found| found == known(*n)));
            found.is_some()
        });
        let there = there.count();
        assert_eq!(there, outlines.filled);
        assert!(there > MOST * 9 / 10, "{there}: keys share slots");
    }

    /// As many as a random function would give a slot of their own: 0.79 of them.
    #[test]
    fn most_of_half_as_many_keys_as_there_are_slots_are_remembered() {
        let mut outlines = Outlines::default();
        for n in (0..MOST / 2).chain(0..MOST / 2) {
            outlines.put(&key(n), known(n));
        }
        let there = (0..MOST / 2).filter(|n| outlines.get(&key(*n)).is_some());
        assert!(there.count() > MOST * 3 / 8);
    }
}
