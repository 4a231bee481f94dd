//! `quorate fork`: a chain of its own, with new keys, that starts from the state of another one.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use quorate_execution::Executor;
use quorate_storage::ledger;
use quorate_types::genesis::FORKED_VERSION;
use quorate_types::{Digest, Genesis, Height, Origin, Role};

use super::context::Context;
use super::snapshot::read_config;
use super::state::{from_snapshot, step};
use crate::exit::{ExitStatus, Failure};
use crate::genesis;
use crate::memory::Memory;
use crate::origin;
use crate::snapshot::files::Directory;
use crate::staged::{Staged, cannot};
use crate::start::{open_home, open_store};
use crate::testnet::{self, DEFAULT_BASE_PORT, Made, Place, Plan};

/// Make a new chain that starts from the state of another one
#[derive(Debug, clap::Args)]
#[command(after_help = "\
For what-if, debugging, or to go on after a disaster: keys, values, revisions
and checkpoints go over; validators, clients and the chain id are new. The state
is verified on the way: root by root as it is executed again, or against a
snapshot's certificates. It is held in memory. The other chain is not touched.

Examples:
  quorate fork --home net/validator-0 --output sandbox --base-port 9000
  quorate fork --home net/validator-0 --at 1200 --output sandbox
  quorate fork --genesis net/genesis.json --output sandbox \\
    --snapshot net/validator-0/snapshots/00000000000000001000

The clients of the new chain are admins.")]
pub(super) struct Fork {
    /// The home of a stopped validator
    #[arg(long, value_name = "DIR", required_unless_present = "snapshot")]
    home: Option<PathBuf>,
    /// The state after this height [default: the newest]
    #[arg(long, value_name = "H", requires = "home")]
    at: Option<u64>,
    /// A snapshot, instead of a home
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with = "home",
        requires = "genesis"
    )]
    snapshot: Option<PathBuf>,
    /// The genesis of the snapshot's chain
    #[arg(long, value_name = "FILE", requires = "snapshot")]
    genesis: Option<PathBuf>,
    /// Where to; a new or empty directory
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// The new chain's name
    #[arg(long, default_value = "fork")]
    name: String,
    /// How many validators
    #[arg(long, default_value_t = 4, value_name = "N")]
    validators: usize,
    /// How many clients, each with a key
    #[arg(long, default_value_t = 2, value_name = "N")]
    clients: usize,
    /// First port; all validators on this machine [default: 7650]
    #[arg(long, value_name = "P", conflicts_with = "hosts")]
    base_port: Option<u16>,
    /// Hosts of the validators, on the default ports
    #[arg(long, value_delimiter = ',', value_name = "HOST,...")]
    hosts: Option<Vec<String>>,
}

/// A state, and the chain that it is of.
struct State {
    genesis: Genesis,
    memory: Memory,
    height: Height,
    root: Digest,
}

impl State {
    fn new(genesis: Genesis, memory: Memory, executor: &Executor) -> State {
        State {
            genesis,
            memory,
            height: executor.height(),
            root: executor.roots().state,
        }
    }
}

impl Fork {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let base_port = self.base_port.unwrap_or(DEFAULT_BASE_PORT);
        let mut plan = Plan {
            output: self.output.clone(),
            name: self.name.clone(),
            validators: self.validators,
            clients: self.clients,
            role: Role::Admin,
            place: match &self.hosts {
                Some(hosts) => Place::Hosts(hosts.clone()),
                None => Place::Loopback { base_port },
            },
            parameters: quorate_types::Parameters::default(),
        };
        testnet::check(&plan)?;
        // Before the long work, so that a wrong directory is told at once.
        let staged = Staged::begin(&self.output)?;
        let state = self.state()?;
        plan.parameters = state.genesis.parameters.clone();
        let made = make(&staged, &plan, &state)?;
        staged.finish()?;
        show(context, &made, &state)
    }

    fn state(&self) -> Result<State, Failure> {
        match (&self.home, &self.snapshot, &self.genesis) {
            (Some(home), _, _) => of_home(home, self.at.map(Height)),
            (None, Some(snapshot), Some(genesis)) => {
                let (memory, executor) = from_snapshot(genesis, snapshot)?;
                Ok(State::new(genesis::read(genesis)?, memory, &executor))
            }
            _ => Err(Failure::usage(
                "name a --home, or a --snapshot and its --genesis",
            )),
        }
    }
}

