//! Doubles what leaves its replica.
//!
//! Its proposals come in two versions, to different halves of the others; it votes and commit-votes for both, and now and
//! then for a block that does not exist.

use std::collections::BTreeMap;

use quorate_consensus::Target;
use quorate_crypto::{Domain, hash};
use quorate_types::vote::Signable;
use quorate_types::{BlockId, CommitVote, Message, Proposal, Round, Vote};

use super::{Adversary, Stage};
use crate::rng::Rng;

/// Chance that it behaves, for one message.
const HONEST: u64 = 300;
/// Chance that everybody gets both versions.
const BOTH: u64 = 200;

/// The liar.
#[derive(Debug)]
pub(super) struct Equivocator {
    rng: Rng,
    /// The other version of a block that it proposed, by round.
    twins: BTreeMap<Round, BlockId>,
}

impl Adversary for Equivocator {
    fn send(&mut self, stage: &mut Stage<'_>, to: Target, message: Message) {
        let twin = match &message {
            _ if self.rng.chance(HONEST) => None,
            Message::Proposal(proposal) => {
                stage.acted("equivocations");
                Some(Message::Proposal(Box::new(self.twin(stage, proposal))))
            }
            Message::Vote(vote) => {
                stage.acted("double votes");
                Some(self.second_vote(stage, vote))
            }
            Message::CommitVote(vote) => {
                stage.acted("double votes");
                Some(self.second_commit_vote(stage, vote))
            }
            _ => None,
        };
        match twin {
            Some(twin) => self.split(stage, to, &message, &twin),
            None => stage.pass(to, &message),
        }
    }
}

impl Equivocator {
    pub(super) fn new(rng: Rng) -> Equivocator {
        Equivocator {
            rng,
            twins: BTreeMap::new(),
        }
    }

    fn split(&mut self, stage: &mut Stage<'_>, to: Target, first: &Message, second: &Message) {
        let mut receivers = stage.receivers(to);
        self.rng.shuffle(&mut receivers);
        let both = self.rng.chance(BOTH);
        let half = receivers.len().div_ceil(2);
        for (place, to) in receivers.into_iter().enumerate() {
            if both || place < half {
                stage.send(to, first);
            }
            if both || place >= half {
                stage.send(to, second);
            }
        }
    }

    /// The same proposal with another time, and so another block.
    fn twin(&mut self, stage: &Stage<'_>, proposal: &Proposal) -> Proposal {
        let mut twin = proposal.clone();
        let header = &mut twin.block.header;
        header.time = header.time.plus_nanos(1);
        if !header.is_empty() && self.rng.chance(500) {
            // Another payload: none.
            twin.block.batches.clear();
            twin.inline.clear();
            header.payload = quorate_types::Block::payload_root(&[]);
        }
        let round = header.round;
        let twin = twin
            .sign(stage.chain(), stage.signer(stage.me))
            .into_inner();
        self.twins.insert(round, twin.block.id());
        twin
    }

    /// Its own other block if it led the round, otherwise one that is nowhere.
    fn other(&self, round: Round, block: BlockId) -> BlockId {
        let nowhere = || BlockId(hash(Domain::Header, &[block.as_bytes()]));
        self.twins.get(&round).copied().unwrap_or_else(nowhere)
    }

    fn second_vote(&self, stage: &Stage<'_>, vote: &Vote) -> Message {
        let block = self.other(vote.round, vote.block);
        let vote = Vote {
            block,
            ..vote.clone()
        };
        let signed = vote.sign(stage.chain(), stage.signer(stage.me));
        Message::Vote(signed.into_inner())
    }

    fn second_commit_vote(&self, stage: &Stage<'_>, vote: &CommitVote) -> Message {
        let block = self.other(vote.round, vote.block);
        let vote = CommitVote {
            block,
            ..vote.clone()
        };
        let signed = vote.sign(stage.chain(), stage.signer(stage.me));
        Message::CommitVote(signed.into_inner())
    }
}
