//! API sketch; the body follows.

use alloc::sync::Arc;
use alloc::vec::Vec;

use quorate_types::{Batch, BlockTime, Genesis, Height, Receipt, Roots};

use crate::space::{Change, Reader};
use crate::tree::Proof;

/// A committed block.
#[derive(Clone, Copy, Debug)]
pub struct OrderedBlock<'a> {
    /// Its height.
    pub height: Height,
    /// Its agreed time.
    pub time: BlockTime,
    /// Its batches, verified, in order.
    pub batches: &'a [Arc<Batch>],
}

/// What a block led to.
#[derive(Clone, Debug)]
pub struct Executed {
    /// The block's height.
    pub height: Height,
    /// The roots after it.
    pub roots: Roots,
    /// To be written in one atomic batch.
    pub changes: Vec<Change>,
    /// One a transaction.
    pub receipts: Vec<Receipt>,
}

/// Why the executor cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError<E> {
    /// Storage failed.
    #[error("storage could not be read")]
    Source(E),
    /// There is no executed state.
    #[error("there is no executed state")]
    Missing,
    /// A record is missing or malformed.
    #[error("a stored record is missing or damaged")]
    Damaged,
    /// The tree does not have the root that was stored.
    #[error("the state at height {height} has another root than the one stored")]
    RootMismatch {
        /// At which height.
        height: Height,
    },
}

/// Why a block could not be executed. The executor must be opened again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError<E> {
    /// Storage failed.
    #[error("storage could not be read")]
    Source(E),
    /// A record is missing or malformed.
    #[error("a stored record is missing or damaged")]
    Damaged,
}

/// Executes committed blocks.
#[derive(Debug)]
pub struct Executor {
    height: Height,
    roots: Roots,
}

impl Executor {
    /// The state of height 0.
    #[must_use]
    pub fn genesis(_genesis: &Genesis) -> (Executor, Vec<Change>, Roots) {
        let (height, roots) = (Height(0), Roots::default());
        (Executor { height, roots }, Vec::new(), roots)
    }

    /// The executor at the last persisted height.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open<R: Reader>(_reader: &R) -> Result<Executor, OpenError<R::Error>> {
        Err(OpenError::Missing)
    }

    /// Height of the last executed block.
    #[must_use]
    pub fn height(&self) -> Height {
        self.height
    }

    /// Roots after it.
    #[must_use]
    pub fn roots(&self) -> Roots {
        self.roots
    }

    /// Executes the next block.
    ///
    /// # Errors
    /// [`ExecuteError`].
    pub fn execute<R: Reader>(
        &mut self,
        _reader: &R,
        block: &OrderedBlock<'_>,
    ) -> Result<Executed, ExecuteError<R::Error>> {
        self.height = block.height;
        Ok(Executed {
            height: self.height,
            roots: self.roots,
            changes: Vec::new(),
            receipts: Vec::new(),
        })
    }

    /// Proves a key of the state, or its absence, at the current height.
    ///
    /// # Errors
    /// [`ExecuteError`].
    pub fn prove_key<R: Reader>(
        &mut self,
        _reader: &R,
        _key: &[u8],
    ) -> Result<(Option<Vec<u8>>, Proof), ExecuteError<R::Error>> {
        Err(ExecuteError::Damaged)
    }
}
