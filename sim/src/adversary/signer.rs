//! Signs what the rules forbid to sign.

use quorate_consensus::Target;
use quorate_crypto::{Domain, hash};
use quorate_types::vote::Signable;
use quorate_types::{BlockId, CommitVote, Epoch, Height, Message, Proposal, Round, Timeout, Vote};

use super::notes::{Notes, UNSIGNED, identity, sign};
use super::{Adversary, Stage};
use crate::rng::Rng;

/// What is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// A vote for every proposal.
    Votes,
    /// Votes and commit votes for every proposal, with the keys of all accomplices.
    Collusion,
    /// Commit votes for blocks that nobody certified, and with wrong heights.
    CommitVotes,
    /// A Timeout of every round as soon as it begins.
    Timeouts,
    /// Votes and Timeouts of rounds that are far away, and certificates with their round raised.
    Rounds,
    /// Everything of another epoch.
    Epochs,
    /// Hints to hold batches that there never were.
    Hints,
}

#[derive(Debug)]
pub(super) struct Oversigner {
    how: How,
    rng: Rng,
    notes: Notes,
}

impl Oversigner {
    pub(super) fn new(how: How, rng: Rng) -> Oversigner {
        Oversigner {
            how,
            rng,
            notes: Notes::default(),
        }
    }

    /// Hints about batches of every origin.
    fn untrue(&mut self, stage: &mut Stage<'_>) -> Vec<u64> {
        stage.acted("claimed to hold batches");
        let lie = self.rng.pick(&[u64::MAX, 1, 1 << 62]);
        vec![lie; stage.validators.count()]
    }

    fn on_proposal(&self, stage: &mut Stage<'_>, proposal: &Proposal) {
        let header = &proposal.block.header;
        let (round, block, height) = (header.round, proposal.block.id(), header.height);
        let signers: Vec<usize> = match self.how {
            How::Collusion => stage.byzantine.to_vec(),
            _ => vec![stage.me],
        };
        for signer in signers {
            let voter = identity(stage, signer);
            let (signature, held) = (UNSIGNED, Vec::new());
            if matches!(self.how, How::Votes | How::Collusion) {
                stage.acted("voted for anything");
                let vote = Vote {
                    round,
                    block,
                    voter,
                    signature,
                    held,
                };
                let vote = vote.sign(stage.chain(), stage.signer(signer)).into_inner();
                stage.pass(Target::All, &Message::Vote(vote));
            }
            if matches!(self.how, How::CommitVotes | How::Collusion) {
                stage.acted("commit-voted uncertified");
                let lie = u64::from(self.how == How::CommitVotes && round.number % 3 == 0);
                let vote = CommitVote {
                    round,
                    block,
                    height: Height(height.0 + lie),
                    voter,
                    signature,
                    held: Vec::new(),
                };
                let vote = vote.sign(stage.chain(), stage.signer(signer)).into_inner();
                stage.pass(Target::All, &Message::CommitVote(vote));
            }
        }
    }

    fn vote(&self, stage: &Stage<'_>, round: Round) -> Message {
        let high = self.notes.high_qc().map(|qc| qc.block).unwrap_or_default();
        Message::Vote(sign(
            stage,
            Vote {
                round,
                block: BlockId(hash(Domain::Header, &[high.as_bytes()])),
                voter: identity(stage, stage.me),
                signature: UNSIGNED,
                held: Vec::new(),
            },
        ))
    }

    /// A Timeout of a round, with what entitles to it, if that is known.
    fn timeout(&self, stage: &Stage<'_>, round: Round) -> Option<Message> {
        let high_qc = self.notes.qcs.range(..round).next_back()?.1.clone();
        let before = self.notes.tcs.range(..round).next_back().map(|(_, tc)| tc);
        let entry_tc = match high_qc.round.next() == round {
            true => None,
            false => before.cloned().map(Box::new),
        };
        let timeout = Timeout {
            round,
            voter: identity(stage, stage.me),
            signature: UNSIGNED,
            high_qc,
            entry_tc,
        };
        Some(Message::Timeout(Box::new(sign(stage, timeout))))
    }

    fn far(&mut self, stage: &mut Stage<'_>) -> Option<Message> {
        let round = self.notes.round(stage);
        let far = round.plus(self.rng.pick(&[1, 3, 8, 9, 1_000, u64::MAX]));
        match self.rng.index(5) {
            0 => Some(self.vote(stage, far)),
            1 => self.timeout(stage, far),
            2 => {
                let mut qc = self.notes.high_qc()?.clone();
                qc.round = far;
                Some(Message::Qc(Box::new(qc)))
            }
            3 => {
                let mut tc = self.notes.tcs.last_key_value()?.1.clone();
                tc.round = far;
                Some(Message::Tc(Box::new(tc)))
            }
            _ => {
                // The certificate inside is raised by one: just enough to be believed.
                let mut qc = self.notes.high_qc()?.clone();
                qc.round = qc.round.next();
                let mut timeout = match self.timeout(stage, qc.round.next())? {
                    Message::Timeout(timeout) => *timeout,
                    _ => return None,
                };
                timeout.high_qc = qc;
                timeout.entry_tc = None;
                Some(Message::Timeout(Box::new(sign(stage, timeout))))
            }
        }
    }

    fn foreign(&mut self, stage: &mut Stage<'_>) -> Option<Message> {
        let epoch = Epoch(stage.validators.epoch().0 + 1);
        let round = self.notes.round(stage).number;
        let there = Round::new(epoch, self.rng.pick(&[0, 1, round]));
        match self.rng.index(4) {
            0 => Some(self.vote(stage, there)),
            1 => self.timeout(stage, there),
            2 => {
                let mut qc = self.notes.high_qc()?.clone();
                qc.round = there;
                Some(Message::Qc(Box::new(qc)))
            }
            _ => Some(Message::CommitVote(sign(
                stage,
                CommitVote {
                    round: there,
                    block: self.notes.high_qc()?.block,
                    height: Height(1),
                    voter: identity(stage, stage.me),
                    signature: UNSIGNED,
                    held: Vec::new(),
                },
            ))),
        }
    }
}

impl Adversary for Oversigner {
    fn receive(&mut self, stage: &mut Stage<'_>, _: usize, message: &Message) -> bool {
        self.notes.note(message);
        if let Message::Proposal(proposal) = message {
            self.on_proposal(stage, proposal);
        }
        true
    }

    fn send(&mut self, stage: &mut Stage<'_>, to: Target, message: Message) {
        self.notes.note(&message);
        match (self.how, message) {
            (How::Hints, Message::Vote(mut vote)) => {
                vote.held = self.untrue(stage);
                stage.pass(to, &Message::Vote(vote));
            }
            (How::Hints, Message::CommitVote(mut vote)) => {
                vote.held = self.untrue(stage);
                stage.pass(to, &Message::CommitVote(vote));
            }
            (_, message) => stage.pass(to, &message),
        }
    }

    fn tick(&mut self, stage: &mut Stage<'_>) {
        let lie = match self.how {
            How::Timeouts => {
                let round = self.notes.round(stage);
                self.timeout(stage, round)
                    .map(|lie| ("gave up at once", lie))
            }
            How::Rounds if self.rng.chance(200) => {
                self.far(stage).map(|lie| ("raised a round", lie))
            }
            How::Epochs if self.rng.chance(200) => self
                .foreign(stage)
                .map(|lie| ("signed for another epoch", lie)),
            _ => None,
        };
        if let Some((what, lie)) = lie {
            stage.acted(what);
            stage.pass(Target::All, &lie);
        }
    }
}
