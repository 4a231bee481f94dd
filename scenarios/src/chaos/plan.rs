//! The schedule of a seed: which faults, when, for how long. A function of the seed and the length alone.

use std::fmt;

use super::draw::Draw;
use super::relay::Link;
use crate::shim::Machine;

/// Error numbers of Linux.
const EIO: i64 = 5;
const ENOSPC: i64 = 28;
const HOUR_NS: i64 = 3_600_000_000_000;

/// Kinds of faults that a run may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL.
    Kill,
    /// Lost power.
    Power,
    /// SIGSTOP and SIGCONT.
    Pause,
    /// SIGTERM.
    Stop,
    /// Slow and failing disks.
    Disk,
    /// Frozen and jumping wall clocks.
    Clock,
    /// Bad and cut links.
    Net,
}

impl Kind {
    /// All of them, with the names that `--faults` takes.
    pub const ALL: [(Kind, &'static str); 7] = [
        (Kind::Kill, "kill"),
        (Kind::Power, "power"),
        (Kind::Pause, "pause"),
        (Kind::Stop, "stop"),
        (Kind::Disk, "disk"),
        (Kind::Clock, "clock"),
        (Kind::Net, "net"),
    ];
}

/// One fault, from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// kill -9 of these; started again at the end.
    Kill(Vec<usize>),
    /// Lost power of these; started again at the end.
    Power(Vec<usize>),
    /// Stopped, then continued.
    Pause(usize),
    /// SIGTERM; started again at the end.
    Stop(usize),
    /// Another machine, then a sound one; started again if it ended.
    Machine(usize, Machine),
    /// Another link in one direction, then a good one.
    Link(usize, usize, Link),
    /// These reach each other and nobody else.
    Partition(Vec<usize>),
}

impl Fault {
    /// Whom it hits; links hit nobody.
    #[must_use]
    pub fn victims(&self) -> Vec<usize> {
        match self {
            Fault::Kill(all) | Fault::Power(all) => all.clone(),
            Fault::Pause(i) | Fault::Stop(i) | Fault::Machine(i, _) => vec![*i],
            Fault::Link(..) | Fault::Partition(_) => Vec::new(),
        }
    }
}

/// A fault in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Milliseconds from the start.
    pub from: u64,
    /// Milliseconds from the start.
    pub to: u64,
    /// What.
    pub fault: Fault,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:6} to {:6} ms: {:?}", self.from, self.to, self.fault)
    }
}

/// How close faults follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// With quiet times, and not every kind in every seed.
    Mixed,
    /// As fast as validators come back.
    Dense,
    /// One at a time, each only once all validators are ready again and the cluster has since acknowledged so many
    /// transactions: every fault hits a cluster at work. About one a second, if waiting takes no longer.
    Served(u64),
}

/// Time that a step of [`Pace::Served`] is given, in milliseconds.
const STEP_MS: u64 = 1_000;

/// What a run consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// All else follows from it, from the length and from the kinds.
    pub seed: u64,
    /// Validators.
    pub validators: u16,
    /// How all links are when nothing is wrong with them.
    pub weather: Link,
    /// Transactions that the cluster acknowledges between two faults, at least; none are waited for if 0.
    pub served: u64,
    /// By their beginning.
    pub steps: Vec<Step>,
}

impl Plan {
    /// The schedule of a seed. At a mixed pace each seed has some of the kinds that are allowed: seeds differ in kind. At
    /// the others each has all.
    #[must_use]
    pub fn of(seed: u64, seconds: u64, kinds: &[Kind], pace: Pace) -> Plan {
        let mut draw = Draw::new(seed);
        let dense = pace != Pace::Mixed;
        let mut chosen: Vec<Kind> = kinds.to_vec();
        chosen.retain(|_| dense || draw.below(100) < 65);
        if chosen.is_empty() {
            chosen = kinds.to_vec();
        }
        let weather = match chosen.contains(&Kind::Net) && draw.below(2) == 0 {
            true => Link {
                delay_ms: draw.between(1, 10),
                jitter_ms: draw.between(1, 10),
                loss: draw.below(20),
                twice: draw.below(20),
                cut: false,
                mbit: 0,
            },
            false => Link::default(),
        };
        let mut plan = Plan {
            seed,
            validators: 4,
            weather,
            served: match pace {
                Pace::Served(transactions) => transactions,
                Pace::Mixed | Pace::Dense => 0,
            },
            steps: Vec::new(),
        };
        let mut busy = vec![0; usize::from(plan.validators)];
        let mut partitioned = 0;
        let mut at = 500;
        let end = seconds * 1_000;
        while at < end {
            let kind = chosen[draw.index(chosen.len())];
            let lasts = match (dense, kind) {
                (true, _) => draw.between(50, 300),
                (false, Kind::Pause | Kind::Net) => draw.between(200, 6_000),
                (false, _) => draw.between(100, 3_000),
            };
            let to = (at + lasts).min(end);
            if let Some(fault) = plan.fault(kind, at, &busy, partitioned, &mut draw) {
                for victim in fault.victims() {
                    // Time to come back before the next blow.
                    busy[victim] = to + draw.between(200, if dense { 600 } else { 2_000 });
                }
                if matches!(fault, Fault::Link(..) | Fault::Partition(_)) {
                    partitioned = to;
                }
                let from = at;
                plan.steps.push(Step { from, to, fault });
            }
            at += match pace {
                Pace::Mixed => draw.between(50, 1_500),
                Pace::Dense => draw.between(50, 250),
                Pace::Served(_) => STEP_MS,
            };
        }
        plan
    }

