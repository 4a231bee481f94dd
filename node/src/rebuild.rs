//! A state worked out again: from the genesis or a snapshot, and from there block by block of a ledger.
//!
//! Owns the comparison on the way: after each block, the roots are those that were stored with it, and what the block
//! claims of an earlier height is what was worked out there. So the first height whose stored roots or whose certified
//! claim is not what execution gives is named. The state is on disk ([`Scratch`]); nothing of the ledger is changed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;

use quorate_execution::fork::Foundation;
use quorate_execution::snapshot::{Chunk, Installer};
use quorate_execution::{Change, ExecuteError, Executor, OrderedBlock};
use quorate_replica::snapshot::check_chunk;
use quorate_storage::{RocksReader, ledger};
use quorate_types::{Genesis, HashedBatch, Header, Height, Manifest, Roots, Validators};

use crate::exit::Failure;
use crate::origin::{self, Pieces};
use crate::scratch::Scratch;
use crate::snapshot::files;

/// Heights whose roots are kept for claims of later blocks.
const KEPT_ROOTS: usize = 8_192;

/// Hears how much was done, and may end it.
pub type Each<'a> = &'a mut dyn FnMut(u64) -> Result<(), Failure>;

/// See the [module](self).
pub struct Rebuilt {
    state: Scratch,
    executor: Executor,
    /// Own roots of recent heights, to hold claims against.
    roots: BTreeMap<Height, Roots>,
}

impl Rebuilt {
    /// Height 0. `directory` is where the genesis lies, if it lies anywhere: a chain that starts from another chain's
    /// state finds that beside it. `each` hears of its records.
    ///
    /// # Errors
    /// Status 3: that state is missing. 6: it is another. 8: it is damaged. 1: the scratch.
    pub fn genesis(
        mut state: Scratch,
        directory: Option<&Path>,
        genesis: &Genesis,
        each: Each<'_>,
    ) -> Result<Rebuilt, Failure> {
        if genesis.origin.is_none() {
            let (_, changes, _) = Executor::genesis(genesis);
            state.apply(changes)?;
            return Rebuilt::open(state);
        }
        let Some(directory) = directory else {
            let message =
                "this chain starts from another chain's state, which is not in its genesis";
            let hint = "name the genesis that lies beside origin.state: --genesis FILE";
            return Err(Failure::config(message).hint(hint));
        };
        let path = directory.join(origin::FILE);
        let mut pieces = Pieces::open(&path)?;
        let (mut foundation, changes) =
            Foundation::begin(&state, genesis).map_err(|error| state.lost(error))?;
        state.apply(changes)?;
        while let Some(records) = pieces.piece()? {
            each(u64::try_from(records.len()).expect("memory is smaller"))?;
            let added = foundation.add(&state, records);
            state.apply(added.map_err(|error| state.lost(error))?)?;
        }
        let changes = foundation.finish::<Infallible>(genesis);
        state.apply(changes.map_err(|_| origin::other_state(&path))?)?;
        Rebuilt::open(state)
    }

    /// The state in a snapshot whose manifest was checked; `each` hears of its chunks.
    ///
    /// # Errors
    /// Status 6: a chunk is not what the certified state holds. 1: a file or the scratch.
    pub fn snapshot(
        mut state: Scratch,
        manifest: &Manifest,
        path: &Path,
        each: Each<'_>,
    ) -> Result<Rebuilt, Failure> {
        install(manifest, path, &mut state, Scratch::apply, each)?;
        Rebuilt::open(state)
    }

    fn open(state: Scratch) -> Result<Rebuilt, Failure> {
        let executor = state.executor()?;
        let roots = BTreeMap::from([(executor.height(), executor.roots())]);
        Ok(Rebuilt {
            state,
            executor,
            roots,
        })
    }

    /// The height that was worked out last.
    #[must_use]
    pub fn height(&self) -> Height {
        self.executor.height()
    }

    /// The roots there.
    #[must_use]
    pub fn roots(&self) -> Roots {
        self.executor.roots()
    }

    /// The roots of an earlier height, if they are still known.
    #[must_use]
    pub fn roots_at(&self, height: Height) -> Option<Roots> {
        self.roots.get(&height).copied()
    }

    /// The records.
    #[must_use]
    pub fn state(&self) -> &Scratch {
        &self.state
    }

