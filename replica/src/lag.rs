//! The state on disk may lie behind the ledger on disk, by a bounded number of blocks.
//!
//! What a block does to the state follows from the block, so only the block has to be durable (D1). What it does to
//! receipts and roots is written with it; the rest ([`may_lag`](quorate_execution::Space::may_lag)) is deferred ([`WriteBatch::defer`]) and written
//! with that of many blocks, sorted, and once a key: a client's session, which each of its transactions changes, above
//! all. A crash takes back what waits, all of it. A start executes those blocks again ([`catch_up`]), and holds the roots
//! against those that were stored with each.
//!
//! Whatever takes blocks away, or the state from under them, settles first: truncation ([`ledger::truncate`]), and the
//! mark that lets a snapshot take the state's place.

use quorate_execution::{Change, Executor, OpenError, OrderedBlock};
use quorate_mutants::{Mutant, mutant};
use quorate_storage::ledger::{self, LedgerError};
use quorate_storage::{Store, Sync, Table, View, WriteBatch};
use quorate_types::{Block, HashedBatch, Height};

use crate::boot::BootError;
use crate::replica::ReplicaError;
use crate::view::{StateReader, table};

/// How much of the state may wait for the disk. Affects no root; less makes starts after a crash faster and blocks dearer.
/// A start after a crash executes as much again, and a block more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LagLimits {
    /// Changes above which a block settles, those that are written with their block included: they tell how much there is
    /// to execute.
    pub changes: usize,
    /// Bytes of keys and values above which it does: they stay in memory until then, each key's last.
    pub bytes: usize,
    /// Blocks after which one does.
    pub blocks: usize,
}

impl Default for LagLimits {
    /// 32,768 changes, 16 MiB or 256 blocks.
    fn default() -> LagLimits {
        LagLimits {
            changes: 32_768,
            bytes: 16 << 20,
            blocks: 256,
        }
    }
}

/// What waits, counted since the last block that settled.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lag {
    limits: LagLimits,
    changes: usize,
    bytes: usize,
    blocks: usize,
}

impl Lag {
    pub(crate) fn new(limits: LagLimits) -> Lag {
        Lag {
            limits,
            ..Lag::default()
        }
    }

    /// Settles first when a part of the limits is used up that is another for each of `of` validators: a write that takes
    /// long should not hold up all of them at the same block.
    pub(crate) fn staggered(mut self, validator: usize, of: usize) -> Lag {
        let part = |limit: usize| limit / of.max(1) * (validator % of.max(1));
        self.changes = part(self.limits.changes);
        self.bytes = part(self.limits.bytes);
        self.blocks = part(self.limits.blocks);
        self
    }

    /// Adds what a block changes; the write settles if enough waits.
    pub(crate) fn put(&mut self, writes: &mut WriteBatch, changes: Vec<Change>) {
        self.changes += changes.len();
        for change in changes {
            let to = table(change.space);
            match change.value {
                value if change.space.may_lag() => {
                    self.bytes += change.key.len() + value.as_ref().map_or(0, Vec::len);
                    writes.defer(to, change.key, value);
                }
                Some(value) => writes.put(to, change.key, value),
                None => writes.delete(to, change.key),
            }
        }
        self.blocks += 1;
        let Lag { limits, .. } = *self;
        if self.changes > limits.changes
            || self.bytes > limits.bytes
            || self.blocks >= limits.blocks
        {
            writes.settle();
            *self = Lag::new(limits);
        }
    }
}

/// Executes the blocks of the ledger that the state on disk has not seen, and settles. Whoever opens a store calls it, once
/// the chain and the schema are known to be right ([`ledger::open`]), before anything looks at the state. Returns the executor
/// at the end of the ledger.
///
/// # Errors
/// [`BootError`]: the state is ahead of the ledger, a block or batch is missing or damaged, or leads to other roots than those
/// stored with it. What was executed before is settled: the state is then that of the height below.
pub fn catch_up(store: &mut dyn Store, limits: LagLimits) -> Result<Executor, BootError> {
    let tip = ledger::tip(&*store)?.height;
    let mut executor = Executor::open(&StateReader(&*store))?;
    if executor.height() > tip {
        return Err(BootError::Heights {
            state: executor.height(),
            ledger: tip,
        });
    }
    let mut lag = Lag::new(limits);
    while executor.height() < tip && !mutant(Mutant::StartsBehindLedger) {
        let height = executor.height().next();
        let changes = match execute(&*store, &mut executor, height) {
            Ok(changes) => changes,
            Err(error) => {
                // A disk that fails refuses this, too.
                store.write(WriteBatch::settling(), Sync::No)?;
                return Err(error);
            }
        };
        let mut writes = WriteBatch::new();
        lag.put(&mut writes, changes);
        if height == tip {
            writes.settle();
        }
        store.write(writes, Sync::No)?;
    }
    Ok(executor)
}

