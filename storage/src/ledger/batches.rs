//! Batches: stored before a vote that needs them (P1), kept while a block above the root may order them (B5).

use quorate_types::{Batch, BatchId, BlockTime, Digest, Height, codec};

use super::{LedgerError, block_by_id, damaged, decode, fixed, keys, tip};
use crate::{Order, Table, View, WriteBatch};

/// Adds a batch. `id` is its digest, which the caller has from verifying it.
pub fn put_batch(write: &mut WriteBatch, id: BatchId, batch: &Batch) {
    write.put(Table::Batches, *id.as_bytes(), codec::encode(batch));
    write.put(Table::Ledger, keys::expiring(batch.expiry, id), Vec::new());
}

/// A batch; its digest is checked, so this hashes every transaction.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn batch<V: View + ?Sized>(view: &V, id: BatchId) -> Result<Option<Batch>, LedgerError> {
    let Some(bytes) = raw_batch(view, id)? else {
        return Ok(None);
    };
    let batch: Batch = decode(Table::Batches, id.as_bytes(), &bytes)?;
    if batch.id() != id {
        return Err(damaged(Table::Batches, id.as_bytes()));
    }
    Ok(Some(batch))
}

/// A batch's canonical encoding, under the store's own checksum only: for a peer, who checks the digest itself.
///
/// # Errors
/// The disk's.
pub fn raw_batch<V: View + ?Sized>(view: &V, id: BatchId) -> Result<Option<Vec<u8>>, LedgerError> {
    Ok(view.get(Table::Batches, id.as_bytes())?)
}

/// Whether a batch is stored.
///
/// # Errors
/// The disk's.
pub fn has_batch<V: View + ?Sized>(view: &V, id: BatchId) -> Result<bool, LedgerError> {
    Ok(view.contains(Table::Batches, id.as_bytes())?)
}

/// The height of the committed block that ordered a batch (the last one, if several did).
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn ordered_at<V: View + ?Sized>(view: &V, id: BatchId) -> Result<Option<Height>, LedgerError> {
    let key = keys::ordered(id);
    let Some(height) = view.get(Table::Ledger, &key)? else {
        return Ok(None);
    };
    let height = fixed(Table::Ledger, &key, &height)?;
    Ok(Some(Height(u64::from_be_bytes(height))))
}

/// Adds the removal of batches that nobody ordered and nobody can: those that expire before the time of the tip which the
/// view shows. Looks at `limit` at most; returns how many it removed.
///
/// No block above the tip can hold one of them, since its time is later than the tip's and a batch must not have expired
/// by then (V4): B5 holds by time alone. Ordered ones belong to the ledger and stay.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn prune_expired_batches<V: View + ?Sized>(
    view: &V,
    write: &mut WriteBatch,
    limit: usize,
) -> Result<usize, LedgerError> {
    let tip = tip(view)?;
    let block = block_by_id(view, tip.block)?;
    let block = block.ok_or_else(|| damaged(Table::Blocks, tip.block.as_bytes()))?;
    let (from, to) = (keys::expiry(BlockTime(0)), keys::expiry(block.header.time));
    debug_assert_eq!(from[0], keys::EXPIRY);
    let mut removed = 0;
    for (key, _) in view.scan(Table::Ledger, &from, Some(&to), limit, Order::Ascending)? {
        let id = key.get(9..).unwrap_or_default();
        let id = BatchId(Digest::from_bytes(fixed(Table::Ledger, &key, id)?));
        if ordered_at(view, id)?.is_none() {
            write.delete(Table::Batches, *id.as_bytes());
            removed += 1;
        }
        write.delete(Table::Ledger, key);
    }
    Ok(removed)
}
