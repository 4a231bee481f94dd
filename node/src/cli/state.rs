//! `quorate replay` and `quorate diff-state`: what a stopped validator's state is, worked out again, and where two differ.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use quorate_execution::snapshot::{Chunk, Installer};
use quorate_execution::{Change, Entry, Executor, OrderedBlock};
use quorate_replica::snapshot::check_chunk;
use quorate_storage::ledger;
use quorate_storage::{Order, RocksReader, Table, View as _};
use quorate_types::{Batch, Height, Manifest, Roots};
use serde_json::{Value, json};

use super::OutputFlag;
use super::context::Context;
use super::output::text_of;
use super::snapshot::{checked, read_config, setup};
use crate::exit::{ExitStatus, Failure};
use crate::memory::Memory;
use crate::snapshot::files;
use crate::start::{open_home, open_store};
use crate::{genesis, origin};

/// Work the state of a stopped validator out again from its ledger, and
/// compare every root on the way
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quorate replay --home net/validator-0
  quorate replay --home net/validator-0 --to 1200
  quorate replay --home net/validator-0 --from \\
    net/validator-0/snapshots/00000000000000001000

The state is held in memory. Exit status 6 at the first root that differs.")]
pub(super) struct Replay {
    /// The validator's home
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// Begin with this snapshot instead of the genesis
    #[arg(long, value_name = "SNAPSHOT")]
    from: Option<PathBuf>,
    /// Last height [default: the newest]
    #[arg(long, value_name = "H")]
    to: Option<u64>,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

/// Say where two states differ: the first height, and the keys
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A and B are homes of stopped validators, or directories of snapshots.

Examples:
  quorate diff-state net/validator-0 net/validator-1
  quorate diff-state net/validator-0 \\
    net/validator-1/snapshots/00000000000000001000

Exit status 0 if they are equal, 6 if they differ.")]
pub(super) struct DiffState {
    /// The one
    a: PathBuf,
    /// The other
    b: PathBuf,
    /// Most keys that are named
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: usize,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

impl Replay {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let config = read_config(&self.home)?;
        let genesis = genesis::read(&self.home.join("genesis.json"))?;
        let store = open_store(open_home(&self.home)?, &config)?;
        let reader = store.reader();
        let (mut memory, mut executor) = match &self.from {
            None => origin::in_memory(Some(&self.home), &genesis)?,
            Some(path) => from_snapshot(&self.home.join("genesis.json"), path)?,
        };
        let from = executor.height();
        let kept = ledger::first(&reader).map_err(Failure::damaged)?;
        if from.next() < kept {
            let message = format!("the ledger begins at height {kept}, after height {from}");
            let hint = "begin with a snapshot: --from HOME/snapshots/HEIGHT";
            return Err(Failure::failed(message).hint(hint));
        }
        let tip = ledger::tip(&reader).map_err(Failure::damaged)?.height;
        let to = self.to.map_or(tip, |to| Height(to).min(tip));
        let begun = Instant::now();
        while executor.height() < to {
            step(&reader, &mut memory, &mut executor)?;
        }
        let (height, roots) = (executor.height(), executor.roots());
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

/// The state in a snapshot, everything about it checked.
pub(super) fn from_snapshot(genesis: &Path, path: &Path) -> Result<(Memory, Executor), Failure> {
    let setup = setup(genesis)?;
    let manifest = checked(&setup, path)?;
    let mut memory = Memory::default();
    let mut installer = Installer::begin();
    for index in 0..u32::try_from(manifest.pieces.len()).expect("bounded by the check") {
        let chunk = chunk(&manifest, path, index)?;
        let changes = installer.add(&memory, chunk).map_err(Failure::damaged)?;
        memory.apply(changes);
    }
    let changes: Vec<Change> = installer
        .finish::<std::convert::Infallible>(manifest.height, &manifest.roots, &manifest.accumulator)
        .map_err(Failure::verification)?;
    memory.apply(changes);
    let executor = Executor::open(&memory).map_err(Failure::damaged)?;
    Ok((memory, executor))
}

/// Executes the next block of a ledger, and holds the roots against those that were stored.
pub(super) fn step(
    reader: &RocksReader,
    memory: &mut Memory,
    executor: &mut Executor,
) -> Result<(), Failure> {
    let height = executor.height().next();
    let lacks =
        |what: &str| Failure::damaged(format!("the ledger lacks {what} of height {height}"));
    let block = ledger::block_by_height(reader, height).map_err(Failure::damaged)?;
    let block = block.ok_or_else(|| lacks("the block"))?;
    let mut batches: Vec<Arc<Batch>> = Vec::with_capacity(block.batches.len());
    for id in &block.batches {
        let batch = ledger::batch(reader, *id).map_err(Failure::damaged)?;
        batches.push(Arc::new(batch.ok_or_else(|| lacks("a batch"))?));
    }
    let ordered = OrderedBlock {
        height,
        time: block.header.time,
        batches: &batches,
    };
    let executed = executor
        .execute(memory, &ordered)
        .map_err(Failure::damaged)?;
    memory.apply(executed.changes);
    let stored = ledger::roots(reader, height).map_err(Failure::damaged)?;
    match stored {
        Some(stored) if stored != executed.roots => Err(Failure::verification(format!(
            "height {height}: executed again, the roots are {} and {}; stored are {} and {}",
            executed.roots.state, executed.roots.receipts, stored.state, stored.receipts
        ))),
        _ => Ok(()),
    }
}

fn chunk(manifest: &Manifest, path: &Path, index: u32) -> Result<Chunk, Failure> {
    let bytes = files::read_chunk(path, index)?;
    let good = check_chunk(manifest, index, &bytes);
    let chunk = good.then(|| Chunk::decode(&bytes).ok()).flatten();
    chunk.ok_or_else(|| {
        let shown = path.display();
        Failure::verification(format!(
            "{shown}: chunk {index} is not what the certified state holds"
        ))
    })
}

/// A state that can be walked through in the order of keys.
enum State {
    Home(Box<quorate_storage::RocksStore>),
    Snapshot(PathBuf, Box<Manifest>),
}

/// Records in the order of keys.
struct Walk<'a> {
    state: &'a State,
    page: std::vec::IntoIter<Entry>,
    /// The next key, or the next chunk.
    key: Vec<u8>,
    chunk: u32,
    done: bool,
}

impl State {
    fn open(path: &Path) -> Result<State, Failure> {
        if path.join("manifest").is_file() {
            let manifest = Box::new(files::read_manifest(path)?);
            return Ok(State::Snapshot(path.to_path_buf(), manifest));
        }
        let config = read_config(path)?;
        let store = open_store(open_home(path)?, &config)?;
        Ok(State::Home(Box::new(store)))
    }

