//! How long one validator may take, and how long to pause when none has served.
//!
//! Both grow with every pass over all validators, up to a bound; what validators ask for is bounded too. It only
//! computes: whoever uses it sleeps.

use std::time::Duration;

/// How long one validator may take before the next is tried, at first; doubled with every pass over all of them.
pub(crate) const FIRST_PATIENCE: Duration = Duration::from_secs(3);
/// Longest that one validator may take.
const MAX_PATIENCE: Duration = Duration::from_secs(60);
/// Pause after a pass over all validators, at first; doubled with every pass.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause, unless the validators ask for more.
pub(crate) const MAX_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause that validators can ask for.
const MAX_ASKED: Duration = Duration::from_secs(5);

/// Where a client stands that tries one validator after another.
#[derive(Debug)]
pub(crate) struct Backoff {
    patience: Duration,
    pause: Duration,
    /// The shortest pause that a validator asked for in this pass.
    asked: Option<Duration>,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff {
            patience: FIRST_PATIENCE,
            pause: FIRST_PAUSE,
            asked: None,
        }
    }
}

impl Backoff {
    /// How long one validator may take in this pass.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// A validator has no room, and asks for so long a pause, or for none. The shortest counts: one that asks for an
    /// hour keeps nobody from the others.
    pub(crate) fn asked(&mut self, retry_after: Option<Duration>) {
        let asked = retry_after.unwrap_or_default().min(MAX_ASKED);
        self.asked = Some(self.asked.map_or(asked, |least| least.min(asked)));
    }

    /// Ends a pass. Returns how long to pause before the next.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.pause.max(self.asked.take().unwrap_or_default());
        self.pause = self.pause.saturating_mul(2).min(MAX_PAUSE);
        self.patience = self.patience.saturating_mul(2).min(MAX_PATIENCE);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A minute of refused connections is some 63 passes, and the doubled patience overflowed.
    #[test]
    fn patience_and_pauses_grow_up_to_their_bounds_however_many_passes_there_are() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.patience(), FIRST_PATIENCE);
        assert_eq!(backoff.next(), FIRST_PAUSE);
        assert_eq!(backoff.patience(), FIRST_PATIENCE * 2);
        assert_eq!(backoff.next(), FIRST_PAUSE * 2);
        for _ in 0..100 {
            backoff.next();
        }
        assert_eq!(backoff.patience(), MAX_PATIENCE);
        assert_eq!(backoff.next(), MAX_PAUSE);
    }

    #[test]
    fn what_validators_ask_for_is_bounded_and_holds_for_one_pass() {
        let mut backoff = Backoff::default();
        backoff.asked(Some(Duration::from_secs(u64::MAX)));
        assert_eq!(backoff.next(), MAX_ASKED);
        assert_eq!(backoff.next(), FIRST_PAUSE * 2);
        for asked in [Some(Duration::MAX), Some(Duration::from_secs(2))] {
            backoff.asked(asked);
        }
        assert_eq!(backoff.next(), Duration::from_secs(2));
        for asked in [None, Some(Duration::MAX)] {
            backoff.asked(asked);
        }
        assert_eq!(backoff.next(), FIRST_PAUSE * 8);
    }
}
