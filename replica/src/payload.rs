//! Whether the batches of a block are here and may be voted for (V4, B3); fetching those that are not.

use std::collections::{BTreeSet, VecDeque};

use quorate_consensus::Event;
use quorate_mempool::PayloadCheck;
use quorate_mutants::{Mutant, mutant};
use quorate_storage::View;
use quorate_storage::ledger::{self, LedgerError};
use quorate_types::{BatchId, Block, BlockId, HashedBatch, Signers, ValidatorIndex, Verified};

use crate::replica::{Replica, ReplicaError};
use crate::turn::Turn;

impl Replica {
    /// Answers the engine's question about a block's payload now, or once its batches are here.
    pub(crate) fn check_payload(
        &mut self,
        turn: &mut Turn<'_>,
        block: &Block,
        events: &mut VecDeque<Event>,
    ) -> Result<(), ReplicaError> {
        let id = block.id();
        let mut missing = BTreeSet::new();
        let mut expired = false;
        match self.pool.check(block) {
            PayloadCheck::Ready => {}
            PayloadCheck::Expired => expired = true,
            // What the pool has let go may be in the store: committed, or from before a restart.
            PayloadCheck::Missing(ids) => {
                for batch in ids {
                    match ledger::batch(turn.view(), batch)? {
                        Some(stored) => expired |= stored.expiry < block.header.time,
                        None => {
                            missing.insert(batch);
                        }
                    }
                }
            }
        }
        if expired {
            events.push_back(Event::PayloadInvalid(id));
        } else if missing.is_empty() {
            events.push_back(Event::PayloadReady(id));
        } else {
            self.want_batches(turn, block, &missing);
            self.missing.insert(id, missing);
        }
        Ok(())
    }

    /// Wants again what any block waits for.
    pub(crate) fn want_all_missing(&mut self, turn: &Turn<'_>) {
        let waiting = self.missing.iter();
        let waiting = waiting.filter_map(|(id, missing)| Some((self.blocks.get(id)?, missing)));
        let waiting: Vec<(Block, BTreeSet<BatchId>)> = waiting
            .map(|(block, missing)| (block.clone(), missing.clone()))
            .collect();
        for (block, missing) in waiting {
            self.want_batches(turn, &block, &missing);
        }
    }

    fn want_batches(&mut self, turn: &Turn<'_>, block: &Block, missing: &BTreeSet<BatchId>) {
        // The proposer must hold what it orders; whoever voted for a descendant does, too.
        let proposer = block.header.proposer;
        let mut holders = Signers::NONE;
        holders.insert(proposer);
        let others: Signers = self.setup.validators.indices().collect();
        for id in missing
            .iter()
            .filter(|_| !mutant(Mutant::BatchesNotFetched))
        {
            self.wanted_batches
                .want(*id, holders.union(others), proposer, turn.now.monotonic);
        }
    }

    /// A batch arrived, from its origin or as an answer.
    pub(crate) fn on_batch(
        &mut self,
        turn: &mut Turn<'_>,
        from: ValidatorIndex,
        batch: Verified<HashedBatch>,
    ) -> Result<(), ReplicaError> {
        let id = batch.id();
        if self.mend_batch(turn, id, &batch) {
            return Ok(());
        }
        if batch.origin != from {
            self.note_late(turn, id, batch.origin);
        }
        self.take_batch(turn, from, batch)
    }

    /// Takes a batch that arrived, also inside a proposal: that it did is no sign of a late origin.
    pub(crate) fn take_batch(
        &mut self,
        turn: &mut Turn<'_>,
        from: ValidatorIndex,
        batch: Verified<HashedBatch>,
    ) -> Result<(), ReplicaError> {
        let id = batch.id();
        let time = self.pool_time(turn.now);
        // A refusal is the pool's bound at work; what a block needs is fetched again.
        let Ok(new) = self.pool.insert(turn.now.monotonic, time, from, batch) else {
            return Ok(());
        };
        if let Some(held) = self.pool.get(&id).filter(|_| new) {
            turn.write(|writes| ledger::put_batch(writes, id, &held));
        }
        if new || self.pool.holds(&id) {
            self.wanted_batches.done(&id);
            self.arrived(turn, id)?;
        }
        Ok(())
    }

    /// A batch that a block waits for had to come from another than its origin (B4).
    fn note_late(&mut self, turn: &Turn<'_>, id: BatchId, origin: ValidatorIndex) {
        let waiting = self
            .missing
            .iter()
            .find(|(_, missing)| missing.contains(&id));
        let block = waiting.and_then(|(block, _)| self.blocks.get(block));
        if let Some(block) = block {
            let proposer = block.header.proposer;
            self.pool.on_late(origin, proposer, turn.now.monotonic);
        }
    }

    /// Answers for the blocks that waited for this batch last.
    fn arrived(&mut self, turn: &mut Turn<'_>, id: BatchId) -> Result<(), ReplicaError> {
        let mut complete: Vec<BlockId> = Vec::new();
        for (block, missing) in &mut self.missing {
            if missing.remove(&id) && missing.is_empty() {
                complete.push(*block);
            }
        }
        for block in complete {
            self.missing.remove(&block);
            let expired = self.is_expired(&block);
            self.drive(
                turn,
                match expired {
                    true => Event::PayloadInvalid(block),
                    false => Event::PayloadReady(block),
                },
            )?;
        }
        Ok(())
    }

    /// Whether a batch that is held had expired at the block's time.
    fn is_expired(&mut self, id: &BlockId) -> bool {
        let Some(block) = self.blocks.get(id) else {
            return false;
        };
        matches!(self.pool.check(block), PayloadCheck::Expired)
    }

    /// A batch from the pool or the store.
    pub(crate) fn find_batch(
        &self,
        view: &dyn View,
        id: BatchId,
    ) -> Result<Option<HashedBatch>, LedgerError> {
        match self.pool.get(&id) {
            Some(batch) => Ok(Some(batch)),
            None => ledger::batch(view, id),
        }
    }
}
