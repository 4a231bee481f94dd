//! Execution and the ledger: what happens to a block once it is final (D1).

use std::collections::VecDeque;

use quorate_consensus::{Event, committed_headers};
use quorate_execution::OrderedBlock;
use quorate_mutants::{Mutant, mutant};
use quorate_storage::ledger;
use quorate_types::message::LedgerResponse;
use quorate_types::{Block, BlockTime, Finality, Header, Height, Outcome, Receipt, Round};
use quorate_types::{TransactionId, ValidatorIndex, Verified};

use crate::output::Notice;
use crate::replica::{Replica, ReplicaError};
use crate::turn::Turn;
use crate::view::StateReader;

/// Stale blocks and expired batches looked at with each commit, as long as that is enough.
const PRUNE_STEP: usize = 128;
/// Expired batches that are, while more of them wait.
const PRUNE_MOST: usize = 2_048;

/// Up to where stale blocks and expired batches are deleted already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pruned {
    round: Round,
    time: BlockTime,
    /// Expired batches to look at next.
    step: usize,
    /// The pool has let go of what it held only for blocks up to this one.
    let_go: Option<ledger::Tip>,
}

impl Pruned {
    /// The pool lets go of what it holds only for blocks up to the tip.
    pub(crate) fn let_go(&mut self, tip: ledger::Tip) {
        self.let_go = Some(tip);
    }
}

impl Default for Pruned {
    fn default() -> Pruned {
        Pruned {
            round: Round::default(),
            time: BlockTime::default(),
            step: PRUNE_STEP,
            let_go: None,
        }
    }
}

impl Replica {
    /// Executes and appends blocks, oldest first, the last with its finality proof; answers who waits.
    pub(crate) fn commit(
        &mut self,
        turn: &mut Turn<'_>,
        blocks: &[Block],
        finality: &Verified<Finality>,
        events: &mut VecDeque<Event>,
    ) -> Result<(), ReplicaError> {
        let last = blocks.len().saturating_sub(1);
        for (place, block) in blocks.iter().enumerate() {
            let proof = (place == last).then_some(finality);
            let event = self.apply(turn, block, proof.map(|proof| &**proof), false)?;
            events.push_back(event);
        }
        self.settle(turn, blocks.iter().map(|block| &block.header), finality)
    }

    /// Commits a stretch of a peer's ledger, and moves the engine's root to its end.
    pub(crate) fn commit_stretch(
        &mut self,
        turn: &mut Turn<'_>,
        stretch: &Verified<LedgerResponse>,
    ) -> Result<(), ReplicaError> {
        let Some(finality) = stretch.finality() else {
            return Ok(());
        };
        let mut executed = Vec::new();
        let last = stretch.blocks.len().saturating_sub(1);
        for (place, entry) in stretch.blocks.iter().enumerate() {
            let known = entry.block.header.height <= self.tip.height;
            if known && !mutant(Mutant::StretchFromBelow) {
                continue;
            }
            turn.write(|writes| {
                for (id, batch) in entry.block.batches.iter().zip(&entry.batches) {
                    ledger::put_batch(writes, *id, batch);
                }
            });
            let proof = (place == last).then(|| &*finality);
            executed.push(self.apply(turn, &entry.block, proof, true)?);
        }
        let headers = stretch.blocks.iter().map(|entry| &entry.block.header);
        self.settle(turn, headers, &finality)?;
        let headers = recent_headers(turn, &self.tip, committed_headers(&self.setup.validators))?;
        self.drive(
            turn,
            Event::Synced {
                headers,
                finality: Box::new(finality),
            },
        )?;
        for event in executed {
            self.drive(turn, event)?;
        }
        Ok(())
    }

