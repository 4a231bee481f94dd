//! What a store holds, looked at without starting a replica from it.

use quorate_execution::OpenError;
use quorate_storage::Store;
use quorate_storage::ledger::{self, Tip};
use quorate_types::{Height, Roots};

use crate::boot::{BootError, Setup};
use crate::lag;

/// Checks what a start checks: the chain, the finality of the newest block, and that the state has the roots that were
/// stored with it, once it is brought to the end of the ledger ([`lag::catch_up`]). Returns where the ledger ends, and those
/// roots.
///
/// # Errors
/// [`BootError`].
pub fn inspect(setup: &Setup, store: &mut dyn Store) -> Result<(Tip, Roots), BootError> {
    let tip = ledger::open(&*store, setup.validators.chain())?;
    let tip = tip.ok_or(BootError::State(OpenError::Missing))?;
    let executor = lag::catch_up(store, setup.lag)?;
    if tip.height > Height(0) && ledger::finality(&*store, tip.height)?.is_none() {
        return Err(BootError::NoFinality(tip.height));
    }
    Ok((tip, executor.roots()))
}
