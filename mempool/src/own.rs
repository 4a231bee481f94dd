//! Own batches: packed from the queue, in flight until they are committed or expire (B1).
//!
//! Packing clocks itself. With nothing in flight a transaction leaves at once, alone. Then what comes gathers until the
//! next vote, or for the linger, and once there are more batches in flight than the blocks of two rounds have room for,
//! only full ones leave: when commits are slow batches grow instead of queueing up. Past `max_in_flight_bytes` nothing
//! leaves, the queue fills, and clients are told.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use quorate_crypto::PublicKey;
use quorate_types::{
    Batch, BatchId, BlockTime, HashedBatch, Instant, TransactionId, ValidatorIndex,
};

use crate::pool::{Lapsed, Pool};
use crate::shelf::Account;

/// Bytes of a batch's encoding besides its transactions.
const BATCH_OVERHEAD: usize = 36;

/// What is known of own batches. They are on the shelf, too.
#[derive(Debug)]
pub(crate) struct Own {
    /// Neither committed nor expired.
    in_flight: BTreeMap<BatchId, HashedBatch>,
    /// Transactions in own batches in flight that were not executed meanwhile.
    packed: BTreeMap<TransactionId, Carried>,
    pub(crate) next_sequence: u64,
    /// Since when something has waited to be packed.
    waiting_since: Option<Instant>,
    /// What waits is not to wait for the linger.
    hastened: bool,
}

/// A transaction in an own batch: which, and what it takes of whose share.
#[derive(Debug)]
pub(crate) struct Carried {
    batch: BatchId,
    pub(crate) client: PublicKey,
    pub(crate) bytes: usize,
}

impl Own {
    pub(crate) fn new(next_sequence: u64) -> Own {
        Own {
            in_flight: BTreeMap::new(),
            packed: BTreeMap::new(),
            next_sequence,
            waiting_since: None,
            hastened: false,
        }
    }

    /// Whether a batch in flight carries the transaction.
    pub(crate) fn carries(&self, transaction: &TransactionId) -> bool {
        self.packed.contains_key(transaction)
    }

    /// The transaction was executed: nothing is owed to it any more.
    pub(crate) fn forget(&mut self, transaction: &TransactionId) -> Option<Carried> {
        self.packed.remove(transaction)
    }

    /// A batch is in flight; for those of its transactions that another carried until now, what they took there.
    fn launch(&mut self, batch: HashedBatch) -> Vec<Carried> {
        let carried = batch.transactions.iter().map(|transaction| Carried {
            batch: batch.id(),
            client: transaction.body.client,
            bytes: transaction.encoded_len(),
        });
        let ids = batch.transaction_ids().iter();
        let before = ids
            .zip(carried)
            .filter_map(|(transaction, carried)| self.packed.insert(*transaction, carried))
            .collect();
        self.in_flight.insert(batch.id(), batch);
        before
    }

    /// The batch is in flight no longer. The places in it of transactions that are still owed something.
    pub(crate) fn land(&mut self, id: &BatchId) -> Vec<(usize, TransactionId, Carried)> {
        let Some(batch) = self.in_flight.remove(id) else {
            return Vec::new();
        };
        let owed = batch.transaction_ids().iter().copied().enumerate();
        owed.filter_map(|(place, transaction)| {
            Some((place, transaction, self.unpack(&transaction, id)?))
        })
        .collect()
    }

    /// Nothing if the transaction was executed, or travels in another batch by now.
    fn unpack(&mut self, transaction: &TransactionId, batch: &BatchId) -> Option<Carried> {
        let carried = self.packed.get(transaction)?;
        (carried.batch == *batch).then(|| self.packed.remove(transaction))?
    }
}

impl Pool {
    /// This replica votes in this turn: what waits leaves with that, at the next [`Pool::seal`] (B1). The others
    /// are woken anyway, and have verified the batch when they report in their next vote what they hold, so that the next
    /// leader may order it (B2).
    pub fn hasten(&mut self) {
        self.own.hastened = true;
    }

    /// Packs what waits (B1): full batches at once; the rest at once if no own batch is in flight or a vote leaves
    /// ([`Pool::hasten`]), else when it has waited for the linger. To be called in every turn, after [`Pool::expire`]. The
    /// batches are held here; the caller stores and broadcasts them.
    pub fn seal(&mut self, now: Instant, time: BlockTime) -> Vec<HashedBatch> {
        let sealed = self.seal_due(now, time);
        self.own.hastened = false;
        sealed
    }

    fn seal_due(&mut self, now: Instant, time: BlockTime) -> Vec<HashedBatch> {
        let Some(me) = self.seat.me else {
            return Vec::new();
        };
        if self.queue.is_empty() {
            self.own.waiting_since = None;
            return Vec::new();
        }
        self.own.waiting_since.get_or_insert(now);
        let mut sealed = Vec::new();
        while self.may_seal(now) {
            sealed.push(self.pack(me, now, time));
            // What is left over starts to wait.
            self.own.waiting_since = (!self.queue.is_empty()).then_some(now);
        }
        sealed
    }

    fn may_seal(&self, now: Instant) -> bool {
        if self.queue.is_empty() || self.is_blocked() {
            return false;
        }
        let lingered = || {
            let since = self.own.waiting_since;
            since.is_some_and(|since| now.since(since) >= self.limits.linger_ns)
        };
        let due = || self.own.hastened || lingered();
        self.own.in_flight.is_empty()
            || self.queue.bytes() >= self.target()
            || (self.may_leave_partly_full() && due())
    }

