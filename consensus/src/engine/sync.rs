//! What is missing here and known to exist: blocks that a certificate names, and ledgers that are far ahead (A2).

use alloc::vec::Vec;

use quorate_types::{Block, BlockId, Finality, Header, Now, Reject, Signers, Verified};

use super::Engine;
use crate::Effect;

/// A final block more than this many heights above the root is not fetched with its ancestors, but with the ledger.
const FETCH_HEIGHTS: u64 = 16;
/// Unknown certified blocks that are asked for at a time, the highest first: their ancestors come along.
const MAX_FETCHES: usize = 4;

impl Engine {
    /// Takes fetched blocks in any order, as long as a certificate vouches for each, directly or by a descendant.
    pub(super) fn on_blocks(&mut self, blocks: Vec<Block>) {
        let mut blocks: Vec<(BlockId, Block)> = blocks
            .into_iter()
            .map(|block| (block.id(), block))
            .collect();
        blocks.sort_by_key(|(_, block)| core::cmp::Reverse(block.header.height));
        let mut unwanted = false;
        for (id, block) in blocks {
            if self.tree.header(id).is_some() || self.tree.is_orphan(id) {
                continue;
            }
            if block.header.height <= self.tree.root().height {
                continue; // committed while it was under way
            }
            if self.is_wanted(id) {
                self.tree.keep_orphan(id, block);
            } else {
                unwanted = true;
            }
        }
        self.adopt_orphans();
        if unwanted {
            self.refuse(None, Reject::OutOfWindow);
        }
        self.reconsider_idle_wait();
    }

    fn adopt_orphans(&mut self) {
        loop {
            let adopted = self.tree.adoptable();
            if adopted.is_empty() {
                return;
            }
            for (id, block) in adopted {
                self.insert(id, block);
            }
        }
    }

    fn is_wanted(&self, id: BlockId) -> bool {
        self.unknown_certified()
            .chain(self.tree.missing_parents())
            .chain(self.missing_nearer())
            .any(|(wanted, _)| wanted == id)
    }

    /// Whether a final block is fetched with its ancestors.
    pub(super) fn is_near(&self, finality: &Finality) -> bool {
        finality.cc.height.above(self.tree.root().height) <= FETCH_HEIGHTS
    }

    /// What is missing of the final block that is near, where the highest is far.
    fn missing_nearer(&self) -> Option<(BlockId, Signers)> {
        let nearer = self.nearer.as_ref()?;
        let signers = nearer.cc.signers.union(nearer.qc.signers);
        self.tree.first_missing(nearer.cc.block, signers)
    }

    /// Certified blocks that are not here, the highest first.
    fn unknown_certified(&self) -> impl Iterator<Item = (BlockId, Signers)> {
        self.qcs
            .values()
            .rev()
            .map(|qc| (qc.block, qc.signers))
            .filter(|(block, _)| self.tree.header(*block).is_none())
    }

    /// Asks for what is missing, once for each block and each height.
    pub(super) fn ask_for_missing(&mut self) {
        let far = self.pending.as_ref().filter(|f| !self.is_near(f));
        let missing: Vec<(BlockId, Signers)> = match far {
            // Its ancestors and descendants are not asked for either, until the ledger has come. Of a final block on the way
            // a peer tells that cannot put what lies below into one answer.
            Some(_) => self.missing_nearer().into_iter().collect(),
            None => {
                let certified = self.unknown_certified();
                let certified = certified.filter(|(id, _)| !self.tree.is_orphan(*id));
                let parents = self.tree.missing_parents().take(MAX_FETCHES);
                certified.take(MAX_FETCHES).chain(parents).collect()
            }
        };
        if let Some(far) = far
            && far.cc.height > self.asked.behind
        {
            let (height, from) = (far.cc.height, far.cc.signers.union(far.qc.signers));
            self.asked.behind = height;
            self.out.push(Effect::Behind { height, from });
        }
        self.asked
            .blocks
            .retain(|id| missing.iter().any(|(missing, _)| missing == id));
        for (block, from) in missing {
            if self.asked.blocks.insert(block) {
                self.out.push(Effect::Fetch { block, from });
            }
        }
    }

    /// The root jumps to the end of a stretch that the replica has committed.
    pub(super) fn on_synced(
        &mut self,
        now: Now,
        headers: Vec<Header>,
        finality: Verified<Finality>,
    ) {
        if finality.cc.round > self.tree.root().round {
            let last = headers.last().map(Header::id);
            assert_eq!(last, Some(finality.cc.block), "I4: of the last block");
            for header in &headers {
                if let Some(divergence) = self.execution.certify(&header.claim) {
                    self.diverge(divergence);
                }
            }
            self.tree.replace(headers);
            self.elected.set(None);
            self.finality = finality.clone();
            self.forget_committed();
            self.adopt_orphans();
        }
        self.on_qc(now, finality.qc());
        self.reconsider_idle_wait();
    }
}
