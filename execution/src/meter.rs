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
/// A range begun: to find its place on the disk takes longer than to read what is there.
pub const RANGE: u64 = 500;
/// An entry that a range passes: one that it finds, and one that the block has replaced or deleted.
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
}

impl Meter {
    /// A meter at 0.
    #[must_use]
    pub const fn new(limit: u64) -> Meter {
        Meter { used: 0, limit }
    }

    /// Units used so far. After [`CostExceeded`] it is the limit: whoever exceeds a limit has used it up.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.used
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
