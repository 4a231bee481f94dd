//! The answer to a peer that is behind: consecutive committed blocks up to one with its own finality proof.

use quorate_types::message::{LedgerBlock, LedgerResponse};
use quorate_types::{Batch, BatchId, Block, BlockId, Finality, Height, codec};

use super::{LedgerError, batch, block_by_height, damaged, finality, first, keys, tip};
use crate::{Table, View};

/// What a message can carry of blocks and batches: what one block may have at most, and half of the room beyond it.
pub const MOST_STRETCH_BYTES: u64 =
    (codec::MAX_BLOCK_BYTES + (codec::MAX_ENCODED_BYTES - codec::MAX_BLOCK_BYTES) / 2) as u64;

/// The longest stretch from `from` that ends in a block with its own finality proof and whose blocks and batches take
/// `max_bytes` at most. It reaches at least the next such block, if a message can carry that: an answer without one proves
/// nothing. Empty if none can (then that block is to be fetched, and those before it, each by itself), and if `from` is 0
/// (everybody has the genesis), above the tip, or below the first height kept.
///
/// # Errors
/// [`LedgerError::Damaged`]: a damaged block or batch is not served.
pub fn stretch<V: View + ?Sized>(
    view: &V,
    from: Height,
    max_bytes: u64,
) -> Result<LedgerResponse, LedgerError> {
    stretch_within(view, from, max_bytes, MOST_STRETCH_BYTES)
}

/// The same where a message can carry `most_bytes`.
///
/// # Errors
/// As [`stretch`].
pub fn stretch_within<V: View + ?Sized>(
    view: &V,
    from: Height,
    max_bytes: u64,
    most_bytes: u64,
) -> Result<LedgerResponse, LedgerError> {
    let head = tip(view)?.height;
    let mut blocks: Vec<LedgerBlock> = Vec::new();
    let mut last: Option<(usize, Finality)> = None;
    let mut parent: Option<BlockId> = None;
    let mut bytes = 0u64;
    let mut height = from;
    let kept = from >= first(view)?;
    while kept && height > Height(0) && height <= head {
        let entry = match entry(view, height, parent) {
            Ok(entry) => entry,
            // What is whole and proved is of use. Whoever goes on from there is told.
            Err(error) if error.is_damage() && last.is_some() => break,
            Err(error) => return Err(error),
        };
        let LedgerBlock { block, batches } = entry;
        bytes = bytes.saturating_add(encoded_len(&block, &batches));
        if (last.is_some() && bytes > max_bytes) || bytes > most_bytes {
            break;
        }
        parent = Some(block.id());
        blocks.push(LedgerBlock { block, batches });
        if let Some(proof) = finality(view, height)? {
            if parent != Some(proof.cc.block) {
                return Err(damaged(Table::Certificates, &keys::certificate(height)));
            }
            last = Some((blocks.len(), proof));
            if bytes > max_bytes {
                break;
            }
        }
        height = height.next();
    }
    blocks.truncate(last.as_ref().map_or(0, |(count, _)| *count));
    Ok(LedgerResponse {
        from,
        head,
        blocks,
        finality: last.map(|(_, proof)| proof),
    })
}

/// A committed block with its batches, the child of `parent`.
fn entry<V: View + ?Sized>(
    view: &V,
    height: Height,
    parent: Option<BlockId>,
) -> Result<LedgerBlock, LedgerError> {
    let key = keys::height(height);
    let block = block_by_height(view, height)?.ok_or_else(|| damaged(Table::Ledger, &key))?;
    if parent.is_some_and(|id| id != block.header.parent) {
        return Err(damaged(Table::Ledger, &key));
    }
    let batches = batches_of(view, &block)?;
    Ok(LedgerBlock { block, batches })
}

fn batches_of<V: View + ?Sized>(view: &V, block: &Block) -> Result<Vec<Batch>, LedgerError> {
    let stored = |id: &BatchId| {
        let batch = batch(view, *id)?.ok_or_else(|| damaged(Table::Batches, id.as_bytes()))?;
        Ok(batch.into_batch())
    };
    block.batches.iter().map(stored).collect()
}

fn encoded_len(block: &Block, batches: &[Batch]) -> u64 {
    let batches: usize = batches.iter().map(Batch::encoded_len).sum();
    u64::try_from(codec::encode(block).len() + batches).unwrap_or(u64::MAX)
}