    /// Whether the next batch would exceed what may be in flight. One may always be.
    fn is_blocked(&self) -> bool {
        // A transaction that is larger than the target travels alone.
        let most = self.queue.head_bytes().max(self.target());
        let next = self.queue.bytes().min(most) + BATCH_OVERHEAD;
        !self.own.in_flight.is_empty()
            && self.shelf.own_bytes() + next > self.limits.max_in_flight_bytes
    }

    /// Whether the blocks of two rounds have room for another of our batches besides those in flight.
    fn may_leave_partly_full(&self) -> bool {
        let places = to_usize(self.parameters.max_block_batches);
        let share = places.saturating_mul(2) / self.seat.n.max(1);
        self.own.in_flight.len() < share.max(2)
    }

    /// Bytes of transactions in a full batch.
    fn target(&self) -> usize {
        let most = to_usize(self.parameters.max_batch_bytes);
        self.limits
            .batch_target_bytes
            .min(most)
            .saturating_sub(BATCH_OVERHEAD)
    }

    fn pack(&mut self, me: ValidatorIndex, now: Instant, time: BlockTime) -> HashedBatch {
        let transactions = self.queue.take(self.target());
        let expiry = time.plus_nanos(self.parameters.batch_lifetime_ns);
        let (epoch, sequence) = (self.seat.epoch, self.own.next_sequence);
        let mut batch = HashedBatch::pack(epoch, me, sequence, expiry, transactions);
        // The same content once more, after a restart that forgot the numbers used.
        while self.shelf.contains(&batch.id()) || self.remembered.contains(&batch.id()) {
            let sequence = batch.sequence.wrapping_add(1);
            let again = Batch::clone(&batch);
            batch = HashedBatch::new(Batch { sequence, ..again });
        }
        self.own.next_sequence = batch.sequence.saturating_add(1);
        self.hold_own(now, batch.clone());
        assert!(
            self.own.in_flight.len() == 1
                || self.shelf.own_bytes() <= self.limits.max_in_flight_bytes,
            "I9: own bytes in flight"
        );
        batch
    }

    fn hold_own(&mut self, now: Instant, batch: HashedBatch) {
        for carried in self.own.launch(batch.clone()) {
            self.room.release(&carried.client, carried.bytes);
        }
        self.shelf.advance(batch.origin, batch.sequence);
        self.shelf.put(now, batch, Account::Own, true);
    }

    /// When [`Pool::seal`] has something to do next; `None` if only another event can bring it.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.queue.is_empty() || self.is_blocked() || !self.may_leave_partly_full() {
            return None;
        }
        let since = self.own.waiting_since?;
        Some(since.plus_nanos(self.limits.linger_ns))
    }

    /// Releases an expired batch. If it is one of ours, what is still valid in it is admitted again.
    pub(crate) fn release_expired(
        &mut self,
        id: &BatchId,
        time: BlockTime,
        lapsed: &mut Vec<Lapsed>,
    ) {
        let held = self.shelf.remove(id).expect("what expires is held");
        let owed = self.own.land(id);
        for (place, transaction, carried) in owed {
            self.room.release(&carried.client, carried.bytes);
            let content = held.batch.transaction(place);
            let content = content.expect("a batch holds what it was packed of");
            if let Err(reason) = self.readmit(content, time) {
                lapsed.push(Lapsed {
                    transaction,
                    reason,
                });
            }
        }
    }

    /// Own batches in flight in the order of their making, for a peer that connects again.
    #[must_use]
    pub fn resend(&self) -> Vec<HashedBatch> {
        let mut batches: Vec<_> = self.own.in_flight.values().cloned().collect();
        batches.sort_by_key(|batch| batch.sequence);
        batches
    }

    /// After a restart, puts back batches from the replica's own store that are not committed; their origins' bounds
    /// hold, and what does not fit is left to the store. Own ones are in flight again. How many were put back.
    ///
    /// Each is let go before the next is asked for, unless it is held: a faulty leader has others store as many as it
    /// likes, and they must not be in memory together.
    ///
    /// # Errors
    /// The first of reading them.
    pub fn restore<E>(
        &mut self,
        now: Instant,
        batches: impl IntoIterator<Item = Result<HashedBatch, E>>,
    ) -> Result<usize, E> {
        let mut restored = 0;
        for batch in batches {
            let batch = batch?;
            let id = batch.id();
            let new = !self.shelf.contains(&id) && !self.remembered.contains(&id);
            restored += usize::from(new && self.restore_one(now, batch));
        }
        self.shelf.line_up();
        Ok(restored)
    }

    fn restore_one(&mut self, now: Instant, batch: HashedBatch) -> bool {
        let current = batch.epoch == self.seat.epoch;
        if current && self.seat.me == Some(batch.origin) {
            self.own.next_sequence = self.own.next_sequence.max(batch.sequence.saturating_add(1));
            // Nobody signs a batch: more than we ever have in flight cannot be all ours, and would block the rest.
            if self.shelf.own_bytes() + batch.encoded_len() > self.limits.max_in_flight_bytes {
                return false;
            }
            for transaction in &batch.transactions {
                let bytes = transaction.encoded_len();
                self.room.charge(transaction.body.client, bytes);
            }
            self.hold_own(now, batch);
            return true;
        }
        let (origin, sequence) = (batch.origin, batch.sequence);
        let bytes = batch.encoded_len();
        let room = self
            .shelf
            .check_room(Account::Origin, origin, bytes, &self.limits);
        if !current || room.is_err() {
            return false;
        }
        self.shelf.put(now, batch, Account::Origin, true);
        self.shelf.assert_bounds(origin, &self.limits);
        self.shelf.advance(origin, sequence);
        true
    }
}

fn to_usize(parameter: u64) -> usize {
    usize::try_from(parameter).unwrap_or(usize::MAX)
}
