//! The past goes: blocks, batches, certificates, receipts and places of heights that need not be kept.
//!
//! What tells duplicates apart is in the state (sessions) and stays. The caller says how far; here is only how. The
//! deletions are read from a view and may be written later, with two cares: a faulty leader may order a batch again, and
//! what was refused may be executed later, so whoever writes them passes them through [`except`] first; and the ledger may
//! begin higher by then ([`raise_first`]).
//!
//! They settle what was deferred: a state on disk that lies behind the ledger is worked out again from blocks, which must
//! be there as long as it does.

use quorate_types::accumulator::NodeId;
use quorate_types::{BatchId, Digest, Height, Outcome};

use super::{LedgerError, block_by_height, damaged, fixed, keys, ordered_at};
use super::{place, receipts, tip};
use crate::store::prefix_end;
use crate::{Op, Order, Table, View, WriteBatch};

/// Heights looked at in one step.
const HEIGHTS: usize = 1_024;

/// A step of truncation.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// To be written, synced or not.
    pub writes: WriteBatch,
    /// Heights that it removes.
    pub heights: u64,
    /// Everything below is gone then.
    pub below: Height,
    /// Whether there is more to remove up to the height that was asked for.
    pub more: bool,
}

/// The first height whose block, batches and receipts are kept.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn first<V: View + ?Sized>(view: &V) -> Result<Height, LedgerError> {
    height(view, keys::FIRST)
}

/// What removes heights below `to`, oldest first, until that are `ops` operations or more.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn truncate<V: View + ?Sized>(view: &V, to: Height, ops: usize) -> Result<Swept, LedgerError> {
    let tip = tip(view)?;
    // The genesis stays: it costs nothing.
    let swept = height(view, keys::SWEPT)?.max(Height(1));
    let to = to.min(tip.height);
    let mut step = Swept {
        below: swept,
        ..Swept::default()
    };
    if to <= swept {
        return Ok(step);
    }
    let found = view.scan(
        Table::Ledger,
        &keys::height(swept),
        Some(&keys::height(to)),
        HEIGHTS,
        Order::Ascending,
    )?;
    step.below = to;
    step.writes.settle();
    let mut refused = WriteBatch::new();
    for (place, (key, _)) in found.iter().enumerate() {
        let bytes = key.get(1..).unwrap_or_default();
        let height = Height(u64::from_be_bytes(fixed(Table::Ledger, key, bytes)?));
        remove(view, &mut step.writes, &mut refused, height)?;
        step.heights += 1;
        if step.writes.len() + refused.len() >= ops || place + 1 == HEIGHTS {
            step.below = height.next();
            step.more = step.below < to;
            break;
        }
    }
    let kept = first(view)?.max(step.below);
    step.writes
        .put(Table::Meta, keys::FIRST, kept.0.to_be_bytes());
    step.writes
        .put(Table::Meta, keys::SWEPT, step.below.0.to_be_bytes());
    // Behind the bound, by which `except` judges them.
    step.writes.extend(refused);
    Ok(step)
}

/// The height that all is removed below once these are written; 0 if they are not a truncation's.
#[must_use]
pub fn bound(writes: &WriteBatch) -> Height {
    let swept = writes.ops().iter().find_map(|op| match op {
        Op::Put(Table::Meta, key, value) if key == keys::SWEPT => value.as_slice().try_into().ok(),
        _ => None,
    });
    Height(swept.map_or(0, u64::from_be_bytes))
}

/// What stays of a batch whose block goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spared {
    /// Nothing.
    Nothing,
    /// The batch, which may be ordered again: it is as if it had never been, and goes when it expires unless it is.
    Batch,
    /// All: a block above has ordered it again.
    AndPlace,
}

