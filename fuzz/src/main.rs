//! Runs targets for as long as asked, and writes the corpus anew.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use quorate_fuzz::corpus;
use quorate_fuzz::driver::{self, Until};
use quorate_fuzz::targets::{TARGETS, Target};

/// Any bytes, to whoever reads bytes.
///
/// Example: quorate-fuzz run --time 60
#[derive(Debug, Parser)]
#[command(name = "quorate-fuzz")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Gives each target mutations of its corpus; ends with status 1 at the first that is not borne, which it writes to a
    /// file.
    ///
    /// Example: quorate-fuzz run --time 60 --only recovery --seed 7
    Run {
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        time: u64,
        /// One target instead of all.
        #[arg(long)]
        only: Option<String>,
        /// Which mutations.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Gives a target one input from a file.
    ///
    /// Example: quorate-fuzz input recovery fuzz-failure-recovery.bin
    Input {
        /// Which.
        target: String,
        /// The bytes.
        file: PathBuf,
    },
    /// Writes the seeds of every target to `corpus/`, next to what is there.
    ///
    /// Example: quorate-fuzz corpus
    Corpus,
}

fn main() -> ExitCode {
    match Arguments::parse().verb {
        Verb::Run { time, only, seed } => run(time, only.as_deref(), seed),
        Verb::Input { target, file } => input(&target, &file),
        Verb::Corpus => write_corpus(),
    }
}

fn failed(why: impl std::fmt::Display) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::FAILURE
}

fn run(time: u64, only: Option<&str>, seed: u64) -> ExitCode {
    let chosen: Vec<&Target> = TARGETS
        .iter()
        .filter(|target| only.is_none_or(|name| name == target.name))
        .collect();
    if chosen.is_empty() {
        let names = TARGETS.map(|target| target.name).join(", ");
        return failed(format!("no such target; there are {names}"));
    }
    // The message of a panic is told once, at the end.
    std::panic::set_hook(Box::new(|_| {}));
    for target in chosen {
        let seeds = match corpus::read(target.name) {
            Ok(seeds) => seeds,
            Err(error) => return failed(format!("the corpus of {}: {error}", target.name)),
        };
        let until = Until::Elapsed(Duration::from_secs(time));
        match driver::run(target.run, &seeds, seed, until) {
            Ok(borne) => println!("{:14} bore {borne} inputs in {time} s", target.name),
            Err(failure) => {
                let failure = driver::shrink(target.run, failure);
                let file = format!("fuzz-failure-{}.bin", target.name);
                if let Err(error) = fs::write(&file, &failure.input) {
                    return failed(format!("{file}: {error}"));
                }
                return failed(format!(
                    "{}: {}; again: quorate-fuzz input {} {file}",
                    target.name, failure.message, target.name
                ));
            }
        }
    }
    ExitCode::SUCCESS
}

fn input(name: &str, file: &PathBuf) -> ExitCode {
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        return failed("no such target");
    };
    match fs::read(file) {
        Ok(bytes) => {
            (target.run)(&bytes);
            println!("{name} bore {} bytes", bytes.len());
            ExitCode::SUCCESS
        }
        Err(error) => failed(format!("{}: {error}", file.display())),
    }
}

fn write_corpus() -> ExitCode {
    for target in TARGETS {
        let seeds = (target.seeds)();
        if let Err(error) = corpus::write(target.name, &seeds) {
            return failed(format!("the corpus of {}: {error}", target.name));
        }
        println!("{:14} {} seeds", target.name, seeds.len());
    }
    ExitCode::SUCCESS
}
