//! `quorate log`.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use quorate_client::api::LogEntry;
use quorate_storage::ledger::{self, LedgerError};
use quorate_storage::{Home, HomeError, Options, RocksReader, RocksStore, StoreError};
use quorate_types::{ChainId, Genesis, Height};
use serde::{Deserialize, Serialize};

use super::OutputFlag;
use super::context::{Context, runtime};
use crate::audit::Audit;
use crate::backend::LogBlock;
use crate::exit::{ExitStatus, Failure};
use crate::http::log_entry;
use crate::owner;

/// Longest line of a log file, in bytes: a block with all its batches in base64.
const MAX_LINE: u64 = 2 << 30;
/// Version of the file's format.
const LOG_VERSION: u16 = 1;

/// Exports the ledger as JSON Lines, and verifies it offline: hashes,
/// certificates, and roots by executing everything again from the genesis.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quorate log export > chain.jsonl
  quorate log export --from 100 --to 200
  quorate log export --home net/validator-0 > chain.jsonl
  quorate log verify chain.jsonl --genesis net/genesis.json
  quorate log verify --home net/validator-0

--home reads the database of a validator that does not run. Exit status 6
if something does not verify, 8 if data is damaged.")]
pub(super) struct Log {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Write heights as JSON Lines, the genesis first
    #[command(after_help = "\
Examples:
  quorate log export > chain.jsonl
  quorate log export --home net/validator-0 > chain.jsonl")]
    Export {
        /// First height
        #[arg(long, default_value_t = 1, value_name = "H")]
        from: u64,
        /// Last height [default: the newest]
        #[arg(long, value_name = "H")]
        to: Option<u64>,
        /// Read a stopped validator's home instead of asking a running one
        #[arg(long, value_name = "DIR")]
        home: Option<PathBuf>,
    },
    /// Show heights as they are committed, until interrupted
    #[command(after_help = "\
Examples:
  quorate log tail
  quorate log tail --from 1 --count 10 --output json

JSON Lines are those of `log export` without its first line.")]
    Tail {
        /// First height [default: the next]
        #[arg(long, value_name = "H")]
        from: Option<u64>,
        /// End after this many heights
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
    /// Verify an exported log, or a stopped validator's home
    #[command(after_help = "\
Examples:
  quorate log verify chain.jsonl --genesis net/genesis.json
  quorate log verify --home net/validator-0")]
    Verify {
        /// The log's file; - for standard input
        #[arg(required_unless_present = "home", conflicts_with = "home")]
        file: Option<PathBuf>,
        /// A stopped validator's home
        #[arg(long, value_name = "DIR")]
        home: Option<PathBuf>,
        /// What to trust [default: the home's, the profile's, the file's]
        #[arg(long, value_name = "FILE")]
        genesis: Option<PathBuf>,
    },
}

/// First line of a file.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    quorate_log: u16,
    chain: ChainId,
    genesis: Genesis,
}

impl Log {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        match self.verb {
            Verb::Export { from, to, home } => {
                let range = (Height(from.max(1)), Height(to.unwrap_or(u64::MAX)));
                if range.0 > range.1 {
                    return Err(Failure::usage("--from is above --to"));
                }
                match home {
                    Some(home) => export_home(&home, range),
                    None => export_running(context, range),
                }
            }
            Verb::Tail { from, count } => super::follow::tail(context, from, count),
            Verb::Verify {
                file,
                home,
                genesis,
            } => {
                let trusted = trusted(context, genesis, home.as_deref())?;
                match (home, file) {
                    (Some(home), _) => verify_home(context, &home, trusted),
                    (None, Some(file)) => verify_file(context, &file, trusted),
                    (None, None) => Err(Failure::usage("name a file or --home")),
                }
            }
        }
    }
}

/// Standard output; if nobody reads any more, the process ends quietly.
struct Lines(BufWriter<std::io::Stdout>);

impl Lines {
    fn new() -> Lines {
        Lines(BufWriter::with_capacity(1 << 16, std::io::stdout()))
    }

    fn write(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(value).map_err(Failure::failed)?;
        line.push(b'\n');
        self.0.write_all(&line).map_err(quiet_end)
    }

    fn end(mut self) -> Result<ExitStatus, Failure> {
        self.0.flush().map_err(quiet_end)?;
        Ok(ExitStatus::Done)
    }
}

