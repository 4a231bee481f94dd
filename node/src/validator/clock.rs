//! The only clock of a validator.

use std::time::{Instant as StdInstant, SystemTime, UNIX_EPOCH};

use quorate_types::{BlockTime, Instant, Now};

/// Tells the time: monotonic since its making, wall clock as the system has it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: StdInstant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Clock {
        Clock {
            origin: StdInstant::now(),
        }
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Now {
        Now {
            monotonic: self.monotonic(),
            wall: wall(),
        }
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub fn monotonic(&self) -> Instant {
        let nanos = self.origin.elapsed().as_nanos();
        Instant(u64::try_from(nanos).expect("fewer than 584 years"))
    }
}

/// The system's wall clock; 0 before 1970.
#[must_use]
pub fn wall() -> BlockTime {
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_nanos());
    BlockTime(u64::try_from(nanos).unwrap_or(u64::MAX))
}
