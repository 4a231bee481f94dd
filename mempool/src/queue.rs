//! Admitted transactions that wait to be packed, fairly between clients.
//!
//! Packing takes one transaction a client in turn, so that a flood does not delay the others. Within a client the order
//! is that of its sequence numbers. Everything costs O(log n) a transaction. How much may wait is `room`'s business.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use quorate_crypto::PublicKey;
use quorate_types::{BlockTime, HashedTransaction, TransactionId};

#[derive(Debug, Default)]
pub(crate) struct Queue {
    lanes: BTreeMap<PublicKey, Lane>,
    /// Clients with something queued, in the order in which packing takes from them.
    turns: BTreeMap<u64, PublicKey>,
    next_turn: u64,
    index: BTreeMap<TransactionId, (PublicKey, u64)>,
    by_validity: BTreeSet<(BlockTime, TransactionId)>,
    bytes: usize,
}

/// One client's transactions: never empty.
#[derive(Debug, Default)]
struct Lane {
    /// Two transactions may share a sequence number: execution decides between them.
    waiting: BTreeMap<(u64, TransactionId), HashedTransaction>,
    turn: u64,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    pub(crate) fn contains(&self, id: &TransactionId) -> bool {
        self.index.contains_key(id)
    }

    /// Queues a transaction that is not queued yet.
    pub(crate) fn push(&mut self, transaction: HashedTransaction) {
        let id = transaction.id();
        let bytes = transaction.encoded_len();
        let client = transaction.body.client;
        let sequence = transaction.body.sequence;
        assert!(
            self.index.insert(id, (client, sequence)).is_none(),
            "a transaction is queued once"
        );
        self.by_validity.insert((transaction.body.valid_until, id));
        let lane = self.lanes.entry(client).or_default();
        if lane.waiting.is_empty() {
            lane.turn = self.next_turn;
            self.turns.insert(self.next_turn, client);
            self.next_turn += 1;
        }
        lane.waiting.insert((sequence, id), transaction);
        self.bytes += bytes;
    }

    /// Takes transactions of at most `max_bytes` together, one a client in turn; the first always.
    pub(crate) fn take(&mut self, max_bytes: usize) -> Vec<HashedTransaction> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some((id, size)) = self.head() {
            if !taken.is_empty() && bytes + size > max_bytes {
                break;
            }
            bytes += size;
            let transaction = self.remove(&id).expect("the head is queued");
            self.pass_turn(&transaction.body.client);
            taken.push(transaction);
        }
        taken
    }

    /// Size of the transaction that would be taken next; 0 if none.
    pub(crate) fn head_bytes(&self) -> usize {
        self.head().map_or(0, |(_, size)| size)
    }

    fn head(&self) -> Option<(TransactionId, usize)> {
        let (_, client) = self.turns.first_key_value()?;
        let lane = self.lanes.get(client).expect("a turn has a lane");
        let ((_, id), transaction) = lane.waiting.first_key_value().expect("a lane is not empty");
        Some((*id, transaction.encoded_len()))
    }

    fn pass_turn(&mut self, client: &PublicKey) {
        if let Some(lane) = self.lanes.get_mut(client) {
            self.turns.remove(&lane.turn);
            lane.turn = self.next_turn;
            self.turns.insert(self.next_turn, *client);
            self.next_turn += 1;
        }
    }

    pub(crate) fn remove(&mut self, id: &TransactionId) -> Option<HashedTransaction> {
        let (client, sequence) = self.index.remove(id)?;
        let lane = self.lanes.get_mut(&client).expect("the index names a lane");
        let transaction = lane.waiting.remove(&(sequence, *id))?;
        let bytes = transaction.encoded_len();
        self.by_validity
            .remove(&(transaction.body.valid_until, *id));
        self.bytes -= bytes;
        if lane.waiting.is_empty() {
            self.turns.remove(&lane.turn);
            self.lanes.remove(&client);
        }
        Some(transaction)
    }

    /// Whether all that is queued may still be executed at `time`.
    pub(crate) fn is_valid_at(&self, time: BlockTime) -> bool {
        let first = self.by_validity.first();
        first.is_none_or(|(valid_until, _)| *valid_until >= time)
    }

    /// Removes one transaction whose `valid_until` lies before `time`.
    pub(crate) fn pop_expired(&mut self, time: BlockTime) -> Option<HashedTransaction> {
        let (valid_until, id) = *self.by_validity.first()?;
        if valid_until >= time {
            return None;
        }
        self.remove(&id)
    }
}
