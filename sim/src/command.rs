//! The subcommands of `quorate-sim`: twins, and in the special build mutants.

use std::io::IsTerminal;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use quorate_sim::twins::{self, Tally, schedule};

use crate::progress::Progress;
use crate::range;

/// Schedules in a chunk.
const CHUNK: u64 = 1_000;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Plays schedules of who hears whom, with a validator's key on two replicas
    Twins {
        /// Schedules to play, the last not included
        #[arg(long, value_name = "FROM..TO", value_parser = range, default_value = "0..5000")]
        schedules: Range<u64>,
        /// All enumerated schedules of four validators, and as many drawn ones
        #[arg(long, conflicts_with = "schedules")]
        all: bool,
        /// Goes on where the run stopped that left this file, and keeps it up to date
        #[arg(long, value_name = "FILE")]
        state: Option<PathBuf>,
        /// Schedules at a time [default: one per processor]
        #[arg(long)]
        threads: Option<usize>,
    },
    /// Makes the product make each known mistake, and tells who noticed, and when
    #[cfg(feature = "mutants")]
    Mutants {
        /// Only this one
        #[arg(long)]
        only: Option<String>,
        /// Worlds at a time [default: one per processor]
        #[arg(long)]
        threads: Option<usize>,
    },
}

impl Command {
    pub(crate) fn run(self) -> ExitCode {
        match self {
            Command::Twins {
                schedules,
                all,
                state,
                threads,
            } => {
                let schedules = match all {
                    true => 0..2 * schedule::SPACE,
                    false => schedules,
                };
                match play(schedules, state.as_deref(), processors(threads)) {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(problem) => {
                        eprintln!("{problem}");
                        ExitCode::FAILURE
                    }
                }
            }
            #[cfg(feature = "mutants")]
            Command::Mutants { only, threads } => {
                match quorate_sim::mutants::run(only.as_deref(), processors(threads)) {
                    0 => ExitCode::SUCCESS,
                    survivors => {
                        eprintln!("{survivors} survived");
                        ExitCode::FAILURE
                    }
                }
            }
        }
    }
}

pub(crate) fn processors(wanted: Option<usize>) -> usize {
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    wanted.unwrap_or_else(available)
}

/// A bar on a terminal; nothing where nobody watches.
fn bar(count: u64, of: &str) -> ProgressBar {
    let bar = match std::io::stderr().is_terminal() {
        true => ProgressBar::new(count),
        false => ProgressBar::hidden(),
    };
    let template = format!("{{bar:40}} {{pos}}/{{len}} {of}, {{per_sec}}, {{eta}} left");
    bar.with_style(ProgressStyle::with_template(&template).expect("the template is fixed"))
}

fn play(schedules: Range<u64>, file: Option<&Path>, threads: usize) -> Result<(), String> {
    let mut state = Progress::<Tally>::resume(file, schedules.start)?;
    let bar = bar(schedules.end - state.first, "schedules");
    bar.set_position(state.next - state.first);
    let start = Instant::now();
    while state.next < schedules.end {
        let chunk = state.next..schedules.end.min(state.next + CHUNK);
        let tally = twins::play_all(chunk.clone(), threads, || bar.inc(1));
        state.counters += &tally.map_err(|failure| failure.to_string())?;
        state.next = chunk.end;
        state.save(file)?;
    }
    bar.finish_and_clear();
    print!("{}", state.counters);
    let (count, seconds) = (state.next - state.first, start.elapsed().as_secs_f64());
    println!("{count} schedules passed; {seconds:.1} s now");
    Ok(())
}
