//! Proposals, votes and commit votes: V1–V6, C1–C3.

use alloc::boxed::Box;
use alloc::vec::Vec;

use quorate_mutants::{Mutant, mutant};
use quorate_types::{Block, BlockId, Now, Proposal, Reject, ValidatorIndex, Verified};

use super::Engine;
use crate::Effect;
use crate::safety::Authorised;
use crate::tree::Payload;
use crate::validate::{Refusal, Wait};
use crate::votes::Tallied;

impl Engine {
    pub(super) fn on_proposal(&mut self, now: Now, proposal: Box<Verified<Proposal>>) {
        self.witness_proposal(&proposal);
        // A1: what it carries counts, whatever becomes of the proposal itself.
        if let Some(finality) = proposal.finality() {
            self.on_finality(now, finality);
        }
        self.on_qc(now, proposal.qc());
        if let Some(tc) = proposal.tc() {
            self.on_tc(now, tc);
        }
        self.try_commit(now);
        let header = &proposal.block.header;
        let (round, proposer) = (header.round, header.proposer);
        if round <= self.tree.root().round {
            return;
        }
        let id = proposal.block.id();
        match self.tally.proposal(self.safety.round(), &proposal, id) {
            Tallied::Counted => {}
            Tallied::Conflict(evidence) => {
                self.out.push(Effect::Evidence(evidence));
                return self.refuse(Some(proposer), Reject::Duplicate);
            }
            Tallied::Ignored | Tallied::Quorum(_) => return,
        }
        if Some(proposer) == self.me() && self.safety.signed_since_start(round) {
            self.own.proposal = Some(proposal.clone());
        }
        let block = proposal.into_inner().block;
        if self.tree.header(block.header.parent).is_some() {
            self.consider(id, block);
        } else if block.header.justify.round <= self.tree.root().round {
            // Its parent lies below the root or beside it, and no correct leader extends that any more.
            self.refuse(Some(proposer), Reject::UnsafeExtension);
        } else if round == self.safety.round() {
            self.parentless.insert(proposer, block);
        }
    }

    /// Takes up proposals whose parent has arrived.
    pub(super) fn adopt_parentless(&mut self) {
        let known: Vec<ValidatorIndex> = self
            .parentless
            .iter()
            .filter(|(_, block)| self.tree.header(block.header.parent).is_some())
            .map(|(proposer, _)| *proposer)
            .collect();
        for proposer in known {
            if let Some(block) = self.parentless.remove(&proposer) {
                self.consider(block.id(), block);
            }
        }
    }

    /// A proposed block with a known parent goes into the tree, and may be voted for if it is of the current round.
    pub(super) fn consider(&mut self, id: BlockId, block: Block) {
        let (round, proposer) = (block.header.round, block.header.proposer);
        if let Err(reject) = self.judge().structure(&block) {
            return self.refuse(Some(proposer), reject);
        }
        self.insert(id, block);
        if round == self.safety.round() && !self.candidates.contains(&id) {
            self.candidates.push(id);
        }
    }

    /// Adds a block to the tree, and has it stored and its payload looked after (P1, V4).
    pub(super) fn insert(&mut self, id: BlockId, block: Block) {
        let (parent, proposer) = (block.header.parent, block.header.proposer);
        match self.tree.insert(id, block.clone(), Payload::Awaited) {
            Ok(true) => {}
            Ok(false) => return,
            Err(reject) => return self.refuse(Some(proposer), reject),
        }
        self.asked.blocks.remove(&id);
        let check = (!block.header.is_empty()).then(|| block.clone());
        self.out.push(Effect::Store(block));
        self.out.extend(check.map(Effect::CheckPayload));
        // Whatever has a child in the tree was certified; and this block may have been as well.
        self.note_certified(parent);
        if self.qcs.values().any(|qc| qc.block == id) {
            self.note_certified(id);
        }
        let (high_qc, voted) = (self.safety.high_qc().block, self.safety.last_voted());
        let qcs = &self.qcs;
        self.tree.evict(|id, header| {
            id == high_qc || header.round >= voted || qcs.contains_key(&header.round)
        });
    }

    pub(super) fn on_payload_ready(&mut self, block: BlockId) {
        self.tree.set_payload(block, Payload::Ready);
    }

    pub(super) fn on_payload_invalid(&mut self, now: Now, block: BlockId) {
        if !self.tree.set_payload(block, Payload::Invalid) {
            return;
        }
        let proposer = self.tree.header(block).map(|header| header.proposer);
        self.refuse(proposer, Reject::BadPayload);
        let hopeless = self.candidates == [block];
        self.candidates.retain(|id| *id != block);
        // T1: what the leader signed is provably invalid. Not if we have voted, nor while another leader may do better.
        if hopeless && self.safety.may_vote() {
            self.give_up(now);
        }
    }

    /// V1–V6 for each block of the current round: the first that passes gets the vote.
    pub(super) fn try_vote(&mut self, now: Now) {
        if !self.safety.may_vote() {
            return;
        }
        for id in self.candidates.clone() {
            match self.judge().votable(id, now.wall) {
                Ok(votable) => {
                    if let Some(vote) = self.safety.vote(&votable) {
                        self.out.push(Effect::Sign(Authorised::Vote(vote)));
                        return;
                    }
                }
                Err(Refusal::NotYet(Wait::Clock(at))) => {
                    let wait = at.0.saturating_sub(now.wall.0).max(1);
                    let wake = now.monotonic.plus_nanos(wait);
                    self.clock = Some(self.clock.map_or(wake, |clock| clock.min(wake)));
                }
                Err(Refusal::NotYet(Wait::Payload | Wait::Execution)) => {}
                Err(Refusal::Never(reject)) => {
                    self.candidates.retain(|candidate| *candidate != id);
                    let proposer = self.tree.header(id).map(|header| header.proposer);
                    self.refuse(proposer, reject);
                }
            }
        }
    }

    /// C1–C3 for each certified block that has none yet, lowest first.
    pub(super) fn try_commit_votes(&mut self) {
        let signed = self.safety.last_committed();
        let mut above = signed.max(self.safety.highest_timeout());
        if mutant(Mutant::CommitVoteAfterTimeout) {
            above = signed;
        }
        for qc in self.qcs.range(above.next()..).map(|(_, qc)| qc) {
            let Some(held) = self.tree.held(qc.block) else {
                continue;
            };
            if let Some(vote) = self.safety.commit_vote(qc, &held) {
                self.out.push(Effect::Sign(Authorised::CommitVote(vote)));
            }
        }
    }
}
