//! A validator's replica, in small: it makes durable, signs, sends, orders, fetches and executes what its engine says.

use std::collections::BTreeSet;

use quorate_consensus::{Approved, Authorised, Effect, Event, Target, committed_headers};
use quorate_types::vote::Signable;
use quorate_types::{
    BatchId, Block, BlockId, Evidence, Finality, Height, Message, Proposal, ValidatorIndex,
    Verified,
};

use super::World;
use super::chain::{digest, execute, now};
use super::invariants::assert_recorded;
use super::network::Packet;

impl World {
    pub(crate) fn step(&mut self, i: usize, event: Event) {
        let effects = self.nodes[i].engine.step(now(self.time), event);
        self.apply(i, effects);
        self.update_work(i);
    }

    /// One turn of the replica: first the disk, then the rest.
    pub(super) fn apply(&mut self, i: usize, effects: Vec<Effect>) {
        let saves = effects.iter().filter(|e| matches!(e, Effect::Save(_)));
        assert!(saves.count() <= 1, "one Save a step");
        for effect in &effects {
            match effect {
                Effect::Save(record) => self.nodes[i].disk.record = Some(record.clone()),
                Effect::Store(block) => {
                    let node = &mut self.nodes[i];
                    node.ordered.extend(&block.batches);
                    node.disk.blocks.insert(block.id(), block.clone());
                }
                _ => {}
            }
        }
        for effect in effects {
            self.act(i, effect);
        }
    }

    fn act(&mut self, i: usize, effect: Effect) {
        match effect {
            Effect::Save(_) | Effect::Store(_) => {}
            Effect::Sign(authorised) => self.sign(i, authorised),
            Effect::Send { to, message } => match to {
                Target::All => {
                    for to in (0..self.n()).filter(|to| *to != i) {
                        self.transmit(i, to, Packet::Message(i, Message::clone(&message)));
                    }
                }
                Target::One(to) => self.transmit(i, to.as_usize(), Packet::Message(i, *message)),
            },
            Effect::CheckPayload(block) => {
                if !self.starved.contains(&i) {
                    self.give(i, Event::PayloadReady(block.id()));
                }
            }
            Effect::Propose(request) => {
                let exclude: BTreeSet<BatchId> = request.exclude.into_iter().collect();
                let mut batches: Vec<BatchId> =
                    self.nodes[i].pool.difference(&exclude).copied().collect();
                let most = usize::try_from(self.chain.parameters.max_block_batches).unwrap();
                batches.truncate(if request.must_be_empty { 0 } else { most });
                self.step(
                    i,
                    Event::Payload {
                        round: request.round,
                        batches,
                        inline: Vec::new(),
                    },
                );
            }
            Effect::Fetch { block, from } => self.fetch(i, block, from.iter().collect()),
            Effect::Behind { height, .. } => self.synchronise(i, height),
            Effect::Commit { blocks, finality } => {
                self.commit(i, blocks, Finality::clone(&finality))
            }
            Effect::Evidence(evidence) => {
                self.nodes[i].evidence.push(Evidence::clone(&evidence));
            }
            Effect::Diverged { height, .. } => self.nodes[i].diverged.push(height),
            Effect::Passed(passed) => self.nodes[i].passed.push(passed),
            Effect::Twin { round } => self.nodes[i].twins.push(round),
            Effect::Refused { reject, .. } => self.nodes[i].refused.push(reject),
        }
    }

    fn sign(&mut self, i: usize, authorised: Authorised) {
        let key = &self.chain.keys[i];
        let id = self.chain.id();
        let event = match authorised {
            Authorised::Proposal(proposal) if self.equivocator == Some(i) => {
                return self.equivocate(i, *proposal);
            }
            Authorised::Proposal(proposal) => Event::Proposal(Box::new(proposal.sign(id, key))),
            Authorised::Vote(vote) => Event::Vote(vote.sign(id, key)),
            Authorised::CommitVote(vote) => Event::CommitVote(vote.sign(id, key)),
            Authorised::Timeout(timeout) => Event::Timeout(Box::new(timeout.sign(id, key))),
        };
        self.invariants.on_signed(i, &self.nodes[i].disk, &event);
        if let Event::Proposal(signed) = &event {
            let made = self.proposals.entry(signed.block.header.round);
            made.or_default().push(Verified::clone(signed));
        }
        self.broadcast(i, event);
    }

