//! What breaks, when, and for how long.
//!
//! The faults of a world are a list, and each entry is whole by itself: it names when it begins and how long it lasts, so
//! that any part of the list is a schedule too. That is what makes a failing world shrinkable ([`crate::shrink`]).
//! Whatever is still broken when the chaos ends is mended then: that is for [`crate::world`] to see to.

use std::collections::BTreeSet;

use quorate_storage::WriteFault;
use serde::{Deserialize, Serialize};

use crate::plan::{Liar, MILLISECOND, SECOND};
use crate::rng::Rng;

/// An hour, in nanoseconds.
const HOUR: i64 = 3_600_000_000_000;
/// Most schedules of faults in one world.
const MOST: u64 = 8;

/// A directed link: from whom to whom.
pub type Link = (usize, usize);

/// How a disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskFault {
    /// ENOSPC: nothing of the next write is there.
    Full,
    /// EIO at the sync: the next write is there, or not, after a restart.
    SyncFails,
    /// The next write is durable, but whoever wrote it never learns.
    Silent,
}

impl DiskFault {
    pub(crate) fn write_fault(self) -> WriteFault {
        match self {
            DiskFault::Full => WriteFault::Lost,
            DiskFault::SyncFails => WriteFault::NotSynced,
            DiskFault::Silent => WriteFault::Silent,
        }
    }
}

/// Something that breaks, and is whole again after `lasts` nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// Power is cut. Of what the disk had not synced, any first part is there afterwards.
    Crash {
        /// Whose.
        node: usize,
        /// Until power is back.
        lasts: u64,
    },
    /// No message passes these links.
    Cut {
        /// Which.
        links: Vec<Link>,
        /// How long.
        lasts: u64,
    },
    /// Messages on these links wait, and come all together.
    Clog {
        /// Which.
        links: Vec<Link>,
        /// How long.
        lasts: u64,
    },
    /// The wall clock is off by so many nanoseconds.
    Clock {
        /// Whose.
        node: usize,
        /// By how much.
        offset: i64,
        /// How long.
        lasts: u64,
    },
    /// The next write fails, which aborts the process.
    Disk {
        /// Whose.
        node: usize,
        /// How.
        fault: DiskFault,
        /// Until the process is started again.
        lasts: u64,
    },
    /// Each synced write takes longer.
    Slow {
        /// Whose.
        node: usize,
        /// By so much.
        extra: u64,
        /// How long.
        lasts: u64,
    },
    /// The process stands still, as after SIGSTOP.
    Pause {
        /// Which.
        node: usize,
        /// How long.
        lasts: u64,
    },
    /// A disk block rots: whoever reads it gets an error (the database's checksum). The validator refuses to go on, and
    /// stays down. It counts as faulty, so that at most f are broken for good.
    Rot {
        /// Whose.
        node: usize,
        /// Decides which entry.
        place: u64,
    },
    /// A liar starts again from an empty disk, and so signs again what it had signed.
    Wipe {
        /// Which.
        node: usize,
    },
    /// A liar starts again from a backup of its disk, taken `age` before.
    Backup {
        /// Which.
        node: usize,
        /// How old.
        age: u64,
    },
    /// A correct validator is put back to a backup of its disk, taken `age` before, and does not know it (P5). It counts as
    /// faulty until it has caught up, so that only f − 1 others may be.
    Restore {
        /// Which.
        node: usize,
        /// How old.
        age: u64,
    },
    /// A correct validator gets a new disk and is told so (`quorate recover`): each start is behind the strict fence until
    /// there is a record again (P5). It counts as faulty until then.
    Forget {
        /// Which.
        node: usize,
        /// Whether the ceiling of what it may have signed is left.
        ceiling: bool,
    },
}

/// Correct validators whose disks are not what they were.
pub(crate) fn gone(faults: &[(u64, Fault)]) -> BTreeSet<usize> {
    let node = |fault: &(u64, Fault)| match fault.1 {
        Fault::Restore { node, .. } | Fault::Forget { node, .. } | Fault::Rot { node, .. } => {
            Some(node)
        }
        _ => None,
    };
    faults.iter().filter_map(node).collect()
}

/// One correct validator is restored once or more, where one more may be faulty.
pub(crate) fn restores(
    rng: &mut Rng,
    correct: &[usize],
    chaos: u64,
    faults: &mut Vec<(u64, Fault)>,
) {
    if faults.iter().any(|(_, fault)| rots(fault)) || !rng.chance(300) {
        return;
    }
    let node = rng.pick(correct);
    for _ in 0..rng.between(1, 3) {
        let at = rng.between(200 * MILLISECOND, chaos - SECOND);
        let age = rng.between(MILLISECOND, at.min(3 * SECOND));
        faults.push((at, Fault::Restore { node, age }));
    }
}

/// One correct validator loses its disk, once or twice, where one more may be faulty and nobody else's disk is gone. Whoever
/// passes the strict fence needs answers of q others, so that all but f − 1 of them have to be there in the end.
pub(crate) fn losses(rng: &mut Rng, correct: &[usize], chaos: u64, faults: &mut Vec<(u64, Fault)>) {
    let gone = |fault: &Fault| rots(fault) || matches!(fault, Fault::Restore { .. });
    if faults.iter().any(|(_, fault)| gone(fault)) || !rng.chance(250) {
        return;
    }
    let node = rng.pick(correct);
    for _ in 0..rng.between(1, 2) {
        let at = rng.between(100 * MILLISECOND, chaos - SECOND / 2);
        let ceiling = rng.chance(300);
        faults.push((at, Fault::Forget { node, ceiling }));
    }
}

