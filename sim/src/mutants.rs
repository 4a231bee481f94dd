//! Testing the tests: the product makes one deliberate mistake after the other (the crate `mutants`), and each must be
//! noticed by somebody here. Exists in the special build only.
//!
//! Each mutant meets worlds by seed. Every other one has a liar: one that is after the rule that is broken, if there is
//! such a kind, and all kinds in turn; a few are looked for where nobody lies. Between them come schedules of twins, until
//! a judge, an assertion or the clock notices the mutant.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use quorate_mutants::{ALL, Mutant, choose};

use crate::adversary::KINDS;
use crate::faults::Fault;
use crate::plan::{MILLISECOND, Plan, SECOND, SessionPlan};
use crate::run::{Failure, run_plan};
use crate::twins;

/// Worlds that a mutant has to survive.
const SEEDS: u64 = 900;
/// Worlds before the next schedules of twins, and those.
const WORLDS_AT_A_TIME: u64 = 30;
const SCHEDULES_AT_A_TIME: u64 = 40;

/// Runs seeds and schedules against each mutant, or the one named, and prints who noticed it when. Returns how many
/// nobody noticed.
pub fn run(only: Option<&str>, threads: usize) -> usize {
    // A mutant that panics was noticed; a thousand backtraces tell nothing more.
    std::panic::set_hook(Box::new(|_| {}));
    let mut survivors = 0;
    println!("| mutant | noticed by | worlds | schedules | seconds |\n|---|---|---|---|---|");
    for (mutant, _) in ALL {
        let name = format!("{mutant:?}");
        if only.is_some_and(|only| only != name) {
            continue;
        }
        let start = Instant::now();
        choose(Some(*mutant));
        let hunt = hunt(*mutant, threads);
        choose(None::<Mutant>);
        let seconds = start.elapsed().as_secs_f64();
        survivors += usize::from(hunt.noticed.is_none());
        let by = hunt.noticed.unwrap_or_else(|| "**nobody**".into());
        let (worlds, schedules) = (hunt.worlds, hunt.schedules);
        println!("| {name} | {by} | {worlds} | {schedules} | {seconds:.1} |");
    }
    survivors
}

#[derive(Default)]
struct Hunt {
    noticed: Option<String>,
    worlds: u64,
    schedules: u64,
}

fn hunt(mutant: Mutant, threads: usize) -> Hunt {
    let mut hunt = Hunt::default();
    while hunt.worlds < SEEDS && hunt.noticed.is_none() {
        let seeds = hunt.worlds..hunt.worlds + WORLDS_AT_A_TIME;
        if let Some(failure) = worlds(mutant, seeds.clone(), threads) {
            hunt.worlds = failure.seed + 1;
            hunt.noticed = Some(match liar(mutant, failure.seed) {
                Some(kind) => format!("{}, with a {kind}", failure.violation),
                None => failure.violation.to_string(),
            });
            break;
        }
        hunt.worlds = seeds.end;
        let schedules = hunt.schedules..hunt.schedules + SCHEDULES_AT_A_TIME;
        hunt.schedules = schedules.end;
        if let Err(failure) = twins::play_all(schedules, threads, || {}) {
            hunt.schedules = failure.schedule + 1;
            hunt.noticed = Some(format!("{}, with twins", failure.violation));
        }
    }
    hunt
}

/// The kind of liar in every other world: one that is after the rule that is broken, if there is, and all in turn.
fn liar(mutant: Mutant, seed: u64) -> Option<&'static str> {
    if alone(mutant) {
        return None;
    }
    let place = usize::try_from(seed / 4).expect("small");
    match (seed % 4, suspect(mutant)) {
        (1, Some(suspect)) => Some(suspect),
        (1 | 3, _) => Some(KINDS[place % KINDS.len()].name),
        _ => None,
    }
}

/// Who lies about what this mutant no longer checks.
fn suspect(mutant: Mutant) -> Option<&'static str> {
    Some(match mutant {
        Mutant::RoundNotSigned => "round inflator",
        Mutant::PaddedCertificate => "certificate padder",
        Mutant::DuplicateSignerInTc => "duplicate signer",
        Mutant::UnsignedIsAnchor => "anchor forger",
        Mutant::TcNotVerified => "TC forger",
        Mutant::TcRoundsOnlyClaimed => "TC liar",
        Mutant::TimeoutQcNotVerified => "poisoner",
        Mutant::VoteNotVerified => "impostor",
        Mutant::EvidenceNotVerified => "evidence forger",
        Mutant::StretchNotProved | Mutant::StretchBatchesNotChecked | Mutant::StretchFromBelow => {
            "lying ledger server"
        }
        Mutant::EveryCopyAnswered => "nagger",
        Mutant::ParentNotCertified => "wrong parent",
        Mutant::GapWithoutTc => "gap jumper",
        Mutant::StaleTcAllowed => "stale certifier",
        Mutant::TimeNotChecked => "timestamp liar",
        Mutant::BelowTheLock => "lock breaker",
        Mutant::ProposerNotChecked => "usurper",
        Mutant::VoteWithoutBatches => "ghost orderer",
        Mutant::ClaimNotChecked => "claim liar",
        Mutant::OneTimeoutIsEnough => "quitter",
        Mutant::UnknownQcDropped | Mutant::BatchesNotFetched => "shunner",
        Mutant::SecondProposalStops => "equivocator",
        _ => return None,
    })
}

