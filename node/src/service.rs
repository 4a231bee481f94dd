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
    use std::time::Instant;

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
    async fn a_stall_that_ends_in_time_is_survived() {
        let patience = Duration::from_secs(2);
        let begun = Instant::now();
        let stall = patience / 20..patience * 6 / 10;
        let live = || !stall.contains(&begun.elapsed());
        let fed = Mutex::new(Vec::new());
        let note = || fed.lock().expect("unpoisoned").push(begun.elapsed());
        let fed_for = patience * 11 / 10;
        let _ = tokio::time::timeout(fed_for, feed(patience, live, note)).await;
        let fed = fed.into_inner().expect("unpoisoned");
        let gaps = fed.windows(2).map(|pair| pair[1] - pair[0]);
        let longest = gaps.max().expect("fed more than once");
        assert!(longest >= patience / 2, "it is not fed in a stall");
        assert!(longest < patience * 19 / 20, "{longest:?} of {patience:?}");
    }
}
