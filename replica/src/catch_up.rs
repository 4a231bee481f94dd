//! Catching up: what to ask of whom, and what to do with the answers.
//!
//! A few blocks behind: blocks by id, then their batches. Further behind: stretches of a peer's ledger, one request
//! under way while the answer before is executed, until the gap is small.

use std::collections::VecDeque;

use quorate_types::message::{
    BatchRequest, BlockRequest, LedgerRequest, LedgerResponse, MAX_BLOCKS, MAX_REQUESTED_BATCHES,
};
use quorate_types::{Block, BlockId, Message, Signers, ValidatorIndex, Verified};

use quorate_consensus::Event;

use crate::Target;
use crate::replica::{Replica, ReplicaError};
use crate::turn::Turn;

/// Bytes of ledger asked for at once.
const STRETCH_BYTES: u64 = 4 << 20;

impl Replica {
    /// The engine needs a block that a certificate names: one that it had let go may be stored here; otherwise peers are
    /// asked.
    pub(crate) fn find_block(
        &mut self,
        turn: &Turn<'_>,
        block: BlockId,
        from: Signers,
        events: &mut VecDeque<Event>,
    ) {
        let mut stored = Vec::new();
        let mut next = block;
        while let Some(found) = self.blocks.get(&next) {
            stored.push(found.clone());
            next = found.header.parent;
        }
        if !stored.is_empty() {
            events.push_back(Event::Blocks(stored));
            return;
        }
        let first = from.iter().next().unwrap_or_default();
        self.wanted_blocks
            .want(block, from, first, turn.now.monotonic);
    }

    /// Sends the requests that are due.
    pub(crate) fn request(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.monotonic;
        let reachable = self.connected;
        if self.wanted_batches.has_room_again() {
            self.want_all_missing(turn);
        }
        for (peer, blocks) in self.wanted_blocks.due(now, reachable) {
            for block in blocks {
                let request = BlockRequest {
                    block,
                    count: u32::try_from(MAX_BLOCKS).expect("a small constant"),
                    above: self.tip.height,
                };
                turn.send(Target::One(peer), Message::BlockRequest(request));
            }
        }
        for (peer, batches) in self.wanted_batches.due(now, reachable) {
            for chunk in batches.chunks(MAX_REQUESTED_BATCHES) {
                let request = BatchRequest {
                    batches: chunk.to_vec(),
                };
                turn.send(Target::One(peer), Message::BatchRequest(request));
            }
        }
        self.request_repairs(turn);
        if !self.asks_for_blocks() {
            return;
        }
        if let Some(peer) = self.ledger_sync.due(now, self.tip.height, reachable) {
            let request = LedgerRequest {
                from: self.tip.height.next(),
                max_bytes: STRETCH_BYTES,
            };
            turn.send(Target::One(peer), Message::LedgerRequest(request));
        }
    }

    /// Whether peers are asked for stretches of their ledgers, and not for a snapshot alone.
    pub(crate) fn asks_for_blocks(&self) -> bool {
        let faulty = self.setup.validators.max_faulty();
        !self.transfer.suffices(faulty)
    }

    /// Blocks that were asked for. The engine takes those that something certified names; the others are nothing.
    pub(crate) fn on_blocks(
        &mut self,
        turn: &mut Turn<'_>,
        blocks: Vec<Block>,
    ) -> Result<(), ReplicaError> {
        let Some(newest) = blocks.first() else {
            return Ok(());
        };
        self.mend_blocks(turn, &blocks);
        // What was asked for is certified, height included. What was not is anybody's invention.
        let asked = self.wanted_blocks.done(&newest.id());
        let oldest = blocks.last().map(|block| block.header.height);
        if asked && blocks.len() == MAX_BLOCKS && oldest.is_some_and(|h| h > self.tip.height.next())
        {
            // They do not reach down to what is here: the ledger is the better way.
            let height = newest.header.height;
            self.ledger_sync
                .aim(quorate_types::Height(height.0.saturating_sub(1)));
        }
        self.drive(turn, Event::Blocks(blocks))
    }

    /// A stretch of a peer's ledger. Its head is only the peer's word: nothing is aimed at that is not proved.
    pub(crate) fn on_ledger(
        &mut self,
        turn: &mut Turn<'_>,
        from: ValidatorIndex,
        stretch: Verified<LedgerResponse>,
    ) -> Result<(), ReplicaError> {
        if !self.ledger_sync.expects(from) {
            return Ok(());
        }
        let next = self.tip.height.next();
        let first = stretch
            .blocks
            .iter()
            .map(|entry| &entry.block.header)
            .find(|header| header.height == next);
        match first {
            // The chain of hashes up to the proof makes the rest the only continuation there is (I5).
            Some(header) if header.parent == self.tip.block => {
                self.ledger_sync.answered();
                self.transfer.blocks_came();
                self.commit_stretch(turn, &stretch)
            }
            Some(_) => {
                // A quorum finalised another continuation: more than f validators are faulty, or this disk is.
                panic!(
                    "I5: a finalised block at height {next} does not extend block {} committed here",
                    self.tip.block
                );
            }
            None => {
                self.ledger_sync.failed(from, turn.now.monotonic);
                Ok(())
            }
        }
    }
}
