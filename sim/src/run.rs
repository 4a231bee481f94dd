//! A seed from the beginning to the verdict: chaos, then peace, then a power cut for all, then the books are read.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::check::Violation;
use crate::counters::Counters;
use crate::cpu::{self, Cost};
use crate::plan::{MILLISECOND, Plan, SECOND};
use crate::world::World;

/// Within this time after the last fault, every correct replica must execute a fresh transaction, in nanoseconds.
pub const PROGRESS: u64 = 30 * SECOND;
/// Peace before the fresh transactions: connections are made again.
const SETTLE: u64 = 300 * MILLISECOND;
/// Time between two looks at the whole state, in nanoseconds.
const LOOK: u64 = SECOND;
/// Looks in a row that show the same, at which a cluster that stays in its round is held to be caught in a loop: more than
/// two of the longest timers. One whose rounds go by must have tried every leader as well.
const SAME: u32 = 12;
/// One seed in so many is run twice.
const TWICE: u64 = 16;

/// A seed that went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which.
    pub seed: u64,
    /// Whether its signatures were stand-ins.
    pub stand_ins: bool,
    /// The fingerprint of everything that happened.
    pub trace: u64,
    /// What happened.
    pub counters: Counters,
}

/// A seed that went wrong.
#[derive(Debug)]
pub struct Failure {
    /// Which.
    pub seed: u64,
    /// When, in nanoseconds of virtual time.
    pub at: u64,
    /// What.
    pub violation: Violation,
    /// Where each validator stood.
    pub state: String,
    /// The world that it happened in.
    pub plan: Plan,
}

impl Failure {
    fn at_once(plan: Plan, violation: Violation) -> Box<Failure> {
        Box::new(Failure {
            seed: plan.seed,
            at: 0,
            violation,
            state: String::new(),
            plan,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at / MILLISECOND;
        writeln!(f, "seed {} at {at} ms: {}", self.seed, self.violation)?;
        write!(f, "{}", self.state)?;
        write!(f, "replay with: quorate-sim --seed {}", self.seed)
    }
}

/// Runs a seed.
///
/// # Errors
/// [`Failure`], also where the product's own assertions fail.
pub fn run(seed: u64, trace: bool) -> Result<Report, Box<Failure>> {
    let plan = Plan::draw(seed);
    if trace {
        println!("{plan:#?}");
    }
    run_plan(plan, trace)
}

/// Runs a plan that may differ from its seed's.
///
/// # Errors
/// [`Failure`].
pub fn run_plan(plan: Plan, trace: bool) -> Result<Report, Box<Failure>> {
    let seed = plan.seed;
    let kept = plan.clone();
    let mut world = match World::new(plan, trace) {
        Ok(world) => world,
        Err(violation) => return Err(Failure::at_once(kept, violation)),
    };
    let verdict = catch_unwind(AssertUnwindSafe(|| live(&mut world)));
    let verdict = verdict.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()));
        Err(Violation::Panic(text.unwrap_or_default()))
    });
    match verdict {
        Ok(()) => {
            world.counters.virtual_millis = world.now / MILLISECOND;
            Ok(Report {
                seed,
                stand_ins: kept.stand_ins,
                trace: world.trace.hash(),
                counters: world.counters,
            })
        }
        Err(violation) => Err(Box::new(Failure {
            seed,
            at: world.now,
            violation,
            state: state(&world),
            plan: kept,
        })),
    }
}

/// Runs a seed, now and then twice, to see whether it is the same world.
///
/// # Errors
/// [`Failure`].
pub fn check(seed: u64) -> Result<Report, Box<Failure>> {
    let mut report = run(seed, false)?;
    if seed.is_multiple_of(TWICE) {
        if run(seed, false)? != report {
            let plan = Plan::draw(seed);
            return Err(Failure::at_once(plan, Violation::NotDeterministic));
        }
        report.counters.again = report.counters.events;
    }
    Ok(report)
}

/// Checks many seeds on so many threads, and tells of each as it is done, in any order. Adds up what happened and what it
/// cost; stops at the first failure.
///
/// # Errors
/// [`Failure`].
pub fn check_all(
    seeds: std::ops::Range<u64>,
    threads: usize,
    done: impl Fn(&Report) + Sync,
) -> Result<(Counters, Cost), Box<Failure>> {
    let next = AtomicU64::new(seeds.start);
    let sum: Mutex<Result<(Counters, Cost), Box<Failure>>> = Mutex::new(Ok(Default::default()));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let before = cpu::used();
                    let outcome = check(seed);
                    let spent = cpu::used().saturating_sub(before);
                    let mut sum = sum.lock().expect("nobody panics with the lock");
                    match (outcome, sum.as_mut()) {
                        (Ok(report), Ok((counters, cost))) => {
                            *counters += &report.counters;
                            cost.note(&report, spent);
                            done(&report);
                        }
                        (Err(failure), Ok(_)) => {
                            next.store(seeds.end, Ordering::Relaxed);
                            *sum = Err(failure);
                        }
                        (_, Err(_)) => {}
                    }
                }
            });
        }
    });
    sum.into_inner().expect("nobody panics with the lock")
}

