//! The pool: what a replica asks of its mempool, put together from the queue and the shelf.
//!
//! It never decides what is agreed on: whether a block may be voted for is the engine's question, and whether a
//! transaction has an effect is execution's. Here: admission and the life of a held batch (B3, B5); packing (B1) is in
//! `own`, what a leader orders (B2, B4) in `order`.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use quorate_types::{
    Batch, BatchId, Block, BlockTime, Epoch, HashedBatch, HashedTransaction, Instant, Parameters,
    Transaction, TransactionId, ValidatorIndex, Verified,
};

use crate::bounded::BoundedSet;
use crate::own::Own;
use crate::queue::Queue;
use crate::room::Room;
use crate::shelf::{Account, Shelf};
use crate::{Admission, Limits, Refusal};

/// Whose pool it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The epoch whose set the batches' origins are indices of.
    pub epoch: Epoch,
    /// This replica; `None` if it is no validator, and then it packs nothing.
    pub me: Option<ValidatorIndex>,
    /// Validators in the set.
    pub n: usize,
    /// How many of them make a quorum.
    pub quorum: usize,
}

/// What a leader may order now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// In the order of execution; `inline` included.
    pub batches: Vec<BatchId>,
    /// Those of the batches that travel inside the proposal.
    pub inline: Vec<Batch>,
}

/// Whether the batches of a block allow a vote for it (V4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayloadCheck {
    /// Every batch is held and not expired at the block's time.
    Ready,
    /// These are not held yet: to be fetched (B3).
    Missing(Vec<BatchId>),
    /// A batch expired before the block's time: the block is invalid for ever.
    Expired,
}

/// A transaction that was admitted, and will not be ordered by this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lapsed {
    /// Which.
    pub transaction: TransactionId,
    /// [`Refusal::Expired`], or why it could not be admitted again after its batch had expired.
    pub reason: Refusal,
}

/// See the crate's page.
#[derive(Debug)]
pub struct Pool {
    pub(crate) seat: Seat,
    pub(crate) parameters: Parameters,
    pub(crate) limits: Limits,
    pub(crate) queue: Queue,
    pub(crate) room: Room,
    pub(crate) shelf: Shelf,
    pub(crate) own: Own,
    /// When more was inlined than is without waiting for reports.
    pub(crate) inlined_late: Option<Instant>,
    wanted: BoundedSet,
    pub(crate) remembered: BoundedSet,
}

impl Pool {
    /// An empty pool. `next_sequence` numbers the next own batch; after a restart it should lie above those used
    /// before, or hints about the new ones are wrong until they do.
    #[must_use]
    pub fn new(seat: Seat, parameters: Parameters, limits: Limits, next_sequence: u64) -> Pool {
        Pool {
            shelf: Shelf::new(seat.n),
            inlined_late: None,
            wanted: BoundedSet::new(limits.max_wanted),
            remembered: BoundedSet::new(limits.max_remembered),
            seat,
            parameters,
            limits,
            queue: Queue::default(),
            room: Room::default(),
            own: Own::new(next_sequence),
        }
    }

    /// Admits a transaction (B1). `time` is the later of the wall clock and the last block's time.
    /// Whether it was executed before and whether its client is known is the caller's to look up.
    ///
    /// # Errors
    /// [`Refusal::NotAValidator`], [`Refusal::Expired`], [`Refusal::TooFarAhead`], [`Refusal::Full`],
    /// [`Refusal::ClientFull`].
    pub fn admit(
        &mut self,
        transaction: Verified<HashedTransaction>,
        time: BlockTime,
    ) -> Result<Admission, Refusal> {
        let id = transaction.id();
        if self.seat.me.is_none() {
            return Err(Refusal::NotAValidator);
        }
        if self.queue.contains(&id) || self.own.carries(&id) {
            return Ok(Admission::AlreadyQueued);
        }
        self.check_validity(&transaction, time)?;
        let (client, bytes) = (transaction.body.client, transaction.encoded_len());
        self.room.check_share(&client, bytes, &self.limits)?;
        self.enqueue(transaction.into_inner());
        Ok(Admission::Queued)
    }

    /// Admits again what an own batch carried that expired. It has had its share; there is room, unless more was put
    /// back at the start than may be pending.
    pub(crate) fn readmit(
        &mut self,
        transaction: HashedTransaction,
        time: BlockTime,
    ) -> Result<(), Refusal> {
        self.check_validity(&transaction, time)?;
        self.room.check(transaction.encoded_len(), &self.limits)?;
        self.enqueue(transaction);
        Ok(())
    }

