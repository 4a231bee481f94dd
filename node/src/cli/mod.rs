//! The command line: verbs, flags, help, exit statuses.
//!
//! Parses and dispatches, and prints nothing by itself except failures. Results go to standard output, logs and failures
//! to standard error.

mod backup;
mod bench;
mod checkpoint;
mod config;
mod context;
mod diff;
mod doctor;
mod follow;
mod fork;
mod genesis;
mod init;
mod key;
mod keygen;
mod kv;
mod ledger;
mod output;
mod pace;
mod recover;
mod reference;
mod replay;
mod restore;
mod snapshot;
mod status;
mod survey;
mod testnet;
mod top;
mod tx;
mod verify;
mod work;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::exit::{ExitStatus, Failure};
use crate::start::{self, StartOptions};
use context::Context;
use output::Format;

const EXAMPLES: &str = "\
Examples:
  quorate testnet --validators 4 --clients 2 --output net
  quorate start --home net/validator-0
  export QUORATE_PROFILE=net/client.toml QUORATE_KEY=net/clients/alice.pem
  quorate kv put greeting hello
  quorate kv get greeting --proof greeting.proof
  quorate verify --genesis net/genesis.json greeting.proof

Exit status: 0 done, 1 failed, 2 usage, 3 configuration or genesis invalid,
4 unavailable or timed out, 5 rejected, 6 verification failed,
7 refused for safety, 8 damaged data.";

/// Quorate, a Byzantine fault tolerant replication service.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, after_help = EXAMPLES, max_term_width = 80)]
#[command(propagate_version = true, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

/// Flags of every verb.
#[derive(Clone, Debug, clap::Args)]
struct Globals {
    /// The chain and its endpoints: the client.toml that testnet writes
    #[arg(long, global = true, env = "QUORATE_PROFILE", value_name = "FILE")]
    profile: Option<PathBuf>,
    /// The client's private key, PKCS#8 PEM, mode 0600
    // Its id is not `key`: the verbs of kv have an argument of that id, and clap keeps one value an id.
    #[arg(
        long = "key",
        id = "key_file",
        global = true,
        env = "QUORATE_KEY",
        value_name = "FILE"
    )]
    key: Option<PathBuf>,
    /// A file with the passphrase of an encrypted key
    #[arg(
        long,
        global = true,
        env = "QUORATE_PASSPHRASE_FILE",
        value_name = "FILE"
    )]
    passphrase_file: Option<PathBuf>,
    /// Longest time for an operation, in seconds
    #[arg(long, global = true, default_value_t = 10.0, value_name = "SECONDS")]
    timeout: f64,
    /// Log more; twice: everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Form of the result [default: text]
    #[arg(long = "output", id = "root_output", value_name = "text|json")]
    output: Option<Format>,
}

/// `--output` behind the verb.
#[derive(Clone, Copy, Debug, clap::Args)]
struct OutputFlag {
    /// Form of the result [default: text]
    #[arg(
        long = "output",
        id = "verb_output",
        global = true,
        value_name = "text|json"
    )]
    output: Option<Format>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make homes, keys, genesis and profile of a new chain
    Testnet(testnet::Testnet),
    /// Make one validator's home, on its own machine
    Init(init::Init),
    /// Assemble, check, sign and install a genesis
    Genesis(genesis::GenesisVerb),
    /// Run one validator in the foreground
    #[command(after_help = "\
Examples:
  quorate start --home net/validator-0
  quorate start --home net/validator-0 --set api.listen=0.0.0.0:7651
  QUORATE_LOG__LEVEL=debug quorate start --home net/validator-0

SIGTERM or SIGINT: not ready, drain, sync, exit 0 within 20 s.")]
    Start {
        /// The validator's home
        #[arg(long, value_name = "DIR")]
        home: PathBuf,
        /// Override a setting of config.toml; may be repeated
        #[arg(long, value_name = "SECTION.KEY=VALUE")]
        set: Vec<String>,
    },
    /// Show how the validators are
    Status(status::Status),
    /// Show the set live
    Top(top::Top),
    /// Say why nothing commits, or why a validator does not start
    Doctor(doctor::Doctor),
    /// Read and write keys
    Kv(kv::Kv),
    /// Submit transactions and follow them
    Tx(tx::Tx),
    /// Export the ledger, and verify it offline
    Log(ledger::Log),
    /// Verify a proof offline
    Verify(verify::Verify),
    /// Measure throughput and latency under load
    Bench(bench::Bench),
    /// Make, list, verify and restore snapshots of the state
    Snapshot(snapshot::Snapshot),
    /// Copy a validator's home, while it runs or when it is stopped
    Backup(backup::Backup),
    /// Let a validator that lost its disk take part again
    Recover(recover::Recover),
    /// Make a validator's home again from a backup
    Restore(restore::Restore),
    /// Work a stopped validator's state out again, and compare every root
    Replay(replay::Replay),
    /// Make a new chain that starts from the state of another one
    Fork(fork::Fork),
    /// Say where two states differ
    DiffState(diff::DiffState),
    /// Make a key pair
    Keygen(keygen::Keygen),
    /// Look after key files
    Key(key::Key),
    /// Show or check a validator's settings
    Config(config::Config),
    /// Print a page of the reference
    #[command(hide = true)]
    Reference {
        /// Which
        page: reference::Page,
    },
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  quorate completion bash > \
        /etc/bash_completion.d/quorate")]
    Completion {
        /// Which
        shell: clap_complete::Shell,
    },
}

