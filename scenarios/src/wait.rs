//! Waiting for something to become true, with a bound and never for a fixed time.

use std::time::{Duration, Instant};

/// Asks again and again until there is an answer, and returns it.
///
/// # Panics
/// When `within` is over: a promise was broken. `what` names it.
pub fn eventually<T>(within: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let from = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(from.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Quantiles of measured times.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// One more.
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
        self.0.sort();
    }

    /// The smallest measured value that `percent` of all do not exceed; zero without any.
    #[must_use]
    pub fn quantile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100);
        let found = self.0.get(rank.saturating_sub(1));
        found.copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (count, p50, p99) = (self.0.len(), self.quantile(50), self.quantile(99));
        let max = self.quantile(100);
        write!(
            f,
            "{count} times: p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_measured_values() {
        let mut times = Times::default();
        assert_eq!(times.quantile(50), Duration::ZERO);
        for millis in [5, 1, 4, 2, 3] {
            times.add(Duration::from_millis(millis));
        }
        assert_eq!(times.quantile(50), Duration::from_millis(3));
        assert_eq!(times.quantile(99), Duration::from_millis(5));
    }

    #[test]
    #[should_panic(expected = "not within")]
    fn waiting_has_an_end() {
        eventually::<()>(Duration::from_millis(20), "never", || None);
    }
}
