//! Answers wrongly to whoever misses something.

use quorate_consensus::Target;
use quorate_storage::{MemStore, ledger};
use quorate_types::message::{BatchResponse, BlockResponse, LedgerResponse};
use quorate_types::{Block, Entry, FenceReply, Height, Message, Signature, Validators};

use super::notes::Notes;
use super::{Adversary, Stage};
use crate::rng::Rng;

/// What is wrong with its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Other blocks than those asked for, or an invention.
    Blocks,
    /// Other batches, or what was asked for with a transaction less.
    Batches,
    /// A ledger with an invented end, other batches, or a head that nobody reached.
    Ledger,
    /// It denies to have anything.
    Denial,
    /// To whoever starts: nothing, as little as verifies, an answer to an earlier question, or two answers.
    Fences,
}

#[derive(Debug)]
pub(super) struct Server {
    how: How,
    rng: Rng,
    notes: Notes,
    nonces: Vec<u64>,
}

impl Server {
    pub(super) fn new(how: How, rng: Rng) -> Server {
        Server {
            how,
            rng,
            notes: Notes::default(),
            nonces: Vec::new(),
        }
    }

    fn blocks(&mut self, mut answer: BlockResponse) -> BlockResponse {
        match self.rng.index(3) {
            0 => answer.blocks.truncate(1),
            1 => answer.blocks.reverse(),
            _ => {
                if let Some(first) = answer.blocks.first_mut() {
                    first.header.time = first.header.time.plus_nanos(1);
                }
            }
        }
        answer
    }

    fn batches(&mut self, mut answer: BatchResponse) -> BatchResponse {
        for batch in &mut answer.batches {
            if self.rng.chance(500)
                && let Some(other) = self.notes.batches.front()
            {
                *batch = other.clone();
            } else if batch.transactions.len() > 1 {
                batch.transactions.pop();
            } else {
                batch.sequence ^= 1;
            }
        }
        answer
    }

    /// What it tells whoever asks what it may have signed, in order.
    fn fences(&mut self, validators: &Validators, answer: FenceReply) -> Vec<FenceReply> {
        if !self.nonces.contains(&answer.nonce) {
            self.nonces.push(answer.nonce);
        }
        let anchor = validators.anchor_qc();
        let least = FenceReply {
            nonce: answer.nonce,
            entry: Entry::Qc(anchor.clone()),
            high_qc: anchor,
            signed: None,
        };
        match self.rng.index(5) {
            0 => Vec::new(),
            1 => vec![least],
            2 => vec![least, answer],
            3 => vec![FenceReply {
                nonce: self.rng.pick(&self.nonces),
                ..answer
            }],
            _ => vec![FenceReply {
                signed: None,
                ..answer
            }],
        }
    }

    fn ledger(&mut self, store: &MemStore, mut answer: LedgerResponse) -> LedgerResponse {
        let heads = [Height(u64::MAX), Height(answer.head.0 + 100)];
        match self.rng.index(4) {
            // Right, but from further below than was asked.
            3 => lower(store, &mut answer),
            // An end of its own, with signatures that are none.
            0 => {
                if let (Some(last), Some(finality)) =
                    (answer.blocks.last_mut(), &mut answer.finality)
                {
                    last.block.header.time = last.block.header.time.plus_nanos(1);
                    let id = Block::id(&last.block);
                    (finality.cc.block, finality.qc.block) = (id, id);
                    let none = Signature::from_bytes([1; 64]);
                    finality.cc.signatures.fill(none);
                    finality.qc.signatures.fill(none);
                }
            }
            1 => {
                let batches = answer
                    .blocks
                    .iter_mut()
                    .flat_map(|entry| &mut entry.batches);
                for batch in batches {
                    if let Some(first) = batch.transactions.first().cloned() {
                        batch.transactions.push(first);
                    }
                    batch.transactions.remove(0);
                    batch.sequence ^= 1;
                }
            }
            _ => {
                answer.head = self.rng.pick(&heads);
                answer.blocks.clear();
                answer.finality = None;
            }
        }
        answer
    }
}

/// The same stretch, but from further below than was asked for.
fn lower(store: &MemStore, answer: &mut LedgerResponse) {
    let below = Height(answer.from.0.saturating_sub(3).max(1));
    if let Ok(longer) = ledger::stretch(store, below, u64::MAX) {
        *answer = longer;
    }
}

impl Adversary for Server {
    fn receive(&mut self, _: &mut Stage<'_>, _: usize, message: &Message) -> bool {
        self.notes.note(message);
        true
    }

    fn send(&mut self, stage: &mut Stage<'_>, to: Target, message: Message) {
        let lie = match (self.how, message) {
            (How::Blocks, Message::BlockResponse(answer)) => {
                stage.acted("served wrong blocks");
                Message::BlockResponse(self.blocks(answer))
            }
            (How::Batches, Message::BatchResponse(answer)) => {
                stage.acted("served wrong batches");
                Message::BatchResponse(self.batches(answer))
            }
            (How::Ledger, Message::LedgerResponse(answer)) => {
                stage.acted("served a wrong ledger");
                Message::LedgerResponse(Box::new(self.ledger(stage.store, *answer)))
            }
            (How::Denial, Message::BlockResponse(_)) => {
                stage.acted("denied everything");
                let blocks = Vec::new();
                Message::BlockResponse(BlockResponse { blocks })
            }
            (How::Denial, Message::BatchResponse(answer)) => {
                stage.acted("denied everything");
                let held = answer.batches.iter().map(quorate_types::Batch::id);
                Message::BatchResponse(BatchResponse {
                    missing: answer.missing.iter().copied().chain(held).collect(),
                    batches: Vec::new(),
                })
            }
            (How::Denial, Message::LedgerResponse(answer)) => {
                stage.acted("denied everything");
                Message::LedgerResponse(Box::new(LedgerResponse {
                    blocks: Vec::new(),
                    finality: None,
                    ..*answer
                }))
            }
            (How::Fences, Message::FenceReply(answer)) => {
                stage.acted("lied at a fence");
                for lie in self.fences(stage.validators, *answer) {
                    stage.pass(to, &Message::FenceReply(Box::new(lie)));
                }
                return;
            }
            (_, message) => message,
        };
        stage.pass(to, &lie);
    }
}