    /// Its height, and the roots there.
    fn end(&self) -> Result<(Height, Roots), Failure> {
        match self {
            State::Snapshot(_, manifest) => Ok((manifest.height, manifest.roots)),
            State::Home(store) => {
                let height = ledger::tip(&**store).map_err(Failure::damaged)?.height;
                let roots = ledger::roots(&**store, height).map_err(Failure::damaged)?;
                Ok((height, roots.unwrap_or_default()))
            }
        }
    }

    /// Roots after a height, where they are known.
    fn roots(&self, height: Height) -> Result<Option<Roots>, Failure> {
        match self {
            State::Snapshot(_, manifest) => {
                Ok((manifest.height == height).then_some(manifest.roots))
            }
            State::Home(store) => ledger::roots(&**store, height).map_err(Failure::damaged),
        }
    }

    fn walk(&self) -> Walk<'_> {
        Walk {
            state: self,
            page: Vec::new().into_iter(),
            key: Vec::new(),
            chunk: 0,
            done: false,
        }
    }
}

impl Walk<'_> {
    fn next(&mut self) -> Result<Option<Entry>, Failure> {
        loop {
            if let Some(entry) = self.page.next() {
                return Ok(Some(entry));
            }
            if self.done {
                return Ok(None);
            }
            self.turn_page()?;
        }
    }

