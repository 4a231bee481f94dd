//! The block tree above the last committed block, with the headers below it that elections read.
//!
//! Every block in it reaches the root by known ancestors (V4). A block that does not yet waits among the orphans, and is
//! there only because a certificate names it, directly or through its descendants. Must never hold a block that nobody
//! vouched for, nor more than its bounds.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use quorate_mutants::{Mutant, mutant};
use quorate_types::{Block, BlockId, Header, Height, Reject, Round, Signers};

/// Blocks above the root that are held; beyond it the oldest uncertified leaf goes, and is fetched if it turns out to
/// be needed. Without a commit, a round adds at most two.
pub(crate) const MAX_TREE_BLOCKS: usize = 1024;
/// Fetched blocks whose ancestors are still missing.
pub(crate) const MAX_ORPHANS: usize = 512;

/// What is known of a block's batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// Asked for.
    Awaited,
    /// Held, checked, and durable with this turn.
    Ready,
    /// Contains something that can never be valid.
    Invalid,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) block: Block,
    pub(crate) payload: Payload,
}

/// Proof that a block, its ancestors above the root and all their batches are held (V4, C3). Made by [`Tree::held`] only.
#[derive(Debug)]
pub(crate) struct Held {
    block: BlockId,
    round: Round,
    height: Height,
}

impl Held {
    pub(crate) fn block(&self) -> BlockId {
        self.block
    }

    pub(crate) fn round(&self) -> Round {
        self.round
    }

    pub(crate) fn height(&self) -> Height {
        self.height
    }
}

#[derive(Debug)]
pub(crate) struct Tree {
    /// Committed headers, newest last; the last is the root.
    committed: VecDeque<(BlockId, Header)>,
    /// How many of them are kept.
    keep: usize,
    nodes: BTreeMap<BlockId, Node>,
    orphans: BTreeMap<BlockId, Block>,
}

impl Tree {
    pub(crate) fn new(committed: Vec<Header>, keep: usize) -> Tree {
        assert!(!committed.is_empty(), "I4: there is a committed block");
        let mut tree = Tree {
            committed: VecDeque::new(),
            keep,
            nodes: BTreeMap::new(),
            orphans: BTreeMap::new(),
        };
        tree.replace(committed);
        tree
    }

    pub(crate) fn root(&self) -> &Header {
        &self.newest().1
    }

    pub(crate) fn root_id(&self) -> BlockId {
        self.newest().0
    }

    fn newest(&self) -> &(BlockId, Header) {
        self.committed.back().expect("never empty")
    }

    /// Blocks above the root.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The root's header or that of a block above it.
    pub(crate) fn header(&self, id: BlockId) -> Option<&Header> {
        if id == self.root_id() {
            return Some(self.root());
        }
        self.nodes.get(&id).map(|node| &node.block.header)
    }

