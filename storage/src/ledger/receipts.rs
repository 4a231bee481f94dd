//! What execution leaves behind. The execution crate writes these tables; here are their keys and the reading of them.

use quorate_types::accumulator::NodeId;
use quorate_types::{Digest, Height, Receipt, Roots, TransactionId};

use super::{LedgerError, damaged, decode, fixed, keys, read};
use crate::store::{Entry, prefix_end};
use crate::{Order, Table, View};

/// The receipt of the transaction at a place; `None` if nothing was executed there.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn receipt<V: View + ?Sized>(
    view: &V,
    height: Height,
    index: u32,
) -> Result<Option<Receipt>, LedgerError> {
    let key = keys::receipt(height, index);
    let Some(bytes) = view.get(Table::Receipts, &key)? else {
        return Ok(None);
    };
    checked((key, bytes)).map(Some)
}

/// All receipts of a height, by index.
///
/// # Errors
/// [`LedgerError::Damaged`], also for a gap.
pub fn receipts<V: View + ?Sized>(view: &V, height: Height) -> Result<Vec<Receipt>, LedgerError> {
    let from = keys::receipts(height);
    let to = prefix_end(&from);
    let entries = view.scan(
        Table::Receipts,
        &from,
        to.as_deref(),
        usize::MAX,
        Order::Ascending,
    )?;
    let receipts: Result<Vec<Receipt>, LedgerError> = entries.into_iter().map(checked).collect();
    let receipts = receipts?;
    for (index, receipt) in (0u32..).zip(&receipts) {
        if receipt.index != index {
            return Err(damaged(Table::Receipts, &keys::receipt(height, index)));
        }
    }
    Ok(receipts)
}

/// How many receipts a height has, from the last one alone: their indices count from 0 without a gap.
///
/// # Errors
/// [`LedgerError::Damaged`] if the last one is; a gap below it is not looked for.
pub fn receipt_count<V: View + ?Sized>(view: &V, height: Height) -> Result<u32, LedgerError> {
    let from = keys::receipts(height);
    let to = prefix_end(&from);
    let last = view.scan(Table::Receipts, &from, to.as_deref(), 1, Order::Descending)?;
    let Some(last) = last.into_iter().next() else {
        return Ok(0);
    };
    let key = last.0.clone();
    let count = checked(last)?.index.checked_add(1);
    count.ok_or_else(|| damaged(Table::Receipts, &key))
}

/// Where a transaction stands in the ledger.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn place<V: View + ?Sized>(
    view: &V,
    transaction: TransactionId,
) -> Result<Option<(Height, u32)>, LedgerError> {
    read(view, Table::Places, &keys::place(transaction))
}

/// What execution up to and including a height has led to.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn roots<V: View + ?Sized>(view: &V, height: Height) -> Result<Option<Roots>, LedgerError> {
    read(view, Table::Meta, &keys::roots(height))
}

/// The roots of the first `limit` heights from one on of which they are known, ascending.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn roots_from<V: View + ?Sized>(
    view: &V,
    from: Height,
    limit: usize,
) -> Result<Vec<(Height, Roots)>, LedgerError> {
    let end = prefix_end(keys::ROOTS);
    let from = keys::roots(from);
    let found = view.scan(Table::Meta, &from, end.as_deref(), limit, Order::Ascending)?;
    let known = found.iter().map(|(key, bytes)| {
        let height = key.get(keys::ROOTS.len()..).unwrap_or_default();
        let height = Height(u64::from_be_bytes(fixed(Table::Meta, key, height)?));
        Ok((height, decode(Table::Meta, key, bytes)?))
    });
    known.collect()
}

/// The root of a full subtree of the accumulator of receipts.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn accumulator_node<V: View + ?Sized>(
    view: &V,
    node: NodeId,
) -> Result<Option<Digest>, LedgerError> {
    let key = keys::accumulator(node);
    let Some(bytes) = view.get(Table::Accumulator, &key)? else {
        return Ok(None);
    };
    fixed(Table::Accumulator, &key, &bytes).map(|bytes| Some(Digest::from_bytes(bytes)))
}

fn checked((key, bytes): Entry) -> Result<Receipt, LedgerError> {
    let receipt: Receipt = decode(Table::Receipts, &key, &bytes)?;
    if keys::receipt(receipt.height, receipt.index) != key {
        return Err(damaged(Table::Receipts, &key));
    }
    Ok(receipt)
}
