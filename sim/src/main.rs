//! `quorate-sim`: many seeds, or one again.

use std::io::IsTerminal;
use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use quorate_sim::run::{Failure, check_all, run};

/// Runs whole validators in simulated worlds and checks what must always hold.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Seeds to run, the last not included
    #[arg(long, value_name = "FROM..TO", value_parser = range, default_value = "0..1000")]
    seeds: Range<u64>,
    /// One seed, again
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Print everything that happens
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Worlds at a time [default: one per processor]
    #[arg(long)]
    threads: Option<usize>,
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
    let outcome = match arguments.seed {
        Some(seed) => one(seed, arguments.trace),
        None => many(arguments.seeds, arguments.threads),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn one(seed: u64, trace: bool) -> Result<(), Box<Failure>> {
    let report = run(seed, trace)?;
    print!("{}", report.counters);
    println!("trace {:016x}", report.trace);
    Ok(())
}

fn many(seeds: Range<u64>, threads: Option<usize>) -> Result<(), Box<Failure>> {
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    let count = seeds.end - seeds.start;
    let bar = match std::io::stderr().is_terminal() {
        true => ProgressBar::new(count),
        false => ProgressBar::hidden(),
    };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left");
    bar.set_style(style.expect("the template is fixed"));
    let start = Instant::now();
    let counters = check_all(seeds, threads.unwrap_or_else(available), |_| bar.inc(1))?;
    bar.finish_and_clear();
    print!("{counters}");
    let seconds = start.elapsed().as_secs_f64();
    let rate = std::time::Duration::from_millis(counters.events).as_secs_f64() * 1e3 / seconds;
    println!("{count} seeds passed in {seconds:.1} s, {rate:.0} events a second");
    Ok(())
}