    fn check_validity(&self, transaction: &Transaction, time: BlockTime) -> Result<(), Refusal> {
        let valid_until = transaction.body.valid_until;
        if valid_until < time {
            return Err(Refusal::Expired); // X1
        }
        if valid_until > time.plus_nanos(self.parameters.max_validity_ns) {
            return Err(Refusal::TooFarAhead); // X1
        }
        Ok(())
    }

    fn enqueue(&mut self, transaction: HashedTransaction) {
        let bytes = transaction.encoded_len();
        self.room.charge(transaction.body.client, bytes);
        assert!(
            self.room.bytes() <= self.limits.max_pending_bytes
                && self.room.transactions() <= self.limits.max_pending_transactions,
            "I9: transactions pending"
        );
        self.queue.push(transaction);
    }

    fn release(&mut self, transaction: &Transaction) {
        let bytes = transaction.encoded_len();
        self.room.release(&transaction.body.client, bytes);
    }

    /// Takes a batch that `from` sent: its origin's stream, or anybody's answer to what is wanted. A batch that a block
    /// needs ([`Pool::want`], [`Pool::check`]) is taken whatever its origin, epoch and expiry. False if it is held or
    /// committed already.
    ///
    /// # Errors
    /// [`Refusal::Unasked`], [`Refusal::Expired`], [`Refusal::TooFarAhead`], [`Refusal::OriginFull`],
    /// [`Refusal::WantedFull`].
    pub fn insert(
        &mut self,
        now: Instant,
        time: BlockTime,
        from: ValidatorIndex,
        batch: Verified<HashedBatch>,
    ) -> Result<bool, Refusal> {
        let id = batch.id();
        let streamed = batch.origin == from && batch.epoch == self.seat.epoch;
        if self.shelf.contains(&id) || (self.remembered.contains(&id) && !self.is_wanted(&id)) {
            if streamed {
                self.shelf.advance(from, batch.sequence);
            }
            return Ok(false);
        }
        let (origin, sequence) = (batch.origin, batch.sequence);
        let bytes = batch.encoded_len();
        let room = |account| {
            self.shelf
                .check_room(account, origin, bytes, &self.limits)
                .map(|()| account)
        };
        // What comes from its origin counts as its stream, needed or not: then it outlives the block that needs it.
        let own_right = self
            .check_streamed(&batch, streamed, time)
            .and_then(|()| room(Account::Origin));
        let account = match own_right {
            Err(_) if self.is_wanted(&id) => room(Account::Wanted)?,
            other => other?,
        };
        self.wanted.remove(&id);
        let orderable = batch.epoch == self.seat.epoch && !self.remembered.contains(&id);
        self.shelf.put(now, batch.into_inner(), account, orderable);
        self.shelf.assert_bounds(origin, &self.limits);
        if streamed {
            self.shelf.advance(origin, sequence);
        }
        Ok(true)
    }

    fn check_streamed(
        &self,
        batch: &Batch,
        streamed: bool,
        time: BlockTime,
    ) -> Result<(), Refusal> {
        if !streamed || batch.origin.as_usize() >= self.seat.n {
            return Err(Refusal::Unasked);
        }
        if batch.expiry < time {
            return Err(Refusal::Expired);
        }
        // Twice the lifetime leaves room for clocks that differ; without a limit a batch could stay for ever.
        let lifetime = self.parameters.batch_lifetime_ns.saturating_mul(2);
        if batch.expiry > time.plus_nanos(lifetime) {
            return Err(Refusal::TooFarAhead);
        }
        Ok(())
    }

    fn is_wanted(&self, id: &BatchId) -> bool {
        self.wanted.contains(id)
    }

    /// Notes that a block needs these: those not held will be taken from anybody.
    pub fn want(&mut self, ids: &[BatchId]) {
        for id in self.missing(ids) {
            self.wanted.insert(id);
        }
    }

    /// Those of the batches that are not held.
    #[must_use]
    pub fn missing(&self, ids: &[BatchId]) -> Vec<BatchId> {
        let held = |id: &&BatchId| !self.shelf.contains(id);
        ids.iter().filter(held).copied().collect()
    }

