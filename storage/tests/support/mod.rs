//! Two disks that can lose power, and a small chain.
#![allow(dead_code, reason = "each test file uses its part")]

use quorate_storage::{MemStore, Store, Sync, WriteBatch};

/// A store that can be restarted and can lose power.
pub(crate) trait Disk {
    type Store: Store;
    fn fresh() -> Self;
    fn store(&mut self) -> &mut Self::Store;
    /// The process ends and starts again.
    fn restart(&mut self);
    /// Power is cut: of the unsynced writes, the first `keep` had reached the disk.
    fn cut_power(&mut self, keep: usize);
    /// Writes through here are counted, so that [`Disk::cut_power`] knows what was synced.
    fn write(&mut self, batch: WriteBatch, sync: Sync);
}

pub(crate) struct Mem(MemStore);

impl Disk for Mem {
    type Store = MemStore;

    fn fresh() -> Mem {
        Mem(MemStore::new())
    }

    fn store(&mut self) -> &mut MemStore {
        &mut self.0
    }

    fn restart(&mut self) {
        let unsynced = self.0.unsynced();
        self.0.crash(unsynced);
    }

    fn cut_power(&mut self, keep: usize) {
        self.0.crash(keep);
    }

    fn write(&mut self, batch: WriteBatch, sync: Sync) {
        self.0.write(batch, sync).expect("a good disk");
    }
}

#[cfg(feature = "rocks")]
pub(crate) mod real {
    use std::fs::{self, OpenOptions};
    use std::path::{Path, PathBuf};

    use quorate_storage::{Home, Options, RocksStore, Store, Sync, WriteBatch};
    use tempfile::TempDir;

    use super::Disk;

    /// RocksDB in a directory of its own.
    pub(crate) struct Rocks {
        dir: TempDir,
        store: Option<RocksStore>,
        /// Length of the log when the last sync, and each unsynced write after it, had returned.
        lengths: Vec<u64>,
    }

    impl Rocks {
        pub(crate) fn path(&self) -> &Path {
            self.dir.path()
        }

        pub(crate) fn close(&mut self) {
            self.store = None;
        }

        pub(crate) fn open(&mut self) {
            let home = Home::open(self.path()).expect("a whole home");
            self.store = Some(RocksStore::open(home, &Options::default()).expect("a whole store"));
            self.lengths = vec![log_length(self.path())];
        }
    }

    impl Disk for Rocks {
        type Store = RocksStore;

        fn fresh() -> Rocks {
            let mut rocks = Rocks {
                dir: tempfile::tempdir().expect("a temporary directory"),
                store: None,
                lengths: Vec::new(),
            };
            rocks.open();
            rocks
        }

        fn store(&mut self) -> &mut RocksStore {
            self.store.as_mut().expect("open")
        }

        fn restart(&mut self) {
            self.close();
            self.open();
        }

        fn cut_power(&mut self, keep: usize) {
            let length = self.lengths[keep.min(self.lengths.len() - 1)];
            self.close();
            let log = OpenOptions::new().write(true).open(newest_log(self.path()));
            log.expect("a log").set_len(length).expect("shortened");
            self.open();
        }

        fn write(&mut self, batch: WriteBatch, sync: Sync) {
            self.store().write(batch, sync).expect("a good disk");
            let length = log_length(self.path());
            if sync == Sync::Yes {
                self.lengths.clear();
            }
            self.lengths.push(length);
        }
    }

    /// The write-ahead log that is written to.
    pub(crate) fn newest_log(home: &Path) -> PathBuf {
        let files = fs::read_dir(home.join("data")).expect("a directory");
        let paths = files.map(|file| file.expect("an entry").path());
        paths
            .filter(|path| path.extension().is_some_and(|end| end == "log"))
            .max()
            .expect("a log")
    }

    fn log_length(home: &Path) -> u64 {
        fs::metadata(newest_log(home)).expect("a log").len()
    }

    /// What a kill of the process would leave behind now.
    pub(crate) fn copy(from: &Path) -> TempDir {
        copy_to(from, tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) fn copy_to(from: &Path, to: TempDir) -> TempDir {
        copy_into(from, to.path());
        to
    }

    fn copy_into(from: &Path, to: &Path) {
        for entry in fs::read_dir(from).expect("a directory") {
            let entry = entry.expect("an entry");
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                fs::create_dir(&target).expect("made");
                copy_into(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), &target).expect("copied");
            }
        }
    }
}
