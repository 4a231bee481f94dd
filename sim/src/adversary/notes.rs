//! What an adversary remembers of what it saw, and proposals made of it from nothing.

use std::collections::{BTreeMap, VecDeque};

use quorate_storage::ledger;
use quorate_types::vote::Signable;
use quorate_types::{Batch, Block, BlockId, BlockTime, FORMAT_VERSION, Header, Justify, Message};
use quorate_types::{Proposal, Qc, Round, Signature, Tc, Timeout, ValidatorIndex, Vote};

use super::Stage;
use crate::check::leaders::Leaders;
use crate::node::START;

/// Of each kind, at most.
const KEPT: usize = 48;

/// In place of a signature.
pub(super) const UNSIGNED: Signature = Signature::from_bytes([0; 64]);

/// Everything that may come in useful.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) headers: BTreeMap<BlockId, Header>,
    pub(super) qcs: BTreeMap<Round, Qc>,
    pub(super) tcs: BTreeMap<Round, Tc>,
    pub(super) timeouts: BTreeMap<(Round, ValidatorIndex), Timeout>,
    pub(super) votes: VecDeque<Vote>,
    pub(super) batches: VecDeque<Batch>,
}

/// Which validator a node is.
pub(super) fn identity(stage: &Stage<'_>, node: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(stage.identities[node]).expect("a small world"))
}

impl Notes {
    /// Notes what a message holds.
    pub(super) fn note(&mut self, message: &Message) {
        match message {
            Message::Proposal(p) => {
                self.headers.insert(p.block.id(), p.block.header.clone());
                self.qc(&p.qc);
                p.tc.iter().for_each(|tc| self.tc(tc));
                p.inline.iter().for_each(|batch| self.batch(batch));
            }
            Message::Vote(vote) => self.votes.push_back(vote.clone()),
            Message::Timeout(timeout) => {
                self.qc(&timeout.high_qc);
                timeout.entry_tc.iter().for_each(|tc| self.tc(tc));
                let key = (timeout.round, timeout.voter);
                self.timeouts.insert(key, timeout.as_ref().clone());
            }
            Message::Qc(qc) => self.qc(qc),
            Message::Tc(tc) => self.tc(tc),
            Message::Finality(finality) => self.qc(&finality.qc),
            Message::Batch(batch) => self.batch(batch),
            _ => {}
        }
        self.forget();
    }

    fn qc(&mut self, qc: &Qc) {
        if qc.round.number > 0 {
            self.qcs.insert(qc.round, qc.clone());
        }
    }

    fn tc(&mut self, tc: &Tc) {
        self.qc(&tc.high_qc);
        self.tcs.insert(tc.round, tc.clone());
    }

    fn batch(&mut self, batch: &Batch) {
        self.batches.push_back(batch.clone());
    }

    fn forget(&mut self) {
        while self.headers.len() > KEPT {
            let lowest = self.headers.iter().min_by_key(|(_, header)| header.round);
            let lowest = lowest.map(|(id, _)| *id).expect("not empty");
            self.headers.remove(&lowest);
        }
        while self.qcs.len() > KEPT {
            self.qcs.pop_first();
        }
        while self.tcs.len() > KEPT {
            self.tcs.pop_first();
        }
        while self.timeouts.len() > KEPT {
            self.timeouts.pop_first();
        }
        self.votes.drain(..self.votes.len().saturating_sub(KEPT));
        self.batches
            .drain(..self.batches.len().saturating_sub(KEPT / 4));
    }

    /// The highest certificate seen.
    pub(super) fn high_qc(&self) -> Option<&Qc> {
        self.qcs.last_key_value().map(|(_, qc)| qc)
    }

    /// The round that the highest certificates enter.
    pub(super) fn round(&self, stage: &Stage<'_>) -> Round {
        let first = Round::new(stage.validators.epoch(), 0);
        let qc = self.qcs.last_key_value().map_or(first, |(round, _)| *round);
        let tc = self.tcs.last_key_value().map_or(first, |(round, _)| *round);
        qc.max(tc).next()
    }

    /// A certificate some way below the highest, if one was seen.
    pub(super) fn old_qc(&self, back: usize) -> Option<&Qc> {
        self.qcs.values().rev().nth(back)
    }

    pub(super) fn header(&self, stage: &Stage<'_>, id: BlockId) -> Option<Header> {
        let stored = || ledger::block_by_id(stage.store, id).ok().flatten();
        let known = self.headers.get(&id).cloned();
        known.or_else(|| stored().map(|block| block.header))
    }

    /// A block's header and those below it, newest first, as far as elections look.
    pub(super) fn branch(&self, stage: &Stage<'_>, id: BlockId) -> Vec<Header> {
        let mut branch = Vec::new();
        let mut next = id;
        while let Some(header) = self.header(stage, next) {
            next = header.parent;
            branch.push(header);
            if branch.len() > 2 * stage.validators.count() {
                break;
            }
        }
        branch
    }

    /// Whom the branch of a block elects.
    pub(super) fn elected(&self, stage: &Stage<'_>, id: BlockId) -> ValidatorIndex {
        Leaders::new(stage.validators).elected(&self.branch(stage, id))
    }

    /// An empty block on top of the one that is certified, well formed in everything but what the caller makes of it.
    pub(super) fn compose(
        &self,
        stage: &Stage<'_>,
        round: Round,
        qc: &Qc,
        tc: Option<&Tc>,
    ) -> Option<Proposal> {
        let parent = self.header(stage, qc.block)?;
        let skips = qc.round.next() != round;
        let header = Header {
            version: FORMAT_VERSION,
            round,
            height: parent.height.next(),
            parent: qc.block,
            justify: Justify {
                round: qc.round,
                block: qc.block,
                signers: qc.signers,
            },
            tc: tc.map(Tc::digest),
            failed: skips.then(|| self.elected(stage, qc.block)),
            proposer: identity(stage, stage.me),
            payload: Block::payload_root(&[]),
            claim: parent.claim,
            time: parent.time.plus_nanos(1).max(BlockTime(START + stage.now)),
            next_validators: None,
        };
        let block = Block {
            header,
            batches: Vec::new(),
        };
        Some(Proposal {
            block,
            inline: Vec::new(),
            qc: qc.clone(),
            tc: tc.cloned(),
            finality: None,
            signature: UNSIGNED,
        })
    }
}

/// Signs with the adversary's own key.
pub(super) fn sign<T: Signable>(stage: &Stage<'_>, item: T) -> T {
    item.sign(stage.chain(), stage.signer(stage.me))
        .into_inner()
}

/// Signs a proposal, and makes a message of it.
pub(super) fn propose(stage: &Stage<'_>, proposal: Proposal) -> Message {
    Message::Proposal(Box::new(sign(stage, proposal)))
}
