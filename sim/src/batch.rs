//! Many seeds: in chunks, so that a run can be stopped at any time and goes on from its last chunk.

use std::io::IsTerminal;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use quorate_sim::counters::Counters;
use quorate_sim::run::{Failure, check_all, run};
use quorate_sim::shrink::{Case, shrink};
use serde::{Deserialize, Serialize};

use crate::Arguments;

/// Seeds in a chunk.
const CHUNK: u64 = 256;

/// How far a run is, as in its file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// The first seed of the run.
    first: u64,
    /// The first seed that has not been run.
    next: u64,
    /// What happened so far.
    counters: Counters,
}

/// Runs the seeds that the arguments name.
pub(crate) fn many(arguments: &Arguments) -> Result<(), String> {
    let mut state = resume(arguments)?;
    let end = match arguments.soak {
        true => u64::MAX,
        false => arguments.seeds.end,
    };
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = arguments.jobs.unwrap_or_else(available);
    let bar = bar(arguments, end - state.first);
    bar.set_position(state.next - state.first);
    let (start, cpu, mut fresh) = (Instant::now(), cpu_time(), Counters::default());
    let limit = arguments.time.map(Duration::from_secs);
    while state.next < end && limit.is_none_or(|limit| start.elapsed() < limit) {
        let chunk = state.next..end.min(state.next + CHUNK);
        let counters = check_all(chunk.clone(), jobs, |_| bar.inc(1));
        let counters = counters.map_err(|failure| failed(*failure, arguments))?;
        again_elsewhere(chunk.start)?;
        fresh += &counters;
        state.counters += &counters;
        state.next = chunk.end;
        save(arguments, &state)?;
        if arguments.soak {
            let rate = rate(&fresh, cpu_time().saturating_sub(cpu));
            bar.suspend(|| println!("{}", line(&state, rate)));
        }
    }
    bar.finish_and_clear();
    print!("{}", state.counters);
    let seconds = start.elapsed().as_secs_f64();
    let rate = rate(&fresh, cpu_time().saturating_sub(cpu));
    let count = state.next - state.first;
    println!("{count} seeds passed; {seconds:.1} s now, {rate} events a second of one core");
    Ok(())
}

/// One line of a soak: how much, how fast, and how often the rare paths were reached.
fn line(state: &State, rate: u64) -> String {
    let c = &state.counters;
    let seeds = state.next - state.first;
    format!(
        "{seeds} seeds, {} s simulated, {} events, {rate}/s a core | view changes {}, fetches {}, \
         ledger syncs {}, burnt rounds {}, evidence {}, rotten disks {}, repeated {}",
        c.virtual_millis / 1_000,
        c.events,
        c.view_changes,
        c.block_fetches + c.batch_fetches,
        c.synced,
        c.burnt,
        c.evidence,
        c.refusals,
        c.duplicates,
    )
}

fn resume(arguments: &Arguments) -> Result<State, String> {
    let first = arguments.seeds.start;
    let fresh = State {
        first,
        next: first,
        counters: Counters::default(),
    };
    let Some(file) = arguments.state.as_ref().filter(|file| file.exists()) else {
        return Ok(fresh);
    };
    let problem = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| problem(&error))?;
    let state: State = serde_json::from_str(&text).map_err(|error| problem(&error))?;
    match state.first == first {
        true => Ok(state),
        false => Err(problem(&"is of a run that began with another seed")),
    }
}

fn save(arguments: &Arguments, state: &State) -> Result<(), String> {
    let Some(file) = &arguments.state else {
        return Ok(());
    };
    let text = serde_json::to_string_pretty(state).expect("numbers and names");
    let fresh = file.with_extension("new");
    let written = std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, file));
    written.map_err(|error| format!("{}: {error}", file.display()))
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

/// What this process has used of all cores so far. Other work on the machine does not count; zero where the system does
/// not say.
fn cpu_time() -> Duration {
    let ticks = std::fs::read_to_string(Path::new("/proc/self/stat"))
        .ok()
        .and_then(|text| {
            // The name of the program, in parentheses, may hold spaces.
            let (_, fields) = text.rsplit_once(") ")?;
            let mut times = fields.split(' ').skip(11).take(2).map(str::parse::<u64>);
            Some(times.next()?.ok()? + times.next()?.ok()?)
        });
    // A tick is 10 ms on every Linux that Rust runs on.
    Duration::from_millis(ticks.unwrap_or(0) * 10)
}

fn rate(counters: &Counters, cpu: Duration) -> u64 {
    let millis = u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX).max(1);
    (counters.events + counters.again) * 1_000 / millis
}
