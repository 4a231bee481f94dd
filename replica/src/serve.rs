//! Answering peers that miss something, within bounds, from what is durable or about to be.
//!
//! A request of a few bytes is answered with megabytes that are read and hashed here, and kept until the turn is
//! released. So each peer has an allowance: one that asks faster is told that what it wants is not here, and has others
//! to ask. An entry that this disk cannot give back is not here either (`repair`).

use std::collections::BTreeMap;

use quorate_storage::ledger;
use quorate_types::message::{BatchRequest, BatchResponse, BlockRequest, BlockResponse};
use quorate_types::message::{LedgerRequest, LedgerResponse, SnapshotResponse};
use quorate_types::{Batch, Height, Instant, Message, ValidatorIndex};

use crate::Target;
use crate::replica::{Replica, ReplicaError};
use crate::turn::Turn;

/// Bytes of batches or of ledger in one answer, beyond the first item.
const ANSWER_BYTES: usize = 4 << 20;
/// Bytes that a peer is answered at once; the last answer may exceed them.
const BURST_BYTES: u64 = 16 << 20;
/// How fast the allowance comes back: bytes a microsecond.
const BYTES_PER_MICROSECOND: u64 = 64;
/// What an answer costs besides its content.
const ANSWER_COST: u64 = 16 << 10;
/// What a block costs: read and hashed, its list apart.
const BLOCK_COST: usize = 4 << 10;

/// What each peer has had of its allowance.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    spent: BTreeMap<ValidatorIndex, (u64, Instant)>,
}

impl Allowance {
    /// Whether the peer is answered now.
    fn allows(&mut self, peer: ValidatorIndex, now: Instant) -> bool {
        let (spent, since) = self.spent.entry(peer).or_insert((0, now));
        let back = (now.since(*since) / 1_000).saturating_mul(BYTES_PER_MICROSECOND);
        if back > 0 {
            *spent = spent.saturating_sub(back);
            *since = now;
        }
        *spent < BURST_BYTES
    }

    fn spend(&mut self, peer: ValidatorIndex, bytes: usize) {
        if let Some((spent, _)) = self.spent.get_mut(&peer) {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            *spent = spent.saturating_add(bytes).saturating_add(ANSWER_COST);
        }
    }
}

impl Replica {
    /// A block and its ancestors, newest first.
    pub(crate) fn serve_blocks(
        &mut self,
        turn: &mut Turn<'_>,
        from: ValidatorIndex,
        request: &BlockRequest,
    ) -> Result<(), ReplicaError> {
        let mut blocks = Vec::new();
        let mut next = request.block;
        let allowed = self.allowance.allows(from, turn.now.monotonic);
        for _ in 0..request.count {
            if !allowed {
                break;
            }
            let block = match self.blocks.get(&next) {
                Some(block) => block.clone(),
                None => match ledger::block_by_id(turn.view(), next) {
                    Ok(Some(block)) => block,
                    Ok(None) => break,
                    Err(error) => {
                        self.met_damage(turn, error)?;
                        break;
                    }
                },
            };
            if block.header.height <= request.above {
                break;
            }
            next = block.header.parent;
            blocks.push(block);
        }
        let lists: usize = blocks.iter().map(|block| block.batches.len() * 32).sum();
        self.allowance
            .spend(from, blocks.len() * BLOCK_COST + lists);
        turn.send(
            Target::One(from),
            Message::BlockResponse(BlockResponse { blocks }),
        );
        Ok(())
    }

    /// Those of the batches that are here.
    pub(crate) fn serve_batches(
        &mut self,
        turn: &mut Turn<'_>,
        from: ValidatorIndex,
        request: &BatchRequest,
    ) -> Result<(), ReplicaError> {
        let mut response = BatchResponse {
            batches: Vec::new(),
            missing: Vec::new(),
        };
        let mut bytes = 0;
        let allowed = self.allowance.allows(from, turn.now.monotonic);
        for id in &request.batches {
            if bytes >= ANSWER_BYTES {
                break;
            }
            if !allowed {
                response.missing.push(*id);
                continue;
            }
            match self.find_batch(turn.view(), *id) {
                Ok(Some(batch)) => {
                    bytes += batch.encoded_len();
                    response.batches.push(Batch::clone(&batch));
                }
                Ok(None) => response.missing.push(*id),
                Err(error) => {
                    self.met_damage(turn, error)?;
                    response.missing.push(*id);
                }
            }
        }
        self.allowance.spend(from, bytes);
        turn.send(Target::One(from), Message::BatchResponse(response));
        Ok(())
    }