fn quiet_end(error: std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    Failure::failed(format!("standard output: {error}"))
}

fn head(genesis: Genesis) -> Head {
    Head {
        quorate_log: LOG_VERSION,
        chain: genesis.chain_id(),
        genesis,
    }
}

fn export_running(context: &Context, (from, to): (Height, Height)) -> Result<ExitStatus, Failure> {
    let client = context.client()?;
    let runtime = runtime()?;
    let path = client.profile().genesis.clone();
    let path = path.ok_or_else(|| Failure::config("the profile names no genesis"))?;
    let mut lines = Lines::new();
    lines.write(&head(crate::genesis::read(&path)?))?;
    // The last block that is exported has a certificate, so that the file can be verified.
    let mut waiting: Vec<LogEntry> = Vec::new();
    let mut next = from;
    while next <= to {
        let entries = runtime.block_on(client.log(next, to))?;
        let Some(last) = entries.last() else { break };
        next = last.height.next();
        for entry in entries {
            let certified = entry.finality.is_some();
            waiting.push(entry);
            if certified {
                waiting
                    .drain(..)
                    .try_for_each(|entry| lines.write(&entry))?;
            }
        }
    }
    if !waiting.is_empty() && to < Height(u64::MAX) {
        waiting
            .drain(..)
            .try_for_each(|entry| lines.write(&entry))?;
    }
    lines.end()
}

fn export_home(home: &Path, (from, to): (Height, Height)) -> Result<ExitStatus, Failure> {
    let genesis = crate::genesis::read(&home.join("genesis.json"))?;
    let (store, tip) = open(home, &genesis)?;
    let mut lines = Lines::new();
    lines.write(&head(genesis))?;
    let mut height = from;
    while height <= to.min(tip) {
        lines.write(&log_entry(&entry(&store.reader(), height)?))?;
        height = height.next();
    }
    lines.end()
}

/// A genesis, and the directory that it lies in.
type Trusted = (Genesis, PathBuf);

/// Which genesis is trusted: the one that is named, the home's, or the profile's.
fn trusted(
    context: &Context,
    named: Option<PathBuf>,
    home: Option<&Path>,
) -> Result<Option<Trusted>, Failure> {
    let path = match (named, home) {
        (Some(path), _) => Some(path),
        (None, Some(home)) => Some(home.join("genesis.json")),
        (None, None) => context
            .profile_if_named()?
            .and_then(|profile| profile.genesis),
    };
    let Some(path) = path else {
        return Ok(None);
    };
    let directory = path.parent().unwrap_or(Path::new(".")).to_path_buf();
    Ok(Some((crate::genesis::read(&path)?, directory)))
}

