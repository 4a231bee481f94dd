//! What a store holds, looked at without starting from it.

use quorate_execution::{Executor, OpenError};
use quorate_storage::View;
use quorate_storage::ledger::{self, Tip};
use quorate_types::{Height, Roots};

use crate::boot::{BootError, Setup};
use crate::view::StateReader;

/// Checks what a start checks: the chain, the finality of the newest block, and that the state has the roots that were
/// stored with it. Returns where the ledger ends, and those roots.
///
/// # Errors
/// [`BootError`].
pub fn inspect(setup: &Setup, view: &dyn View) -> Result<(Tip, Roots), BootError> {
    let tip = ledger::open(view, setup.validators.chain())?;
    let tip = tip.ok_or(BootError::State(OpenError::Missing))?;
    let executor = Executor::open(&StateReader(view))?;
    if executor.height() != tip.height {
        return Err(BootError::Heights {
            state: executor.height(),
            ledger: tip.height,
        });
    }
    if tip.height > Height(0) && ledger::finality(view, tip.height)?.is_none() {
        return Err(BootError::NoFinality(tip.height));
    }
    Ok((tip, executor.roots()))
}
