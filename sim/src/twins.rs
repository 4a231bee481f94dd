//! Twins: a validator's key on two whole replicas, each of them correct for itself, under schedules of who hears whom
//! ("Twins: BFT Systems Made Robust", Bano et al., 2020). Between them they equivocate, vote twice and forget, as any
//! faulty validator could; whatever they do, the others must agree, and get on once everybody hears everybody.
//!
//! [`schedule`] numbers the schedules: those of four validators are enumerated, longer ones and those of seven are drawn
//! by number. [`stage`] plays one.

pub mod schedule;
pub mod stage;

use std::fmt;
use std::ops::{AddAssign, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::check::Violation;
use schedule::Schedule;
use stage::{Cast, Stage};

/// What schedules led to, added up: the proof that they were worth playing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Schedules played.
    pub schedules: u64,
    /// Heights that became final.
    pub blocks: u64,
    /// Of them, before everybody heard everybody again.
    pub early: u64,
    /// Rounds given up, at every correct validator.
    pub timeouts: u64,
    /// Contradictions that twins signed: two proposals, votes or commit votes in one round.
    pub contradictions: u64,
    /// Schedules in which they did.
    pub two_faced: u64,
    /// Contradictions that correct validators noticed.
    pub evidence: u64,
    /// Blocks certified or proposed that the final chain left out.
    pub abandoned: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Messages that the schedule kept from somebody.
    pub withheld: u64,
}

impl AddAssign<&Tally> for Tally {
    fn add_assign(&mut self, other: &Tally) {
        self.schedules += other.schedules;
        self.blocks += other.blocks;
        self.early += other.early;
        self.timeouts += other.timeouts;
        self.contradictions += other.contradictions;
        self.two_faced += other.two_faced;
        self.evidence += other.evidence;
        self.abandoned += other.abandoned;
        self.delivered += other.delivered;
        self.withheld += other.withheld;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = [
            (self.schedules, "schedules"),
            (self.blocks, "blocks final"),
            (self.early, "of them under a partition"),
            (self.timeouts, "timeouts"),
            (self.contradictions, "contradictions signed by twins"),
            (self.two_faced, "schedules with any"),
            (self.evidence, "evidence reported"),
            (self.abandoned, "proposals left out of the chain"),
            (self.delivered, "messages delivered"),
            (self.withheld, "messages withheld"),
        ];
        for (count, text) in lines {
            writeln!(f, "{count:>12}  {text}")?;
        }
        Ok(())
    }
}

/// A schedule that went wrong.
#[derive(Debug)]
pub struct Failure {
    /// Which.
    pub schedule: u64,
    /// What it says.
    pub script: Schedule,
    /// What must never be.
    pub violation: Violation,
    /// Where each replica stood.
    pub state: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next = self.schedule + 1;
        writeln!(f, "twins schedule {}: {}", self.schedule, self.violation)?;
        writeln!(f, "{}{}", self.script, self.state)?;
        let (number, next) = (self.schedule, next);
        write!(
            f,
            "replay with: quorate-sim twins --schedules {number}..{next}"
        )
    }
}

/// Plays one schedule.
///
/// # Errors
/// [`Failure`], also where the product's own assertions fail.
pub fn play(cast: &Cast, number: u64) -> Result<Tally, Box<Failure>> {
    let script = Schedule::number(number);
    let mut stage = None;
    let played = catch_unwind(AssertUnwindSafe(|| {
        stage.insert(Stage::new(cast, &script)?).play()
    }));
    let verdict = played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()));
        Err(Violation::Panic(text.unwrap_or_default()))
    });
    let state = stage.map(|stage| stage.describe()).unwrap_or_default();
    verdict.map_err(|violation| {
        Box::new(Failure {
            schedule: number,
            script,
            violation,
            state,
        })
    })
}

/// Plays many on so many threads; tells of each as it is done, in any order. Stops at the first failure.
///
/// # Errors
/// [`Failure`].
pub fn play_all(
    numbers: Range<u64>,
    threads: usize,
    done: impl Fn() + Sync,
) -> Result<Tally, Box<Failure>> {
    let next = AtomicU64::new(numbers.start);
    let sum: Mutex<Result<Tally, Box<Failure>>> = Mutex::new(Ok(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let cast = Cast::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        break;
                    }
                    let outcome = play(&cast, number);
                    let mut sum = sum.lock().expect("nobody panics with the lock");
                    match (outcome, sum.as_mut()) {
                        (Ok(tally), Ok(sum)) => {
                            *sum += &tally;
                            done();
                        }
                        (Err(failure), Ok(_)) => {
                            next.store(numbers.end, Ordering::Relaxed);
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
