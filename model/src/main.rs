//! Explores the large instances and prints what was visited: `cargo run --release -p quorate-model [NAME …]`.

use std::fmt::Debug;
use std::hash::Hash;
use std::process::ExitCode;
use std::time::Instant;

use quorate_model::protocol::Protocol;
use quorate_model::replay::{Counts, replay};
use quorate_model::strict::{Fence, Strict};
use stateright::{Checker, Model, Representative};

/// Threads of the checker.
const THREADS: usize = 2;
/// Sampled paths that are replayed through the engine.
const PATHS: u64 = 1_000;

type Run = fn() -> bool;

/// What is explored, by name.
const ALL: &[(&str, &str, Run)] = &[
    (
        "everything",
        "2 rounds, two variants of each block, any number of crashes, certificates learned at any time",
        everything,
    ),
    (
        "equivocator",
        "3 rounds, two variants of each block, any number of crashes",
        equivocator,
    ),
    (
        "crashes",
        "3 rounds, any number of crashes, commit votes for every block",
        crashes,
    ),
    ("rounds", "4 rounds, no crash", rounds),
    (
        "forgetful",
        "3 rounds, a validator that lost its disk behind the strict fence, a Byzantine one, two variants of each block",
        forgetful,
    ),
    (
        "forgetful-crash",
        "3 rounds, the same with one variant and a crash of any validator",
        forgetful_crash,
    ),
    (
        "replay",
        "sampled paths of 4 and 5 rounds, through the engine",
        replays,
    ),
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut held = true;
    for (name, what, run) in ALL {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        println!("{name}: {what}");
        let from = Instant::now();
        let holds = run();
        let verdict = if holds { "holds" } else { "BROKEN" };
        println!("    {verdict} ({:.1} s)", from.elapsed().as_secs_f64());
        held &= holds;
    }
    match held {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn everything() -> bool {
    let mut model = Protocol::new(2, 2, None);
    model.eager = true;
    explore(model)
}

fn equivocator() -> bool {
    let mut model = Protocol::new(3, 2, None);
    model.focused = true;
    explore(model)
}

fn crashes() -> bool {
    explore(Protocol::new(3, 1, None))
}

fn rounds() -> bool {
    let mut model = Protocol::new(4, 1, Some(0));
    model.focused = true;
    explore(model)
}

fn forgetful() -> bool {
    explore(Strict::new(3, 2, 0, Fence::ALL))
}

fn forgetful_crash() -> bool {
    explore(Strict::new(3, 1, 1, Fence::ALL))
}

fn explore<M>(model: M) -> bool
where
    M: Model + Send + Sync + 'static,
    M::State: Representative + Clone + Debug + Hash + Send + Sync + PartialEq,
    M::Action: Clone + Debug + PartialEq,
{
    let checker = model.checker().threads(THREADS).symmetry();
    let checker = checker.spawn_dfs().join();
    println!(
        "    {} states up to symmetry, {} transitions, depth {}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth()
    );
    let mut holds = true;
    for property in checker.model().properties() {
        let found = checker.discovery(property.name);
        let right = found.is_some() == (property.expectation == stateright::Expectation::Sometimes);
        println!(
            "    {} {}",
            if right { "ok  " } else { "FAIL" },
            property.name
        );
        if let Some(path) = found.filter(|_| !right) {
            println!("         {:?}", path.into_actions());
        }
        holds &= right;
    }
    holds
}

/// A difference is a panic that names the decision; its seed is printed before.
fn replays() -> bool {
    let mut all = Counts::default();
    for seed in 0..PATHS {
        let (rounds, variants) = if seed % 2 == 0 { (4, 2) } else { (5, 1) };
        let path = std::panic::catch_unwind(|| replay(seed, rounds, variants, 200));
        let Ok(counts) = path else {
            println!("    seed {seed}, {rounds} rounds, {variants} variants, 200 steps");
            return false;
        };
        all.add(counts);
    }
    println!("    {PATHS} paths: {all:?}");
    true
}
