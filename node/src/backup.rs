//! Backups: a validator's ledger, state and safety record as they were at one moment, of a process that runs.
//!
//! ```text
//! DIR/backup.json                      what it is
//! DIR/{config.toml, genesis.json, …}   as in the home; keys/ only if asked for
//! DIR/safety/{ceiling, synced}
//! DIR/data/                            a checkpoint of the database
//! ```
//!
//! So a backup is a home without keys, and every verb that reads the home of a stopped validator reads it. The order
//! matters: `synced` says what the database must hold at least, so it is taken before; `ceiling` says what was signed at
//! most, so it is taken after. What a restored validator signed since, only the others know: the restart fence asks them.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use quorate_replica::Setup;
use quorate_replica::inspect::inspect;
use quorate_storage::{RocksReader, ledger};
use quorate_types::{ChainId, Digest, Height};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::exit::{ExitStatus, Failure};
use crate::staged::{cannot, copy};
use crate::start::{open_home, open_store, whole};
use crate::{ceremony, genesis, origin};

/// Name of the file that describes a backup.
pub const FILE: &str = "backup.json";
/// Version of that file.
const FORMAT: u16 = 1;
/// Name of the database's checkpoint in a home, while it is copied.
const CHECKPOINT: &str = "backup.checkpoint";
/// Its name while RocksDB makes it.
const STAGING: &str = "backup.checkpoint.tmp";
/// There while a validator is being recovered; see [`quorate_storage::Home`].
const FORGETFUL: &str = "safety/forgetful";
/// Held by whoever makes a backup of a home.
const LOCK: &str = "backup.lock";

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The version of this format, 1.
    pub quorate_backup: u16,
    /// The chain.
    pub chain: ChainId,
    /// Whose home it was; empty if the settings did not say.
    pub validator: String,
    /// Where its ledger ends.
    pub height: Height,
    /// The state root there.
    pub state_root: Digest,
    /// Seconds since 1970 when it was made, by the clock of that machine.
    pub made_at: u64,
    /// Whether the keys are in it.
    pub keys: bool,
}

impl Description {
    /// Of a backup's directory.
    ///
    /// # Errors
    /// Status 1: there is none. 8: it cannot be read.
    pub fn read(backup: &Path) -> Result<Description, Failure> {
        let path = backup.join(FILE);
        let text = fs::read_to_string(&path).map_err(|error| cannot("read", &path, &error))?;
        let description: Description = serde_json::from_str(&text)
            .map_err(|error| Failure::damaged(format!("{}: {error}", path.display())))?;
        match description.quorate_backup {
            FORMAT => Ok(description),
            other => Err(Failure::damaged(format!(
                "{}: format {other} is not {FORMAT}, the one this release reads",
                path.display()
            ))),
        }
    }
}

/// Makes a checkpoint of a database inside its home, where [`take`] finds it. Commits go on meanwhile.
///
/// # Errors
/// What the disk says.
pub fn checkpoint(reader: &RocksReader, home: &Path) -> Result<Height, String> {
    // Whoever asked for the one under way may have gone, and its place be asked for again.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = home.join(CHECKPOINT);
    remove(&path).map_err(|failure| failure.message)?;
    reader
        .checkpoint(&path)
        .map_err(|error| error.to_string())?;
    let tip = ledger::tip(reader).map_err(|error| error.to_string())?;
    Ok(tip.height)
}

/// Removes what an interrupted backup left in a home.
///
/// # Errors
/// Status 1.
pub fn clean(home: &Path) -> Result<(), Failure> {
    remove(&home.join(STAGING))?;
    remove(&home.join(CHECKPOINT))
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(cannot("remove", path, &error))
        }
        _ => Ok(()),
    }
}

/// Copies a home as it is now into a directory. `begin` makes the checkpoint; `copied` hears the bytes of each file, and
/// may end it. The checkpoint is gone afterwards, whatever happened.
///
/// # Errors
/// Status 1: another backup of this home is being made, or the disk refused; and whatever `copied` says.
pub fn take(
    home: &Path,
    to: &Path,
    with_keys: bool,
    begin: impl FnOnce() -> Result<(), Failure>,
    copied: impl FnMut(u64) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let _lock = lock(&home.join(LOCK))?;
    let safety = to.join("safety");
    make(&safety)?;
    // Before the checkpoint: a database that ends above it is whole.
    copy(&home.join("safety/synced"), &safety.join("synced"))?;
    if home.join(FORGETFUL).exists() {
        copy(&home.join(FORGETFUL), &to.join(FORGETFUL))?;
    }
    let checkpoint = home.join(CHECKPOINT);
    let done = copy_checkpoint(home, to, begin, copied);
    remove(&checkpoint)?;
    done?;
    copy_settings(home, to)?;
    match with_keys {
        true => copy_keys(&home.join("keys"), to),
        false => Ok(()),
    }
}