impl Verb {
    /// `--output` behind the verb.
    fn output(&self) -> Option<Format> {
        let flag = match self {
            Verb::Status(verb) => verb.output,
            Verb::Doctor(verb) => verb.output,
            Verb::Kv(verb) => verb.output,
            Verb::Tx(verb) => verb.output,
            Verb::Log(verb) => verb.output,
            Verb::Verify(verb) => verb.output,
            Verb::Bench(verb) => verb.output,
            Verb::Snapshot(verb) => verb.output,
            Verb::Recover(verb) => verb.output,
            Verb::Restore(verb) => verb.output,
            Verb::Replay(verb) => verb.output,
            Verb::DiffState(verb) => verb.output,
            Verb::Keygen(verb) => verb.output,
            Verb::Key(verb) => verb.output,
            Verb::Init(verb) => verb.output,
            Verb::Genesis(verb) => verb.output,
            Verb::Config(verb) => verb.output,
            // Their --output is a directory.
            Verb::Testnet(_)
            | Verb::Fork(_)
            | Verb::Backup(_)
            | Verb::Start { .. }
            | Verb::Top(_)
            | Verb::Reference { .. }
            | Verb::Completion { .. } => {
                return None;
            }
        };
        flag.output
    }
}

/// Parses and runs a command line, and reports a failure on standard error.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitStatus {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results; everything else is a mistake.
            let status = match error.use_stderr() {
                true => ExitStatus::Usage,
                false => ExitStatus::Done,
            };
            // Nowhere left to report to, if this fails.
            let _ = error.print();
            return status;
        }
    };
    match dispatch(cli) {
        Ok(status) => status,
        Err(failure) => {
            let mut stderr = std::io::stderr().lock();
            let _ = writeln!(stderr, "quorate: {}", failure.message);
            if let Some(hint) = &failure.hint {
                let _ = writeln!(stderr, "  hint: {hint}");
            }
            failure.status
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitStatus, Failure> {
    let Cli { globals, verb } = cli;
    let level = match globals.verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    // A validator sets its logging up from its own settings.
    if !matches!(verb, Verb::Start { .. }) {
        crate::logging::init(level, crate::config::LogFormat::Auto)
            .map_err(|error| Failure::failed(format!("logging: {error}")))?;
    }
    let context = Context::new(&globals, verb.output())?;
    match verb {
        Verb::Start { home, set } => start::run(StartOptions {
            home,
            settings: set,
            verbose: globals.verbose,
            passphrase: context.passphrase.clone(),
        }),
        Verb::Testnet(verb) => verb.run(&context.print),
        Verb::Status(verb) => verb.run(&context),
        Verb::Doctor(verb) => verb.run(&context),
        Verb::Top(verb) => verb.run(&context),
        Verb::Kv(verb) => verb.run(&context),
        Verb::Tx(verb) => verb.run(&context),
        Verb::Log(verb) => verb.run(&context),
        Verb::Verify(verb) => verb.run(&context),
        Verb::Bench(verb) => verb.run(&context),
        Verb::Snapshot(verb) => verb.run(&context),
        Verb::Backup(verb) => verb.run(&context),
        Verb::Recover(verb) => verb.run(&context),
        Verb::Restore(verb) => verb.run(&context),
        Verb::Replay(verb) => verb.run(&context),
        Verb::Fork(verb) => verb.run(&context),
        Verb::DiffState(verb) => verb.run(&context),
        Verb::Keygen(verb) => verb.run(&context),
        Verb::Key(verb) => verb.run(&context),
        Verb::Init(verb) => verb.run(&context),
        Verb::Genesis(verb) => verb.run(&context),
        Verb::Config(verb) => verb.run(&context),
        Verb::Reference { page } => context.print.raw(reference::render(page).as_bytes()),
        Verb::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "quorate", &mut script);
            context.print.raw(&script)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