/// Executes a block of the ledger. Returns what was not written with it.
fn execute(
    view: &dyn View,
    executor: &mut Executor,
    height: Height,
) -> Result<Vec<Change>, BootError> {
    let (block, batches) = ordered(view, height)?;
    let executed = executor.execute(
        &StateReader(view),
        &OrderedBlock {
            height,
            time: block.header.time,
            batches: &batches,
        },
    );
    let mut executed = executed.map_err(ReplicaError::Execute)?;
    if ledger::roots(view, height)? != Some(executed.roots) {
        return Err(BootError::State(OpenError::RootMismatch { height }));
    }
    executed.changes.retain(|change| change.space.may_lag());
    Ok(executed.changes)
}

/// A block of the ledger with its batches.
fn ordered(view: &dyn View, height: Height) -> Result<(Block, Vec<HashedBatch>), BootError> {
    let missing = || LedgerError::Damaged {
        table: Table::Ledger,
        key: ledger::keys::height(height),
    };
    let block = ledger::block_by_height(view, height)?.ok_or_else(missing)?;
    let mut batches = Vec::new();
    for id in &block.batches {
        let batch = ledger::batch(view, *id)?;
        batches.push(batch.ok_or(ReplicaError::BatchMissing(*id))?);
    }
    Ok((block, batches))
}

#[cfg(test)]
mod tests {
    use quorate_execution::Space;
    use quorate_storage::Op;

    use super::*;

    fn block(lag: &mut Lag, changes: usize, bytes: usize) -> WriteBatch {
        let change = |n: usize| Change::put(Space::State, n.to_be_bytes().into(), vec![0; bytes]);
        let mut writes = WriteBatch::new();
        lag.put(&mut writes, (0..changes).map(change).collect());
        writes
    }

    /// After how many blocks one settles, and after how many more the next.
    fn settling(limits: LagLimits, changes: usize, bytes: usize) -> [usize; 2] {
        let mut lag = Lag::new(limits);
        let mut next = || {
            1 + (0..99)
                .take_while(|_| !block(&mut lag, changes, bytes).settles())
                .count()
        };
        [next(), next()]
    }

    #[test]
    fn each_limit_settles_and_counts_anew() {
        let limits = LagLimits {
            changes: 10,
            bytes: 1_000,
            blocks: 5,
        };
        assert_eq!(settling(limits, 0, 0), [5, 5]);
        assert_eq!(settling(limits, 6, 0), [2, 2]);
        assert_eq!(settling(limits, 1, 400), [3, 3]);
        assert_eq!(settling(limits, 1, 2_000), [1, 1]);
    }

    #[test]
    fn no_two_validators_settle_at_the_same_block() {
        let limits = LagLimits {
            blocks: 8,
            ..LagLimits::default()
        };
        let first = |validator| {
            let mut lag = Lag::new(limits).staggered(validator, 4);
            1 + (0..99)
                .take_while(|_| !block(&mut lag, 1, 1).settles())
                .count()
        };
        assert_eq!([0, 1, 2, 3].map(first), [8, 6, 4, 2]);
    }

    #[test]
    fn only_what_is_read_by_height_is_written_with_its_block() {
        let mut lag = Lag::new(LagLimits::default());
        let spaces = [
            Space::State,
            Space::Tree,
            Space::Places,
            Space::Meta,
            Space::Roots,
            Space::Receipts,
            Space::Accumulator,
        ];
        let change = |space| Change::put(space, vec![1], vec![2]);
        let mut writes = WriteBatch::new();
        lag.put(&mut writes, spaces.map(change).into());
        let deferred = writes.ops().iter().map(|op| matches!(op, Op::Defer(..)));
        let deferred: Vec<bool> = deferred.collect();
        assert_eq!(deferred, [true, true, true, true, false, false, false]);
    }
}
