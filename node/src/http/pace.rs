//! How fast a client takes what waits for it, and sends what it has begun.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes a second that a client takes of what waits for it, and sends of a transaction of a stream that has arrived in
/// part, at least. With a little now and then it would hold memory, or a place, for hours.
pub const SLOWEST_CLIENT: u64 = 8 << 10;

/// Since when bytes are due without a break, and how many have moved meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    since: Instant,
    moved: u64,
}

impl Pace {
    pub(super) fn begun(now: Instant) -> Pace {
        Pace {
            since: now,
            moved: 0,
        }
    }

    /// When it is to be looked at.
    pub(super) fn due(&self, idle: Duration) -> Instant {
        self.since + idle
    }

    /// So many bytes have moved.
    pub(super) fn add(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.moved = self.moved.saturating_add(bytes);
    }

    /// Whether less has moved than must, over an idle time at least; if it was enough, that time begins anew.
    pub(super) fn is_slow(&mut self, now: Instant, idle: Duration) -> bool {
        let passed = now.duration_since(self.since);
        if passed < idle {
            return false;
        }
        let least = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let least = least.saturating_mul(SLOWEST_CLIENT) / 1_000;
        let slow = self.moved < least;
        *self = Pace::begun(now);
        slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever took a few bytes within each idle time kept an answer of megabytes in memory for hours.
    #[test]
    fn who_moves_a_little_of_what_is_due_is_too_slow_after_an_idle_time() {
        let (start, idle) = (Instant::now(), Duration::from_secs(10));
        let mut pace = Pace::begun(start);
        pace.moved = 10 * SLOWEST_CLIENT - 1;
        assert!(!pace.is_slow(start + idle - Duration::from_millis(1), idle));
        let mut enough = pace;
        enough.add(1);
        assert!(pace.is_slow(start + idle, idle));
        assert!(!enough.is_slow(start + idle, idle));
        // What moved before counts once.
        assert_eq!(enough, Pace::begun(start + idle));
        assert!(!enough.is_slow(start + idle, idle));
        assert!(enough.is_slow(start + idle * 2, idle));
    }
}
