//! `quorate snapshot`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_replica::snapshot::{Certified, SnapshotError, certified, check_chunk, cut};
use quorate_replica::{Replica, Setup, install};
use quorate_storage::Store as _;
use quorate_types::snapshot::Piece;
use quorate_types::{Height, Manifest};
use serde_json::{Value, json};

use super::OutputFlag;
use super::context::Context;
use crate::config::{self, Config};
use crate::exit::{ExitStatus, Failure};
use crate::genesis;
use crate::owner;
use crate::rebuild;
use crate::snapshot::files::{self, Directory, FileError};
use crate::start::{open_home, open_state, open_store, store_failure};
use crate::validator::clock::Clock;

/// Make, list, verify and restore snapshots of the state
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quorate snapshot create --home net/validator-0
  quorate snapshot list --home net/validator-0")]
pub(super) struct Snapshot {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a snapshot, of a running validator or of a stopped one
    #[command(after_help = "Example:\n  quorate snapshot create --home net/validator-0")]
    Create {
        /// The validator's home
        #[arg(long, value_name = "DIR")]
        home: PathBuf,
    },
    /// List the snapshots of a home
    #[command(after_help = "Example:\n  quorate snapshot list --home net/validator-0")]
    List {
        /// The validator's home
        #[arg(long, value_name = "DIR")]
        home: PathBuf,
    },
    /// Check a snapshot's certificates and every record, with nothing but the genesis
    #[command(after_help = "\
Example:
  quorate snapshot verify --genesis net/genesis.json \\
    net/validator-0/snapshots/00000000000000012000")]
    Verify {
        /// The chain's genesis
        #[arg(long, value_name = "FILE")]
        genesis: PathBuf,
        /// The snapshot's directory
        snapshot: PathBuf,
    },
    /// Put a snapshot's state into a home whose validator is stopped and behind
    #[command(after_help = "\
What the validator signed is not touched. A home that lost data/ or safety/ needs
`quorate recover` first. One that has neither is taken for one that lost both: its
validator may have signed what it does not know any more, and asks the others.

Example:
  quorate snapshot restore --home net/validator-3 \\
    net/validator-0/snapshots/00000000000000012000")]
    Restore {
        /// The validator's home
        #[arg(long, value_name = "DIR")]
        home: PathBuf,
        /// The snapshot's directory
        snapshot: PathBuf,
    },
}

impl Snapshot {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        match self.verb {
            Verb::Create { home } => create(context, &home),
            Verb::List { home } => list(context, &home),
            Verb::Verify { genesis, snapshot } => verify(context, &genesis, &snapshot),
            Verb::Restore { home, snapshot } => restore(context, &home, &snapshot),
        }
    }
}

fn create(context: &Context, home: &Path) -> Result<ExitStatus, Failure> {
    let config = read_config(home)?;
    let patience = context.timeout.max(Duration::from_secs(30));
    let height = match request(config.admin.listen, patience, "PUT /snapshots")? {
        Some(height) => height,
        None => create_offline(home, &config)?,
    };
    let path = Directory::look(home).path(height);
    let manifest = files::read_manifest(&path)?;
    show(context, &path, &manifest)
}