    fn fault(&self, kind: Kind, at: u64, busy: &[u64], net: u64, draw: &mut Draw) -> Option<Fault> {
        let free: Vec<usize> = (0..busy.len()).filter(|i| busy[*i] <= at).collect();
        let n = busy.len();
        if kind == Kind::Net {
            return (net <= at).then(|| network(n, draw));
        }
        let all = free.len() == n && draw.below(4) == 0;
        let one = *free.get(draw.index(free.len()))?;
        Some(match kind {
            Kind::Kill => Fault::Kill(if all { free } else { vec![one] }),
            Kind::Power => Fault::Power(if all { free } else { vec![one] }),
            Kind::Pause => Fault::Pause(one),
            Kind::Stop => Fault::Stop(one),
            Kind::Disk => Fault::Machine(one, disk(draw)),
            Kind::Clock => Fault::Machine(one, clock(draw)),
            Kind::Net => return None,
        })
    }
}

fn disk(draw: &mut Draw) -> Machine {
    let sound = Machine::default();
    match draw.below(4) {
        0 => Machine {
            sync_delay_ms: i64::try_from(draw.between(20, 2_000)).expect("small"),
            ..sound
        },
        1 => Machine {
            write_delay_us: i64::try_from(draw.between(100, 20_000)).expect("small"),
            ..sound
        },
        2 => Machine {
            sync_errno: EIO,
            ..sound
        },
        _ => Machine {
            write_errno: ENOSPC,
            ..sound
        },
    }
}

fn clock(draw: &mut Draw) -> Machine {
    let shift = [HOUR_NS, -HOUR_NS, 87_600 * HOUR_NS, -87_600 * HOUR_NS][draw.index(4)];
    match draw.below(2) {
        0 => Machine {
            clock_shift_ns: shift,
            ..Machine::default()
        },
        // In the middle of 2025.
        _ => Machine {
            clock_frozen_ns: 1_750_000_000_000_000_000,
            ..Machine::default()
        },
    }
}

fn network(n: usize, draw: &mut Draw) -> Fault {
    let from = draw.index(n);
    let to = (from + 1 + draw.index(n - 1)) % n;
    match draw.below(4) {
        0 => Fault::Link(
            from,
            to,
            Link {
                cut: true,
                ..Link::default()
            },
        ),
        1 => Fault::Link(
            from,
            to,
            Link {
                cut: false,
                loss: draw.between(50, 500),
                twice: draw.below(200),
                delay_ms: draw.below(200),
                jitter_ms: draw.below(100),
                mbit: 0,
            },
        ),
        2 => Fault::Partition(vec![from]),
        _ => Fault::Partition(vec![from.min(to), from.max(to)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_schedule_and_another_seed_another_one() {
        let kinds = Kind::ALL.map(|(kind, _)| kind);
        let plan = |seed| Plan::of(seed, 60, &kinds, Pace::Mixed);
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7).steps, plan(8).steps);
        for seed in 0..100 {
            let plan = plan(seed);
            assert!(plan.steps.len() > 10);
            assert!(plan.steps.iter().all(|s| s.from < s.to && s.to <= 60_000));
            // Nobody is hit twice at a time.
            for (at, step) in plan.steps.iter().enumerate() {
                let later = plan.steps[at + 1..].iter().filter(|l| l.from < step.to);
                let victims = step.fault.victims();
                for other in later {
                    assert!(other.fault.victims().iter().all(|v| !victims.contains(v)));
                }
            }
        }
    }

    #[test]
    fn a_cluster_at_work_meets_one_fault_at_a_time() {
        let plan = Plan::of(7, 60, &[Kind::Kill, Kind::Power], Pace::Served(40));
        assert_eq!((plan.steps.len(), plan.served), (60, 40));
        let over = |pair: &[Step]| pair[0].to < pair[1].from;
        assert!(plan.steps.windows(2).all(over));
    }
}
