//! Answering peers that miss something, within bounds, from what is durable or about to be.

use quorate_storage::ledger;
use quorate_types::message::LedgerRequest;
use quorate_types::message::{BatchRequest, BatchResponse, BlockRequest, BlockResponse};
use quorate_types::{Message, ValidatorIndex};

use crate::Target;
use crate::replica::{Replica, ReplicaError};
use crate::turn::Turn;

/// Bytes of batches or of ledger in one answer, beyond the first item.
const ANSWER_BYTES: usize = 4 << 20;

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
        for _ in 0..request.count {
            let block = match self.blocks.get(&next) {
                Some(block) => block.clone(),
                None => match ledger::block_by_id(turn.view(), next)? {
                    Some(block) => block,
                    None => break,
                },
            };
            if block.header.height <= request.above {
                break;
            }
            next = block.header.parent;
            blocks.push(block);
        }
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
        for id in &request.batches {
            if bytes >= ANSWER_BYTES {
                break;
            }
            match self.find_batch(turn.view(), *id)? {
                Some(batch) => {
                    bytes += batch.encoded_len();
                    response.batches.push(batch.as_ref().clone());
                }
                None => response.missing.push(*id),
            }
        }
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
        let most = u64::try_from(ANSWER_BYTES).expect("a small constant");
        let response = ledger::stretch(turn.view(), request.from, request.max_bytes.min(most))?;
        turn.send(
            Target::One(from),
            Message::LedgerResponse(Box::new(response)),
        );
        Ok(())
    }
}