fn verify_home(
    context: &Context,
    home: &Path,
    trusted: Option<Trusted>,
) -> Result<ExitStatus, Failure> {
    let (genesis, directory) = trusted.ok_or_else(|| Failure::usage("name the genesis"))?;
    let (store, tip) = open(home, &genesis)?;
    let reader = store.reader();
    let mut audit = Audit::new(&genesis, Some(&directory))?;
    let bar = progress(tip);
    while audit.next() <= tip {
        audit.push(&log_entry(&entry(&reader, audit.next())?))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    report(context, audit)
}

fn verify_file(
    context: &Context,
    file: &Path,
    trusted: Option<Trusted>,
) -> Result<ExitStatus, Failure> {
    let (genesis, directory) = trusted.unzip();
    let shown = file.display();
    let unreadable =
        |error: std::io::Error| Failure::failed(format!("cannot read {shown}: {error}"));
    let input: Box<dyn std::io::Read> = match file.as_os_str().as_encoded_bytes() {
        b"-" => Box::new(std::io::stdin()),
        _ => Box::new(File::open(file).map_err(unreadable)?),
    };
    let mut input = BufReader::with_capacity(1 << 20, input);
    let mut line = Vec::new();
    let mut number = 0u64;
    let mut next = |line: &mut Vec<u8>| {
        line.clear();
        number += 1;
        let read = input.by_ref().take(MAX_LINE).read_until(b'\n', line);
        read.map(|bytes| (bytes > 0).then_some(number))
            .map_err(unreadable)
    };
    let damaged = |number: u64, error: serde_json::Error| {
        Failure::damaged(format!("{shown}, line {number}: {error}"))
    };
    next(&mut line)?;
    let head: Head = serde_json::from_slice(&line).map_err(|error| damaged(1, error))?;
    if head.quorate_log != LOG_VERSION {
        let version = head.quorate_log;
        return Err(Failure::damaged(format!(
            "{shown}: log format {version} is unknown"
        )));
    }
    let genesis = match genesis {
        Some(genesis) if genesis.chain_id() != head.genesis.chain_id() => {
            let message = format!("{shown} is the log of chain {}", head.genesis.chain_id());
            return Err(Failure::verification(format!(
                "{message}, not of {}",
                genesis.chain_id()
            )));
        }
        Some(genesis) => genesis,
        None => {
            head.genesis.check().map_err(Failure::config)?;
            eprintln!("quorate: no genesis is named; trusting the one in the file");
            head.genesis
        }
    };
    let mut audit = Audit::new(&genesis, directory.as_deref())?;
    let bar = progress(Height(0));
    while let Some(number) = next(&mut line)? {
        let entry: LogEntry =
            serde_json::from_slice(&line).map_err(|error| damaged(number, error))?;
        audit.push(&entry)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    report(context, audit)
}

fn report(context: &Context, audit: Audit) -> Result<ExitStatus, Failure> {
    let verdict = audit.finish()?;
    context.print.result(&verdict, |out| {
        writeln!(out, "chain     {}", verdict.chain)?;
        writeln!(out, "height    {}", verdict.height)?;
        writeln!(out, "block     {}", verdict.block)?;
        writeln!(out, "state     {}", verdict.roots.state)?;
        writeln!(out, "receipts  {}", verdict.roots.receipts)?;
        writeln!(out, "verified  {} transactions", verdict.transactions)
    })
}

/// On a terminal only; elsewhere nothing is drawn.
fn progress(tip: Height) -> ProgressBar {
    match tip {
        Height(0) => ProgressBar::new_spinner(),
        tip => ProgressBar::new(tip.0),
    }
}

fn open(home: &Path, genesis: &Genesis) -> Result<(RocksStore, Height), Failure> {
    owner::check(home)?;
    // Opening a home makes what is missing; an audit must not.
    if !home.join("data").join("CURRENT").exists() {
        let message = format!("{} holds no ledger", home.display());
        return Err(Failure::damaged(message));
    }
    let home = Home::open(home).map_err(of_home)?;
    let store = RocksStore::open(home, &Options::default()).map_err(of_store)?;
    let reader = store.reader();
    let tip = ledger::open(&reader, genesis.chain_id()).map_err(of_ledger)?;
    Ok((store, tip.map_or(Height(0), |tip| tip.height)))
}

fn entry(reader: &RocksReader, height: Height) -> Result<LogBlock, Failure> {
    let missing = || Failure::damaged(format!("height {height} is missing"));
    let block = ledger::block_by_height(reader, height).map_err(of_ledger)?;
    let block = block.ok_or_else(missing)?;
    let batches = block.batches.iter().map(|id| {
        let batch = ledger::batch(reader, *id).map_err(of_ledger)?;
        batch.ok_or_else(missing)
    });
    Ok(LogBlock {
        batches: batches.collect::<Result<_, _>>()?,
        finality: ledger::finality(reader, height).map_err(of_ledger)?,
        roots: ledger::roots(reader, height).map_err(of_ledger)?,
        block,
    })
}

fn of_home(error: HomeError) -> Failure {
    if let HomeError::Locked { path, holder } = &error {
        let holder = holder.map_or_else(String::new, |pid| format!(" (process {pid})"));
        let message = format!("{} is locked: the validator runs{holder}", path.display());
        return Failure::failed(message)
            .hint("stop it first, or export the log from it: quorate log export");
    }
    let status = match error.is_unsafe() {
        true => ExitStatus::Safety,
        false => ExitStatus::Failed,
    };
    Failure::new(status, error)
}

fn of_store(error: StoreError) -> Failure {
    Failure::damaged(error)
}

fn of_ledger(error: LedgerError) -> Failure {
    match error {
        LedgerError::OtherChain { .. } | LedgerError::OtherSchema { .. } => Failure::config(error),
        error => Failure::damaged(error),
    }
}
