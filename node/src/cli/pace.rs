//! How fast a set goes: from what its validators had counted at two looks.
//!
//! Counters begin anew with their process, so one that fell says nothing until the look after.

use std::time::{Duration, Instant};

use quorate_client::api::StatusReply;
use quorate_types::Height;

use super::survey::Survey;

/// What was counted at one look.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    at: Instant,
    head: Height,
    /// In the order of the profile's endpoints; none for who did not answer.
    rows: Vec<Option<Row>>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    transactions: u64,
    commits: u64,
    latency_ns: u64,
}

/// What happened from one look to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// Blocks a second, times ten.
    pub(super) blocks: u64,
    /// Transactions a second, times ten; at the validator that executed most, which the others follow.
    pub(super) transactions: u64,
    /// Mean time from a block's own to its commit by each validator's clock; none if none was committed.
    pub(super) latency: Option<Duration>,
}

impl Counts {
    /// None if nobody answered.
    pub(super) fn of(survey: &Survey, at: Instant) -> Option<Counts> {
        let row = |status: &StatusReply| Row {
            transactions: status.transactions,
            commits: status.commits,
            latency_ns: status.commit_latency_total_ns,
        };
        let rows = survey.rows.iter();
        Some(Counts {
            at,
            head: survey.head()?,
            rows: rows
                .map(|answer| answer.status.as_ref().ok().map(row))
                .collect(),
        })
    }

    pub(super) fn since(&self, before: &Counts) -> Pace {
        let time = self.at.saturating_duration_since(before.at);
        let pairs = self.rows.iter().zip(&before.rows);
        let grown = pairs.filter_map(|(now, then)| now.as_ref()?.since(then.as_ref()?));
        let (mut transactions, mut commits, mut latency_ns) = (0, 0, 0u64);
        for row in grown {
            transactions = row.transactions.max(transactions);
            commits += row.commits;
            latency_ns = latency_ns.saturating_add(row.latency_ns);
        }
        Pace {
            blocks: tenths(time, self.head.above(before.head)),
            transactions: tenths(time, transactions),
            latency: latency_ns.checked_div(commits).map(Duration::from_nanos),
        }
    }
}

impl Row {
    /// None if the process is another one than it was.
    fn since(&self, before: &Row) -> Option<Row> {
        Some(Row {
            transactions: self.transactions.checked_sub(before.transactions)?,
            commits: self.commits.checked_sub(before.commits)?,
            latency_ns: self.latency_ns.checked_sub(before.latency_ns)?,
        })
    }
}

/// So many a second, times ten.
fn tenths(time: Duration, count: u64) -> u64 {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(10_000) / millis
}

#[cfg(test)]
mod tests {
    use super::super::survey::samples::{four, without};
    use super::*;

    /// The sample, each validator with these counters.
    fn counted(height: u64, counters: [(u64, u64, u64); 4]) -> Survey {
        let mut survey = four();
        for (row, (transactions, commits, latency)) in survey.rows.iter_mut().zip(counters) {
            if let Ok(status) = &mut row.status {
                status.height = Height(height);
                (status.transactions, status.commits) = (transactions, commits);
                status.commit_latency_total_ns = latency * 1_000_000;
            }
        }
        survey
    }

    #[test]
    fn a_pace_is_the_difference_of_two_looks() {
        let then = Instant::now();
        let now = then + Duration::from_secs(2);
        let first = counted(100, [(500, 90, 900); 4]);
        let first = Counts::of(&first, then).expect("answers");
        // The last one was started anew, and has counted little; the third is behind.
        let counters = [
            (700, 140, 2_900),
            (700, 140, 2_900),
            (650, 130, 2_500),
            (9, 9, 9),
        ];
        let second = counted(150, counters);
        let pace = Counts::of(&second, now).expect("answers").since(&first);
        assert_eq!((pace.blocks, pace.transactions), (250, 1_000));
        // 2,000 + 2,000 + 1,600 ms of 50 + 50 + 40 commits.
        assert_eq!(pace.latency, Some(Duration::from_millis(40)));
        // Nothing new, and who does not answer is left out.
        let still = without(counted(150, counters), &[0]);
        let second = Counts::of(&second, now).expect("answers");
        let pace = Counts::of(&still, now).expect("answers").since(&second);
        assert_eq!(pace, Pace::default());
        assert!(Counts::of(&without(four(), &[0, 1, 2, 3]), now).is_none());
    }

    #[test]
    fn a_rate_is_in_tenths_and_of_no_time_is_no_division_by_zero() {
        assert_eq!(tenths(Duration::from_secs(2), 50), 250);
        assert_eq!(tenths(Duration::ZERO, 1), 10_000);
    }
}