    /// Executes one block and appends it. Returns what to tell the engine.
    fn apply(
        &mut self,
        turn: &mut Turn<'_>,
        block: &Block,
        finality: Option<&Finality>,
        synced: bool,
    ) -> Result<Event, ReplicaError> {
        let header = &block.header;
        let batches = block
            .batches
            .iter()
            .map(|id| {
                let batch = self.find_batch(turn.view(), *id)?;
                batch.ok_or(ReplicaError::BatchMissing(*id))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let executed = self.executor.execute(
            &StateReader(turn.view()),
            &OrderedBlock {
                height: header.height,
                time: header.time,
                batches: &batches,
            },
        )?;
        assert_eq!(executed.height, header.height, "I4: executed in order");
        let tip = self.tip;
        let mut appended = tip;
        turn.write(|writes| {
            self.lag.put(writes, executed.changes);
            appended = ledger::append(writes, &tip, block, finality);
        });
        self.tip = appended;
        self.time = header.time;
        self.blocks.remove(&appended.block);
        self.missing.remove(&appended.block);
        self.pool.committed(&block.batches);
        let ids: Vec<TransactionId> = executed.receipts.iter().map(|r| r.transaction).collect();
        self.pool.executed(&ids);
        self.answer(turn, &executed.receipts)?;
        turn.notice(committed(header, &executed.receipts, synced));
        Ok(Event::Executed {
            height: header.height,
            roots: executed.roots,
            empty: executed.receipts.is_empty(),
        })
    }

    /// What remains to do after a run of commits: proofs that have become possible, and what is stale now.
    fn settle<'h>(
        &mut self,
        turn: &mut Turn<'_>,
        headers: impl Iterator<Item = &'h Header>,
        finality: &Finality,
    ) -> Result<(), ReplicaError> {
        let headers: Vec<Header> = headers.cloned().collect();
        self.proofs.settle(&headers, &finality.cc);
        if let Some(last) = headers.last() {
            let signers = finality.qc.signers;
            let absent: Vec<ValidatorIndex> = self
                .setup
                .validators
                .indices()
                .filter(|index| !signers.contains(*index))
                .collect();
            debug_assert_eq!(last.id(), finality.cc.block);
            turn.notice(Notice::VotesMissing(absent));
        }
        let round = self.tip.round;
        self.blocks.retain(|_, block| block.header.round > round);
        let blocks = &self.blocks;
        self.missing.retain(|id, _| blocks.contains_key(id));
        let missing = &self.missing;
        self.wanted_batches
            .retain(|id| missing.values().any(|ids| ids.contains(id)));
        let engine = &self.engine;
        self.wanted_blocks.retain(|id| engine.wants(*id));
        self.prune(turn)
    }

    /// Deletes what nobody can commit any more, from where the last commit left off.
    fn prune(&mut self, turn: &mut Turn<'_>) -> Result<(), ReplicaError> {
        let mut removed = quorate_storage::WriteBatch::new();
        let mut pruned = self.pruned;
        let (view, writes) = (turn.view(), &mut removed);
        // Not up to the tip: what the pool still holds for a block that has just become stale would stay for ever.
        if let Some(tip) = &pruned.let_go {
            let (stale, round) =
                ledger::remove_stale_blocks(view, writes, tip, pruned.round, PRUNE_STEP)?;
            // Named by blocks in memory, too, whole or not.
            ledger::remove_stale_batches(view, writes, &stale, |id| self.needs_batch(*id))?;
            pruned.round = round;
        }
        let (from, step) = (pruned.time, pruned.step);
        pruned.time = ledger::prune_expired_batches(view, writes, self.time, from, step)?;
        // A commit may bring more than a step: a stretch of the ledger does, and so do the blocks of faulty leaders that
        // were never complete.
        pruned.step = match pruned.time < self.time {
            true => step.saturating_mul(2).min(PRUNE_MOST),
            false => PRUNE_STEP,
        };
        self.pruned = pruned;
        turn.write(|writes| writes.extend(removed));
        Ok(())
    }
}

/// The newest committed headers, oldest first.
pub(crate) fn recent_headers(
    turn: &Turn<'_>,
    tip: &ledger::Tip,
    count: usize,
) -> Result<Vec<Header>, ReplicaError> {
    let back = u64::try_from(count.saturating_sub(1)).expect("a few hundred");
    let from = Height(tip.height.0.saturating_sub(back));
    Ok(ledger::headers(turn.view(), from, tip.height)?)
}

fn committed(header: &Header, receipts: &[Receipt], synced: bool) -> Notice {
    let (mut executed, mut rejected, mut duplicates) = (0, 0, 0);
    for receipt in receipts {
        match receipt.outcome {
            Outcome::Executed { .. } => executed += 1,
            Outcome::Rejected(_) => rejected += 1,
            Outcome::Duplicate { .. } => duplicates += 1,
        }
    }
    Notice::Committed {
        height: header.height,
        round: header.round,
        time: header.time,
        executed,
        rejected,
        duplicates,
        synced,
    }
}