fn copy_checkpoint(
    home: &Path,
    to: &Path,
    begin: impl FnOnce() -> Result<(), Failure>,
    copied: impl FnMut(u64) -> Result<(), Failure>,
) -> Result<(), Failure> {
    begin()?;
    let checkpoint = home.join(CHECKPOINT);
    if !checkpoint.is_dir() {
        let message = "another validator than this home's answers on its admin port";
        let hint = "give each home an admin.listen of its own, and start them again";
        return Err(Failure::failed(message).hint(hint));
    }
    // After it: no round above was signed by then.
    copy(
        &home.join("safety/ceiling"),
        &to.join("safety").join("ceiling"),
    )?;
    copy_files(&checkpoint, &to.join("data"), copied)
}

/// Copies a backup into a home to be. The keys are in `keys`.
///
/// # Errors
/// Status 1; and whatever `copied` says.
pub fn put_back(
    backup: &Path,
    keys: &Path,
    home: &Path,
    copied: impl FnMut(u64) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let safety = home.join("safety");
    make(&safety)?;
    for name in ["synced", "ceiling"] {
        copy(&backup.join("safety").join(name), &safety.join(name))?;
    }
    if backup.join(FORGETFUL).exists() {
        copy(&backup.join(FORGETFUL), &home.join(FORGETFUL))?;
    }
    copy_files(&backup.join("data"), &home.join("data"), copied)?;
    copy_settings(backup, home)?;
    copy_keys(keys, home)
}

/// Bytes of the files in a directory.
#[must_use]
pub fn size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| Some(entry.metadata().ok()?.len()));
    sizes.sum()
}

/// Opens a copy and checks what a start would check. Says what it is.
///
/// # Errors
/// Status 8: it is damaged; 3: it is of another chain than its genesis; 1: its validator was installing a snapshot.
pub fn verify(copy: &Path, config: &Config, keys: bool) -> Result<Description, Failure> {
    let genesis = genesis::read(&copy.join("genesis.json"))?;
    let setup = Setup::new(&genesis, None).map_err(Failure::config)?;
    let mut store = open_store(open_home(copy)?, config)?;
    whole(&store)?;
    let (tip, roots) = inspect(&setup, &mut store)?;
    let now = quorate_client::validity::wall_clock();
    Ok(Description {
        quorate_backup: FORMAT,
        chain: genesis.chain_id(),
        validator: config.node.name.clone(),
        height: tip.height,
        state_root: roots.state,
        made_at: now.0 / 1_000_000_000,
        keys,
    })
}

fn lock(path: &Path) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).open(path);
    let file = file.map_err(|error| cannot("open", path, &error))?;
    file.try_lock().map_err(|_| {
        Failure::new(
            ExitStatus::Failed,
            "another backup of this home is being made",
        )
        .hint("wait for it to end")
    })?;
    Ok(file)
}

fn make(directory: &Path) -> Result<(), Failure> {
    fs::create_dir_all(directory).map_err(|error| cannot("create", directory, &error))
}

/// Copies the files of a directory, which has no others below it.
fn copy_files(
    from: &Path,
    to: &Path,
    mut copied: impl FnMut(u64) -> Result<(), Failure>,
) -> Result<(), Failure> {
    make(to)?;
    for entry in fs::read_dir(from).map_err(|error| cannot("read", from, &error))? {
        let entry = entry.map_err(|error| cannot("read", from, &error))?;
        // RocksDB's own; each process makes another.
        if entry.file_name() == "LOCK" {
            continue;
        }
        copy(&entry.path(), &to.join(entry.file_name()))?;
        copied(entry.metadata().map_or(0, |metadata| metadata.len()))?;
    }
    Ok(())
}

/// What a home holds besides its memory and its keys.
fn copy_settings(from: &Path, to: &Path) -> Result<(), Failure> {
    for name in ["config.toml", "genesis.json"] {
        copy(&from.join(name), &to.join(name))?;
    }
    for name in [
        ceremony::CONSENTS_FILE,
        ceremony::DESCRIPTOR_FILE,
        origin::FILE,
    ] {
        if from.join(name).exists() {
            copy(&from.join(name), &to.join(name))?;
        }
    }
    Ok(())
}

/// The mode of a file goes with it: they stay as narrow as they are.
fn copy_keys(keys: &Path, to: &Path) -> Result<(), Failure> {
    make(&to.join("keys"))?;
    for name in ["consensus.pem", "network.pem"] {
        copy(&keys.join(name), &to.join("keys").join(name))?;
    }
    Ok(())
}