    /// Executes the next block.
    ///
    /// # Errors
    /// Status 6: it cannot be executed. 1: the scratch.
    pub fn execute(&mut self, header: &Header, batches: &[HashedBatch]) -> Result<Roots, Failure> {
        let ordered = OrderedBlock {
            height: header.height,
            time: header.time,
            batches,
        };
        let executed = self.executor.execute(&self.state, &ordered);
        let executed = executed.map_err(|error| match error {
            ExecuteError::Source(error) => self.state.failure(&error),
            error => Failure::verification(format!("height {}: {error}", header.height)),
        })?;
        self.state.apply(executed.changes)?;
        self.roots.insert(header.height, executed.roots);
        // A block may repeat an old claim of its branch; what lies well behind both is not needed again.
        while self.roots.len() > KEPT_ROOTS
            && self
                .roots
                .first_key_value()
                .is_some_and(|(height, _)| *height < header.claim.height)
        {
            self.roots.pop_first();
        }
        Ok(executed.roots)
    }

    /// Executes the next block of a ledger, and holds the roots against those that were stored with it, and what it
    /// claims against what was worked out (V5).
    ///
    /// # Errors
    /// Status 6: they differ. 8: the ledger lacks something. 1: the scratch.
    pub fn step(&mut self, reader: &RocksReader) -> Result<(), Failure> {
        let height = self.height().next();
        let lacks =
            |what: &str| Failure::damaged(format!("the ledger lacks {what} of height {height}"));
        let block = ledger::block_by_height(reader, height).map_err(Failure::damaged)?;
        let block = block.ok_or_else(|| lacks("the block"))?;
        let mut batches: Vec<HashedBatch> = Vec::with_capacity(block.batches.len());
        for id in &block.batches {
            let batch = ledger::batch(reader, *id).map_err(Failure::damaged)?;
            batches.push(batch.ok_or_else(|| lacks("a batch"))?);
        }
        let claim = &block.header.claim;
        if let Some(own) = self.roots_at(claim.height)
            && own != claim.roots
        {
            return Err(differ(
                height,
                "the block claims",
                claim.height,
                own,
                claim.roots,
            ));
        }
        let stored = ledger::roots(reader, height).map_err(Failure::damaged)?;
        let stored = stored.ok_or_else(|| lacks("the roots"))?;
        let own = self.execute(&block.header, &batches)?;
        match own == stored {
            true => Ok(()),
            false => Err(differ(height, "stored are", height, own, stored)),
        }
    }
}

fn differ(at: Height, who: &str, of: Height, own: Roots, other: Roots) -> Failure {
    Failure::verification(format!(
        "height {at}: executed again, the roots of height {of} are {} and {}; {who} {} and {}",
        own.state, own.receipts, other.state, other.receipts
    ))
}

/// Puts a snapshot's tree into a scratch, without the records; the rest as [`Rebuilt::snapshot`].
///
/// # Errors
/// As [`Rebuilt::snapshot`].
pub fn tree(
    tree: &mut Scratch,
    manifest: &Manifest,
    path: &Path,
    each: Each<'_>,
) -> Result<(), Failure> {
    install(manifest, path, tree, Scratch::apply_tree, each)
}

fn install(
    manifest: &Manifest,
    path: &Path,
    scratch: &mut Scratch,
    apply: fn(&mut Scratch, Vec<Change>) -> Result<(), Failure>,
    each: Each<'_>,
) -> Result<(), Failure> {
    let mut installer = Installer::begin();
    for index in 0..u32::try_from(manifest.pieces.len()).expect("bounded by the check") {
        let changes = installer.add(&*scratch, chunk(manifest, path, index)?);
        apply(scratch, changes.map_err(|error| scratch.lost(error))?)?;
        each(1)?;
    }
    let (height, roots) = (manifest.height, &manifest.roots);
    let changes = installer.finish::<Infallible>(height, roots, &manifest.accumulator);
    apply(scratch, changes.map_err(Failure::verification)?)
}

/// The manifest of a snapshot, its certificates checked.
///
/// # Errors
/// Status 6.
pub fn manifest(validators: &Validators, path: &Path) -> Result<Manifest, Failure> {
    let manifest = files::read_manifest(path)?;
    manifest
        .check(validators)
        .map_err(|reject| Failure::verification(format!("{}: {reject}", path.display())))?;
    Ok(manifest)
}

/// A chunk of a snapshot, held against the certified root.
///
/// # Errors
/// Status 6.
pub fn chunk(manifest: &Manifest, path: &Path, index: u32) -> Result<Chunk, Failure> {
    let bytes = files::read_chunk(path, index)?;
    let good = check_chunk(manifest, index, &bytes);
    let chunk = good.then(|| Chunk::decode(&bytes).ok()).flatten();
    chunk.ok_or_else(|| {
        let shown = path.display();
        Failure::verification(format!(
            "{shown}: chunk {index} is not what the certified state holds"
        ))
    })
}
