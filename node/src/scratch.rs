//! A state on disk, for tools that execute a ledger again: memory holds a part of it however large it is.
//!
//! It lies in a directory of its own, which goes when it is dropped. What a kill leaves behind in the directory for
//! temporary files, the next tool that makes one there removes.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use quorate_execution::flush::FlushPolicy;
use quorate_execution::{Change, Entry, Executor, Reader, Space};
use quorate_replica::view::{StateReader, put};
use quorate_storage::WriteBatch;
use quorate_storage::{Home, HomeError, Options, RocksStore, Store as _, StoreError, Sync};

use crate::exit::Failure;
use crate::staged::cannot;

/// Where temporary files go that may be large, unless `TMPDIR` says otherwise.
const TEMPORARY: &str = "/var/tmp";
/// Name of a scratch there: this, the process, a number.
const NAME: &str = "quorate-scratch-";

/// Memory for pages of an executor's tree, and for those that changed.
const TREE_BYTES: usize = 32 << 20;

/// See the [module](self).
pub struct Scratch {
    /// `None` only while it is dropped.
    store: Option<RocksStore>,
    path: PathBuf,
}

impl Scratch {
    /// In a new directory.
    ///
    /// # Errors
    /// Status 1: the system refused.
    pub fn at(path: &Path) -> Result<Scratch, Failure> {
        fs::create_dir(path).map_err(|error| cannot("create", path, &error))?;
        let mut scratch = Scratch {
            store: None,
            path: path.to_path_buf(),
        };
        let options = Options {
            cache_bytes: 32 << 20,
            write_buffer_bytes: 32 << 20,
            ..Options::default()
        };
        let home = Home::open(path).map_err(|error| match error {
            HomeError::Store(error) => scratch.failure(&error),
            error => Failure::failed(error),
        })?;
        let store = RocksStore::open(home, &options).map_err(|error| scratch.failure(&error))?;
        scratch.store = Some(store);
        Ok(scratch)
    }

    /// Among the temporary files: below `TMPDIR`, or in `/var/tmp`, which is on a disk where `/tmp` may be memory.
    ///
    /// # Errors
    /// As [`Scratch::at`].
    pub fn temporary() -> Result<Scratch, Failure> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let directory = std::env::var_os("TMPDIR").unwrap_or_else(|| TEMPORARY.into());
        let directory = PathBuf::from(directory);
        sweep(&directory);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{NAME}{}-{number}", std::process::id());
        Scratch::at(&directory.join(name))
    }

    /// Applies changes, except of what no root depends on.
    ///
    /// # Errors
    /// Status 1.
    pub fn apply(&mut self, mut changes: Vec<Change>) -> Result<(), Failure> {
        changes.retain(|change| {
            !matches!(
                change.space,
                Space::Receipts | Space::Places | Space::Accumulator
            )
        });
        let mut writes = WriteBatch::new();
        put(&mut writes, changes);
        let store = self.store.as_mut().expect("it is not dropped yet");
        // A crash leaves nothing to go on from.
        let written = store.write(writes, Sync::No);
        written.map_err(|error| self.failure(&error))
    }

    /// Applies what the tree needs, and leaves the records out.
    ///
    /// # Errors
    /// Status 1.
    pub fn apply_tree(&mut self, mut changes: Vec<Change>) -> Result<(), Failure> {
        changes.retain(|change| change.space != Space::State);
        self.apply(changes)
    }

    /// The executor at what was applied, with little memory.
    ///
    /// # Errors
    /// Status 1: it cannot be read.
    pub fn executor(&self) -> Result<Executor, Failure> {
        let mut executor = Executor::open(self).map_err(|error| self.lost(error))?;
        executor.set_tree_cache(TREE_BYTES);
        executor.set_flush_policy(FlushPolicy {
            dirty_bytes: TREE_BYTES,
            changes: 64_000,
            ..FlushPolicy::default()
        });
        Ok(executor)
    }

    /// What it means that the scratch cannot be written or read.
    #[must_use]
    pub fn failure(&self, error: &StoreError) -> Failure {
        let message = format!("the scratch {}: {error}", self.path.display());
        let hint = "make room on that disk, or name a directory on another one in TMPDIR; nothing was left behind";
        Failure::failed(message).hint(hint)
    }

    /// The same of what went through others' hands.
    #[must_use]
    pub fn lost(&self, error: impl std::fmt::Display) -> Failure {
        Failure::failed(format!("the scratch {}: {error}", self.path.display()))
    }

    fn store(&self) -> &RocksStore {
        self.store.as_ref().expect("it is not dropped yet")
    }
}

impl Reader for Scratch {
    type Error = StoreError;

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        StateReader(self.store()).get(space, key)
    }

    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        StateReader(self.store()).scan(space, from, to, limit)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.store.take());
        // What cannot be removed now is by the next.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes what processes left behind that are gone.
fn sweep(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(NAME));
        let process = process.and_then(|rest| rest.split_once('-')).map(|of| of.0);
        let gone = process.is_some_and(|process| !Path::new("/proc").join(process).exists());
        // A process elsewhere that shares the disk still holds its lock.
        if gone && !is_locked(&entry.path().join("LOCK")) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A file that is not there is locked by nobody: its process was killed before it made it, or while it took all away.
fn is_locked(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => file.try_lock().is_err(),
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_was_applied_and_is_gone_when_dropped() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("scratch");
        let mut scratch = Scratch::at(&path).expect("a new directory");
        let put = |space, key: &[u8]| Change::put(space, key.to_vec(), vec![1]);
        let changes = vec![put(Space::State, b"k"), put(Space::Receipts, b"r")];
        scratch.apply(changes).expect("written");
        let tree = vec![put(Space::State, b"no"), put(Space::Tree, b"page")];
        scratch.apply_tree(tree).expect("written");
        let has = |space, key| scratch.get(space, key).expect("read").is_some();
        assert!(has(Space::State, b"k") && has(Space::Tree, b"page"));
        assert!(!has(Space::Receipts, b"r") && !has(Space::State, b"no"));
        let scan = scratch.scan(Space::State, b"", None, 9).expect("read");
        assert_eq!(scan, [(b"k".to_vec(), vec![1])]);
        let refused = Scratch::at(&path).err().expect("it is there");
        assert!(
            refused.message.contains("cannot create"),
            "{}",
            refused.message
        );
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_process_left_is_swept_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let make = |name: &str| {
            let path = directory.path().join(name);
            fs::create_dir(&path).expect("made");
            fs::write(path.join("LOCK"), "").expect("written");
            path
        };
        // No process has a number so large.
        let left = make("quorate-scratch-4194305-0");
        let held = make("quorate-scratch-4194305-1");
        // Killed while it took away what it had made: the lock went before the rest.
        let half = make("quorate-scratch-4194305-2");
        fs::rename(half.join("LOCK"), half.join("data")).expect("renamed");
        let alive = make(&format!("quorate-scratch-{}-7", std::process::id()));
        let other = make("quorate-something");
        let lock = File::open(held.join("LOCK")).expect("opened");
        lock.try_lock().expect("free");
        sweep(directory.path());
        assert!(!left.exists() && !half.exists());
        assert!(held.exists() && alive.exists() && other.exists());
    }
}
