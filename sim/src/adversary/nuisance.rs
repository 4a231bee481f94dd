//! Costs others time and memory: old messages, garbage, floods, questions.

use std::collections::VecDeque;

use quorate_consensus::Target;
use quorate_types::codec::{self, MAX_ENCODED_BYTES};
use quorate_types::message::{BatchRequest, BlockRequest, LedgerRequest};
use quorate_types::{Batch, BatchId, Height, Message, Vote};

use super::notes::{Notes, UNSIGNED, identity, propose, sign};
use super::proposer::nowhere;
use super::{Adversary, Stage};
use crate::rng::Rng;

/// What it is a nuisance by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Everybody's old messages again.
    Replay,
    /// Bytes that decode to nothing, and messages with flipped bits.
    Garbage,
    /// Different batches under one number.
    SplitBatches,
    /// Batches that nobody needs.
    Batches,
    /// Batches of transactions that were ordered before, however long ago.
    OldBatches,
    /// Votes for all sorts of blocks and rounds.
    Votes,
    /// Proposal after proposal.
    Proposals,
    /// Questions about everything.
    Questions,
    /// Its own old Timeout, to be told what it knows.
    Nags,
}

#[derive(Debug)]
pub(super) struct Nuisance {
    how: How,
    rng: Rng,
    notes: Notes,
    old: VecDeque<Vec<u8>>,
}

/// Old messages kept.
const OLD: usize = 200;

impl Nuisance {
    pub(super) fn new(how: How, rng: Rng) -> Nuisance {
        Nuisance {
            how,
            rng,
            notes: Notes::default(),
            old: VecDeque::new(),
        }
    }

    fn keep(&mut self, message: &Message) {
        self.notes.note(message);
        let keep = match self.how {
            How::Replay | How::Garbage => self.rng.chance(200),
            How::OldBatches => matches!(message, Message::Batch(_)),
            _ => false,
        };
        if keep {
            self.old.push_back(codec::encode(message));
            if self.old.len() > OLD {
                let place = self.rng.index(OLD);
                self.old.remove(place);
            }
        }
    }

    fn old(&mut self) -> Option<Vec<u8>> {
        (!self.old.is_empty()).then(|| self.old[self.rng.index(self.old.len())].clone())
    }

    fn garbage(&mut self) -> Vec<u8> {
        if self.rng.chance(300) {
            let length = self.rng.index(300);
            return (0..length).map(|_| self.byte()).collect();
        }
        let mut bytes = self.old().unwrap_or_default();
        for _ in 0..self.rng.between(1, 4) {
            if !bytes.is_empty() {
                let place = self.rng.index(bytes.len());
                bytes[place] = self.byte();
            }
        }
        let keep = self.rng.index(bytes.len() + 1);
        if self.rng.chance(300) {
            bytes.truncate(keep);
        }
        bytes
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.rng.below(256)).expect("below 256")
    }

    /// The same number, one transaction less or in another order.
    fn split(&mut self, batch: &Batch) -> Batch {
        let mut other = batch.clone();
        if other.transactions.len() > 1 && self.rng.chance(500) {
            other.transactions.pop();
        } else if other.transactions.len() > 1 {
            other.transactions.reverse();
        } else {
            other.expiry = other.expiry.plus_nanos(1);
        }
        other
    }

    fn question(&mut self) -> Message {
        match self.rng.index(3) {
            0 => Message::BlockRequest(BlockRequest {
                block: self.notes.high_qc().map(|qc| qc.block).unwrap_or_default(),
                count: self.rng.pick(&[1, 256]),
                above: Height(0),
            }),
            1 => {
                let known = self.notes.batches.iter().map(Batch::id);
                let ghosts = (0..self.rng.below(40)).map(|salt| BatchId(nowhere(salt).0));
                Message::BatchRequest(BatchRequest {
                    batches: known.chain(ghosts).collect(),
                })
            }
            _ => Message::LedgerRequest(LedgerRequest {
                from: Height(self.rng.pick(&[0, 1, 5, u64::MAX])),
                max_bytes: u64::MAX,
            }),
        }
    }

    fn flood(&mut self, stage: &mut Stage<'_>) -> Option<(&'static str, Message)> {
        Some(match self.how {
            How::Batches => {
                let mut batch = self.notes.batches.back()?.clone();
                batch.origin = identity(stage, stage.me);
                batch.sequence = self.rng.between(batch.sequence, u64::MAX - 1);
                batch.expiry = batch.expiry.plus_nanos(self.rng.below(1 << 40));
                ("flooded with batches", Message::Batch(Box::new(batch)))
            }
            How::OldBatches => {
                let old = codec::decode::<Message>(&self.old()?, MAX_ENCODED_BYTES);
                let Ok(Message::Batch(mut batch)) = old else {
                    return None;
                };
                batch.origin = identity(stage, stage.me);
                batch.sequence = self.rng.between(1 << 40, u64::MAX - 1);
                ("sent old transactions again", Message::Batch(batch))
            }
            How::Votes => {
                let vote = Vote {
                    round: self.notes.round(stage).plus(self.rng.below(12)),
                    block: nowhere(self.rng.draw()),
                    voter: identity(stage, stage.me),
                    signature: UNSIGNED,
                    held: Vec::new(),
                };
                ("flooded with votes", Message::Vote(sign(stage, vote)))
            }
            How::Proposals => {
                let qc = self.notes.high_qc()?.clone();
                let mut lie = self.notes.compose(stage, qc.round.next(), &qc, None)?;
                let time = lie.block.header.time.plus_nanos(self.rng.below(1 << 20));
                lie.block.header.time = time;
                ("flooded with proposals", propose(stage, lie))
            }
            How::Questions => ("asked and asked", self.question()),
            How::Nags => {
                let me = identity(stage, stage.me);
                let mut own = self.notes.timeouts.values().filter(|t| t.voter == me);
                let timeout = own.next()?.clone();
                (
                    "repeated an old Timeout",
                    Message::Timeout(Box::new(timeout)),
                )
            }
            _ => return None,
        })
    }
}

impl Adversary for Nuisance {
    fn receive(&mut self, _: &mut Stage<'_>, _: usize, message: &Message) -> bool {
        self.keep(message);
        true
    }

    fn send(&mut self, stage: &mut Stage<'_>, to: Target, message: Message) {
        self.keep(&message);
        match (self.how, &message) {
            (How::SplitBatches, Message::Batch(batch)) => {
                stage.acted("split a batch");
                let other = Message::Batch(Box::new(self.split(batch)));
                for receiver in stage.receivers(to) {
                    let other_one = self.rng.chance(500);
                    stage.send(receiver, if other_one { &other } else { &message });
                }
            }
            _ => stage.pass(to, &message),
        }
    }

    fn tick(&mut self, stage: &mut Stage<'_>) {
        let times = match self.rng.chance(200) {
            _ if self.how == How::Nags => 8,
            true => self.rng.between(1, 8),
            false => return,
        };
        for _ in 0..times {
            let bytes = match self.how {
                How::Replay => self.old().map(|old| ("replayed", old)),
                How::Garbage => Some(("sent garbage", self.garbage())),
                _ => None,
            };
            if let Some((what, bytes)) = bytes {
                stage.acted(what);
                for receiver in stage.receivers(Target::All) {
                    stage.send_bytes(receiver, bytes.clone());
                }
            } else if let Some((what, lie)) = self.flood(stage) {
                stage.acted(what);
                stage.pass(Target::All, &lie);
            }
        }
    }
}
