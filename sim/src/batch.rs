//! Many seeds: in chunks, so that a run can be stopped at any time and goes on from its last chunk.

use std::io::IsTerminal;
use std::process::Command;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use quorate_sim::counters::Counters;
use quorate_sim::cpu::Cost;
use quorate_sim::run::{Failure, check_all, run};
use quorate_sim::shrink::{Case, shrink};

use crate::Arguments;
use crate::progress::Progress;

/// Seeds in a chunk.
const CHUNK: u64 = 256;

/// Runs the seeds that the arguments name.
pub(crate) fn many(arguments: &Arguments) -> Result<(), String> {
    let file = arguments.state.as_deref();
    let mut state = Progress::<Counters>::resume(file, arguments.seeds.start)?;
    let end = match arguments.soak {
        true => u64::MAX,
        false => arguments.seeds.end,
    };
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = arguments.jobs.unwrap_or_else(available);
    let bar = bar(arguments, end - state.first);
    bar.set_position(state.next - state.first);
    let (start, mut cost) = (Instant::now(), Cost::default());
    let limit = arguments.time.map(Duration::from_secs);
    while state.next < end && limit.is_none_or(|limit| start.elapsed() < limit) {
        let chunk = state.next..end.min(state.next + CHUNK);
        let checked = check_all(chunk.clone(), jobs, |_| bar.inc(1));
        let (counters, spent) = checked.map_err(|failure| failed(*failure, arguments))?;
        again_elsewhere(chunk.start)?;
        cost += spent;
        state.counters += &counters;
        state.next = chunk.end;
        state.save(file)?;
        if arguments.soak {
            bar.suspend(|| println!("{}", line(&state, cost)));
        }
    }
    bar.finish_and_clear();
    print!("{}", state.counters);
    let seconds = start.elapsed().as_secs_f64();
    let count = state.next - state.first;
    println!("{count} seeds passed; {seconds:.1} s now, {cost}");
    Ok(())
}

/// One line of a soak: how much, how fast, and how often the rare paths were reached.
fn line(state: &Progress<Counters>, cost: Cost) -> String {
    let c = &state.counters;
    let seeds = state.next - state.first;
    format!(
        "{seeds} seeds, {} s simulated, {} events, {cost} | view changes {}, fetches {}, \
         ledger syncs {}, burnt rounds {}, fences {}, strict fences {}, evidence {}, rotten disks {}, \
         repeated {}, keys proved {}, checkpoints {}, reverts {}",
        c.virtual_millis / 1_000,
        c.events,
        c.view_changes,
        c.block_fetches + c.batch_fetches,
        c.synced,
        c.burnt,
        c.fences,
        c.strict,
        c.evidence,
        c.refusals,
        c.duplicates,
        c.proved,
        c.checkpoints,
        c.reverts,
    )
}

/// Another process must see the same world.
fn again_elsewhere(seed: u64) -> Result<(), String> {
    let here = run(seed, false).map_err(|failure| failure.to_string())?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let there = Command::new(program)
        .args(["--seed", &seed.to_string()])
        .output()
        .map_err(|error| error.to_string())?;
    let wanted = format!("trace {:016x}\n", here.trace);
    match String::from_utf8_lossy(&there.stdout).ends_with(&wanted) {
        true => Ok(()),
        false => Err(format!("seed {seed}: another process saw another world")),
    }
}

/// Shrinks the failing world and keeps it in a file.
fn failed(failure: Failure, arguments: &Arguments) -> String {
    let text = failure.to_string();
    let story = format!(
        "seed {} at {} ns: {}",
        failure.seed, failure.at, failure.violation
    );
    let plan = match arguments.no_shrink {
        true => failure.plan,
        false => {
            eprintln!("{text}\nshrinking …");
            shrink(failure.plan, &failure.violation)
        }
    };
    let left = plan.faults.len();
    let case = Case {
        story,
        fails: true,
        plan,
    };
    let file = arguments.out.join(format!("seed-{}.json", failure.seed));
    match std::fs::write(&file, case.to_json()) {
        Ok(()) => {
            let file = file.display();
            format!(
                "{text}\n{left} faults are left; replay with: quorate-sim --replay {file} --trace"
            )
        }
        Err(error) => format!("{text}\n{}: {error}", file.display()),
    }
}

fn bar(arguments: &Arguments, count: u64) -> ProgressBar {
    let bar = match (std::io::stderr().is_terminal(), arguments.soak) {
        (false, _) => ProgressBar::hidden(),
        (true, true) => ProgressBar::new_spinner(),
        (true, false) => ProgressBar::new(count),
    };
    let template = match arguments.soak {
        true => "{spinner} {pos} seeds, {per_sec}",
        false => "{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left",
    };
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.expect("the template is fixed"))
}
