//! Time as a value. Nobody here reads a clock: whoever drives a replica says what time it is.

use crate::BlockTime;

/// Nanoseconds of a clock that never goes back, from an origin of its own. Timers run on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// This instant `nanos` nanoseconds later, saturating.
    #[must_use]
    pub fn plus_nanos(self, nanos: u64) -> Instant {
        Instant(self.0.saturating_add(nanos))
    }

    /// Nanoseconds since `earlier`; 0 where it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Instant) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For timers.
    pub monotonic: Instant,
    /// For block time only: it may jump either way.
    pub wall: BlockTime,
}
