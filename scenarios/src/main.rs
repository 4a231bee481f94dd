//! Runs scenarios at full length: `quorate-scenarios list`, `quorate-scenarios run NAME [--times N]`; chaos:
//! `quorate-scenarios chaos --seed N --seconds N`; and a network with delays, for benchmarks: `quorate-scenarios relay`.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use quorate_scenarios::catalogue::{self, Scenario};
use quorate_scenarios::chaos;
use quorate_scenarios::chaos::plan::{Kind, Pace, Plan};
use quorate_scenarios::chaos::relay::{Link, Relays};
use quorate_scenarios::spaces;

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
    /// Real validators under a seeded schedule of faults, then an audit
    Chaos(Chaos),
    /// Passes datagrams between validators on, late, until its standard input ends
    Relay(Relay),
}

#[derive(Debug, clap::Args)]
struct Chaos {
    /// Decides the schedule; drawn and printed unless given
    #[arg(long)]
    seed: Option<u64>,
    /// Length of the schedule; healing and the audit come on top
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Kinds of faults, such as kill,power; all unless given
    #[arg(long, value_delimiter = ',')]
    faults: Vec<String>,
    /// Faults as fast as validators come back, of every kind that is allowed
    #[arg(long)]
    dense: bool,
    /// One fault at a time, each once all validators are ready and so many more transactions were acknowledged
    #[arg(long, value_name = "TRANSACTIONS", conflicts_with = "dense")]
    served: Option<u64>,
    /// Print the schedule and do nothing
    #[arg(long)]
    plan: bool,
    /// All validators on loopback, also where each could have a network namespace of its own
    #[arg(long)]
    loopback: bool,
}

#[derive(Debug, clap::Args)]
struct Relay {
    /// Addresses that the validators know of each other, by validator
    #[arg(long, value_delimiter = ',', required = true)]
    public: Vec<SocketAddr>,
    /// Where they listen
    #[arg(long, value_delimiter = ',', required = true)]
    behind: Vec<SocketAddr>,
    /// Every link's, one way
    #[arg(long, value_name = "MS")]
    delay_ms: u64,
    /// Datagrams that every link loses, in a thousand
    #[arg(long, value_name = "N", default_value_t = 0)]
    loss: u64,
    /// Megabits a second of every link, in each direction; without it, as many as there are
    #[arg(
        long,
        value_name = "MBIT",
        default_value_t = 0,
        hide_default_value = true
    )]
    mbit: u64,
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
        Verb::Chaos(arguments) => return chaos(&arguments),
        Verb::Relay(arguments) => return relay(&arguments),
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

fn chaos(arguments: &Chaos) -> ExitCode {
    let named = |wanted: &String| {
        let found = Kind::ALL.iter().find(|(_, name)| name == wanted);
        found.map(|(kind, _)| *kind)
    };
    let kinds: Option<Vec<Kind>> = arguments.faults.iter().map(named).collect();
    let kinds = match kinds {
        Some(kinds) if kinds.is_empty() => Kind::ALL.map(|(kind, _)| kind).to_vec(),
        Some(kinds) => kinds,
        None => {
            let names = Kind::ALL.map(|(_, name)| name);
            eprintln!("--faults is a list of {}", names.join(","));
            return ExitCode::from(2);
        }
    };
    let now = || std::time::SystemTime::UNIX_EPOCH.elapsed();
    let fresh = || now().map_or(0, |elapsed| elapsed.as_secs());
    let seed = arguments.seed.unwrap_or_else(fresh);
    let (pace, flag) = match (arguments.served, arguments.dense) {
        (Some(served), _) => (Pace::Served(served), format!(" --served {served}")),
        (None, true) => (Pace::Dense, " --dense".into()),
        (None, false) => (Pace::Mixed, String::new()),
    };
    let seconds = arguments.seconds;
    if !arguments.plan && !arguments.loopback && !spaces::inside() {
        match spaces::again() {
            Some(status) if status.success() => return ExitCode::SUCCESS,
            Some(_) => return ExitCode::FAILURE,
            None => {
                println!("chaos: no network namespaces here, so all validators are on loopback")
            }
        }
    }
    let plan = Plan::of(seed, seconds, &kinds, pace);
    if spaces::inside() {
        println!("chaos: a network namespace for each validator");
    }
    println!("chaos: seed {seed}, {seconds} s, links {:?}", plan.weather);
    plan.steps.iter().for_each(|step| println!("    {step}"));
    if arguments.plan {
        return ExitCode::SUCCESS;
    }
    if let Ok(report) = std::panic::catch_unwind(|| chaos::run(&plan)) {
        println!("{report:#?}");
        return ExitCode::SUCCESS;
    }
    let faults = match arguments.faults.is_empty() {
        true => String::new(),
        false => format!(" --faults {}", arguments.faults.join(",")),
    };
    println!("BROKEN; the same schedule again:");
    println!("    quorate-scenarios chaos --seed {seed} --seconds {seconds}{faults}{flag}");
    ExitCode::FAILURE
}

fn relay(arguments: &Relay) -> ExitCode {
    let Relay {
        public,
        behind,
        delay_ms,
        loss,
        mbit,
    } = arguments;
    if public.len() != behind.len() {
        eprintln!("--public and --behind name one address each for every validator");
        return ExitCode::from(2);
    }
    let relays = Relays::start(public, behind, 0);
    let link = Link {
        delay_ms: *delay_ms,
        loss: *loss,
        mbit: *mbit,
        ..Link::default()
    };
    for from in 0..public.len() {
        (0..public.len()).for_each(|to| relays.set(from, to, link));
    }
    println!("ready");
    // Whoever started this holds the other end; it closes when that process ends, however it ends.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    ExitCode::SUCCESS
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
