//! Runs scenarios at full length: `quorate-scenarios list`, `quorate-scenarios run NAME [--times N]`.

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use quorate_scenarios::catalogue::{self, Scenario};

/// What Quorate promises, tried on the real binary.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Names every scenario with its promise
    List,
    /// Runs scenarios, one after the other
    Run {
        /// Their names
        #[arg(required_unless_present = "all")]
        names: Vec<String>,
        /// All of them
        #[arg(long)]
        all: bool,
        /// How many of what the scenario counts (see `list`); full length unless given
        #[arg(long)]
        times: Option<usize>,
    },
}

fn main() -> ExitCode {
    let (names, all, times) = match Arguments::parse().verb {
        Verb::List => {
            for scenario in catalogue::ALL {
                let Scenario {
                    name,
                    promise,
                    unit,
                    full,
                    ..
                } = scenario;
                println!("{name:18} {promise} [{full} {unit}]");
            }
            return ExitCode::SUCCESS;
        }
        Verb::Run { names, all, times } => (names, all, times),
    };
    let mut chosen: Vec<&Scenario> = Vec::new();
    for name in &names {
        let Some(scenario) = catalogue::find(name) else {
            eprintln!("there is no scenario {name}; `quorate-scenarios list` names them");
            return ExitCode::from(2);
        };
        chosen.push(scenario);
    }
    if all {
        chosen = catalogue::ALL.iter().collect();
    }
    let broken: Vec<_> = chosen
        .into_iter()
        .filter(|scenario| !holds(scenario, times))
        .map(|scenario| scenario.name)
        .collect();
    if broken.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("broken: {}", broken.join(", "));
    ExitCode::FAILURE
}

fn holds(scenario: &Scenario, times: Option<usize>) -> bool {
    let times = times.unwrap_or(scenario.full);
    println!(
        "{}: {} [{times} {}]",
        scenario.name, scenario.promise, scenario.unit
    );
    let from = Instant::now();
    let result = std::panic::catch_unwind(|| (scenario.run)(times));
    let seconds = from.elapsed().as_secs();
    match result {
        Ok(findings) => {
            findings
                .iter()
                .for_each(|finding| println!("    {finding}"));
            println!("    holds ({seconds} s)");
            true
        }
        // The panic's message is on standard error already.
        Err(_) => {
            println!("    BROKEN ({seconds} s)");
            false
        }
    }
}
