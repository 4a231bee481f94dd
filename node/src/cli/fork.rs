//! `quorate fork`: a chain of its own, with new keys, that starts from the state of another one.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use quorate_execution::Entry;
use quorate_replica::Setup;
use quorate_types::genesis::FORKED_VERSION;
use quorate_types::{Digest, Genesis, Height, Origin, Role};

use super::context::Context;
use super::replay::{Past, from_snapshot};
use super::work::{Stage, Work};
use crate::exit::{ExitStatus, Failure};
use crate::genesis;
use crate::origin::{self, Records};
use crate::rebuild::Rebuilt;
use crate::scratch::Scratch;
use crate::staged::{self, Staged, cannot};
use crate::testnet::{self, DEFAULT_BASE_PORT, Made, Place, Plan};

/// Make a new chain that starts from the state of another one
#[derive(Debug, clap::Args)]
#[command(after_help = "\
For what-if, debugging, or to go on after a disaster: keys, values, revisions
and checkpoints go over; validators, clients and the chain id are new. The state
is verified on the way: root by root as it is executed again, or against a
snapshot's certificates; meanwhile it is on the disk of the output, once more than
there in the end. The other chain is not touched.

Examples:
  quorate fork --home net/validator-0 --output sandbox --base-port 9000
  quorate fork --home net/validator-0 --at 1200 --output sandbox
  quorate fork --genesis net/genesis.json --output sandbox \\
    --snapshot net/validator-0/snapshots/00000000000000001000
  quorate fork --home net/validator-0 --at 1200 --draft --output agreed

The clients of the new chain are admins. With --draft the validators are others':
put origin.state beside the draft and go on as with any genesis of several
operators, quorate genesis add-validator first.")]
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
    #[arg(long, default_value_t = 4, value_name = "N", conflicts_with = "draft")]
    validators: usize,
    /// How many clients, each with a key
    #[arg(long, default_value_t = 2, value_name = "N", conflicts_with = "draft")]
    clients: usize,
    /// First port; all validators on this machine [default: 7650]
    #[arg(long, value_name = "P", conflicts_with_all = ["hosts", "draft"])]
    base_port: Option<u16>,
    /// Hosts of the validators, on the default ports
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "HOST,...",
        conflicts_with = "draft"
    )]
    hosts: Option<Vec<String>>,
    /// Only a draft of the genesis and the state, for validators of several operators
    #[arg(long)]
    draft: bool,
}

/// Where the new chain comes from.
struct Source {
    genesis: Genesis,
    height: Height,
    root: Digest,
}

impl Fork {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let mut plan = self.plan();
        testnet::check(&plan)?;
        let work = Work::begin()?;
        // Before the long work, so that a wrong directory is told at once.
        let staged = Staged::begin(&self.output)?;
        let scratch = Scratch::at(&staged.path().join("state.scratch"))?;
        let (genesis, rebuilt) = self.state(scratch, &work)?;
        let source = Source {
            genesis,
            height: rebuilt.height(),
            root: rebuilt.roots().state,
        };
        plan.parameters = source.genesis.parameters.clone();
        write_records(&staged.path().join(origin::FILE), rebuilt.state(), &work)?;
        let finish = |genesis: &mut Genesis| start_from(genesis, &source, &staged, &rebuilt, &work);
        let text = match self.draft {
            true => {
                let mut draft = genesis::draft(self.name);
                draft.parameters = plan.parameters;
                finish(&mut draft)?;
                let text = genesis::to_json(&draft);
                staged::write(&staged.path().join("genesis.json"), text.as_bytes())?;
                say_draft(&self.output, &source)
            }
            false => {
                let made = testnet::make_in(staged.path(), &plan, finish)?;
                link(&staged, &made)?;
                say(&made, &source)
            }
        };
        // Its scratch is below what is going to be the output.
        drop(rebuilt);
        work.check()?;
        staged.finish()?;
        context.print.raw(&text.map_err(Failure::failed)?)
    }

    fn plan(&self) -> Plan {
        let base_port = self.base_port.unwrap_or(DEFAULT_BASE_PORT);
        Plan {
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
        }
    }

    /// The state that was asked for, and the genesis of its chain.
    fn state(&self, scratch: Scratch, work: &Work) -> Result<(Genesis, Rebuilt), Failure> {
        match (&self.home, &self.snapshot, &self.genesis) {
            (Some(home), _, _) => {
                let past = Past::open(home)?;
                let at = past.height(self.at.map(Height))?;
                let begin = past.newest(at)?;
                let mut rebuilt = past.begin(begin.as_deref(), scratch, work)?;
                past.go_on(&mut rebuilt, at, work)?;
                Ok((past.genesis().clone(), rebuilt))
            }
            (None, Some(snapshot), Some(path)) => {
                let genesis = genesis::read(path)?;
                let setup = Setup::new(&genesis, None).map_err(Failure::config)?;
                let rebuilt = from_snapshot(&setup, snapshot, scratch, work)?;
                Ok((genesis, rebuilt))
            }
            _ => Err(Failure::usage(
                "name a --home, or a --snapshot and its --genesis",
            )),
        }
    }
}