    /// Signs another block as well, and sends half of the others that one first.
    fn equivocate(&mut self, i: usize, proposal: Approved<Proposal>) {
        assert_recorded(&self.nodes[i].disk);
        let key = &self.chain.keys[i];
        let id = self.chain.id();
        let mut twin = proposal.peek().clone();
        let signed = proposal.sign(id, key);
        twin.block.header.time = twin.block.header.time.plus_nanos(1);
        let twin = Event::Proposal(Box::new(twin.sign(id, key)));
        let signed = Event::Proposal(Box::new(signed));
        self.give(i, signed.clone());
        for to in (0..self.n()).filter(|to| *to != i) {
            let (first, second) = match to % 2 {
                0 => (signed.clone(), twin.clone()),
                _ => (twin.clone(), signed.clone()),
            };
            self.transmit(i, to, Packet::Event(first));
            if to < 2 {
                self.transmit(i, to, Packet::Event(second));
            }
        }
    }

    fn commit(&mut self, i: usize, blocks: Vec<Block>, finality: Finality) {
        let time = self.time;
        for block in blocks {
            let (height, id) = (block.header.height, block.id());
            self.invariants.on_commit(&self.nodes[i].disk, &block);
            let node = &mut self.nodes[i];
            node.disk.committed.push(block.header.clone());
            node.disk.ledger.push(block.clone());
            node.disk.blocks.remove(&id);
            node.commits.push(time);
            for batch in &block.batches {
                node.pool.remove(batch);
            }
            let mut roots = execute(*node.disk.roots.last().unwrap(), &block);
            if node.corrupt {
                roots.state = digest(b"corrupt");
            }
            node.disk.roots.push(roots);
            let empty = block.header.is_empty();
            if !empty {
                node.disk.nonempty = height;
            }
            self.give(
                i,
                Event::Executed {
                    height,
                    roots,
                    empty,
                },
            );
        }
        let node = &mut self.nodes[i];
        node.disk
            .finalities
            .insert(finality.cc.height, finality.clone());
        node.disk.finality = finality;
    }

    /// The first other node that has the block sends it with its ancestors.
    fn fetch(&mut self, i: usize, block: BlockId, from: Vec<ValidatorIndex>) {
        let holder = from.iter().map(|v| v.as_usize()).find(|&other| {
            other != i
                && self.nodes[other].up
                && !self.cut.contains(&(other, i))
                && self.block(other, block).is_some()
        });
        let Some(holder) = holder else { return };
        let above = self.nodes[i].engine.status().committed;
        let mut blocks = Vec::new();
        let mut next = block;
        while let Some(block) = self.block(holder, next).filter(|b| b.header.height > above) {
            next = block.header.parent;
            blocks.push(block);
        }
        let at = self.time + 2 * self.delay.0;
        self.push(at, i, Packet::Event(Event::Blocks(blocks)));
    }

    fn block(&self, i: usize, id: BlockId) -> Option<Block> {
        let disk = &self.nodes[i].disk;
        let committed = disk.ledger.iter().rev().find(|block| block.id() == id);
        disk.blocks.get(&id).or(committed).cloned()
    }

    /// Copies the ledger of the node that is furthest.
    fn synchronise(&mut self, i: usize, _height: Height) {
        let best = (0..self.n())
            .max_by_key(|j| self.nodes[*j].disk.ledger.len())
            .unwrap();
        let finality = self.nodes[best].disk.finality.clone();
        let have = self.nodes[i].disk.ledger.len();
        let missing: Vec<Block> = self.nodes[best].disk.ledger[have..].to_vec();
        self.commit(i, missing, finality.clone());
        let keep = committed_headers(&self.chain.validators);
        let committed = &self.nodes[i].disk.committed;
        let headers = committed[committed.len().saturating_sub(keep)..].to_vec();
        let finality = quorate_types::Unverified::new(finality)
            .verify(&self.chain.validators)
            .unwrap();
        self.give(
            i,
            Event::Synced {
                headers,
                finality: Box::new(finality),
            },
        );
    }

    /// A transaction reaches every mempool.
    pub(crate) fn submit(&mut self, batch: BatchId) {
        for i in 0..self.n() {
            self.nodes[i].pool.insert(batch);
            self.update_work(i);
        }
    }

    pub(super) fn update_work(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        // What was ordered by a block that did not make it is work again.
        let live: BTreeSet<BatchId> = node
            .disk
            .blocks
            .values()
            .flat_map(|b| b.batches.clone())
            .collect();
        node.ordered.retain(|batch| live.contains(batch));
        let work = node.pool.difference(&node.ordered).next().is_some();
        if work != node.work {
            node.work = work;
            self.give(i, Event::Work(work));
        }
    }
}