    /// Whether the block's batches allow a vote (V4); wants those that are missing (B3). A batch that was committed
    /// before is missing too: the caller's store has it.
    pub fn check(&mut self, block: &Block) -> PayloadCheck {
        let expired = |id: &BatchId| {
            let held = self.shelf.get(id);
            held.is_some_and(|held| held.batch.expiry < block.header.time)
        };
        if block.batches.iter().any(expired) {
            return PayloadCheck::Expired;
        }
        let missing = self.missing(&block.batches);
        if missing.is_empty() {
            return PayloadCheck::Ready;
        }
        self.want(&missing);
        PayloadCheck::Missing(missing)
    }

    /// A batch that is held. Committed ones are not: they are in the store.
    #[must_use]
    pub fn get(&self, id: &BatchId) -> Option<HashedBatch> {
        self.shelf.get(id).map(|held| held.batch.clone())
    }

    /// Whether the batch is held.
    #[must_use]
    pub fn holds(&self, id: &BatchId) -> bool {
        self.shelf.contains(id)
    }

    /// Own watermarks, for votes (B2): for each origin, one more than the highest sequence number that it streamed.
    #[must_use]
    pub fn held(&self) -> Vec<u64> {
        self.shelf.watermarks()
    }

    /// What a voter reports to hold (B2); replaces what it reported before. Hints of another length are ignored.
    pub fn on_held(&mut self, voter: ValidatorIndex, held: &[u64]) {
        self.shelf.on_held(voter, held);
    }

    /// A block of `proposer` needed a batch of this origin that had not come (B4). Enough of them, in blocks of more
    /// proposers than may be faulty, leave the origin out for a window. Own batches are never late.
    pub fn on_late(&mut self, origin: ValidatorIndex, proposer: ValidatorIndex, now: Instant) {
        if self.seat.me != Some(origin) {
            let max_faulty = self.seat.n.saturating_sub(self.seat.quorum);
            self.shelf
                .on_late(origin, proposer, max_faulty, now, &self.limits);
        }
    }

    /// These are committed: they are released, and not taken or ordered again as long as they are remembered. Also to be
    /// called at start with those of the latest blocks.
    pub fn committed(&mut self, ids: &[BatchId]) {
        for id in ids {
            self.shelf.remove(id);
            self.wanted.remove(id);
            self.remembered.insert(*id);
            for (_, _, carried) in self.own.land(id) {
                self.room.release(&carried.client, carried.bytes);
            }
        }
    }

    /// These were executed, whoever packed them: they need not wait here, nor be admitted again.
    pub fn executed(&mut self, transactions: &[TransactionId]) {
        for id in transactions {
            if let Some(transaction) = self.queue.remove(id) {
                self.release(&transaction);
            }
            if let Some(carried) = self.own.forget(id) {
                self.room.release(&carried.client, carried.bytes);
            }
        }
    }

    /// Drops what is no longer valid at `time`. `keep` are the batches of blocks above the root, which stay (B5). The
    /// transactions of own batches that expired are admitted again; whatever is lost is named, nothing silently.
    ///
    /// What is held or asked for only since a block needed it goes with the last such block. Nobody signs a batch: a
    /// faulty leader can invent some that expire at the end of time, in anybody's name.
    pub fn expire(&mut self, time: BlockTime, keep: &BTreeSet<BatchId>) -> Vec<Lapsed> {
        let mut lapsed = Vec::new();
        while let Some(transaction) = self.queue.pop_expired(time) {
            self.release(&transaction);
            lapsed.push(Lapsed {
                transaction: transaction.id(),
                reason: Refusal::Expired,
            });
        }
        for id in self.shelf.wanted() {
            if !keep.contains(&id) {
                self.shelf.remove(&id);
            }
        }
        self.wanted.retain(|id| keep.contains(id));
        for id in self.shelf.expired(time) {
            if !keep.contains(&id) {
                self.release_expired(&id, time, &mut lapsed);
            }
        }
        lapsed
    }

    /// Whether [`Pool::expire`] has nothing to do, whatever is to be kept.
    #[must_use]
    pub fn is_settled(&self, time: BlockTime) -> bool {
        self.wanted.is_empty() && self.shelf.is_settled(time) && self.queue.is_valid_at(time)
    }

    /// Transactions admitted here that are neither committed nor given up: queued, or in own batches in flight.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.room.transactions()
    }

    /// Bytes of them.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.room.bytes()
    }

    /// Transactions queued and not packed.
    #[must_use]
    pub fn transactions(&self) -> usize {
        self.queue.len()
    }

    /// Bytes of the transactions queued.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// Batches held.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.shelf.len()
    }

    /// Bytes of the batches held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.shelf.bytes()
    }

    /// Number of the next own batch.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.own.next_sequence
    }
}