fn write_records(path: &Path, state: &Scratch, work: &Work) -> Result<(), Failure> {
    let stage = work.stage("records written", 0);
    let mut records = Records::of(state);
    origin::write(path, || counted(&mut records, &stage))
}

/// Makes a genesis one that starts from this state.
fn start_from(
    genesis: &mut Genesis,
    source: &Source,
    staged: &Staged,
    rebuilt: &Rebuilt,
    work: &Work,
) -> Result<(), Failure> {
    genesis.version = FORKED_VERSION;
    genesis.machine.clone_from(&source.genesis.machine);
    let mut origin = Origin {
        chain: source.genesis.chain_id(),
        height: source.height,
        state: source.root,
        root: Digest::default(),
    };
    genesis.origin = Some(origin);
    let mut tree = Scratch::at(&staged.path().join("tree.scratch"))?;
    let stage = work.stage("records hashed", 0);
    let mut records = Records::of(rebuilt.state());
    origin.root = origin::root(genesis, &mut tree, || counted(&mut records, &stage))?;
    genesis.origin = Some(origin);
    Ok(())
}

fn counted(records: &mut Records<'_>, stage: &Stage<'_>) -> Result<Option<Vec<Entry>>, Failure> {
    let page = records.page()?;
    let count = page.as_ref().map_or(0, Vec::len);
    stage.done(u64::try_from(count).expect("memory is smaller"))?;
    Ok(page)
}

/// The state is once on the disk, however many validators there are.
fn link(staged: &Staged, made: &Made) -> Result<(), Failure> {
    let file = staged.path().join(origin::FILE);
    for home in &made.homes {
        let name = home.file_name().unwrap_or_default();
        let link = staged.path().join(name).join(origin::FILE);
        fs::hard_link(&file, &link).map_err(|error| cannot("link", &link, &error))?;
    }
    Ok(())
}

fn from(text: &mut Vec<u8>, source: &Source) -> std::io::Result<()> {
    let (height, chain) = (source.height, source.genesis.chain_id());
    let root = source.root;
    writeln!(
        text,
        "from    height {height} of {chain}, state root {root}"
    )
}

fn say_draft(output: &Path, source: &Source) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    from(&mut text, source)?;
    let genesis = output.join("genesis.json").display().to_string();
    writeln!(
        text,
        "\nEach operator makes a home; one of them completes the draft:"
    )?;
    writeln!(
        text,
        "  quorate init --home HOME --name NAME --address HOST:7650"
    )?;
    writeln!(
        text,
        "  quorate genesis add-validator {genesis} DESCRIPTOR..."
    )?;
    writeln!(
        text,
        "\nThen all sign it, beside an origin.state of their own:"
    )?;
    writeln!(text, "  quorate genesis sign {genesis} --home HOME")?;
    Ok(text)
}

fn say(made: &Made, source: &Source) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    writeln!(text, "chain   {}", made.genesis.chain_id())?;
    from(&mut text, source)?;
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
    writeln!(text, "  quorate kv range")?;
    Ok(text)
}
