//! Batches: stored before a vote that needs them (P1), kept while a block above the root may order them (B5).

use std::collections::BTreeSet;

use quorate_types::{Batch, BatchId, BlockId, BlockTime, Digest, HashedBatch, Height, codec};

use super::{LedgerError, block_by_id, damaged, decode, fixed, get, keys, uncommitted_blocks};
use crate::{Order, Table, View, WriteBatch};

/// Adds a batch. `id` is its digest, which the caller has from verifying it.
pub fn put_batch(write: &mut WriteBatch, id: BatchId, batch: &Batch) {
    write.put(Table::Batches, *id.as_bytes(), codec::encode(batch));
    write.put(Table::Ledger, keys::expiring(batch.expiry, id), Vec::new());
}

/// Adds a batch in place of a damaged one, and nothing else: when it goes is known already. `id` is its digest.
pub fn rewrite_batch(write: &mut WriteBatch, id: BatchId, batch: &Batch) {
    write.put(Table::Batches, *id.as_bytes(), codec::encode(batch));
}

/// A batch; its digest is checked, so this hashes every transaction.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn batch<V: View + ?Sized>(view: &V, id: BatchId) -> Result<Option<HashedBatch>, LedgerError> {
    let Some(bytes) = raw_batch(view, id)? else {
        return Ok(None);
    };
    let batch = HashedBatch::new(decode(Table::Batches, id.as_bytes(), &bytes)?);
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
    get(view, Table::Batches, id.as_bytes())
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

/// Adds the removal of batches that nobody ordered and nobody can: those that expire at `from` or later and before `time`,
/// the time of the tip. Looks at `limit` at most. Returns where the next call goes on (see
/// [`remove_stale_blocks`](super::remove_stale_blocks)).
///
/// No block above the tip can hold one of them, since its time is later than the tip's and a batch must not have expired
/// by then (V4): B5 holds by time alone. Ordered ones belong to the ledger and stay.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn prune_expired_batches<V: View + ?Sized>(
    view: &V,
    write: &mut WriteBatch,
    time: BlockTime,
    from: BlockTime,
    limit: usize,
) -> Result<BlockTime, LedgerError> {
    let range = (keys::expiry(from), keys::expiry(time));
    let listed = view.scan(
        Table::Ledger,
        &range.0,
        Some(&range.1),
        limit,
        Order::Ascending,
    )?;
    for (key, _) in &listed {
        let id = key.get(9..).unwrap_or_default();
        let id = BatchId(Digest::from_bytes(fixed(Table::Ledger, key, id)?));
        if ordered_at(view, id)?.is_none() {
            write.delete(Table::Batches, *id.as_bytes());
        }
        write.delete(Table::Ledger, key.as_slice());
    }
    Ok(if listed.len() < limit { time } else { from })
}

/// Adds the removal of the batches of stale blocks, which the view still shows, as far as nothing else needs them: no block
/// has ordered them, none that is stored above the tip names them (B5), and `needed` does not know them. Nobody signs a
/// batch: those that a faulty leader invents may expire at the end of time. Their places in the list of what expires stay.
///
/// # Errors
/// The disk's. What is damaged is left alone: it takes no more room than it did.
pub fn remove_stale_batches<V: View + ?Sized>(
    view: &V,
    write: &mut WriteBatch,
    stale: &[BlockId],
    needed: impl Fn(&BatchId) -> bool,
) -> Result<(), LedgerError> {
    if stale.is_empty() {
        return Ok(());
    }
    let above = match uncommitted_blocks(view) {
        Err(error) if error.is_damage() => return Ok(()),
        blocks => blocks?,
    };
    let above: BTreeSet<BatchId> = above.into_iter().flat_map(|block| block.batches).collect();
    for id in stale {
        let block = match block_by_id(view, *id) {
            Err(error) if error.is_damage() => continue,
            block => block?,
        };
        for batch in block.into_iter().flat_map(|block| block.batches) {
            let named = above.contains(&batch) || needed(&batch);
            if !named && ordered_at(view, batch)?.is_none() {
                write.delete(Table::Batches, *batch.as_bytes());
            }
        }
    }
    Ok(())
}
