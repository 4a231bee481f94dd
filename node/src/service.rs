//! What the service manager is told: systemd's `Type=notify` (sd_notify(3)).
//!
//! Without `NOTIFY_SOCKET` nothing is sent. A validator is ready for systemd when it listens and its threads run: whether
//! enough others are there is what `/readyz` says, and no reason to start it again. The watchdog is fed only while the
//! replica's loop turns.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::backend::Backend;

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
    // Half of it, as sd_watchdog_enabled(3) advises.
    let mut ticks = tokio::time::interval((patience / 2).max(Duration::from_millis(1)));
    tokio::spawn(async move {
        loop {
            ticks.tick().await;
            if backend.health().live() {
                tell(&[NotifyState::Watchdog]);
            }
        }
    });
}
