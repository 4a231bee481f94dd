//! Where the receipts of a block's transactions are found: for each transaction, once.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;

use quorate_types::{Height, TransactionId, codec};

/// Height and index of a receipt.
pub(crate) type Place = (Height, u32);

/// See the [module](self). Only refusals ask which places there are: a block without any keeps a list.
#[derive(Debug, Default)]
pub(crate) struct Places {
    list: Vec<(TransactionId, Place)>,
    /// Where in the list each transaction is, from the first question on.
    index: Option<BTreeMap<TransactionId, usize>>,
}

impl Places {
    /// Notes the place of a transaction, over one that was noted before. Before the first question, there must be none.
    pub(crate) fn put(&mut self, id: TransactionId, place: Place) {
        if let Some(index) = &mut self.index {
            match index.entry(id) {
                Entry::Occupied(at) => {
                    self.list[*at.get()].1 = place;
                    return;
                }
                Entry::Vacant(none) => none.insert(self.list.len()),
            };
        }
        self.list.push((id, place));
    }

    /// Where a transaction is.
    pub(crate) fn get(&mut self, id: &TransactionId) -> Option<Place> {
        let ids = self.list.iter().map(|(id, _)| *id);
        let index = || ids.zip(0..).collect();
        let at = self.index.get_or_insert_with(index).get(id)?;
        Some(self.list[*at].1)
    }

    /// All of them.
    pub(crate) fn into_list(self) -> Vec<(TransactionId, Place)> {
        self.list
    }
}

/// The value of a place.
pub(crate) fn encode(place: Place) -> Vec<u8> {
    codec::encode(&place)
}

/// What [`encode`] wrote.
pub(crate) fn decode(bytes: &[u8]) -> Result<Place, codec::DecodeError> {
    codec::decode(bytes, bytes.len())
}

#[cfg(test)]
mod tests {
    use quorate_types::Digest;

    use super::*;

    #[test]
    fn each_transaction_is_there_once_with_its_last_place() {
        let id = |n: u8| TransactionId(Digest::from_bytes([n; 32]));
        let at = |index| (Height(7), index);
        let mut places = Places::default();
        places.put(id(9), at(0));
        places.put(id(3), at(1));
        assert!(places.index.is_none(), "nobody has asked");
        assert_eq!(places.get(&id(9)), Some(at(0)));
        assert_eq!(places.get(&id(3)), Some(at(1)));
        assert_eq!(places.get(&id(5)), None);
        places.put(id(5), at(2));
        assert_eq!(places.get(&id(5)), Some(at(2)));
        places.put(id(3), at(3));
        places.put(id(5), at(4));
        let expected = [(id(9), at(0)), (id(3), at(3)), (id(5), at(4))];
        assert_eq!(places.into_list(), expected);
    }
}
