//! Height 0 of a chain that starts from another chain's state, put into an empty store.
//!
//! The records come from whoever has them, in pieces; memory holds one. The last write, synced, makes the state that of
//! height 0 and the ledger one that begins there, and only if the root is the one that the genesis names. Until then the
//! store counts as empty, so that a start after a crash begins again.

use quorate_execution::fork::Foundation;
use quorate_execution::{Entry, OpenError};
use quorate_storage::{Store, StoreError, Sync, Table, View, WriteBatch, ledger};

use crate::boot::{BootError, Setup};
use crate::view::{StateReader, put, table};

/// Whether the store lacks the state that the chain starts from.
///
/// # Errors
/// [`BootError`]: the store holds another chain, or cannot be read.
pub fn is_needed(setup: &Setup, view: &dyn View) -> Result<bool, BootError> {
    let empty = ledger::open(view, setup.validators.chain())?.is_none();
    Ok(empty && setup.genesis().origin.is_some())
}

/// Puts the state into an empty store. `next` hands out the other chain's records, ascending, until there are no more.
///
/// # Errors
/// [`BootError`], with [`OpenError::RootMismatch`] for records that are not those that the genesis means; or whatever
/// `next` fails with.
pub fn found<E: From<BootError>>(
    setup: &Setup,
    store: &mut dyn Store,
    mut next: impl FnMut() -> Result<Option<Vec<Entry>>, E>,
) -> Result<(), E> {
    let mut writes = WriteBatch::new();
    for (space, from, to) in Foundation::ranges() {
        writes.delete_range(table(space), from, to);
    }
    ledger::put_founding(&mut writes, setup.validators.chain());
    write(store, writes, Sync::No)?;
    let begun = Foundation::begin(&StateReader(&*store), setup.genesis());
    let (mut foundation, changes) = begun.map_err(failed)?;
    apply(store, changes)?;
    while let Some(records) = next()? {
        let added = foundation.add(&StateReader(&*store), records);
        apply(store, added.map_err(failed)?)?;
    }
    let changes = foundation.finish(setup.genesis()).map_err(failed)?;
    let mut writes = WriteBatch::new();
    put(&mut writes, changes);
    let _tip = ledger::create(
        &mut writes,
        setup.validators.chain(),
        &setup.genesis_block(),
    );
    writes.delete(Table::Meta, ledger::keys::FOUNDING);
    Ok(write(store, writes, Sync::Yes)?)
}

fn apply(store: &mut dyn Store, changes: Vec<quorate_execution::Change>) -> Result<(), BootError> {
    let mut writes = WriteBatch::new();
    put(&mut writes, changes);
    write(store, writes, Sync::No)
}

fn write(store: &mut dyn Store, writes: WriteBatch, sync: Sync) -> Result<(), BootError> {
    store.write(writes, sync).map_err(BootError::Store)
}

fn failed(error: OpenError<StoreError>) -> BootError {
    BootError::State(error)
}
