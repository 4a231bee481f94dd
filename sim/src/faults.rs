//! What breaks, and when. Whatever breaks here is whole again when the chaos ends: that is for [`crate::world`] to see to.

use quorate_storage::WriteFault;

use crate::plan::{MILLISECOND, SECOND};
use crate::rng::Rng;

/// An hour, in nanoseconds.
const HOUR: i64 = 3_600_000_000_000;
/// Most schedules of faults in one world.
const MOST: u64 = 6;

/// Something that breaks, or is mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Power is cut. What the disk had not synced may be lost.
    Crash(usize),
    /// Power is back.
    Restart(usize),
    /// Messages from the first to the second do not arrive, for each of these pairs and no other.
    Cut(Vec<(usize, usize)>),
    /// The wall clock is off by so many nanoseconds.
    Clock(usize, i64),
    /// The next write fails.
    Disk(usize, WriteFault),
    /// The process stands still for so long, as after SIGSTOP.
    Pause(usize, u64),
    /// The adversary starts again from an empty disk, and so signs again what it had signed.
    Amnesia(usize),
}

/// A schedule for a world that is broken until `chaos`.
pub(crate) fn draw(
    rng: &mut Rng,
    n: usize,
    byzantine: Option<usize>,
    chaos: u64,
) -> Vec<(u64, Fault)> {
    let allowed: Vec<bool> = (0..KINDS).map(|_| rng.chance(450)).collect();
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
const KINDS: usize = 8;

fn add(
    rng: &mut Rng,
    kind: usize,
    (n, byzantine, chaos): (usize, Option<usize>, u64),
    at: u64,
    faults: &mut Vec<(u64, Fault)>,
) {
    let node = rng.index(n);
    let until = at + rng.between(20 * MILLISECOND, chaos - at);
    match kind {
        0 => faults.extend([(at, Fault::Crash(node)), (until, Fault::Restart(node))]),
        // All lose power at once, or nearly; a quorum comes back, the others when the chaos ends.
        1 => {
            let mut order: Vec<usize> = (0..n).collect();
            rng.shuffle(&mut order);
            let spread = rng.pick(&[1, 5 * MILLISECOND]);
            faults.extend(
                order
                    .iter()
                    .map(|i| (at + rng.below(spread), Fault::Crash(*i))),
            );
            let quorum = n - (n - 1) / 3;
            let back = at + rng.between(10 * MILLISECOND, 600 * MILLISECOND);
            let restart = |i: &usize| (back, Fault::Restart(*i));
            faults.extend(order[..quorum].iter().map(restart));
        }
        2 => faults.extend([
            (at, Fault::Cut(partition(rng, n))),
            (until, Fault::Cut(Vec::new())),
        ]),
        3 => {
            let offset = rng.pick(&[HOUR, -HOUR, HOUR / 3_600, -HOUR / 3_600]);
            faults.extend([
                (at, Fault::Clock(node, offset)),
                (until, Fault::Clock(node, 0)),
            ]);
        }
        4 => {
            let fault = rng.pick(&[WriteFault::Lost, WriteFault::NotSynced, WriteFault::Silent]);
            faults.extend([
                (at, Fault::Disk(node, fault)),
                (until, Fault::Restart(node)),
            ]);
        }
        5 => faults.push((
            at,
            Fault::Pause(node, rng.between(50 * MILLISECOND, 4 * SECOND)),
        )),
        // Again and again, one after the other, sooner than the cluster can get over it.
        6 => {
            for step in 0..rng.between(2, 5) {
                let (at, node) = (at + step * 150 * MILLISECOND, rng.index(n));
                let back = at + rng.between(1, 120) * MILLISECOND;
                faults.extend([(at, Fault::Crash(node)), (back, Fault::Restart(node))]);
            }
        }
        _ => faults.extend(byzantine.map(|liar| (at, Fault::Amnesia(liar)))),
    }
}

/// Which directions to cut: one alone, two sides, one direction only, or a bridge between two sides.
fn partition(rng: &mut Rng, n: usize) -> Vec<(usize, usize)> {
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