/// The failure of the lowest seed.
fn worlds(mutant: Mutant, seeds: Range<u64>, threads: usize) -> Option<Box<Failure>> {
    let next = AtomicU64::new(seeds.start);
    let lowest: Mutex<Option<Box<Failure>>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let drawn = Plan::draw(seed);
                    let plan = match liar(mutant, seed) {
                        Some(kind) => drawn.with_liars(&[kind]),
                        None if alone(mutant) => drawn.with_liars(&[]),
                        None => drawn,
                    };
                    let plan = match mutant {
                        mutant if syncs(mutant) => away(plan),
                        Mutant::TimeoutNotRepeated => deaf(plan, 600),
                        Mutant::TimeoutForgetsLock => deaf(long(plan), 400),
                        Mutant::ForgottenLock | Mutant::SignsBehindTheFence => forgetful(plan),
                        Mutant::RevertsToTheNewest | Mutant::PastOfNothing => reverting(plan),
                        Mutant::ExpiryNotChecked | Mutant::WindowNotKept => hurried(plan),
                        _ => plan,
                    };
                    if let Err(failure) = run_plan(plan, false) {
                        next.store(seeds.end, Ordering::Relaxed);
                        let mut lowest = lowest.lock().expect("nobody panics with the lock");
                        if lowest
                            .as_ref()
                            .is_none_or(|known| failure.seed < known.seed)
                        {
                            *lowest = Some(failure);
                        }
                    }
                }
            });
        }
    });
    lowest.into_inner().expect("nobody panics with the lock")
}

/// Whether the mutant is looked for where nobody lies.
fn alone(mutant: Mutant) -> bool {
    matches!(
        mutant,
        Mutant::TimeoutNotRepeated
            | Mutant::TimeoutForgetsLock
            | Mutant::ForgottenLock
            | Mutant::SignsBehindTheFence
    )
}

/// Whether the mutant is about catching up by the ledger.
fn syncs(mutant: Mutant) -> bool {
    matches!(
        mutant,
        Mutant::StretchNotProved | Mutant::StretchBatchesNotChecked | Mutant::StretchFromBelow
    )
}

/// With so much loss that Timeouts get lost, and no connection made anew, which would repeat them. Now and then one
/// validator alone learns of a certificate, and the others' TC of a later round takes it past that.
fn deaf(mut plan: Plan, loss: u64) -> Plan {
    plan.faults.clear();
    plan.network.loss = loss;
    plan
}

/// With time for several rounds that are given up one after the other, each timer longer than the one before.
fn long(mut plan: Plan) -> Plan {
    plan.chaos = 20 * SECOND;
    plan
}

/// With one validator on a new disk, and nobody faulty besides.
fn forgetful(mut plan: Plan) -> Plan {
    let lost = |at| {
        let (node, ceiling) = (0, false);
        (at, Fault::Forget { node, ceiling })
    };
    plan.faults = vec![lost(SECOND), lost(2 * SECOND)];
    plan
}

/// With many checkpoints and reverts of few keys.
fn reverting(mut plan: Plan) -> Plan {
    plan.load.checkpoints = 300;
    (plan.load.keys, plan.load.value) = (4, 16);
    plan
}

/// With clients whose transactions are soon over, and who use numbers as they like.
fn hurried(mut plan: Plan) -> Plan {
    plan.load.sessions = Some(SessionPlan {
        window: 64,
        validity: SECOND,
        chunks: 40,
        wild: 300,
        ends: plan.chaos / 2,
    });
    plan
}

/// With one validator away for long, so that it asks for the ledger, and the liar, if there is one, asked first.
fn away(mut plan: Plan) -> Plan {
    plan.byzantine.iter_mut().for_each(|liar| liar.node = 0);
    let last = plan.n - 1;
    let crash = Fault::Crash {
        node: last,
        lasts: plan.chaos - SECOND,
    };
    plan.faults = vec![(SECOND / 4, crash)];
    plan.load.interval = plan.load.interval.min(50 * MILLISECOND);
    plan
}
