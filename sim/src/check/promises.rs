//! What was promised must stay kept: voted blocks across every power cut (P1, C3), and acknowledged transactions at a
//! quorum at the moment of the answer (I8).

use quorate_storage::{MemStore, Table, ledger};
use quorate_types::{BatchId, BlockId, Receipt, Round};

use super::ledgers::Final;
use super::{Checker, Record, Seen, Violation};

impl Checker {
    /// A correct replica voted or commit-voted for a block above its root.
    pub(super) fn promise(&mut self, node: usize, round: Round, block: BlockId) {
        self.promised[node].insert((round, block));
    }

    /// After a power cut, every block that the replica voted for is there, until it lies below the committed root.
    pub(super) fn kept(&mut self, node: usize, store: &MemStore) -> Result<(), Violation> {
        let root = ledger::tip(store)?.round;
        self.promised[node].retain(|(round, _)| *round > root);
        for (round, block) in self.promised[node].clone() {
            if !self.holds(node, store, round, block)? {
                return Err(Violation::PromiseLost(round));
            }
        }
        Ok(())
    }

    /// A correct replica was put back to an older disk. What it signed stays signed (I1, V3, C2): only what it holds, and
    /// which certificate it reports, may be older than before.
    pub(crate) fn restored(&mut self, node: usize, store: &MemStore) -> Result<(), Violation> {
        let (record, height) = (self.read_record(node, store)?, ledger::tip(store)?.height.0);
        self.seen[node] = Seen {
            height,
            durable_height: height,
            record,
            durable: record,
            looked: None,
            wall: self.seen[node].wall,
        };
        self.promised[node].clear();
        self.rules.forget_promise(node);
        Ok(())
    }

    /// A correct replica has a new disk. What it signed stays signed, and what it promised by it stays promised: the judges
    /// of I1, V3, C2 forget nothing.
    pub(crate) fn forgotten(&mut self, node: usize) {
        self.seen[node] = Seen::default();
        self.records[node] = (None, Record::default());
        self.promised[node].clear();
        self.unknowing.insert(node);
    }

    /// P5: it takes part again, above `burnt`. All that it ever signed lies at or below, and no certificate below will be
    /// reported any more.
    pub(crate) fn remembers(
        &mut self,
        node: usize,
        store: &MemStore,
        burnt: Round,
    ) -> Result<(), Violation> {
        self.unknowing.remove(&node);
        let reported = self.read_record(node, store)?.high_qc;
        let signed = self.signed.keys().filter(|(signer, ..)| *signer == node);
        let low = signed.map(|(.., round)| *round).max() > Some(burnt);
        match low || reported < burnt {
            true => Err(Violation::LowFence(burnt)),
            false => Ok(()),
        }
    }

    /// I8, at the moment of an answer: the block of the receipt is durable at a quorum, not counting the liars that a
    /// quorum may hold.
    pub(crate) fn durable_at_quorum<'a>(
        &self,
        receipt: &Receipt,
        stores: impl Iterator<Item = (usize, &'a MemStore)>,
        liars: usize,
    ) -> Result<(), Violation> {
        let n = self.validators.count();
        // Counted anew, as everywhere here: all but those that may be faulty.
        let quorum = n - (n - 1) / 3;
        let lost = Violation::NotAtQuorum(receipt.transaction, receipt.height);
        let Some(block) = self.chain.get(&receipt.height.0) else {
            return Err(lost);
        };
        let mut holders = liars;
        for (node, store) in stores {
            if holders >= quorum {
                break;
            }
            let ledger = self.seen[node].durable_height >= receipt.height.0;
            holders += usize::from(ledger || is_durable(store, block));
        }
        match holders >= quorum {
            true => Ok(()),
            false => Err(lost),
        }
    }
}

/// Whether a block and its batches would survive a power cut now. What is stored under a digest was compared with it when
/// it became final.
fn is_durable(store: &MemStore, block: &Final) -> bool {
    let durable = |batch: &BatchId| store.is_durable(Table::Batches, batch.as_bytes());
    store.is_durable(Table::Blocks, block.block.as_bytes()) && block.batches.iter().all(durable)
}
