//! `quorate-sim`: many seeds, one again, a file again, or on and on; or what [`command`] holds.

mod batch;
mod command;
mod progress;

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use quorate_sim::plan::Plan;
use quorate_sim::run::{Report, run, run_plan};
use quorate_sim::shrink::Case;

/// Runs whole validators in simulated worlds and checks what must always hold.
#[derive(Debug, Parser)]
#[command(version)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<command::Command>,
    /// Seeds to run, the last not included
    #[arg(long, value_name = "FROM..TO", value_parser = range, default_value = "0..1000")]
    seeds: Range<u64>,
    /// One seed, again
    #[arg(long, conflicts_with_all = ["seeds", "replay", "soak"])]
    seed: Option<u64>,
    /// Print the seed's world as a file for `--replay`, to be changed by hand
    #[arg(long, requires = "seed")]
    plan: bool,
    /// A world from a file, again
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seeds", "soak"])]
    replay: Option<PathBuf>,
    /// Seeds from the first on, until it is stopped or the time is over
    #[arg(long)]
    soak: bool,
    /// Ends a soak after so many seconds [default: never]
    #[arg(long, value_name = "SECONDS", requires = "soak")]
    time: Option<u64>,
    /// Print everything that happens
    #[arg(long)]
    trace: bool,
    /// Goes on where the run stopped that left this file, and keeps it up to date
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "replay"])]
    state: Option<PathBuf>,
    /// Worlds at a time [default: one per processor]
    #[arg(long, visible_alias = "threads")]
    jobs: Option<usize>,
    /// Leave a failing world as it is
    #[arg(long)]
    no_shrink: bool,
    /// Where the files of failing worlds go
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    out: PathBuf,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let form = || format!("{text:?} is not of the form 0..1000");
    let (from, to) = text.split_once("..").ok_or_else(form)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| form());
    match (number(from)?, number(to)?) {
        (from, to) if from < to => Ok(from..to),
        _ => Err(format!("{text:?} holds no seed")),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(command) = arguments.command {
        return command.run();
    }
    let outcome = match (&arguments.replay, arguments.seed) {
        (Some(file), _) => replay(file, arguments.trace),
        (None, Some(seed)) if arguments.plan => {
            let plan = Plan::draw(seed);
            let (story, fails) = (format!("seed {seed}"), false);
            print!("{}", Case { story, fails, plan }.to_json());
            Ok(())
        }
        (None, Some(seed)) => one(seed, arguments.trace),
        (None, None) => batch::many(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn one(seed: u64, trace: bool) -> Result<(), String> {
    show(&run(seed, trace).map_err(|failure| failure.to_string())?);
    Ok(())
}

fn replay(file: &PathBuf, trace: bool) -> Result<(), String> {
    let problem = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| problem(&error))?;
    let case = Case::from_json(&text).map_err(|error| problem(&error))?;
    println!("{}", case.story);
    show(&run_plan(case.plan, trace).map_err(|failure| failure.to_string())?);
    Ok(())
}

fn show(report: &Report) {
    print!("{}", report.counters);
    println!("trace {:016x}", report.trace);
}
