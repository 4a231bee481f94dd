//! Proposing: when, on top of what, and with which header. L1–L4; V5 and V6 from the leader's side.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use quorate_types::{Batch, BatchId, Block, BlockId, Entry, FORMAT_VERSION, Finality, Header};
use quorate_types::{Justify, Now, Qc, Round, Tc, ValidatorIndex};

use super::Engine;
use crate::safety::{Authorised, Draft};
use crate::{Effect, ProposeRequest};

/// A proposal without its payload, as it was when the replica was asked.
#[derive(Debug)]
pub(super) struct Plan {
    header: Header,
    qc: Qc,
    tc: Option<Tc>,
    must_be_empty: bool,
}

impl Engine {
    /// The leader for the evidence that entered the round.
    pub(super) fn leader(&self) -> Option<ValidatorIndex> {
        match self.safety.entry() {
            Entry::Tc(tc) => Some(self.election.rotating(tc.round.next())),
            Entry::Qc(qc) => self.elected(qc.block),
        }
    }

    /// L1: the leader of the round after a block, if the block is known.
    fn elected(&self, block: BlockId) -> Option<ValidatorIndex> {
        self.tree.header(block)?;
        // The same branch elects the same leader, and is asked at each step.
        if let Some((of, leader)) = self.elected.get()
            && of == block
        {
            return Some(leader);
        }
        let leader = self.election.elected(self.tree.branch(block));
        self.elected.set(Some((block, leader)));
        Some(leader)
    }

    /// Asks for a payload on the first evidence that makes this validator the leader of the round.
    pub(super) fn try_propose(&mut self, now: Now) {
        let Some(me) = self.safety.signer() else {
            return;
        };
        if !self.safety.may_propose() || self.plan.is_some() {
            return;
        }
        let Some(tc) = self.evidence(me) else {
            return;
        };
        if tc.is_none() && (self.waits_for_work(now) || self.lingers(now) || self.gathers(now)) {
            return;
        }
        self.pacemaker.end_wait(now.monotonic);
        let plan = self.plan(now, me, tc);
        let parent = plan.header.parent;
        let batches = self.tree.uncommitted(parent).flat_map(|n| &n.block.batches);
        let exclude: BTreeSet<BatchId> = batches.copied().collect();
        self.out.push(Effect::Propose(ProposeRequest {
            round: plan.header.round,
            height: plan.header.height,
            time: plan.header.time,
            must_be_empty: plan.must_be_empty,
            exclude: exclude.into_iter().collect(),
        }));
        self.plan = Some(plan);
    }

    /// What makes this validator the leader: the QC of the round before (no TC attached, L1), or the TC of it (L2).
    /// `None` if nothing does, or if the block to extend is unknown.
    fn evidence(&self, me: ValidatorIndex) -> Option<Option<Tc>> {
        let (round, high_qc) = (self.safety.round(), self.safety.high_qc());
        let elected = self.elected(high_qc.block)?;
        if high_qc.round.next() == round && elected == me {
            return Some(None);
        }
        match self.safety.entry() {
            Entry::Tc(tc) if self.election.rotating(round) == me => Some(Some(tc.clone())),
            _ => None,
        }
    }

    /// L3: nothing to order, and no execution to claim.
    fn waits_for_work(&self, now: Now) -> bool {
        let parent = self.tree.header(self.safety.high_qc().block);
        let unclaimed = parent.is_some_and(|parent| self.execution.has_unclaimed(&parent.claim));
        self.pacemaker.waits(now.monotonic) && !self.work && !unclaimed
    }

    /// L3: a block that would be empty can wait a moment. It may then carry the claim of its parent's execution, which
    /// spares another empty block, or what clients send when they hear of the parent.
    fn lingers(&mut self, now: Now) -> bool {
        !self.work && self.pacemaker.lingers(now.monotonic)
    }

    /// L4: the parent's commit votes are on their way. What arrives until they are here and the parent is executed, of what
    /// clients send on hearing of the commit before, goes into this block instead of the next. After a TC there is none to
    /// wait for: by C2 those who gave up the parent's round give no commit vote in it.
    fn gathers(&mut self, now: Now) -> bool {
        let parent = self.safety.high_qc().block;
        let orders = |header: &Header| !header.is_empty();
        let may = self.work
            && matches!(self.safety.entry(), Entry::Qc(_))
            && self.tree.header(parent).is_some_and(orders);
        may && match parent == self.tree.root_id() {
            true => self.pacemaker.awaits_next_turn(),
            false => self.pacemaker.gathers(now.monotonic),
        }
    }

    fn plan(&self, now: Now, me: ValidatorIndex, tc: Option<Tc>) -> Plan {
        let round = self.safety.round();
        let qc = self.safety.high_qc().clone();
        let parent = self.tree.header(qc.block);
        let parent = parent.expect("the leader was elected on its branch");
        let claim = self.execution.claim(&parent.claim, self.tree.root().height);
        let height = parent.height.next();
        let skips = qc.round.next() != round;
        let header = Header {
            version: FORMAT_VERSION,
            round,
            height,
            parent: qc.block,
            justify: Justify {
                round: qc.round,
                block: qc.block,
                signers: qc.signers,
            },
            tc: tc.as_ref().map(Tc::digest),
            failed: self.elected(qc.block).filter(|_| skips),
            proposer: me,
            payload: Block::payload_root(&[]),
            claim,
            time: now.wall.max(parent.time.plus_nanos(1)),
            next_validators: None,
        };
        let lag = height.above(claim.height);
        Plan {
            header,
            qc,
            tc,
            must_be_empty: lag > self.parameters.max_execution_lag, // V6
        }
    }

    pub(super) fn on_payload(
        &mut self,
        now: Now,
        round: Round,
        batches: Vec<BatchId>,
        inline: Vec<Batch>,
    ) {
        let planned = self.plan.take_if(|plan| plan.header.round == round);
        let Some(plan) = planned else {
            return; // the round was left in the meantime
        };
        if batches.is_empty() && plan.tc.is_none() && !plan.must_be_empty {
            // The work was that of the block which has just got its certificate.
            self.work = false;
            if self.lingers(now) {
                return;
            }
        }
        let fits = batches.is_empty() || !plan.must_be_empty;
        assert!(fits, "V6: an empty list was asked for");
        let most = usize::try_from(self.parameters.max_block_batches).unwrap_or(usize::MAX);
        assert!(batches.len() <= most, "I9: a block's batches are bounded");
        let mut header = plan.header;
        header.payload = Block::payload_root(&batches);
        let block = Block { header, batches };
        assert_eq!(block.check_payload(), Ok(()), "the batches are distinct");
        let highest = self.pending.as_ref().unwrap_or(&self.finality);
        let anchor = self.validators.anchor_qc().round;
        let finality = (highest.cc.round > anchor).then(|| Finality::clone(highest));
        let draft = Draft {
            block: block.clone(),
            inline,
            qc: plan.qc,
            tc: plan.tc,
            finality,
        };
        if let Some(proposal) = self.safety.propose(draft) {
            // The leader's own vote needs the same on its disk as its proposal (P1, P2): one write for both.
            self.consider(block.id(), block);
            let proposal = Authorised::Proposal(Box::new(proposal));
            self.out.push(Effect::Sign(proposal));
        }
    }
}
