//! The sessions that were used last, as they stand: what the next transaction of the same client is checked against (X1)
//! without reading and decoding it again. What is here is what the records say; it may be lost at any time, and decides
//! nothing that they would not.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;
use core::mem;

use quorate_types::PublicKey;

use crate::session::{Head, Used};

/// Clients of a generation: twice as many are remembered at most, with 900 bytes each.
const GENERATION: usize = 4_096;

/// A client's head, and the chunk that was written last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recalled {
    pub(crate) head: Head,
    /// Which chunk.
    pub(crate) chunk: u64,
    /// Its numbers, ascending.
    pub(crate) used: Vec<Used>,
}

/// See the [module](self). Whose chunk is the same for a whole generation is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    young: BTreeMap<PublicKey, Recalled>,
    old: BTreeMap<PublicKey, Recalled>,
    /// All sessions are gone that were needed up to a bucket of time below this one.
    pub(crate) swept: u64,
}

impl Recent {
    pub(crate) fn get(&self, client: &PublicKey) -> Option<&Recalled> {
        self.young.get(client).or_else(|| self.old.get(client))
    }

    /// The same, to be brought up to what is written now.
    pub(crate) fn get_mut(&mut self, client: &PublicKey) -> Option<&mut Recalled> {
        let young = self.young.get_mut(client);
        young.or_else(|| self.old.get_mut(client))
    }

    /// Replaces what is known of the client.
    pub(crate) fn put(&mut self, client: PublicKey, session: Recalled) -> &mut Recalled {
        if self.young.len() >= GENERATION && !self.young.contains_key(&client) {
            self.old = mem::take(&mut self.young);
        }
        match self.young.entry(client) {
            Entry::Vacant(none) => none.insert(session),
            Entry::Occupied(older) => {
                let older = older.into_mut();
                *older = session;
                older
            }
        }
    }

    /// The client's records have changed otherwise.
    pub(crate) fn forget(&mut self, client: &PublicKey) {
        self.young.remove(client);
        self.old.remove(client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(n: usize) -> PublicKey {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        PublicKey::from_bytes_unchecked(bytes)
    }

    fn session(chunk: u64) -> Recalled {
        Recalled {
            head: Head::default(),
            chunk,
            used: Vec::new(),
        }
    }

    #[test]
    fn the_newest_is_recalled_until_it_is_forgotten() {
        let mut recent = Recent::default();
        recent.put(client(1), session(1));
        for n in 2..=GENERATION + 1 {
            recent.put(client(n), session(1));
        }
        assert_eq!(recent.get(&client(1)), Some(&session(1)), "of the old ones");
        recent.get_mut(&client(1)).unwrap().chunk = 3;
        assert_eq!(recent.get(&client(1)), Some(&session(3)), "changed there");
        recent.put(client(1), session(2));
        assert_eq!(recent.get(&client(1)), Some(&session(2)), "not the older");
        recent.get_mut(&client(1)).unwrap().chunk = 4;
        assert_eq!(recent.get(&client(1)), Some(&session(4)), "nor changed");
        recent.forget(&client(1));
        assert_eq!(recent.get(&client(1)), None, "in neither generation");
    }

    #[test]
    fn there_are_two_generations_at_most() {
        let mut recent = Recent::default();
        for n in 0..5 * GENERATION {
            recent.put(client(n), session(0));
            assert!(recent.young.len() <= GENERATION && recent.old.len() <= GENERATION);
        }
        assert_eq!(recent.get(&client(0)), None);
        assert!(recent.get(&client(5 * GENERATION - 1)).is_some());
    }
}