/// Asks the running validator to make something; `None` if there is none.
pub(super) fn request(
    admin: SocketAddr,
    timeout: Duration,
    what: &str,
) -> Result<Option<Height>, Failure> {
    let Ok(mut stream) = TcpStream::connect_timeout(&admin, Duration::from_secs(2)) else {
        return Ok(None);
    };
    let failed = |error: std::io::Error| {
        Failure::new(
            ExitStatus::Unavailable,
            format!("the validator's admin port: {error}"),
        )
    };
    stream.set_read_timeout(Some(timeout)).map_err(failed)?;
    let request = format!(
        "{what} HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let height = serde_json::from_str::<Value>(body).ok();
    let height = height.and_then(|value| value.get("height")?.as_u64());
    match height.filter(|_| head.starts_with("HTTP/1.1 200")) {
        Some(height) => Ok(Some(Height(height))),
        None => Err(Failure::new(
            ExitStatus::Unavailable,
            format!("the validator answered to {what}: {}", body.trim()),
        )),
    }
}

/// Of a stopped validator.
fn create_offline(home: &Path, config: &Config) -> Result<Height, Failure> {
    let setup = setup(&home.join("genesis.json"))?;
    let (store, ended) = open_state(home, config)?;
    ended.map_or(Ok(()), Err)?;
    let reader = store.reader();
    let frozen = reader.freeze();
    let found = certified(&frozen, &reader, &setup.validators).map_err(Failure::damaged)?;
    let Certified::Yes(manifest) = found else {
        let message = "no certified height is near the end of this ledger";
        return Err(Failure::failed(message).hint("start the validator, and try again"));
    };
    let height = manifest.height;
    let directory = Directory::open(home)?;
    let mut draft = directory.begin(height)?;
    let manifest = cut::<Failure>(&frozen, *manifest, |index, chunk| {
        Ok(draft.chunk(index, &chunk)?)
    })?;
    if !directory.heights()?.contains(&height) {
        draft.finish(&manifest)?;
    }
    Ok(height)
}

fn list(context: &Context, home: &Path) -> Result<ExitStatus, Failure> {
    existing(home)?;
    let directory = Directory::look(home);
    let mut rows = Vec::new();
    for height in directory.heights()? {
        let path = directory.path(height);
        let row = match files::read_manifest(&path) {
            Ok(manifest) => describe(&path, &manifest),
            Err(error) => json!({ "height": height.0, "path": path, "error": error.to_string() }),
        };
        rows.push(row);
    }
    context.print.result(&rows, |out| {
        writeln!(
            out,
            "{:>12} {:>8} {:>12} {:>14}  state root",
            "height", "chunks", "records", "bytes"
        )?;
        for row in &rows {
            let text = |key: &str| match row.get(key) {
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
                None => String::from("-"),
            };
            writeln!(
                out,
                "{:>12} {:>8} {:>12} {:>14}  {}",
                text("height"),
                text("chunks"),
                text("records"),
                text("bytes"),
                row.get("error")
                    .map_or_else(|| text("state_root"), ToString::to_string)
            )?;
        }
        Ok(())
    })
}

fn verify(context: &Context, genesis: &Path, path: &Path) -> Result<ExitStatus, Failure> {
    let setup = setup(genesis)?;
    let manifest = rebuild::manifest(&setup.validators, path)?;
    for index in 0..u32::try_from(manifest.pieces.len()).expect("bounded by the check") {
        chunk(&manifest, path, index)?;
    }
    show(context, path, &manifest)
}

fn restore(context: &Context, home: &Path, path: &Path) -> Result<ExitStatus, Failure> {
    owner::check(home)?;
    let config = read_config(home)?;
    let setup = setup(&home.join("genesis.json"))?;
    let manifest = rebuild::manifest(&setup.validators, path)?;
    let mut store = open_store(open_home(home)?, &config)?;
    // Not whether there is a database: one that an interrupted restore made holds no memory either.
    if store.ceiling().is_none() {
        let set = &setup.validators;
        if set.count() - 1 < set.quorum() {
            let message = "this home is empty, and of so few validators nobody can tell what its own may have signed";
            let failure = Failure::new(ExitStatus::Safety, message);
            return Err(failure.hint("start it as it is: it fetches the state from the others"));
        }
        // An empty home with the state of a used chain would look like one that has never signed.
        store
            .mark_forgetful()
            .map_err(|error| store_failure(&error))?;
    }
    crate::origin::found(home, &setup, &mut store)?;
    let clock = Clock::start();
    // The first start of an empty home writes the genesis; what it would send is never sent.
    let (replica, _unsent) = Replica::open(setup.clone(), &mut store, clock.now())?;
    let height = replica.status().height;
    if height >= manifest.height {
        return Err(Failure::failed(format!(
            "the home is at height {height} already, the snapshot is of {}",
            manifest.height
        )));
    }
    drop(replica);
    install::stage::<Failure>(&mut store, &manifest, |index| chunk(&manifest, path, index))?;
    let (replica, _unsent) = Replica::open(setup, &mut store, clock.now())?;
    let status = replica.status();
    if status.height != manifest.height || status.roots != manifest.roots {
        return Err(Failure::damaged(
            "what was restored is not what the snapshot holds",
        ));
    }
    show(context, path, &manifest)
}

/// A chunk, its records checked against the certified root.
fn chunk(manifest: &Manifest, path: &Path, index: u32) -> Result<Vec<u8>, Failure> {
    let bytes = files::read_chunk(path, index)?;
    let place = usize::try_from(index).unwrap_or(usize::MAX);
    let piece = manifest.pieces.get(place);
    let named = piece.is_some_and(|piece| piece.digest == Piece::digest(&bytes));
    match named && check_chunk(manifest, index, &bytes) {
        true => Ok(bytes),
        false => Err(Failure::verification(format!(
            "{}: chunk {index} is not what the certified state holds",
            path.display()
        ))),
    }
}

pub(super) fn setup(genesis: &Path) -> Result<Setup, Failure> {
    let genesis = genesis::read(genesis)?;
    Setup::new(&genesis, None).map_err(|error| Failure::config(error.to_string()))
}

/// Who names a home that is not there has most likely mistyped it.
fn existing(home: &Path) -> Result<(), Failure> {
    match home.is_dir() {
        true => Ok(()),
        false => {
            let message = format!("there is no home at {}", home.display());
            let hint = "name the directory that quorate init or quorate testnet made";
            Err(Failure::config(message).hint(hint))
        }
    }
}

pub(super) fn read_config(home: &Path) -> Result<Config, Failure> {
    existing(home)?;
    let file = home.join("config.toml");
    Ok(config::load(Some(&file), std::env::vars(), &[])?.config)
}

fn describe(path: &Path, manifest: &Manifest) -> Value {
    json!({
        "height": manifest.height.0,
        "chunks": manifest.pieces.len(),
        "records": manifest.records(),
        "bytes": manifest.bytes(),
        "state_root": manifest.roots.state.to_string(),
        "receipts_root": manifest.roots.receipts.to_string(),
        "path": path,
    })
}

fn show(context: &Context, path: &Path, manifest: &Manifest) -> Result<ExitStatus, Failure> {
    context.print.result(&describe(path, manifest), |out| {
        writeln!(
            out,
            "{}: height {}, {} chunks, {} records, {} bytes, state root {}",
            path.display(),
            manifest.height,
            manifest.pieces.len(),
            manifest.records(),
            manifest.bytes(),
            manifest.roots.state
        )
    })
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Failure {
        match error {
            FileError::Io { .. } => Failure::failed(error),
            FileError::Damaged { .. } => Failure::verification(error),
        }
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Failure {
        match error {
            SnapshotError::TooLarge => Failure::failed(error),
            SnapshotError::Ledger(_) | SnapshotError::State(_) => Failure::damaged(error),
        }
    }
}