/// A schedule for a world that is broken until `chaos`.
pub(crate) fn draw(rng: &mut Rng, n: usize, byzantine: &[Liar], chaos: u64) -> Vec<(u64, Fault)> {
    let allowed: Vec<bool> = (0..KINDS).map(|_| rng.chance(400)).collect();
    let mut faults = Vec::new();
    for _ in 0..rng.below(MOST + 1) {
        let at = rng.between(100 * MILLISECOND, chaos - SECOND);
        let kind = rng.index(KINDS);
        if allowed[kind] {
            add(rng, kind, (n, byzantine, chaos), at, &mut faults);
        }
    }
    faults
}

/// Kinds of schedules that [`add`] knows.
const KINDS: usize = 12;

fn add(
    rng: &mut Rng,
    kind: usize,
    (n, byzantine, chaos): (usize, &[Liar], u64),
    at: u64,
    faults: &mut Vec<(u64, Fault)>,
) {
    let node = rng.index(n);
    let lasts = rng.between(20 * MILLISECOND, chaos - at);
    let fault = match kind {
        0 => Fault::Crash { node, lasts },
        1 => return blackout(rng, (n, chaos), at, faults),
        2 => {
            let links = partition(rng, n);
            Fault::Cut { links, lasts }
        }
        3 => {
            let offset = rng.pick(&[HOUR, -HOUR, 87_600 * HOUR, HOUR / 3_600, -HOUR / 3_600]);
            Fault::Clock {
                node,
                offset,
                lasts,
            }
        }
        4 => {
            let fault = rng.pick(&[DiskFault::Full, DiskFault::SyncFails, DiskFault::Silent]);
            Fault::Disk { node, fault, lasts }
        }
        5 => {
            let lasts = rng.between(50 * MILLISECOND, 4 * SECOND);
            Fault::Pause { node, lasts }
        }
        6 => return repeated(rng, n, at, faults),
        7 => {
            let links = partition(rng, n);
            let lasts = rng.between(20 * MILLISECOND, 2 * SECOND);
            Fault::Clog { links, lasts }
        }
        8 => {
            let extra = rng.between(20, 500) * MILLISECOND;
            Fault::Slow { node, extra, lasts }
        }
        // A flapping link or side: cut and whole, again and again.
        9 => {
            let links = partition(rng, n);
            for step in 0..rng.between(3, 8) {
                let (links, lasts) = (links.clone(), rng.between(10, 250) * MILLISECOND);
                let at = at + step * 300 * MILLISECOND;
                faults.push((at, Fault::Cut { links, lasts }));
            }
            return;
        }
        10 => {
            if byzantine.len() >= (n - 1) / 3 || faults.iter().any(|(_, f)| rots(f)) {
                return;
            }
            let place = rng.draw() >> 16;
            Fault::Rot { node, place }
        }
        _ => {
            if byzantine.is_empty() {
                return;
            }
            let node = byzantine[rng.index(byzantine.len())].node;
            match rng.chance(500) {
                true => Fault::Wipe { node },
                false => Fault::Backup {
                    node,
                    age: rng.between(100 * MILLISECOND, 3 * SECOND),
                },
            }
        }
    };
    faults.push((at, fault));
}

fn rots(fault: &Fault) -> bool {
    matches!(fault, Fault::Rot { .. })
}

/// All lose power at once, or nearly; a quorum comes back soon, the others when the chaos ends.
fn blackout(rng: &mut Rng, (n, chaos): (usize, u64), at: u64, faults: &mut Vec<(u64, Fault)>) {
    let mut order: Vec<usize> = (0..n).collect();
    rng.shuffle(&mut order);
    let spread = rng.pick(&[1, 5 * MILLISECOND]);
    let back = at + rng.between(10 * MILLISECOND, 600 * MILLISECOND);
    let quorum = n - (n - 1) / 3;
    for (place, node) in order.into_iter().enumerate() {
        let down = at + rng.below(spread);
        let up = if place < quorum { back } else { chaos };
        let lasts = up - down;
        faults.push((down, Fault::Crash { node, lasts }));
    }
}

/// Again and again, one after the other, sooner than the cluster can get over it.
fn repeated(rng: &mut Rng, n: usize, at: u64, faults: &mut Vec<(u64, Fault)>) {
    for step in 0..rng.between(2, 5) {
        let (at, node) = (at + step * 150 * MILLISECOND, rng.index(n));
        let lasts = rng.between(1, 120) * MILLISECOND;
        faults.push((at, Fault::Crash { node, lasts }));
    }
}

/// Which directions to cut: one alone, two sides, one direction only, or a bridge between two sides.
fn partition(rng: &mut Rng, n: usize) -> Vec<Link> {
    let mut order: Vec<usize> = (0..n).collect();
    rng.shuffle(&mut order);
    let (near, far) = match rng.index(4) {
        0 => order.split_at(1),
        1 => order.split_at(n / 2),
        // The last of the order talks to both sides.
        2 => order[..n - 1].split_at(n / 2),
        _ => {
            let from = order[0];
            let deaf = &order[1..=1 + rng.index(n - 1)];
            return deaf.iter().map(|to| (from, *to)).collect();
        }
    };
    let across = near.iter().flat_map(|a| far.iter().map(move |b| (*a, *b)));
    across.flat_map(|(a, b)| [(a, b), (b, a)]).collect()
}
