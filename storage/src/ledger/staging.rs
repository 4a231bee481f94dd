//! A snapshot on its way in: fetched chunk by chunk beside the state, which is not touched before all are here.
//!
//! What is staged was verified by whoever staged it. The mark under [`keys::INSTALL`] says that the state is being
//! replaced: until it is gone, no state is there, and a start goes on with the chunk that the mark names.

use quorate_types::{Finality, Height, Manifest, codec};

use super::{LedgerError, Tip, fixed, keys, read};
use crate::store::prefix_end;
use crate::{Order, Table, View, WriteBatch};

/// Adds the manifest.
pub fn put_manifest(write: &mut WriteBatch, manifest: &Manifest) {
    write.put(Table::Staging, keys::MANIFEST, codec::encode(manifest));
}

/// The manifest of what is staged. Its certificates are to be checked again: this is only what a disk says.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn staged_manifest<V: View + ?Sized>(view: &V) -> Result<Option<Manifest>, LedgerError> {
    read(view, Table::Staging, keys::MANIFEST)
}

/// Adds an encoded chunk.
pub fn put_chunk(write: &mut WriteBatch, index: u32, chunk: Vec<u8>) {
    write.put(Table::Staging, keys::chunk(index), chunk);
    write.put(Table::Staging, keys::held(index), Vec::new());
}

/// An encoded chunk.
///
/// # Errors
/// The disk's.
pub fn staged_chunk<V: View + ?Sized>(
    view: &V,
    index: u32,
) -> Result<Option<Vec<u8>>, LedgerError> {
    Ok(view.get(Table::Staging, &keys::chunk(index))?)
}

/// Which chunks are staged, ascending.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn held_chunks<V: View + ?Sized>(view: &V) -> Result<Vec<u32>, LedgerError> {
    let from = b"held/";
    let to = prefix_end(from);
    let found = view.scan(
        Table::Staging,
        from,
        to.as_deref(),
        usize::MAX,
        Order::Ascending,
    )?;
    let index = |key: &[u8]| {
        let bytes = key.get(from.len()..).unwrap_or_default();
        Ok(u32::from_be_bytes(fixed(Table::Staging, key, bytes)?))
    };
    found.iter().map(|(key, _)| index(key)).collect()
}

/// Adds the removal of everything that is staged.
///
/// A range is deleted: not for the writes of a turn.
pub fn clear_staging(write: &mut WriteBatch) {
    write.delete_range(Table::Staging, Vec::new(), vec![u8::MAX]);
}

/// How many chunks of the staged snapshot are installed; `None` unless it takes the state's place.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn install_mark<V: View + ?Sized>(view: &V) -> Result<Option<u32>, LedgerError> {
    let Some(bytes) = view.get(Table::Meta, keys::INSTALL)? else {
        return Ok(None);
    };
    let bytes = fixed(Table::Meta, keys::INSTALL, &bytes)?;
    Ok(Some(u32::from_be_bytes(bytes)))
}

/// Adds the mark.
pub fn put_install_mark(write: &mut WriteBatch, chunks: u32) {
    write.put(Table::Meta, keys::INSTALL, chunks.to_be_bytes());
}

/// Adds what makes the ledger end at the snapshot's block: its blocks without their batches, so that a leader can be
/// elected, the roots that they claim, and the tip. Nothing up to that height is kept for others. The mark and what is
/// staged go. Returns the tip.
pub fn take_over(write: &mut WriteBatch, manifest: &Manifest) -> Option<Tip> {
    for block in &manifest.blocks {
        let (id, header) = (block.id(), &block.header);
        write.put(Table::Blocks, *id.as_bytes(), codec::encode(block));
        write.put(Table::Ledger, keys::height(header.height), *id.as_bytes());
        write.delete(Table::Ledger, keys::uncommitted(header.round, id));
        let claim = header.claim;
        write.put(
            Table::Meta,
            keys::roots(claim.height),
            codec::encode(&claim.roots),
        );
    }
    put_finality(write, manifest.height, &manifest.finality);
    let first = manifest.height.next();
    write.put(Table::Meta, keys::FIRST, first.0.to_be_bytes());
    let tip = manifest.blocks.last().map(Tip::of)?;
    write.put(Table::Meta, keys::TIP, codec::encode(&tip));
    write.delete(Table::Meta, keys::INSTALL);
    clear_staging(write);
    Some(tip)
}

fn put_finality(write: &mut WriteBatch, height: Height, finality: &Finality) {
    write.put(
        Table::Certificates,
        keys::certificate(height),
        codec::encode(finality),
    );
}