/// The state after a height of a stopped validator: executed again from its newest snapshot below, or from the genesis.
fn of_home(home: &Path, at: Option<Height>) -> Result<State, Failure> {
    let path = home.join("genesis.json");
    let (config, genesis) = (read_config(home)?, genesis::read(&path)?);
    let store = open_store(open_home(home)?, &config)?;
    let reader = store.reader();
    let tip = ledger::tip(&reader).map_err(Failure::damaged)?.height;
    let kept = ledger::first(&reader).map_err(Failure::damaged)?;
    let at = at.unwrap_or(tip);
    if at > tip {
        let message = format!("the ledger ends at height {tip}, before {at}");
        return Err(Failure::usage(message));
    }
    let directory = Directory::look(home);
    let snapshot = directory
        .heights()?
        .into_iter()
        .rfind(|height| *height <= at);
    let begin = snapshot.unwrap_or(Height(0));
    if begin < at && begin.next() < kept {
        let message = format!("the ledger begins at height {kept}, and no snapshot leads to {at}");
        let hint = "quorate snapshot list shows the heights that can be forked; or take another validator's home";
        return Err(Failure::failed(message).hint(hint));
    }
    let (mut memory, mut executor) = match snapshot {
        Some(height) => from_snapshot(&path, &directory.path(height))?,
        None => origin::in_memory(Some(home), &genesis)?,
    };
    let bar = ProgressBar::new(at.0.saturating_sub(begin.0));
    while executor.height() < at {
        step(&reader, &mut memory, &mut executor)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(State::new(genesis, memory, &executor))
}

/// Makes all files of the new chain.
fn make(staged: &Staged, plan: &Plan, state: &State) -> Result<Made, Failure> {
    let made = testnet::make_in(staged.path(), plan, |genesis| {
        genesis.version = FORKED_VERSION;
        genesis.machine.clone_from(&state.genesis.machine);
        let mut origin = Origin {
            chain: state.genesis.chain_id(),
            height: state.height,
            state: state.root,
            root: Digest::default(),
        };
        genesis.origin = Some(origin);
        origin.root = origin::root(genesis, &state.memory)?;
        genesis.origin = Some(origin);
        Ok(())
    })?;
    let file = staged.path().join(origin::FILE);
    origin::write(&file, &state.memory)?;
    for home in &made.homes {
        let name = home.file_name().unwrap_or_default();
        let link = staged.path().join(name).join(origin::FILE);
        // Once on the disk, however many validators there are.
        fs::hard_link(&file, &link).map_err(|error| cannot("link", &link, &error))?;
    }
    Ok(made)
}

fn show(context: &Context, made: &Made, state: &State) -> Result<ExitStatus, Failure> {
    let mut text = Vec::new();
    let write = |text: &mut Vec<u8>| -> std::io::Result<()> {
        writeln!(text, "chain   {}", made.genesis.chain_id())?;
        let (height, chain) = (state.height, state.genesis.chain_id());
        writeln!(
            text,
            "from    height {height} of {chain}, state root {}",
            state.root
        )?;
        writeln!(
            text,
            "\nStart the validators, each in a terminal of its own:"
        )?;
        for home in &made.homes {
            writeln!(text, "  quorate start --home {}", home.display())?;
        }
        writeln!(text, "\nThen:")?;
        writeln!(text, "  export QUORATE_PROFILE={}", made.profile.display())?;
        let directory = made.profile.parent().unwrap_or(Path::new("."));
        if let Some(name) = made.clients.first() {
            let key = directory.join("clients").join(format!("{name}.pem"));
            writeln!(text, "  export QUORATE_KEY={}", key.display())?;
        }
        writeln!(text, "  quorate kv range")
    };
    write(&mut text).map_err(Failure::failed)?;
    context.print.raw(&text)
}
