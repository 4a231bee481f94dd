//! `quorate replay`: what a stopped validator's state is, worked out again. And the way from its home to a state at any
//! height that its ledger and its snapshots lead to.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use quorate_replica::Setup;
use quorate_storage::{RocksReader, RocksStore, ledger};
use quorate_types::{Genesis, Height};
use serde_json::json;

use super::OutputFlag;
use super::context::Context;
use super::snapshot::read_config;
use super::work::Work;
use crate::exit::{ExitStatus, Failure};
use crate::genesis;
use crate::rebuild::{self, Rebuilt};
use crate::scratch::Scratch;
use crate::snapshot::files::Directory;
use crate::start::{open_home, open_store};

/// Work the state of a stopped validator out again from its ledger, and
/// compare every root on the way
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It begins with the genesis or, where the ledger does not reach back so far, with
the oldest snapshot in the home that it goes on from.

Examples:
  quorate replay --home net/validator-0
  quorate replay --home net/validator-0 --to 1200
  quorate replay --home net/validator-0 --from \\
    net/validator-0/snapshots/00000000000000001000

Exit status 6 at the first root that differs. The state is on disk meanwhile, in
the directory that TMPDIR names (else /var/tmp), and is gone afterwards.")]
pub(super) struct Replay {
    /// The validator's home
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// Begin with this snapshot
    #[arg(long, value_name = "SNAPSHOT")]
    from: Option<PathBuf>,
    /// Last height [default: the newest]
    #[arg(long, value_name = "H")]
    to: Option<u64>,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

impl Replay {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let past = Past::open(&self.home)?;
        let to = past.height(self.to.map(Height))?;
        let work = Work::begin()?;
        let begin = match self.from {
            Some(path) => Some(path),
            None => past.oldest(to)?,
        };
        let mut rebuilt = past.begin(begin.as_deref(), Scratch::temporary()?, &work)?;
        let (from, begun) = (rebuilt.height(), Instant::now());
        past.go_on(&mut rebuilt, to, &work)?;
        let (height, roots) = (rebuilt.height(), rebuilt.roots());
        let seconds = begun.elapsed().as_secs_f64();
        let blocks = height.0.saturating_sub(from.0);
        let value = json!({
            "from": from.0, "height": height.0, "blocks": blocks, "seconds": seconds,
            "state_root": roots.state.to_string(), "receipts_root": roots.receipts.to_string(),
        });
        context.print.result(&value, |out| {
            writeln!(
                out,
                "{blocks} blocks after height {from} executed again in {seconds:.1} s, every root as stored: height {height}, state root {}",
                roots.state
            )
        })
    }
}

/// The home of a stopped validator, which nobody else uses meanwhile.
pub(super) struct Past {
    home: PathBuf,
    genesis: Genesis,
    setup: Setup,
    reader: RocksReader,
    /// The last height, and the first that is kept.
    tip: Height,
    kept: Height,
    snapshots: Directory,
    _store: RocksStore,
}

impl Past {
    pub(super) fn open(home: &Path) -> Result<Past, Failure> {
        let config = read_config(home)?;
        let genesis = genesis::read(&home.join("genesis.json"))?;
        let setup = Setup::new(&genesis, None).map_err(Failure::config)?;
        let store = open_store(open_home(home)?, &config)?;
        let reader = store.reader();
        Ok(Past {
            home: home.to_path_buf(),
            genesis,
            setup,
            tip: ledger::tip(&reader).map_err(Failure::damaged)?.height,
            kept: ledger::first(&reader).map_err(Failure::damaged)?,
            reader,
            snapshots: Directory::look(home),
            _store: store,
        })
    }

    pub(super) fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// A height that was asked for, or the last.
    pub(super) fn height(&self, asked: Option<Height>) -> Result<Height, Failure> {
        match asked {
            Some(asked) if asked > self.tip => {
                let message = format!("the ledger ends at height {}, before {asked}", self.tip);
                Err(Failure::usage(message))
            }
            asked => Ok(asked.unwrap_or(self.tip)),
        }
    }

    /// The newest snapshot that leads to a height; none if the genesis does.
    pub(super) fn newest(&self, to: Height) -> Result<Option<PathBuf>, Failure> {
        let mut found = self.snapshots.heights()?.into_iter();
        let found = found.rfind(|height| *height <= to && self.reaches(*height, to));
        match found {
            Some(height) => Ok(Some(self.snapshots.path(height))),
            None if self.reaches(Height(0), to) => Ok(None),
            None => Err(self.unreachable(to)),
        }
    }

    /// The oldest snapshot that leads to a height; none if the genesis does.
    fn oldest(&self, to: Height) -> Result<Option<PathBuf>, Failure> {
        if self.reaches(Height(0), to) {
            return Ok(None);
        }
        let mut found = self.snapshots.heights()?.into_iter();
        let found = found.find(|height| *height <= to && self.reaches(*height, to));
        let found = found.map(|height| Some(self.snapshots.path(height)));
        found.ok_or_else(|| self.unreachable(to))
    }

    /// Whether the blocks between two heights are kept.
    fn reaches(&self, from: Height, to: Height) -> bool {
        from == to || from.next() >= self.kept
    }

    fn unreachable(&self, to: Height) -> Failure {
        let kept = self.kept;
        let message = format!(
            "the ledger begins at height {kept}, and no snapshot in the home leads to {to}"
        );
        let hint =
            "quorate snapshot list shows what the home has; or take another validator's home";
        Failure::failed(message).hint(hint)
    }

    /// The state in a snapshot, or of height 0.
    pub(super) fn begin(
        &self,
        snapshot: Option<&Path>,
        state: Scratch,
        work: &Work,
    ) -> Result<Rebuilt, Failure> {
        match snapshot {
            None => {
                let stage = work.stage("records", 0);
                let each = &mut |count| stage.done(count);
                Rebuilt::genesis(state, Some(&self.home), &self.genesis, each)
            }
            Some(path) => from_snapshot(&self.setup, path, state, work),
        }
    }

    /// Executes blocks up to a height.
    pub(super) fn go_on(
        &self,
        rebuilt: &mut Rebuilt,
        to: Height,
        work: &Work,
    ) -> Result<(), Failure> {
        let from = rebuilt.height();
        if from > to {
            let message = format!("the snapshot is of height {from}, above {to}");
            return Err(Failure::usage(message));
        }
        if !self.reaches(from, to) {
            return Err(self.unreachable(to));
        }
        let stage = work.stage("blocks", to.0 - from.0);
        while rebuilt.height() < to {
            rebuilt.step(&self.reader)?;
            stage.done(1)?;
        }
        Ok(())
    }
}

/// The state in a snapshot, everything about it checked.
pub(super) fn from_snapshot(
    setup: &Setup,
    path: &Path,
    state: Scratch,
    work: &Work,
) -> Result<Rebuilt, Failure> {
    let manifest = rebuild::manifest(&setup.validators, path)?;
    let chunks = u64::try_from(manifest.pieces.len()).expect("bounded by the check");
    let stage = work.stage("chunks", chunks);
    Rebuilt::snapshot(state, &manifest, path, &mut |count| stage.done(count))
}