    /// A stretch of the ledger.
    pub(crate) fn serve_ledger(
        &mut self,
        turn: &mut Turn<'_>,
        from: ValidatorIndex,
        request: &LedgerRequest,
    ) -> Result<(), ReplicaError> {
        let first = ledger::first(turn.view())?;
        if request.from < first {
            let compacted = SnapshotResponse {
                first,
                manifest: None,
            };
            turn.send(
                Target::One(from),
                Message::SnapshotResponse(Box::new(compacted)),
            );
            return Ok(());
        }
        let most = u64::try_from(ANSWER_BYTES).expect("a small constant");
        let stretch = match self.allowance.allows(from, turn.now.monotonic) {
            true => ledger::stretch_within(
                turn.view(),
                request.from,
                request.max_bytes.min(most),
                self.setup.answer_bytes,
            ),
            false => Ok(self.nothing_from(request.from)),
        };
        let mut read = 0;
        let response = match stretch {
            Ok(response) if response.blocks.is_empty() => {
                read = self.name_next_final(turn, from, request.from)?;
                response
            }
            Ok(response) => response,
            Err(error) => {
                self.met_damage(turn, error)?;
                self.nothing_from(request.from)
            }
        };
        let batches = response.blocks.iter().flat_map(|entry| &entry.batches);
        let bytes: usize = batches.map(Batch::encoded_len).sum();
        self.allowance
            .spend(from, read + bytes + response.blocks.len() * BLOCK_COST);
        turn.send(
            Target::One(from),
            Message::LedgerResponse(Box::new(response)),
        );
        Ok(())
    }

    /// Where no message can carry the blocks up to the next that is final by itself, a peer has to be told of that one: it
    /// fetches each by itself then. Returns what was read in vain, in bytes: as much as a message carries, if there is such a
    /// block.
    fn name_next_final(
        &mut self,
        turn: &mut Turn<'_>,
        peer: ValidatorIndex,
        from: Height,
    ) -> Result<usize, ReplicaError> {
        if from == Height(0) || !self.allowance.allows(peer, turn.now.monotonic) {
            return Ok(0);
        }
        match ledger::finality_at_or_above(turn.view(), from) {
            Ok(None) => return Ok(0), // it is not behind
            Ok(Some(finality)) => {
                turn.send(Target::One(peer), Message::Finality(Box::new(finality)));
            }
            Err(error) => self.met_damage(turn, error)?,
        }
        Ok(usize::try_from(self.setup.answer_bytes).unwrap_or(usize::MAX))
    }

    /// The answer of one that does not answer: the peer goes on to the next.
    fn nothing_from(&self, from: Height) -> LedgerResponse {
        LedgerResponse {
            from,
            head: self.tip.height,
            blocks: Vec::new(),
            finality: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests of a few bytes each, a thousand in a turn, made a replica gather gigabytes of answers before it released
    /// the first: one faulty peer could end every other validator.
    #[test]
    fn a_peer_that_asks_too_fast_is_not_answered_for_a_while() {
        let mut allowance = Allowance::default();
        let (greedy, other) = (ValidatorIndex(1), ValidatorIndex(2));
        let now = Instant(7);
        let mut answered = 0;
        while allowance.allows(greedy, now) {
            allowance.spend(greedy, ANSWER_BYTES);
            answered += 1;
        }
        assert_eq!(answered, 4);
        assert!(allowance.allows(other, now), "each has its own");
        // What was had comes back with time, however often it is asked in between.
        let mut later = now;
        while !allowance.allows(greedy, later) {
            later = later.plus_nanos(1_500);
        }
        assert!(later.since(now) < 2_000_000, "{later:?}");
        // Answers that hold nothing are not free.
        let mut answered = 0;
        while allowance.allows(other, now) {
            allowance.spend(other, 0);
            answered += 1;
        }
        assert_eq!(answered, 1_024);
    }
}
