//! How long a transaction may be executed: its `valid_until`, in block time (X1).
//!
//! The next block's time is not known exactly to anyone outside. Three clocks tell something about it: the head's time
//! (agreed, but old after a stop), the validators' wall clocks and our own (any may be off by an hour). Of the first two the
//! middle of what a majority says is taken, since one validator may lie.
//! The next block is not earlier than the head; and of two wall clocks the earlier is taken, since a deadline too far
//! ahead is refused while one that is a little short is only short. So one wrong clock, ours or the validators', in
//! either direction, leaves the deadline within the chain's bounds.

use std::time::{Duration, SystemTime};

use quorate_types::BlockTime;

/// How long a transaction is valid unless told otherwise.
pub const DEFAULT_VALIDITY: Duration = Duration::from_secs(600);

/// What the clocks say.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// This process's wall clock.
    pub local: BlockTime,
    /// The validators' wall clock: the middle one of those that were asked.
    pub validator: BlockTime,
    /// Time of the newest committed block, likewise.
    pub head: BlockTime,
}

impl Clocks {
    /// The deadline of a transaction that is signed now.
    #[must_use]
    pub fn valid_until(&self, validity: Duration) -> BlockTime {
        let base = self.head.max(self.local.min(self.validator));
        base.plus_nanos(nanos(validity))
    }
}

/// This machine's wall clock.
#[must_use]
pub fn wall_clock() -> BlockTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    BlockTime(nanos(since.unwrap_or_default()))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;
    const NOW: u64 = 100 * HOUR;
    const MINUTE: u64 = HOUR / 60;

    /// Deadline with the default validity minus the true time.
    fn ahead(local: u64, validator: u64, head: u64) -> u64 {
        let clocks = Clocks {
            local: BlockTime(local),
            validator: BlockTime(validator),
            head: BlockTime(head),
        };
        clocks.valid_until(DEFAULT_VALIDITY).0 - NOW
    }

    #[test]
    fn one_wrong_clock_does_not_spoil_the_deadline() {
        assert_eq!(ahead(NOW, NOW, NOW), 10 * MINUTE);
        assert_eq!(ahead(NOW + HOUR, NOW, NOW), 10 * MINUTE, "ours fast");
        assert_eq!(ahead(NOW - HOUR, NOW, NOW), 10 * MINUTE, "ours slow");
        assert_eq!(ahead(NOW, NOW + HOUR, NOW), 10 * MINUTE, "its fast");
        assert_eq!(ahead(NOW, NOW - HOUR, NOW), 10 * MINUTE, "its slow");
        assert_eq!(
            ahead(NOW, NOW, NOW - 24 * HOUR),
            10 * MINUTE,
            "the chain was stopped"
        );
    }

    #[test]
    fn a_set_whose_clocks_went_back_still_gets_a_deadline_after_its_head() {
        assert_eq!(ahead(NOW - HOUR, NOW - HOUR, NOW), 10 * MINUTE);
    }
}
