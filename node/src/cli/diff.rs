//! `quorate diff-state`: where two states differ. Their trees are walked at once, and what has one hash in both is not
//! looked into.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use quorate_execution::OpenError;
use quorate_execution::persist::{self, StateTree};
use quorate_execution::tree::{Held, TreeError};
use quorate_execution::{Entry, Reader, Space};
use quorate_replica::view::StateReader;
use quorate_storage::{RocksStore, StoreError, ledger};
use quorate_types::{Height, Manifest, Roots};
use serde_json::{Value, json};

use super::OutputFlag;
use super::context::Context;
use super::output::text_of;
use super::snapshot::read_config;
use super::work::Work;
use crate::exit::{ExitStatus, Failure};
use crate::rebuild;
use crate::scratch::Scratch;
use crate::snapshot::files;
use crate::start::open_state;

/// Heights whose roots are compared at a time.
const PAGE: usize = 1_024;
/// Memory for pages of each tree.
const CACHE_BYTES: usize = 16 << 20;

/// Say where two states differ: the first height, and the keys
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A and B are homes of stopped validators, or directories of snapshots. The keys
are those that differ at the first height whose roots differ, or else at the last
that both have, if both still have the tree of that height (a home has those since
its tree was last written out, a snapshot its own); or else at the end of each.

Examples:
  quorate diff-state net/validator-0 net/validator-1
  quorate diff-state net/validator-0 \\
    net/validator-1/snapshots/00000000000000001000

Exit status 0 if they are equal, 6 if they differ. A snapshot's tree is grown in
the directory that TMPDIR names (else /var/tmp), and is gone afterwards.")]
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

/// A state whose trees can be walked.
enum State {
    Home(Box<RocksStore>),
    /// Its tree is in the scratch.
    Snapshot(Box<Manifest>, Scratch),
}

impl State {
    fn open(path: &Path, work: &Work) -> Result<State, Failure> {
        if path.join("manifest").is_file() {
            let manifest = Box::new(files::read_manifest(path)?);
            let mut scratch = Scratch::temporary()?;
            let chunks = u64::try_from(manifest.pieces.len()).unwrap_or(u64::MAX);
            let stage = work.stage("chunks", chunks);
            let each = &mut |count| stage.done(count);
            rebuild::tree(&mut scratch, &manifest, path, each)?;
            return Ok(State::Snapshot(manifest, scratch));
        }
        let config = read_config(path)?;
        let (store, ended) = open_state(path, &config)?;
        if let Some(ended) = ended {
            let home = path.display();
            eprintln!(
                "quorate: warning: {home}: the state ends before the ledger: {}",
                ended.message
            );
        }
        Ok(State::Home(Box::new(store)))
    }

    /// Its height, and the roots there.
    fn end(&self) -> Result<(Height, Roots), Failure> {
        match self {
            State::Snapshot(manifest, _) => Ok((manifest.height, manifest.roots)),
            State::Home(store) => {
                // Not the ledger's, which goes on where the state is not what its blocks lead to.
                let height = persist::height(&StateReader(&**store)).map_err(opened)?;
                let roots = ledger::roots(&**store, height).map_err(Failure::damaged)?;
                Ok((height, roots.unwrap_or_default()))
            }
        }
    }

    /// Roots of some heights from one on, ascending; none behind the last.
    fn roots(&self, from: Height) -> Result<Vec<(Height, Roots)>, Failure> {
        match self {
            State::Snapshot(manifest, _) => Ok([(manifest.height, manifest.roots)]
                .into_iter()
                .filter(|(height, _)| *height >= from)
                .collect()),
            State::Home(store) => {
                ledger::roots_from(&**store, from, PAGE).map_err(Failure::damaged)
            }
        }
    }
}

impl Reader for State {
    type Error = StoreError;

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            State::Home(store) => StateReader(&**store).get(space, key),
            State::Snapshot(_, scratch) => scratch.get(space, key),
        }
    }

    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        match self {
            State::Home(store) => StateReader(&**store).scan(space, from, to, limit),
            State::Snapshot(_, scratch) => scratch.scan(space, from, to, limit),
        }
    }
}

