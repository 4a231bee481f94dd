//! The subcommands of `quorate-sim`: twins, scale, and in the special build mutants.

use std::io::IsTerminal;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use quorate_sim::scale::{Costs, Report, Scale, Trial};
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
    /// What chains of many validators would do on machines of their own, and what limits them
    Scale(Machines),
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

#[derive(Debug, clap::Args)]
pub(crate) struct Machines {
    /// Sizes of the chain
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "4,16,64,100"
    )]
    validators: Vec<usize>,
    /// Transactions a second offered to all together, each rate in a run of its own
    #[arg(
        long,
        value_name = "R",
        value_delimiter = ',',
        default_value = "1000,4000,8000"
    )]
    rates: Vec<u64>,
    /// Bytes of each value
    #[arg(long, default_value_t = 512, value_name = "B")]
    size: usize,
    /// Simulated seconds that count; as many come before them
    #[arg(long, default_value_t = 2, value_name = "S")]
    seconds: u64,
    /// Between any two, one way
    #[arg(long, default_value_t = 1_000, value_name = "MICROSECONDS")]
    latency: u64,
    /// What a machine sends
    #[arg(long, default_value_t = 1_000, value_name = "MEGABITS A SECOND")]
    uplink: u64,
    /// Threads of a machine that verify
    #[arg(long, default_value_t = 2, value_name = "THREADS")]
    verifiers: usize,
}

impl Machines {
    fn run(&self) -> Result<(), String> {
        println!(
            "| validators | offered | committed | p50 | p99 | blocks | transactions a block \
             | busy: core, io, verifiers, uplink | limit |"
        );
        println!("|{}", "---|".repeat(9));
        for validators in &self.validators {
            for rate in &self.rates {
                println!("{}", row(&self.trial(*validators, *rate)?));
            }
        }
        Ok(())
    }

    fn trial(&self, validators: usize, rate: u64) -> Result<Report, String> {
        let trial = Trial {
            validators,
            rate,
            value: self.size,
            seconds: self.seconds,
            latency_ns: self.latency * 1_000,
            bits_per_second: self.uplink * 1_000_000,
            verifiers: self.verifiers,
            costs: Costs::default(),
        };
        Scale::new(trial)?.run()
    }
}

fn row(report: &Report) -> String {
    let ms = |nanos: u64| match nanos {
        u64::MAX => String::from("-"),
        nanos => format!("{:.1} ms", nanos as f64 / 1e6),
    };
    let busy = report.busy().iter();
    let busy: Vec<_> = busy
        .map(|(_, share)| format!("{:.0} %", 100.0 * share))
        .collect();
    let (limit, most) = report.busiest();
    format!(
        "| {} | {}/s | {}/s | {} | {} | {}/s | {} | {} | {} |",
        report.validators,
        report.offered,
        report.committed,
        ms(report.p50_ns()),
        ms(report.p99_ns()),
        report.blocks,
        report.transactions_a_block,
        busy.join(", "),
        if most > 0.9 { limit } else { "" },
    )
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
                exit(play(schedules, state.as_deref(), processors(threads)))
            }
            Command::Scale(machines) => exit(machines.run()),
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

fn exit(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
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
