//! What worlds cost. The only clock that this crate reads; no world knows of it.

use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use crate::run::Report;

/// What this thread has used of a processor so far: other work on the machine does not count. Zero where the system does
/// not say.
pub(crate) fn used() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// Events, and the time of one core that they took: with stand-in signatures, and with real ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    stand_ins: (u64, Duration),
    real: (u64, Duration),
}

impl Cost {
    pub(crate) fn note(&mut self, report: &Report, spent: Duration) {
        let (events, time) = match report.stand_ins {
            true => &mut self.stand_ins,
            false => &mut self.real,
        };
        *events += report.counters.events + report.counters.again;
        *time += spent;
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        let add = |sum: &mut (u64, Duration), more: (u64, Duration)| {
            *sum = (sum.0 + more.0, sum.1 + more.1);
        };
        add(&mut self.stand_ins, other.stand_ins);
        add(&mut self.real, other.real);
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stand_ins, real) = (rate(self.stand_ins), rate(self.real));
        write!(
            f,
            "{stand_ins} events a second of one core, {real} with real signatures"
        )
    }
}

fn rate((events, time): (u64, Duration)) -> u128 {
    u128::from(events) * 1_000_000_000 / time.as_nanos().max(1)
}
