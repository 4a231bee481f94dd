//! Proposes blocks that break a rule, and says nothing of it.

use quorate_consensus::Target;
use quorate_types::{BatchId, Block, BlockId, Message, Proposal, Tc};

use super::notes::{Notes, identity, propose};
use super::{Adversary, Stage};
use crate::check::leaders::Leaders;
use crate::rng::Rng;

/// What is wrong with its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// They extend an older certificate than their TC allows (V2).
    OldParent,
    /// They skip rounds without a TC (V2).
    Gap,
    /// The TC that they attach is of an earlier round than the one before (V2).
    StaleTc,
    /// Their parent is not the block that their certificate certifies (V2).
    OtherParent,
    /// Another one leads (V1).
    OtherLeader,
    /// They claim a state that execution did not lead to (V5).
    Claim,
    /// Their time lies ahead, or behind (V1).
    Time,
    /// They order batches that there are not (V4).
    Ghosts,
}

#[derive(Debug)]
pub(super) struct Proposer {
    how: How,
    rng: Rng,
    notes: Notes,
    proposed: u64,
}

impl Proposer {
    pub(super) fn new(how: How, rng: Rng) -> Proposer {
        Proposer {
            how,
            rng,
            notes: Notes::default(),
            proposed: 0,
        }
    }

    /// What it sends instead of its replica's proposal.
    fn twist(&mut self, stage: &Stage<'_>, honest: &Proposal) -> Option<(&'static str, Proposal)> {
        let mut proposal = honest.clone();
        let header = &mut proposal.block.header;
        let what = match self.how {
            How::OldParent => {
                let tc = honest.tc.as_ref()?;
                let below = self.notes.qcs.range(..tc.high_qc.round).next_back()?.1;
                let lie = self.notes.compose(stage, header.round, below, Some(tc))?;
                return Some(("extended an old block", lie));
            }
            How::OtherParent => {
                let back = 1 + self.rng.index(3);
                let other = self.notes.old_qc(back)?.block;
                let parent = self.notes.header(stage, other)?;
                header.parent = other;
                header.height = parent.height.next();
                header.claim = parent.claim;
                let skips = header.justify.round.next() != header.round;
                header.failed = skips.then(|| self.notes.elected(stage, other));
                proposal.block.batches.clear();
                proposal.inline.clear();
                proposal.block.header.payload = Block::payload_root(&[]);
                "extended another block"
            }
            How::Claim => {
                match self.rng.index(3) {
                    0 => header.claim.roots.state = header.payload,
                    1 => header.claim.height = header.claim.height.next(),
                    _ => header.claim.roots.receipts = header.parent.0,
                }
                "claimed a wrong state"
            }
            How::Time => {
                let drift = stage.parameters.max_clock_drift_ns;
                let ahead = self.rng.pick(&[drift + drift / 4, 2 * drift, 1 << 60]);
                header.time = match self.rng.index(4) {
                    0 => self.notes.header(stage, header.parent)?.time,
                    _ => header.time.plus_nanos(ahead),
                };
                "lied about the time"
            }
            How::Ghosts => {
                let block = &mut proposal.block;
                for _ in 0..self.rng.between(1, 20) {
                    let salt = self.rng.draw().to_le_bytes();
                    let domain = quorate_crypto::Domain::Batch;
                    let ghost = quorate_crypto::hash(domain, &[&salt]);
                    block.batches.push(BatchId(ghost));
                }
                block.header.payload = Block::payload_root(&block.batches);
                "ordered ghosts"
            }
            How::Gap | How::StaleTc | How::OtherLeader => return None,
        };
        Some((what, proposal))
    }

    /// A proposal for a round that it does not lead, or not for the evidence that it has.
    fn uncalled(&mut self, stage: &Stage<'_>) -> Option<(&'static str, Proposal)> {
        let round = self.notes.round(stage);
        let qc = self.notes.high_qc()?.clone();
        let elected = self.notes.elected(stage, qc.block);
        let me = identity(stage, stage.me);
        if round.number <= self.proposed {
            return None;
        }
        let lie = match self.how {
            How::Gap if qc.round.next() != round && elected == me => {
                let lie = self.notes.compose(stage, round, &qc, None)?;
                ("skipped rounds without a TC", lie)
            }
            How::StaleTc if Leaders::new(stage.validators).rotating(round.number) == me => {
                let stale = |tc: &&Tc| tc.round.next() != round && tc.high_qc.round <= qc.round;
                let tc = self.notes.tcs.values().rev().find(stale)?;
                let lie = self.notes.compose(stage, round, &qc, Some(tc))?;
                ("attached an old TC", lie)
            }
            How::OtherLeader if elected != me => {
                let tc = self.notes.tcs.last_key_value().map(|(_, tc)| tc);
                let tc = tc.filter(|tc| tc.round.next() == round);
                (qc.round.next() == round || tc.is_some()).then_some(())?;
                let lie = self.notes.compose(stage, round, &qc, tc)?;
                ("took another's turn", lie)
            }
            _ => return None,
        };
        self.proposed = round.number;
        Some(lie)
    }
}

impl Adversary for Proposer {
    fn receive(&mut self, stage: &mut Stage<'_>, _: usize, message: &Message) -> bool {
        self.notes.note(message);
        if let Some((what, lie)) = self.uncalled(stage) {
            stage.acted(what);
            let lie = propose(stage, lie);
            self.notes.note(&lie);
            stage.pass(Target::All, &lie);
        }
        true
    }

    fn send(&mut self, stage: &mut Stage<'_>, to: Target, message: Message) {
        self.notes.note(&message);
        let lie = match &message {
            Message::Proposal(proposal) if self.rng.chance(700) => self.twist(stage, proposal),
            _ => None,
        };
        match lie {
            Some((what, lie)) => {
                stage.acted(what);
                let lie = propose(stage, lie);
                stage.pass(to, &lie);
            }
            None => stage.pass(to, &message),
        }
    }
}

/// A block that is nowhere.
pub(super) fn nowhere(salt: u64) -> BlockId {
    let domain = quorate_crypto::Domain::Header;
    BlockId(quorate_crypto::hash(domain, &[&salt.to_le_bytes()]))
}
