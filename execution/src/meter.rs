//! What execution costs, in units that every replica counts alike: a transaction or a block that would cost too much is
//! refused, however fast or slow the replica is. One unit is roughly 20 ns of work on a small server.

/// A transaction, whatever it holds: session, receipt, place.
pub const TRANSACTION: u64 = 50;
/// A command, besides what it reads and writes.
pub const COMMAND: u64 = 10;
/// Bytes of a command for one more unit.
pub const COMMAND_BYTES_PER_UNIT: usize = 16;
/// A key looked up.
pub const READ: u64 = 50;
/// A range begun: to find its place takes longer than to read what is there. Each entry that it finds is a [`READ`].
pub const RANGE: u64 = 500;
/// A change of the block's own that a range passes.
pub const ENTRY: u64 = 10;
/// Bytes read for one more unit.
pub const READ_BYTES_PER_UNIT: usize = 16;
/// A key written or deleted, besides its bytes: most of it is the tree.
pub const WRITE: u64 = 50;
/// Bytes written, or of the key deleted, for one more unit.
pub const WRITE_BYTES_PER_UNIT: usize = 4;
/// Bytes of a result for one unit: receipts are kept for ever, so a byte costs as much as it gets.
pub const RESULT_BYTES_PER_UNIT: usize = 1;

/// The limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cost limit is reached")]
pub struct CostExceeded;

/// Counts the cost of one transaction up to a limit.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    used: u64,
    limit: u64,
    passed_deleted: bool,
}

impl Meter {
    /// A meter at 0.
    #[must_use]
    pub const fn new(limit: u64) -> Meter {
        Meter {
            used: 0,
            limit,
            passed_deleted: false,
        }
    }

    /// Units used so far. After [`CostExceeded`] it is the limit: whoever exceeds a limit has used it up.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// Notes that something was paid for passing a key that the block has deleted.
    pub(crate) const fn note_deleted(&mut self) {
        self.passed_deleted = true;
    }

    /// Whether others' deletions in the same block may have made it dearer than it is.
    pub(crate) const fn has_passed_deleted(&self) -> bool {
        self.passed_deleted
    }

    /// Adds units.
    ///
    /// # Errors
    /// [`CostExceeded`] if that makes more than the limit.
    pub fn charge(&mut self, units: u64) -> Result<(), CostExceeded> {
        let used = self.used.saturating_add(units);
        self.used = used.min(self.limit);
        if used > self.limit {
            return Err(CostExceeded);
        }
        Ok(())
    }

    /// Adds a unit for every `per_unit` bytes, rounded up.
    ///
    /// # Errors
    /// As [`Meter::charge`].
    pub fn charge_bytes(&mut self, bytes: usize, per_unit: usize) -> Result<(), CostExceeded> {
        let units = u64::try_from(bytes.div_ceil(per_unit)).unwrap_or(u64::MAX);
        self.charge(units)
    }
}