impl DiffState {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let work = Work::begin()?;
        let (a, b) = (State::open(&self.a, &work)?, State::open(&self.b, &work)?);
        let ((height_a, roots_a), (height_b, roots_b)) = (a.end()?, b.end()?);
        let first = first_difference(&a, &b, &work)?;
        let common = height_a.min(height_b);
        let (at_a, at_b, trees) = trees(&a, &b, [first.unwrap_or(common), common])?;
        let (rows, count) = keys(trees, self.limit, &work)?;
        let value = json!({
            "a": { "height": height_a.0, "state_root": roots_a.state.to_string(), "compared": at_a.0 },
            "b": { "height": height_b.0, "state_root": roots_b.state.to_string(), "compared": at_b.0 },
            "first_height": first.map(|height| height.0),
            "keys_that_differ": count,
            "keys": rows.iter().map(|(key, what)| json!({ "what": what, "key": text_of(key) }))
                .collect::<Vec<Value>>(),
        });
        context.print.result(&value, |out| {
            writeln!(out, "A  height {height_a}, state root {}", roots_a.state)?;
            writeln!(out, "B  height {height_b}, state root {}", roots_b.state)?;
            match first {
                Some(height) => writeln!(out, "the roots differ first after height {height}")?,
                None => writeln!(out, "the roots of all heights that both have are equal")?,
            }
            match at_a == at_b {
                true => writeln!(out, "{count} keys differ after height {at_a}")?,
                false => writeln!(
                    out,
                    "{count} keys of A after height {at_a} and B after height {at_b} differ; the blocks between may have changed them"
                )?,
            }
            for (key, what) in &rows {
                writeln!(out, "{what:<7} {}", text_of(key))?;
            }
            Ok(())
        })?;
        Ok(match count == 0 && first.is_none() {
            true => ExitStatus::Done,
            false => ExitStatus::Verification,
        })
    }
}

/// The first height after which the roots differ, of those that both know.
fn first_difference(a: &State, b: &State, work: &Work) -> Result<Option<Height>, Failure> {
    let stage = work.stage("heights", 0);
    let mut from = Height(0);
    loop {
        let (left, right) = (a.roots(from)?, b.roots(from)?);
        let (Some(end_a), Some(end_b)) = (left.last(), right.last()) else {
            return Ok(None);
        };
        let next = end_a.0.min(end_b.0).next();
        stage.done(next.0 - from.0)?;
        let right: BTreeMap<Height, Roots> = right.into_iter().collect();
        let differs = |(height, roots): &(Height, Roots)| {
            right.get(height).is_some_and(|other| other != roots)
        };
        if let Some((height, _)) = left.iter().find(|known| differs(known)) {
            return Ok(Some(*height));
        }
        from = next;
    }
}

type Trees<'a> = (StateTree<'a, State>, StateTree<'a, State>);

/// The trees of the first of some heights at which both have one; else those of the ends.
fn trees<'a>(
    a: &'a State,
    b: &'a State,
    heights: [Height; 2],
) -> Result<(Height, Height, Trees<'a>), Failure> {
    for height in heights {
        let open = |state| StateTree::open(state, height).map_err(opened);
        if let (Some(left), Some(right)) = (open(a)?, open(b)?) {
            return Ok((height, height, (left, right)));
        }
    }
    let end = |state: &'a State| {
        let (height, _) = state.end()?;
        let tree = StateTree::open(state, height).map_err(opened)?;
        let lacks = || Failure::damaged(format!("the tree of height {height} is missing"));
        Ok::<_, Failure>((height, tree.ok_or_else(lacks)?))
    };
    let ((at_a, left), (at_b, right)) = (end(a)?, end(b)?);
    Ok((at_a, at_b, (left, right)))
}

/// The first keys that differ, and how many do.
fn keys(
    (mut left, mut right): Trees<'_>,
    limit: usize,
    work: &Work,
) -> Result<(BTreeMap<Vec<u8>, &'static str>, u64), Failure> {
    for tree in [&mut left, &mut right] {
        tree.set_cache_bytes(CACHE_BYTES);
    }
    let stage = work.stage("keys", 0);
    let mut diff = left.diff(&mut right);
    let (mut rows, mut count) = (BTreeMap::new(), 0u64);
    while let Some((key, held)) = diff.next().map_err(walked)? {
        count += 1;
        stage.done(1)?;
        let what = match held {
            Held::Differently => "differs",
            Held::Left => "only A",
            Held::Right => "only B",
        };
        rows.insert(key, what);
        if rows.len() > limit {
            rows.pop_last();
        }
    }
    Ok((rows, count))
}

fn opened(error: OpenError<StoreError>) -> Failure {
    Failure::damaged(error)
}

fn walked(error: TreeError<StoreError>) -> Failure {
    Failure::damaged(error)
}