/// The same without what removes batches that are to stay, and, where that stays too, what says where they were ordered;
/// and without what removes places that have moved up to what is kept, by this view, which is the store that it is written
/// to: a transaction that was refused below may have been executed since.
#[must_use]
pub fn except<V: View + ?Sized>(
    view: &V,
    writes: WriteBatch,
    mut spared: impl FnMut(BatchId) -> Spared,
) -> WriteBatch {
    let (bound, mut behind) = (bound(&writes), false);
    let moved = |key: &[u8]| match super::read::<(Height, u32), _>(view, Table::Places, key) {
        Ok(found) => found.is_some_and(|(height, _)| height >= bound),
        // What cannot be read is not removed.
        Err(_) => true,
    };
    let mut rest = match writes.settles() {
        true => WriteBatch::settling(),
        false => WriteBatch::new(),
    };
    let mut of = |key: &[u8]| match key.try_into() {
        Ok(id) => spared(BatchId(Digest::from_bytes(id))),
        Err(_) => Spared::Nothing,
    };
    for op in writes {
        let stays = match &op {
            Op::Delete(Table::Batches, key) => of(key) != Spared::Nothing,
            Op::Delete(Table::Ledger, key) => key
                .strip_prefix(b"b".as_slice())
                .is_some_and(|id| of(id) == Spared::AndPlace),
            Op::Delete(Table::Places, key) => behind && moved(key),
            Op::Put(Table::Meta, key, _) if key == keys::SWEPT => {
                behind = true;
                false
            }
            _ => false,
        };
        if !stays {
            rest.push(op);
        }
    }
    rest
}

/// Adds that what is kept begins no lower than it does now: a snapshot may have taken the ledger's place since these were
/// prepared, and of the heights below it nothing is left that a peer could follow.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn raise_first<V: View + ?Sized>(view: &V, writes: &mut WriteBatch) -> Result<(), LedgerError> {
    let kept = first(view)?.max(bound(writes));
    writes.put(Table::Meta, keys::FIRST, kept.0.to_be_bytes());
    Ok(())
}

/// Removes a height; apart, the places of what was refused there.
fn remove<V: View + ?Sized>(
    view: &V,
    writes: &mut WriteBatch,
    refused: &mut WriteBatch,
    height: Height,
) -> Result<(), LedgerError> {
    let key = keys::height(height);
    let block = block_by_height(view, height)?.ok_or_else(|| damaged(Table::Ledger, &key))?;
    for batch in &block.batches {
        if ordered_at(view, *batch)? == Some(height) {
            writes.delete(Table::Batches, *batch.as_bytes());
            writes.delete(Table::Ledger, keys::ordered(*batch));
        }
    }
    for receipt in receipts(view, height)? {
        let key = keys::place(receipt.transaction);
        // Where it was executed is its place for ever; where it was refused, only if it was never heard of before, and until
        // it is executed.
        match receipt.outcome {
            Outcome::Executed { .. } => writes.delete(Table::Places, key),
            Outcome::Rejected(_) => {
                if place(view, receipt.transaction)? == Some((height, receipt.index)) {
                    refused.delete(Table::Places, key);
                }
            }
            Outcome::Duplicate { .. } => {}
        }
    }
    let from = keys::receipts(height);
    if let Some(to) = prefix_end(&from) {
        writes.delete_range(Table::Receipts, from, to);
    }
    remove_nodes(writes, height);
    writes.delete(Table::Certificates, keys::certificate(height));
    writes.delete(Table::Meta, keys::roots(height));
    writes.delete(Table::Blocks, *block.id().as_bytes());
    writes.delete(Table::Ledger, key);
    Ok(())
}

/// Of the accumulator only the largest full subtrees to the left of what is kept are needed: they are siblings on the
/// way from a later receipt to the root. With this height the subtrees that end in it become part of larger ones.
fn remove_nodes(writes: &mut WriteBatch, height: Height) {
    // Leaf 0 is height 1.
    let Some(leaf) = height.0.checked_sub(1) else {
        return;
    };
    let levels = u8::try_from(height.0.trailing_zeros()).unwrap_or(u8::MAX);
    for level in 0..levels.min(63) {
        let right = leaf >> level;
        for index in [right.saturating_sub(1), right] {
            let id = NodeId { level, index };
            writes.delete(Table::Accumulator, keys::accumulator(id));
        }
    }
}

fn height<V: View + ?Sized>(view: &V, key: &[u8]) -> Result<Height, LedgerError> {
    let Some(bytes) = view.get(Table::Meta, key)? else {
        return Ok(Height(0));
    };
    Ok(Height(u64::from_be_bytes(fixed(Table::Meta, key, &bytes)?)))
}
