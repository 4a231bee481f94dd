//! A fetched snapshot takes the place of the state, before a replica starts on it.
//!
//! All chunks are here and were verified one by one. From the write that removes the old state to the one that makes the
//! new state current there is none; the mark in between names the next chunk, so that a start after a crash goes on there.
//! Memory holds one chunk at a time. The safety record is not touched: what was signed stays signed.

use quorate_execution::snapshot::{Chunk, Installer};
use quorate_storage::ledger::{self, LedgerError};
use quorate_storage::{Store, Sync, Table, View, WriteBatch};
use quorate_types::{Manifest, Validators};

use crate::boot::BootError;
use crate::view::{StateReader, put, table};

/// Installs what is staged, if the mark says so. Whether it did.
pub(crate) fn install(validators: &Validators, store: &mut dyn Store) -> Result<bool, BootError> {
    let Some(mut mark) = ledger::install_mark(&*store)? else {
        return Ok(false);
    };
    let manifest = staged(validators, &*store)?;
    if mark == 0 {
        if ledger::tip(&*store)?.height >= manifest.height {
            // Blocks were faster.
            let mut writes = WriteBatch::new();
            ledger::clear_staging(&mut writes);
            writes.delete(Table::Meta, ledger::keys::INSTALL);
            writes.settle();
            store.write(writes, Sync::Yes)?;
            return Ok(false);
        }
        mark = 1;
        let mut writes = WriteBatch::new();
        for (space, from, to) in Installer::ranges() {
            writes.delete_range(table(space), from, to);
        }
        ledger::put_install_mark(&mut writes, mark);
        store.write(writes, Sync::Yes)?;
    }
    let mut installer = Installer::resume(&StateReader(&*store))?;
    while let Ok(place) = usize::try_from(mark - 1)
        && place < manifest.pieces.len()
    {
        let chunk = staged_chunk(&*store, mark - 1)?;
        let changes = installer.add(&StateReader(&*store), chunk)?;
        let mut writes = WriteBatch::new();
        put(&mut writes, changes);
        mark += 1;
        ledger::put_install_mark(&mut writes, mark);
        store.write(writes, Sync::No)?;
    }
    let changes = installer.finish(manifest.height, &manifest.roots, &manifest.accumulator)?;
    let mut writes = WriteBatch::new();
    put(&mut writes, changes);
    let _tip = ledger::take_over(&mut writes, &manifest);
    writes.settle();
    store.write(writes, Sync::Yes)?;
    Ok(true)
}

/// The manifest that is staged, checked again.
fn staged(validators: &Validators, view: &dyn View) -> Result<Manifest, BootError> {
    let manifest = ledger::staged_manifest(view)?;
    let manifest = manifest.filter(|manifest| manifest.check(validators).is_ok());
    manifest.ok_or_else(|| damaged(ledger::keys::MANIFEST.to_vec()))
}

fn staged_chunk(view: &dyn View, index: u32) -> Result<Chunk, BootError> {
    let bytes = ledger::staged_chunk(view, index)?;
    let chunk = bytes.and_then(|bytes| Chunk::decode(&bytes).ok());
    chunk.ok_or_else(|| damaged(ledger::keys::chunk(index)))
}

fn damaged(key: Vec<u8>) -> BootError {
    let table = Table::Staging;
    BootError::Ledger(LedgerError::Damaged { table, key })
}

/// Puts a snapshot into an empty store, chunk by chunk, and makes it the state at the next [`crate::Replica::open`]: what a
/// restore from files does. The manifest was checked by the caller, and each chunk before it is handed over.
///
/// # Errors
/// [`BootError`], or whatever `chunk` fails with.
pub fn stage<E: From<BootError>>(
    store: &mut dyn Store,
    manifest: &Manifest,
    mut chunk: impl FnMut(u32) -> Result<Vec<u8>, E>,
) -> Result<(), E> {
    let mut write = |writes, sync| store.write(writes, sync).map_err(BootError::Store);
    let mut writes = WriteBatch::new();
    ledger::clear_staging(&mut writes);
    ledger::put_manifest(&mut writes, manifest);
    write(writes, Sync::No)?;
    for index in 0..u32::try_from(manifest.pieces.len()).expect("bounded by the check") {
        let mut writes = WriteBatch::new();
        ledger::put_chunk(&mut writes, index, chunk(index)?);
        write(writes, Sync::No)?;
    }
    let mut writes = WriteBatch::new();
    ledger::put_install_mark(&mut writes, 0);
    Ok(write(writes, Sync::Yes)?)
}
