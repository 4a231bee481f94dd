//! Holds back what others wait for.

use quorate_consensus::Target;
use quorate_types::message::BatchResponse;
use quorate_types::{Block, Message};

use super::{Adversary, Stage, notes};
use crate::plan::{MILLISECOND, SECOND};
use crate::rng::Rng;

/// What is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Proposals.
    Proposals,
    /// Votes, commit votes and Timeouts.
    Votes,
    /// Batches: their digests are ordered, their content is nowhere.
    Batches,
    /// Answers to whoever misses something.
    Answers,
    /// Everything, from half of the others, a different half every second: a bridge that opens and closes.
    Half,
    /// Everything, from one of the others.
    Victim,
    /// Proposals, until it is almost too late.
    Late,
    /// Transactions: its blocks are empty.
    Transactions,
}

#[derive(Debug)]
pub(super) struct Silent {
    how: How,
    rng: Rng,
    salt: u64,
    held: Vec<(u64, Target, Message)>,
}

impl Silent {
    pub(super) fn new(how: How, mut rng: Rng) -> Silent {
        Silent {
            how,
            salt: rng.draw(),
            rng,
            held: Vec::new(),
        }
    }

    /// Sends to all but some.
    fn partly(&self, stage: &mut Stage<'_>, to: Target, message: &Message) {
        let second = stage.now / SECOND;
        let mut order: Vec<usize> = (0..stage.nodes).filter(|node| *node != stage.me).collect();
        let mut rng = match self.how {
            How::Victim => Rng::new(self.salt),
            _ => Rng::new(self.salt ^ second),
        };
        rng.shuffle(&mut order);
        let left_out = match self.how {
            How::Victim => 1,
            _ => order.len() / 2,
        };
        for receiver in stage.receivers(to) {
            if order[..left_out].contains(&receiver) {
                stage.acted(match self.how {
                    How::Victim => "shunned one",
                    _ => "told half only",
                });
            } else {
                stage.send(receiver, message);
            }
        }
    }
}

impl Adversary for Silent {
    fn send(&mut self, stage: &mut Stage<'_>, to: Target, message: Message) {
        match (self.how, message) {
            (How::Proposals, Message::Proposal(_)) => stage.acted("withheld a proposal"),
            (How::Votes, Message::Vote(_) | Message::CommitVote(_) | Message::Timeout(_)) => {
                stage.acted("withheld a vote");
            }
            (How::Batches, Message::Batch(_)) => stage.acted("withheld a batch"),
            (How::Batches, Message::BatchResponse(answer)) => {
                stage.acted("denied a batch");
                let held = answer.batches.iter().map(quorate_types::Batch::id);
                let answer = BatchResponse {
                    missing: answer.missing.iter().copied().chain(held).collect(),
                    batches: Vec::new(),
                };
                stage.pass(to, &Message::BatchResponse(answer));
            }
            (How::Batches, Message::Proposal(mut proposal)) => {
                proposal.inline.clear();
                stage.pass(to, &Message::Proposal(proposal));
            }
            (
                How::Answers,
                Message::BlockResponse(_) | Message::BatchResponse(_) | Message::LedgerResponse(_),
            ) => stage.acted("withheld an answer"),
            (How::Half | How::Victim, message) => self.partly(stage, to, &message),
            (How::Late, message @ Message::Proposal(_)) => {
                stage.acted("proposed late");
                let late = self.rng.between(40, 1_100) * MILLISECOND;
                self.held.push((stage.now + late, to, message));
            }
            (How::Transactions, Message::Proposal(mut proposal)) => {
                if !proposal.block.header.is_empty() {
                    stage.acted("censored");
                    proposal.block.batches.clear();
                    proposal.inline.clear();
                    proposal.block.header.payload = Block::payload_root(&[]);
                }
                let message = notes::propose(stage, *proposal);
                stage.pass(to, &message);
            }
            (_, message) => stage.pass(to, &message),
        }
    }

    fn tick(&mut self, stage: &mut Stage<'_>) {
        let now = stage.now;
        let due: Vec<_> = self.held.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, to, message) in due {
            stage.pass(to, &message);
        }
    }
}