    fn turn_page(&mut self) -> Result<(), Failure> {
        let page = match self.state {
            State::Home(store) => {
                let found = store.scan(Table::State, &self.key, None, 512, Order::Ascending);
                let page = found.map_err(Failure::damaged)?;
                if let Some((last, _)) = page.last() {
                    self.key.clone_from(last);
                    self.key.push(0);
                }
                self.done = page.is_empty();
                page
            }
            State::Snapshot(path, manifest) => {
                let chunk = chunk(manifest, path, self.chunk)?;
                self.chunk += 1;
                self.done = usize::try_from(self.chunk) == Ok(manifest.pieces.len());
                let records = chunk.records.into_iter();
                records.map(|(key, record)| (key.0, record.0)).collect()
            }
        };
        self.page = page.into_iter();
        Ok(())
    }
}

impl DiffState {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let (a, b) = (State::open(&self.a)?, State::open(&self.b)?);
        let ((height_a, roots_a), (height_b, roots_b)) = (a.end()?, b.end()?);
        let first = first_difference(&a, &b, height_a.min(height_b))?;
        let (rows, count) = keys(&a, &b, self.limit)?;
        let value = json!({
            "a": { "height": height_a.0, "state_root": roots_a.state.to_string() },
            "b": { "height": height_b.0, "state_root": roots_b.state.to_string() },
            "first_height": first.map(|height| height.0),
            "keys_that_differ": count,
            "keys": rows,
        });
        context.print.result(&value, |out| {
            writeln!(out, "A  height {height_a}, state root {}", roots_a.state)?;
            writeln!(out, "B  height {height_b}, state root {}", roots_b.state)?;
            match first {
                Some(height) => writeln!(out, "the roots differ first after height {height}")?,
                None => writeln!(out, "the roots of all heights that both have are equal")?,
            }
            writeln!(out, "{count} keys differ")?;
            for row in &rows {
                let text = |key: &str| {
                    row.get(key)
                        .and_then(Value::as_str)
                        .unwrap_or("-")
                        .to_owned()
                };
                writeln!(out, "{:<7} {}", text("what"), text("key"))?;
            }
            Ok(())
        })?;
        Ok(match count == 0 && first.is_none() {
            true => ExitStatus::Done,
            false => ExitStatus::Verification,
        })
    }
}

/// The first height after which the roots differ, of those that both have.
fn first_difference(a: &State, b: &State, last: Height) -> Result<Option<Height>, Failure> {
    for height in 0..=last.0 {
        let height = Height(height);
        if let (Some(one), Some(other)) = (a.roots(height)?, b.roots(height)?)
            && one != other
        {
            return Ok(Some(height));
        }
    }
    Ok(None)
}

/// The first keys that differ, and how many do.
fn keys(a: &State, b: &State, limit: usize) -> Result<(Vec<Value>, u64), Failure> {
    let (mut one, mut other) = (a.walk(), b.walk());
    let (mut left, mut right) = (one.next()?, other.next()?);
    let (mut rows, mut count) = (Vec::new(), 0u64);
    loop {
        let (key, what) = match (&left, &right) {
            (None, None) => return Ok((rows, count)),
            (Some(l), Some(r)) if l.0 == r.0 => {
                let key = (l.1 != r.1).then(|| l.0.clone());
                (left, right) = (one.next()?, other.next()?);
                match key {
                    Some(key) => (key, "differs"),
                    None => continue,
                }
            }
            (Some(l), Some(r)) if l.0 > r.0 => {
                let key = r.0.clone();
                right = other.next()?;
                (key, "only B")
            }
            (Some(l), _) => {
                let key = l.0.clone();
                left = one.next()?;
                (key, "only A")
            }
            (None, Some(r)) => {
                let key = r.0.clone();
                right = other.next()?;
                (key, "only B")
            }
        };
        count += 1;
        if rows.len() < limit {
            rows.push(json!({ "what": what, "key": text_of(&key) }));
        }
    }
}
