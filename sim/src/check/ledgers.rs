//! I4–I8 in what is committed: one chain, executed once and alike, and nothing of it is ever lost.

use quorate_storage::MemStore;
use quorate_storage::ledger;
use quorate_types::{BatchId, Block, BlockId, BlockTime, Height, Outcome, Receipt, Roots, Round};
use quorate_types::{Transaction, TransactionId};

use super::once::Verdict;
use super::{Checker, Violation};

/// A height of the final chain, as the first correct replica had it.
#[derive(Debug)]
pub(super) struct Final {
    pub(super) block: BlockId,
    pub(super) batches: Vec<BatchId>,
    pub(super) round: Round,
    time: BlockTime,
    roots: Roots,
    receipts: Vec<Receipt>,
}

/// What a scan found that is new to the chain.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    pub(crate) blocks: u64,
    pub(crate) view_changes: u64,
    pub(crate) duplicates: u64,
}

impl Checker {
    /// What a correct replica committed since it was looked at last.
    pub(super) fn scan(
        &mut self,
        node: usize,
        store: &MemStore,
        signed_by_client: impl Fn(&TransactionId) -> bool,
    ) -> Result<Found, Violation> {
        let tip = ledger::tip(store)?;
        let mut found = Found::default();
        for height in self.seen[node].height + 1..=tip.height.0 {
            let at = Height(height);
            let block = self.shelf.at_height(store, at)?;
            let (id, block) = block.ok_or(Violation::BrokenChain(at))?;
            let roots = ledger::roots(store, at)?.ok_or(Violation::OtherRoots(at))?;
            self.proof(store, at, id, &block)?;
            if self.chain.contains_key(&height) {
                self.same(at, id, roots)?;
            } else {
                let last = self.chain.get(&(height - 1));
                let follows = match last {
                    Some(last) => {
                        last.block == block.header.parent && last.round < block.header.round
                    }
                    None => height == 1,
                };
                if !follows || block.header.height != at {
                    return Err(Violation::BrokenChain(at));
                }
                // V1: whatever clocks show, time goes on.
                let before = last.map_or(self.terms.began, |last| last.time);
                if block.header.time <= before {
                    return Err(Violation::WrongTime(block.header.round));
                }
                self.rules.leader(&block.header)?;
                let receipts = ledger::receipts(store, at)?;
                found.blocks += 1;
                found.view_changes += u64::from(block.header.failed.is_some());
                found.duplicates += self.execute(store, &block, &receipts, &signed_by_client)?;
                self.chain.insert(
                    height,
                    Final {
                        block: id,
                        round: block.header.round,
                        time: block.header.time,
                        batches: block.batches.clone(),
                        roots,
                        receipts,
                    },
                );
            }
            self.seen[node].height = height;
        }
        if store.unsynced() == 0 {
            self.seen[node].durable_height = tip.height.0;
        }
        Ok(found)
    }

    /// I5, I6: the same as the first that committed this height.
    fn same(&self, at: Height, block: BlockId, roots: Roots) -> Result<(), Violation> {
        let known = self.chain.get(&at.0).ok_or(Violation::BrokenChain(at))?;
        if known.block != block {
            return Err(Violation::Fork(at));
        }
        match known.roots == roots {
            true => Ok(()),
            false => Err(Violation::OtherRoots(at)),
        }
    }

    /// I7, X1: the receipts are those of the block's transactions, in order, none was executed before, and each came out as it
    /// must.
    fn execute(
        &mut self,
        store: &MemStore,
        block: &Block,
        receipts: &[Receipt],
        signed_by_client: impl Fn(&TransactionId) -> bool,
    ) -> Result<u64, Violation> {
        let (at, time) = (block.header.height, block.header.time);
        let mut batches = Vec::new();
        for id in &block.batches {
            let batch = ledger::batch(store, *id)?;
            batches.push(batch.ok_or(Violation::BrokenChain(at))?);
        }
        let ordered = batches.iter().flat_map(|batch| &batch.transactions);
        let ordered: Vec<&Transaction> = ordered.collect();
        let mut duplicates = 0;
        for (place, receipt) in receipts.iter().enumerate() {
            let strange = Violation::StrangeReceipt(at, receipt.index);
            let id = receipt.transaction;
            let of = ordered.get(place).filter(|of| of.id() == id);
            let Some(body) = of.map(|of| &of.body) else {
                return Err(strange);
            };
            let named = (receipt.client, receipt.sequence) == (body.client, body.sequence);
            let placed = (receipt.height, receipt.time) == (at, time);
            if !named || !placed || !signed_by_client(&id) {
                return Err(strange);
            }
            let place = (id, at, receipt.index);
            let verdict = self.sessions.judge((body, time), place, &receipt.outcome);
            let twice = match &receipt.outcome {
                Outcome::Executed { .. } => self.executed.insert(id, (at, receipt.index)),
                Outcome::Duplicate { .. } => {
                    duplicates += 1;
                    None
                }
                Outcome::Rejected(_) => None,
            };
            match verdict {
                _ if twice.is_some() => return Err(Violation::ExecutedTwice(id)),
                Verdict::Twice => return Err(Violation::ExecutedTwice(id)),
                Verdict::Unfounded => return Err(Violation::Unfounded(at, receipt.index)),
                Verdict::Ran | Verdict::Kept => {}
            }
        }
        match ordered.len() == receipts.len() {
            true => Ok(duplicates),
            false => Err(Violation::StrangeReceipt(at, 0)),
        }
    }

    /// Reads a whole ledger again, from the first height.
    ///
    /// # Errors
    /// [`Violation`], the first found.
    pub fn audit(&mut self, store: &MemStore) -> Result<(), Violation> {
        let tip = ledger::tip(store)?;
        let mut parent = None;
        for height in 1..=tip.height.0 {
            let at = Height(height);
            let block = self.shelf.at_height(store, at)?;
            let (id, block) = block.ok_or(Violation::BrokenChain(at))?;
            if parent.is_some_and(|parent| parent != block.header.parent) {
                return Err(Violation::BrokenChain(at));
            }
            parent = Some(id);
            let roots = ledger::roots(store, at)?.ok_or(Violation::OtherRoots(at))?;
            self.same(at, id, roots)?;
            let receipts = ledger::receipts(store, at)?;
            if self
                .chain
                .get(&height)
                .is_none_or(|known| known.receipts != receipts)
            {
                return Err(Violation::OtherRoots(at));
            }
        }
        match parent.is_none_or(|last| last == tip.block) {
            true => Ok(()),
            false => Err(Violation::BrokenChain(tip.height)),
        }
    }

    /// I8: what clients were told is in this ledger.
    ///
    /// # Errors
    /// [`Violation::LostReceipt`].
    pub fn promises<'a>(
        &self,
        store: &MemStore,
        receipts: impl Iterator<Item = &'a Receipt>,
    ) -> Result<(), Violation> {
        for told in receipts {
            let there = ledger::receipt(store, told.height, told.index)?;
            if there.as_ref() != Some(told) {
                return Err(Violation::LostReceipt(told.transaction, told.height));
            }
        }
        Ok(())
    }
}
