//! A failing world, made small: the shortest list of faults, and the fewest features, that still fail in the same way.
//!
//! Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002, over the list of faults; then each
//! feature of the plan is left out on its own. What is left goes into a file that `quorate-sim --replay` runs, and, once
//! the bug is fixed, into `sim/tests/regressions` with its story.

use std::mem::discriminant;

use serde::{Deserialize, Serialize};

use crate::check::Violation;
use crate::plan::{ClockPlan, Plan};
use crate::run::run_plan;

/// Worlds run to shrink one, at most.
const MOST_RUNS: usize = 400;

/// A world to be run again, and why it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// What went wrong in it, and what became of that.
    pub story: String,
    /// Whether it is expected to fail still.
    pub fails: bool,
    /// The world.
    pub plan: Plan,
}

impl Case {
    /// Reads what [`Case::to_json`] wrote.
    ///
    /// # Errors
    /// As for JSON.
    pub fn from_json(text: &str) -> Result<Case, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// For a file.
    ///
    /// # Panics
    /// Never: a plan is numbers and names.
    #[must_use]
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.expect("a plan is numbers and names") + "\n"
    }
}

/// The smallest plan found that fails like `violation`.
#[must_use]
pub fn shrink(plan: Plan, violation: &Violation) -> Plan {
    let mut left = MOST_RUNS;
    let mut fails = |plan: &Plan| {
        left = left.saturating_sub(1);
        let run = || run_plan(plan.clone(), false);
        left > 0 && run().is_err_and(|f| discriminant(&f.violation) == discriminant(violation))
    };
    let mut plan = plan;
    loop {
        let before = plan.clone();
        let with = |faults: &[_]| Plan {
            faults: faults.to_vec(),
            ..before.clone()
        };
        plan.faults = minimise(&before.faults, |faults| fails(&with(faults)));
        for simpler in SIMPLER {
            let mut candidate = plan.clone();
            simpler(&mut candidate);
            if candidate != plan && fails(&candidate) {
                plan = candidate;
            }
        }
        if plan == before {
            return plan;
        }
    }
}

/// One feature less, each.
const SIMPLER: &[fn(&mut Plan)] = &[
    |plan| plan.byzantine.clear(),
    |plan| drop(plan.byzantine.pop()),
    |plan| plan.twins.clear(),
    |plan| plan.network.loss = 0,
    |plan| plan.network.lossy.clear(),
    |plan| plan.network.far.clear(),
    |plan| plan.network.duplicate = 0,
    |plan| plan.network.replay = 0,
    |plan| plan.network.corrupt = 0,
    |plan| plan.network.straggle = 0,
    |plan| plan.network.jitter = 1,
    |plan| plan.clocks.fill(ClockPlan::default()),
    |plan| plan.tight = false,
    |plan| plan.load.burst = 0,
    |plan| plan.load.twice = 0,
    |plan| plan.load.reads = 0,
    |plan| plan.load.checkpoints = 0,
    |plan| plan.load.sessions = None,
    |plan| plan.load.value = plan.load.value.min(16),
    |plan| plan.load.clients = 1,
    |plan| plan.stand_ins = true,
    |plan| plan.chaos -= plan.chaos / 4,
];

/// A list from which nothing can be left out: `fails` holds for it if it holds for all.
pub fn minimise<T: Clone>(all: &[T], mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut items = all.to_vec();
    let mut parts = 1;
    while !items.is_empty() {
        let size = items.len().div_ceil(parts);
        let smaller = (0..parts).find_map(|part| {
            let (from, to) = (part * size, ((part + 1) * size).min(items.len()));
            let without: Vec<T> = match items.get(from..to) {
                Some(_) => [&items[..from], &items[to..]].concat(),
                None => return None,
            };
            (without.len() < items.len() && fails(&without)).then_some(without)
        });
        match smaller {
            Some(without) => {
                items = without;
                parts = parts.saturating_sub(1).max(1);
            }
            None if parts >= items.len() => break,
            None => parts = (parts * 2).min(items.len()),
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_what_it_takes() {
        let all: Vec<u32> = (0..40).collect();
        let needs = |wanted: &'static [u32]| {
            minimise(&all, move |items| {
                wanted.iter().all(|item| items.contains(item))
            })
        };
        assert_eq!(needs(&[]), Vec::<u32>::new());
        assert_eq!(needs(&[17]), [17]);
        assert_eq!(needs(&[3, 17, 39]), [3, 17, 39]);
    }
}