fn live(world: &mut World) -> Result<(), Violation> {
    let chaos = world.plan.chaos;
    until(world, chaos, |_| false)?;
    world.mend()?;
    progress(world)?;
    for node in world.correct() {
        world.checker.audit(&world.nodes[node].store)?;
    }
    // What was acknowledged must survive the loss of everything that was not synced, everywhere at once.
    for node in 0..world.nodes.len() {
        world.crash(node)?;
    }
    for node in 0..world.nodes.len() {
        world.restart(node)?;
    }
    progress(world)?;
    answers(world)?;
    for node in world.correct() {
        let store = &world.nodes[node].store;
        world.checker.audit(store)?;
        world.checker.promises(store, world.workload.receipts())?;
    }
    let possible = world.workload.judge(world.checker.executed());
    let (found, open) = possible.map_err(Violation::NotLinearizable)?;
    world.counters.histories += found;
    world.counters.open_histories += open;
    let [made, released, reverts, reverted, refused] = world.workload.on_places();
    world.counters.checkpoints += made;
    world.counters.released += released;
    world.counters.reverts += reverts;
    world.counters.reverted += reverted;
    world.counters.unplaced += refused;
    Ok(())
}

/// A fresh transaction at every correct replica is executed in time, and everybody gets that far.
fn progress(world: &mut World) -> Result<(), Violation> {
    let settled = world.now + SETTLE;
    until(world, settled, |_| false)?;
    let mut fresh = Vec::new();
    for node in world.correct() {
        let number = world.request_at(node);
        fresh.push(number);
    }
    let limit = world.now + PROGRESS;
    let open = |world: &World| {
        let waits = |number: &&usize| !world.workload.request(**number).is_served();
        fresh.iter().filter(waits).count()
    };
    if !until_watched(world, limit, |world| open(world) == 0)? {
        return Err(Violation::NoProgress(
            "execute a fresh transaction",
            open(world),
        ));
    }
    // All at once: what clients are told meanwhile is in a block that everybody must have, too.
    let limit = world.now + PROGRESS;
    if !until_watched(world, limit, |world| behind(world) == 0)? {
        return Err(Violation::NoProgress("catch up", behind(world)));
    }
    Ok(())
}

/// How many have not on disk what somebody has.
fn behind(world: &World) -> usize {
    // Whoever's disk rots is no witness, but what it tells clients is true.
    let told = world.workload.receipts().map(|receipt| receipt.height.0);
    let height = told.fold(world.checker.height(), u64::max);
    let nodes = world.correct().into_iter();
    nodes.filter(|node| world.height(*node) < height).count()
}

/// What was asked before is answered, too, unless its time is over: clients go on asking. What they are told is in a block
/// that everybody must have.
fn answers(world: &mut World) -> Result<(), Violation> {
    let limit = world.now + PROGRESS;
    let all = |world: &World| behind(world) == 0 && world.unanswered() == 0;
    match (all(world) || until(world, limit, all)?, behind(world)) {
        (true, _) => Ok(()),
        (false, 0) => Err(Violation::NoProgress("answer", world.unanswered())),
        (false, behind) => Err(Violation::NoProgress("catch up", behind)),
    }
}

/// Lets time pass until something is so, or it is late; whether it became so.
fn until(world: &mut World, limit: u64, so: impl Fn(&World) -> bool) -> Result<bool, Violation> {
    while world.next_time().is_some_and(|next| next <= limit) {
        world.step()?;
        if so(world) {
            return Ok(true);
        }
    }
    world.now = limit;
    Ok(so(world))
}

/// As [`until`], and compares where everybody stands with where they stood before: as long as there is work, a healthy
/// cluster never comes back to where it was. Time does not count, and of the rounds only how they relate: round after round
/// may fail under leaders that lie or are fenced, but not under all of them.
fn until_watched(
    world: &mut World,
    limit: u64,
    so: impl Fn(&World) -> bool,
) -> Result<bool, Violation> {
    let (mut last, mut first_round, mut same) = (Vec::new(), 0, 0);
    let all_leaders = u64::try_from(world.nodes.len() + 1).expect("a few");
    while world.now < limit {
        let next = limit.min(world.now + LOOK);
        if until(world, next, &so)? {
            return Ok(true);
        }
        world.counters.looks += 1;
        let (round, stance) = world.stance();
        if stance != last {
            (last, first_round, same) = (stance, round, 0);
            continue;
        }
        same += 1;
        let rounds = round.saturating_sub(first_round);
        if same >= SAME && (rounds == 0 || rounds >= all_leaders) {
            return Err(Violation::Lasso("every replica stands where it stood"));
        }
    }
    Ok(so(world))
}

fn state(world: &World) -> String {
    let line = |node: usize| {
        let liar = if world.lies(node) { " (lies)" } else { "" };
        format!("  v{node}{liar} {}\n", world.nodes[node].describe())
    };
    (0..world.nodes.len()).map(line).collect()
}

#[cfg(test)]
mod tests {
    use quorate_types::BlockTime;

    use super::*;
    use crate::node::START;

    /// A client that asks nobody: what it signed is never answered, and somebody must notice.
    #[test]
    fn a_transaction_that_is_never_answered_is_noticed() {
        let mut plan = Plan::draw(3);
        plan.byzantine.clear();
        plan.faults.clear();
        let mut world = World::new(plan, false).unwrap();
        until(&mut world, SECOND, |_| false).unwrap();
        world.mend().unwrap();
        progress(&mut world).unwrap();
        answers(&mut world).unwrap();
        let now = BlockTime(START + world.now);
        world.workload.sign_sound(now);
        let verdict = answers(&mut world);
        let noticed = matches!(verdict, Err(Violation::NoProgress("answer", 1)));
        assert!(noticed, "{verdict:?}");
    }
}