    pub(crate) fn node(&self, id: BlockId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// The block and its ancestors, newest first, on below the root as far as headers are kept. Empty if it is unknown.
    pub(crate) fn branch(&self, id: BlockId) -> impl Iterator<Item = &Header> {
        let mut next = id;
        let above = core::iter::from_fn(move || {
            let header = &self.nodes.get(&next)?.block.header;
            next = header.parent;
            Some(header)
        });
        let known = self.header(id).is_some();
        let below = self.committed.iter().rev().filter(move |_| known);
        above.chain(below.map(|(_, header)| header))
    }

    /// The block and its ancestors above the root, newest first; empty for the root and for an unknown block.
    pub(crate) fn uncommitted(&self, id: BlockId) -> impl Iterator<Item = &Node> {
        let mut next = id;
        core::iter::from_fn(move || {
            let node = self.nodes.get(&next)?;
            next = node.block.header.parent;
            Some(node)
        })
    }

    /// V4, C3: whether the block is above the root and everything between is held.
    pub(crate) fn held(&self, id: BlockId) -> Option<Held> {
        let header = &self.nodes.get(&id)?.block.header;
        self.uncommitted(id)
            .all(|node| node.payload == Payload::Ready || mutant(Mutant::VoteWithoutBatches))
            .then_some(Held {
                block: id,
                round: header.round,
                height: header.height,
            })
    }

    /// Adds a block whose parent is known. False if it was there.
    ///
    /// # Errors
    /// [`Reject::Malformed`] or [`Reject::UnsafeExtension`] for one that does not follow its parent.
    pub(crate) fn insert(
        &mut self,
        id: BlockId,
        block: Block,
        payload: Payload,
    ) -> Result<bool, Reject> {
        let header = &block.header;
        let parent = self.header(header.parent).ok_or(Reject::UnsafeExtension)?;
        if header.height != parent.height.next() {
            return Err(Reject::Malformed);
        }
        let certified = header.justify.round == parent.round || mutant(Mutant::ParentNotCertified);
        if !certified || header.round <= parent.round {
            return Err(Reject::UnsafeExtension);
        }
        let payload = match header.is_empty() {
            true => Payload::Ready,
            false => payload,
        };
        if self.nodes.contains_key(&id) {
            return Ok(false);
        }
        self.nodes.insert(id, Node { block, payload });
        Ok(true)
    }

    /// Sets what became of a block's batches; false if the block is unknown or it was known already.
    pub(crate) fn set_payload(&mut self, id: BlockId, payload: Payload) -> bool {
        match self.nodes.get_mut(&id) {
            Some(node) if node.payload == Payload::Awaited => {
                node.payload = payload;
                true
            }
            _ => false,
        }
    }

    /// Keeps a block that a certificate vouches for until its parent is known.
    pub(crate) fn keep_orphan(&mut self, id: BlockId, block: Block) {
        if self.orphans.len() >= MAX_ORPHANS {
            // The highest is the one whose ancestors will be asked for again anyway.
            let highest = self
                .orphans
                .iter()
                .max_by_key(|(_, orphan)| orphan.header.height)
                .map(|(id, _)| *id);
            if let Some(highest) = highest {
                self.orphans.remove(&highest);
            }
        }
        self.orphans.insert(id, block);
    }

    pub(crate) fn is_orphan(&self, id: BlockId) -> bool {
        self.orphans.contains_key(&id)
    }

    /// Takes the orphans whose parent is known by now, lowest first.
    pub(crate) fn adoptable(&mut self) -> Vec<(BlockId, Block)> {
        let mut ids: Vec<(Height, BlockId)> = self
            .orphans
            .iter()
            .filter(|(_, block)| self.header(block.header.parent).is_some())
            .map(|(id, block)| (block.header.height, *id))
            .collect();
        ids.sort_unstable();
        ids.into_iter()
            .filter_map(|(_, id)| self.orphans.remove(&id).map(|block| (id, block)))
            .collect()
    }

    /// Parents that the orphans miss, with who signed for each.
    pub(crate) fn missing_parents(&self) -> impl Iterator<Item = (BlockId, Signers)> {
        self.orphans
            .values()
            .map(|block| (block.header.parent, block.header.justify.signers))
            .filter(|(parent, _)| !self.is_orphan(*parent) && self.header(*parent).is_none())
    }

    /// Of a block that is certified and its ancestors, the highest that is neither in the tree nor among the orphans, with who
    /// signed for it.
    pub(crate) fn first_missing(
        &self,
        mut id: BlockId,
        mut signers: Signers,
    ) -> Option<(BlockId, Signers)> {
        while let Some(orphan) = self.orphans.get(&id) {
            (id, signers) = (orphan.header.parent, orphan.header.justify.signers);
        }
        self.header(id).is_none().then_some((id, signers))
    }

    /// Makes a block above the root the new root, and yields the blocks up to it, oldest first.
    pub(crate) fn commit(&mut self, id: BlockId) -> Vec<Block> {
        let mut path: Vec<BlockId> = Vec::new();
        let mut next = id;
        while let Some(node) = self.nodes.get(&next) {
            path.push(next);
            next = node.block.header.parent;
        }
        assert_eq!(next, self.root_id(), "I4: the branch starts at the root");
        let mut blocks = Vec::with_capacity(path.len());
        for id in path.into_iter().rev() {
            let node = self.nodes.remove(&id).expect("on the path");
            let header = node.block.header.clone();
            assert_eq!(header.height, self.root().height.next(), "I4: no gap");
            assert_eq!(
                header.parent,
                self.root_id(),
                "I4: each parent's hash matches"
            );
            self.committed.push_back((id, header));
            blocks.push(node.block);
        }
        self.prune();
        if mutant(Mutant::AncestorsNewestFirst) {
            blocks.reverse();
        }
        blocks
    }

    /// Puts the root where a synchronised ledger ends.
    pub(crate) fn replace(&mut self, committed: Vec<Header>) {
        self.committed = committed
            .into_iter()
            .map(|header| (header.id(), header))
            .collect();
        for (below, above) in self.committed.iter().zip(self.committed.iter().skip(1)) {
            assert_eq!(above.1.parent, below.0, "I4: each parent's hash matches");
            assert_eq!(above.1.height, below.1.height.next(), "I4: no gap");
        }
        self.prune();
    }

    /// Drops what does not descend from the root, and headers beyond those to keep.
    fn prune(&mut self) {
        while self.committed.len() > self.keep {
            self.committed.pop_front();
        }
        let root = self.root_id();
        let height = self.root().height;
        let mut ids: Vec<(Height, BlockId)> = self
            .nodes
            .iter()
            .map(|(id, node)| (node.block.header.height, *id))
            .collect();
        ids.sort_unstable();
        let mut kept = BTreeSet::from([root]);
        for (_, id) in ids {
            if kept.contains(&self.nodes[&id].block.header.parent) {
                kept.insert(id);
            } else {
                self.nodes.remove(&id);
            }
        }
        self.orphans.retain(|_, block| block.header.height > height);
    }

    /// Keeps the tree within its bound: drops the leaf of the lowest round that `spare` does not protect.
    pub(crate) fn evict(&mut self, spare: impl Fn(BlockId, &Header) -> bool) {
        while self.nodes.len() > MAX_TREE_BLOCKS {
            let parents: BTreeSet<BlockId> =
                self.nodes.values().map(|n| n.block.header.parent).collect();
            let victim = self
                .nodes
                .iter()
                .filter(|(id, node)| !parents.contains(*id) && !spare(**id, &node.block.header))
                .min_by_key(|(_, node)| node.block.header.round)
                .map(|(id, _)| *id);
            match victim {
                Some(id) => self.nodes.remove(&id),
                None => break,
            };
        }
    }
}
