//! What came of a trial.

use super::machine::Busy;
use super::{Trial, to_u64};

/// Rates, latencies, and how busy everything was.
#[derive(Clone, Debug)]
pub struct Report {
    /// Validators.
    pub validators: usize,
    /// Transactions a second that were offered, and answered with a receipt.
    pub offered: u64,
    /// See `offered`.
    pub committed: u64,
    /// Blocks a second, and the transactions in them, as the first validator saw them.
    pub blocks: u64,
    /// See `blocks`.
    pub transactions_a_block: u64,
    /// Transactions that had no receipt at the end.
    pub open: u64,
    latencies: Vec<u64>,
    executed: u64,
    /// Name, and share of the time in which it was busy: of the busiest machine.
    busy: [(&'static str, f64); 4],
}

impl Report {
    pub(super) fn new(trial: &Trial) -> Report {
        Report {
            validators: trial.validators,
            offered: trial.rate,
            committed: 0,
            blocks: 0,
            transactions_a_block: 0,
            open: 0,
            latencies: Vec::new(),
            executed: 0,
            busy: [
                ("core", 0.0),
                ("io", 0.0),
                ("verifiers", 0.0),
                ("uplink", 0.0),
            ],
        }
    }

    pub(super) fn begin(&mut self) {
        self.latencies.clear();
        (self.blocks, self.executed) = (0, 0);
    }

    pub(super) fn asked(&mut self) {
        self.open += 1;
    }

    pub(super) fn answered(&mut self, after: u64) {
        self.open -= 1;
        self.latencies.push(after);
    }

    pub(super) fn block(&mut self, validator: usize, executed: u64) {
        if validator == 0 {
            self.blocks += 1;
            self.executed += executed;
        }
    }

    pub(super) fn end(&mut self, time: u64, machines: impl Iterator<Item = Busy>) {
        const SECOND: u64 = 1_000_000_000;
        self.latencies.sort_unstable();
        self.committed = to_u64(self.latencies.len()) * SECOND / time;
        self.transactions_a_block = self.executed / self.blocks.max(1);
        self.blocks = self.blocks * SECOND / time;
        for busy in machines {
            let parts = [busy.core, busy.io, busy.verifiers, busy.uplink];
            for ((_, most), part) in self.busy.iter_mut().zip(parts) {
                *most = most.max(part as f64 / time as f64);
            }
        }
    }

    fn quantile(&self, parts: usize) -> u64 {
        let place = self.latencies.len() * parts / 100;
        let last = self.latencies.len().saturating_sub(1);
        self.latencies
            .get(place.min(last))
            .copied()
            .unwrap_or(u64::MAX)
    }

    /// The median time from a client's request to its receipt.
    #[must_use]
    pub fn p50_ns(&self) -> u64 {
        self.quantile(50)
    }

    /// The time that one of a hundred exceeds.
    #[must_use]
    pub fn p99_ns(&self) -> u64 {
        self.quantile(99)
    }

    /// What was busiest, and for which share of the time.
    #[must_use]
    pub fn busiest(&self) -> (&'static str, f64) {
        let most = self.busy.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        *most.expect("four")
    }

    /// How busy everything was, by name.
    #[must_use]
    pub fn busy(&self) -> &[(&'static str, f64)] {
        &self.busy
    }
}
