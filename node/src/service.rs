//! What the service manager is told: systemd's `Type=notify` (sd_notify(3)).
//!
//! Without `NOTIFY_SOCKET` nothing is sent. A validator is ready for systemd when it listens and its threads run: whether
//! enough others are there is what `/readyz` says, and no reason to start it again. The watchdog is fed only while the
//! replica's loop turns.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;

use crate::backend::Backend;

/// Longest time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Tells that the validator runs.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells that it ends.
pub fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("draining and syncing"),
    ]);
}

fn tell(states: &[NotifyState<'_>]) {
    // Whoever does not listen misses nothing that matters to the validator.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

/// Feeds the watchdog, if there is one, for as long as the replica's loop turns.
pub fn feed_watchdog(backend: Arc<dyn Backend>) {
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return;
    };
    let live = move || backend.health().live();
    tokio::spawn(feed(patience, live, || tell(&[NotifyState::Watchdog])));
}

/// Feeds whenever it lives. Half the time, as sd_watchdog_enabled(3) advises, would be too seldom: a stall of seconds that
/// is over long before the time is, but lies over one of so few looks, has the validator ended that lives again.
async fn feed(patience: Duration, live: impl Fn() -> bool, feed: impl Fn()) {
    let mut ticks = tokio::time::interval(pace(patience));
    // What was missed is not made up for: the next look tells.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if live() {
            feed();
        }
    }
}

/// Time between two looks.
fn pace(patience: Duration) -> Duration {
    (patience / 10).clamp(Duration::from_millis(1), LOOK)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn it_looks_ten_times_in_the_time_and_once_a_second_at_least() {
        for (patience, wanted) in [(30_000, 1_000), (2_000, 200), (400, 40), (1, 1), (0, 1)] {
            let wanted = Duration::from_millis(wanted);
            assert_eq!(pace(Duration::from_millis(patience)), wanted);
        }
    }

    /// With a look each half of the time, a stall over the second of them left a whole time between two feeds, and systemd
    /// ended a validator that had been living again for a third of it.
    #[tokio::test]
    async fn it_feeds_at_the_first_look_after_a_stall() {
        let (looks, fed) = (AtomicU32::new(0), Mutex::new(Vec::new()));
        let live = || !(1..7).contains(&looks.fetch_add(1, Ordering::SeqCst));
        let note = || {
            let look = looks.load(Ordering::SeqCst) - 1;
            fed.lock().expect("unpoisoned").push(look);
        };
        let enough = async {
            while looks.load(Ordering::SeqCst) < 9 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = feed(Duration::from_millis(20), live, note) => {}
            () = enough => {}
        }
        let fed = fed.into_inner().expect("unpoisoned");
        assert_eq!(fed[..3], [0, 7, 8]);
    }
}
