//! The free space of the home's disk, looked at by a thread that does nothing else.
//!
//! | free space | what happens |
//! |---|---|
//! | below `storage.min_free_bytes` | clients' transactions are refused here (503), no snapshot is begun, and one being written is given up |
//! | below half of it | the core halts: it takes nothing, signs nothing and writes nothing but deletions, and what has to be there before them |
//! | a quarter above either again | it goes on by itself |

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::metrics::Metrics;

/// How often the disk is looked at.
const TICK: Duration = Duration::from_secs(1);

/// Whether there is room on the disk. Shared with the core and the API.
#[derive(Debug, Default)]
pub struct Space {
    low: AtomicBool,
    out: AtomicBool,
    /// As last looked at, and what is wanted: bytes.
    free: AtomicU64,
    min: AtomicU64,
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let free = self.free.load(Ordering::Relaxed) >> 20;
        let enough = enough(self.min.load(Ordering::Relaxed)) >> 20;
        write!(
            f,
            "{free} MiB are free, {enough} are wanted (storage.min_free_bytes and a quarter)"
        )
    }
}

impl Space {
    /// Whether clients' transactions are refused.
    #[must_use]
    pub fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }

    /// Whether the core halts.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.out.load(Ordering::Relaxed)
    }

    /// What was found, and `storage.min_free_bytes`.
    pub(crate) fn update(&self, free: u64, min: u64) {
        self.free.store(free, Ordering::Relaxed);
        self.min.store(min, Ordering::Relaxed);
        let judge = |flag: &AtomicBool, bound: u64, what: &str| {
            let was = flag.load(Ordering::Relaxed);
            let is = match was {
                true => free < enough(bound),
                false => free < bound,
            };
            // Two threads may look at the same time, and one of them tells of a change.
            match (flag.swap(is, Ordering::Relaxed), is) {
                (false, true) => tracing::error!(
                    event = "disk_nearly_full",
                    free,
                    bound,
                    "the disk is nearly full: {what}"
                ),
                (true, false) => tracing::info!(
                    event = "disk_has_room",
                    free,
                    bound,
                    "there is room again: {what} no more"
                ),
                _ => {}
            }
        };
        judge(&self.low, min, "transactions are refused");
        judge(&self.out, min / 2, "the validator halts");
    }
}

/// With so much free, it goes on.
fn enough(bound: u64) -> u64 {
    bound.saturating_add(bound / 4)
}

/// A disk, and what is told of it.
#[derive(Clone)]
pub struct Disk {
    /// The home on it.
    pub home: PathBuf,
    /// Free space below which no writes are taken, bytes; 0: never looked at.
    pub min_free: u64,
    /// What was found.
    pub space: Arc<Space>,
    /// What is shown.
    pub metrics: Metrics,
}

impl Disk {
    /// Looks once before it returns, and then until the process stops. On a thread of its own, since whoever fills a disk is
    /// busy with that: a large snapshot or compaction takes minutes.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn watch(self, stopping: Arc<AtomicBool>) -> std::io::Result<()> {
        let min = i64::try_from(self.min_free).unwrap_or(i64::MAX);
        self.metrics.storage_min_free_bytes.set(min);
        self.look();
        let look = move || {
            while !stopping.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                self.look();
            }
        };
        let name = String::from("disk");
        // It holds nothing that a stop would have to wait for.
        std::thread::Builder::new().name(name).spawn(look).map(drop)
    }

    /// Looks now.
    pub fn look(&self) {
        if self.min_free == 0 {
            return;
        }
        match rustix::fs::statvfs(&self.home) {
            Ok(disk) => {
                let free = disk.f_bavail.saturating_mul(disk.f_frsize);
                let shown = i64::try_from(free).unwrap_or(i64::MAX);
                self.metrics.storage_free_bytes.set(shown);
                self.space.update(free, self.min_free);
            }
            Err(error) => {
                tracing::warn!(event = "free_space_unread", %error, "the free space cannot be read")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nearly_full_disk_halts_and_room_goes_on_by_itself() {
        let (space, min) = (Space::default(), 1_000);
        let at = |free| {
            space.update(free, min);
            (space.is_low(), space.is_out())
        };
        assert_eq!(at(1_000), (false, false));
        assert_eq!(at(999), (true, false));
        assert_eq!(at(499), (true, true));
        assert_eq!(at(600), (true, true), "not at every small change");
        assert_eq!(at(625), (true, false));
        assert_eq!(at(1_200), (true, false));
        assert_eq!(at(1_250), (false, false));
    }
}
