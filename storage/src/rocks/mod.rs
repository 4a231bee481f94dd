//! The real disk: RocksDB, one column family a table.
//!
//! One write-ahead log for all tables makes a [`WriteBatch`] atomic across them, and a synced write carry everything
//! before it. `Sync::Yes` is RocksDB's `sync` (fdatasync of the log before the write returns). Each synced write carries
//! its number; together with the [watermark](crate::watermark) an open finds out whether any was forgotten, which no
//! recovery mode of RocksDB does (docs/decisions/0002-durability.md). It must never go on after a failed write.
//!
//! What is deferred waits in memory (`pending`) over the database, for every reader; the database has it from the
//! write that settles.

mod frozen;
mod options;
mod walk;

use std::fs::{self, File};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use quorate_types::Round;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{ColumnFamily, DB, ErrorKind, ReadOptions, WriteOptions};

pub use frozen::Frozen;
pub use options::Options;
use walk::Walk;

use crate::pending::{Pending, merge};
use crate::store::{Entry, Op};
use crate::{Fault, Found, Home, Order, Store, StoreError, Sync, Table, View, WriteBatch};

/// The number of the last synced write, in the default column family, u64 BE.
const SYNCED: &[u8] = b"synced";

/// Most bytes that the database's own batch takes for a change besides key and value: tag, family, two lengths.
const OP_BYTES: usize = 12;
/// Most bytes that it takes for itself and the number of a synced write.
const SYNCED_BYTES: usize = 40;
/// Deferred changes that are copied for a reading, and as many again as it wants entries.
const PART: usize = 256;

/// A store on disk. Dropped, it leaves everything written to the operating system but what is deferred; what was not
/// synced is lost only if the machine stops as well.
pub struct RocksStore {
    shared: Arc<Shared>,
    home: Home,
    /// Number of the last synced write.
    synced: u64,
    failed: bool,
}

/// The same data for other threads: cheap to clone, sees every write at once. While one lives, the home stays locked.
#[derive(Clone)]
pub struct RocksReader(Arc<Shared>);

struct Shared {
    db: DB,
    /// How single keys are read: made once, since to make them is some of what a read costs.
    reads: ReadOptions,
    /// What is deferred. A reader looks here first and then into the database, and a settling write goes the other way, so
    /// that nobody finds a key in neither. It is locked for as long as memory takes, never while the disk is written.
    pending: RwLock<Pending>,
    /// Held during a write: what is frozen lies between two.
    writing: Mutex<()>,
    /// After the database in the order of dropping.
    _lock: Arc<File>,
}

impl RocksStore {
    /// Opens the database of a home, and checks that it holds every synced write that was promised.
    ///
    /// # Errors
    /// [`StoreError::LostWrites`] if it does not; it stays so however often one tries. [`StoreError::Database`] if the
    /// database is damaged, or the disk fails or is full.
    pub fn open(mut home: Home, options: &Options) -> Result<RocksStore, StoreError> {
        let fresh = home.found() == Found::Fresh;
        // The families are made one after another: a crash in between leaves a home in which nothing was signed yet.
        let young = home.ceiling().is_none() || home.is_forgetful();
        let grow = young || lacks_staging_only(&home.data());
        let database = options::database(options, fresh, grow);
        let families = options::families(options);
        let db =
            DB::open_cf_descriptors(&database, home.data(), families).map_err(failed("open"))?;
        let shared = Arc::new(Shared {
            db,
            reads: ReadOptions::default(),
            pending: RwLock::default(),
            writing: Mutex::default(),
            _lock: home.lock(),
        });
        let synced = shared.synced()?;
        let promised = home.promised();
        if synced < promised {
            return Err(StoreError::LostWrites {
                promised,
                found: synced,
            });
        }
        if synced > promised {
            home.promise(synced)?;
        }
        Ok(RocksStore {
            shared,
            home,
            synced,
            failed: false,
        })
    }

    /// A handle for other threads.
    #[must_use]
    pub fn reader(&self) -> RocksReader {
        RocksReader(Arc::clone(&self.shared))
    }

    /// The home that it is in.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// See [`Home::remember`]. What was written before is synced first.
    ///
    /// # Errors
    /// The disk's; fatal.
    pub fn remember(&mut self) -> Result<(), StoreError> {
        if !self.home.is_forgetful() {
            return Ok(());
        }
        self.guard(|store| {
            store.apply(WriteBatch::new(), Sync::Yes)?;
            store.home.remember()
        })
    }

    /// See [`Home::mark_forgetful`].
    ///
    /// # Errors
    /// The disk's; fatal.
    pub fn mark_forgetful(&mut self) -> Result<(), StoreError> {
        self.guard(|store| store.home.mark_forgetful())
    }

    /// Bytes on disk: one entry a table, `wal` for the log. See [`RocksReader::usage`].
    ///
    /// # Errors
    /// The disk's.
    pub fn usage(&self) -> Result<Vec<(&'static str, u64)>, StoreError> {
        self.reader().usage()
    }

    /// Refuses everything after a failure.
    fn guard<T>(
        &mut self,
        act: impl FnOnce(&mut RocksStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.failed {
            return Err(StoreError::Failed);
        }
        let result = act(self);
        self.failed = result.is_err();
        result
    }

    fn apply(&mut self, batch: WriteBatch, sync: Sync) -> Result<(), StoreError> {
        let shared = &*self.shared;
        let _writing = lock(&shared.writing);
        let settles = batch.settles();
        let mut out = shared.batch(&batch);
        // What a write settles is seen as a whole, from before the database has it.
        let absorbed = match settles {
            true => {
                shared.absorb(batch);
                shared.settle(&mut out);
                None
            }
            false => Some(batch),
        };
        let mut how = WriteOptions::default();
        let mut synced = self.synced;
        if sync == Sync::Yes {
            synced = synced
                .checked_add(1)
                .expect("2^64 syncs take longer than disks last");
            out.put(SYNCED, synced.to_be_bytes());
            how.set_sync(true);
        }
        if !out.is_empty() {
            let operation = match sync {
                Sync::Yes => "synced write",
                Sync::No => "write",
            };
            let written = shared.db.write_opt(out, &how);
            written.map_err(failed(operation))?;
        }
        match absorbed {
            Some(batch) => shared.absorb(batch),
            None => {
                let settled = std::mem::take(&mut *shared.pending_mut());
                // Behind the lock: it is a lot to give back.
                drop(settled);
            }
        }
        if sync == Sync::Yes {
            self.synced = synced;
            self.home.promise(synced)?;
        }
        Ok(())
    }
}

impl View for RocksStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
        order: Order,
    ) -> Result<Vec<Entry>, StoreError> {
        // Nobody else writes to what is deferred, so that nobody waits for this lock.
        if to.is_some_and(|to| to <= from) {
            return Ok(Vec::new());
        }
        let pending = self.shared.pending();
        let above = pending.range(table, (from, to), order);
        let below = Walk::new(
            &self.shared,
            ReadOptions::default(),
            table,
            (from, to),
            order,
        );
        merge(above, below, order).take(limit).collect()
    }

    fn contains(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        self.shared.contains(table, key)
    }
}

impl Store for RocksStore {
    fn write(&mut self, batch: WriteBatch, sync: Sync) -> Result<(), StoreError> {
        self.guard(|store| store.apply(batch, sync))
    }

    fn ceiling(&self) -> Option<Round> {
        self.home.ceiling()
    }

    fn raise_ceiling(&mut self, to: Round) -> Result<(), StoreError> {
        match self.home.ceiling() {
            // A mistake of the caller, not of the disk.
            Some(at) if to < at => Err(StoreError::CeilingFalls { at, to }),
            _ => self.guard(|store| store.home.raise_ceiling(to)),
        }
    }
}

impl RocksReader {
    /// Bytes on disk: one entry a table, named as [`Table::name`], and `wal` for the log. Takes some microseconds a
    /// table; the log's part reads the directory.
    ///
    /// # Errors
    /// The disk's.
    pub fn usage(&self) -> Result<Vec<(&'static str, u64)>, StoreError> {
        let mut usage = Vec::with_capacity(Table::ALL.len() + 1);
        for table in Table::ALL {
            let mut bytes = 0u64;
            for property in [
                "rocksdb.total-sst-files-size",
                "rocksdb.total-blob-file-size",
            ] {
                let family = self.0.family(table);
                let value = self.0.db.property_int_value_cf(family, property);
                bytes = bytes.saturating_add(value.map_err(failed("size"))?.unwrap_or(0));
            }
            usage.push((table.name(), bytes));
        }
        usage.push(("wal", self.0.log_bytes()?));
        Ok(usage)
    }

    /// Failures of the database's background work (flush, compaction) since it was opened. Above 0, writes fail or will
    /// soon: worth an alarm.
    ///
    /// # Errors
    /// The database's.
    pub fn background_errors(&self) -> Result<u64, StoreError> {
        let value = self.0.db.property_int_value("rocksdb.background-errors");
        Ok(value.map_err(failed("state"))?.unwrap_or(0))
    }
}

impl RocksReader {
    /// What the store holds now, whatever is written from here on. While it lives, the database keeps what it shows. Waits
    /// for a write that is under way.
    #[must_use]
    pub fn freeze(&self) -> Frozen<'_> {
        Frozen::new(&self.0)
    }

    /// Writes out what waits in memory, of every table: what the log holds of it can go then.
    ///
    /// # Errors
    /// The database's.
    pub fn flush(&self) -> Result<(), StoreError> {
        for table in Table::ALL {
            let flushed = self.0.db.flush_cf(self.0.family(table));
            flushed.map_err(failed("flush"))?;
        }
        self.0.db.flush().map_err(failed("flush"))
    }

    /// Makes a copy of the database as it is at one moment, without what is deferred, in a directory that must not exist. On
    /// the same file system it shares the files that never change, so it takes little time and room, but keeps what the
    /// database drops later. Writes go on meanwhile.
    ///
    /// # Errors
    /// The database's.
    pub fn checkpoint(&self, path: &std::path::Path) -> Result<(), StoreError> {
        let checkpoint = Checkpoint::new(&self.0.db).map_err(failed("checkpoint"))?;
        checkpoint
            .create_checkpoint(path)
            .map_err(failed("checkpoint"))
    }

    /// As [`View::scan`], ascending and as of one moment, but ending behind the entry with which keys and values make
    /// `bytes`: of large entries it never holds many. Also whether the range goes on behind them.
    ///
    /// # Errors
    /// As [`View::scan`].
    pub fn scan_within(
        &self,
        table: Table,
        (from, to): (&[u8], Option<&[u8]>),
        limit: usize,
        bytes: usize,
    ) -> Result<(Vec<Entry>, bool), StoreError> {
        if to.is_some_and(|to| to <= from) {
            return Ok((Vec::new(), false));
        }
        let order = Order::Ascending;
        self.0.read(table, (from, to), limit, order, |entries| {
            let (mut found, mut size) = (Vec::new(), 0);
            while found.len() < limit && size < bytes {
                let Some(entry) = entries.next() else {
                    return Ok((found, false));
                };
                let (key, value) = entry?;
                size += key.len() + value.len();
                found.push((key, value));
            }
            let more = entries.next().transpose()?.is_some();
            Ok((found, more))
        })
    }

    /// Gives the space of what was deleted from a table back to the disk: of keys from `from` up to `to`, or of all. It
    /// reads and writes what is left in that part, on the caller's thread.
    ///
    /// # Errors
    /// The database's.
    pub fn compact(
        &self,
        table: Table,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let family = self.0.family(table);
        // What was written last counts, too: a deletion that waits in memory frees nothing.
        self.0.db.flush_cf(family).map_err(failed("flush"))?;
        let mut how = rocksdb::CompactOptions::default();
        how.set_exclusive_manual_compaction(false);
        how.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::ForceOptimized);
        self.0.db.compact_range_cf_opt(family, from, to, &how);
        Ok(())
    }
}

impl View for RocksReader {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
        order: Order,
    ) -> Result<Vec<Entry>, StoreError> {
        if to.is_some_and(|to| to <= from) {
            return Ok(Vec::new());
        }
        self.0.read(table, (from, to), limit, order, |entries| {
            entries.take(limit).collect()
        })
    }

    fn contains(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        self.0.contains(table, key)
    }
}

/// Whether the database has every family but that of [`Table::Staging`], which releases before it did not make. Any other
/// family that is missing is a loss, and an open must fail.
fn lacks_staging_only(data: &std::path::Path) -> bool {
    let Ok(found) = DB::list_cf(&rocksdb::Options::default(), data) else {
        return false;
    };
    let there = |table: &Table| found.iter().any(|name| name == table.name());
    Table::ALL
        .iter()
        .all(|table| there(table) != (*table == Table::Staging))
}

/// Finds tables' families, which the database looks up by name: once a run of writes to the same table.
struct Families<'a> {
    shared: &'a Shared,
    last: Option<(Table, &'a ColumnFamily)>,
}

impl<'a> Families<'a> {
    fn of(shared: &'a Shared) -> Families<'a> {
        Families { shared, last: None }
    }

    fn get(&mut self, table: Table) -> &'a ColumnFamily {
        match self.last {
            Some((last, family)) if last == table => family,
            _ => {
                let family = self.shared.family(table);
                self.last = Some((table, family));
                family
            }
        }
    }
}

impl Shared {
    fn family(&self, table: Table) -> &ColumnFamily {
        self.db
            .cf_handle(table.name())
            .expect("every table's family was opened")
    }

    /// Number of the last synced write that the database holds.
    fn synced(&self) -> Result<u64, StoreError> {
        let Some(bytes) = self.db.get(SYNCED).map_err(failed("get"))? else {
            return Ok(0);
        };
        let number = bytes.try_into().map_err(|_| StoreError::Database {
            operation: "open",
            fault: Fault::Corruption,
            message: "the number of the last synced write has not 8 bytes".to_owned(),
        })?;
        Ok(u64::from_be_bytes(number))
    }

    /// The database's form of what a batch does not defer, with room for what it settles: to grow step by step would touch
    /// fresh memory each time.
    fn batch(&self, batch: &WriteBatch) -> rocksdb::WriteBatch {
        let direct = || batch.ops().iter().filter(|op| !op.is_deferred());
        let bytes = match batch.settles() {
            true => {
                let settled = self.pending().bytes() + batch.bytes();
                settled + OP_BYTES * (self.pending().len() + batch.len())
            }
            false => direct().map(|op| op.len() + OP_BYTES).sum(),
        };
        let mut out = rocksdb::WriteBatch::with_capacity_bytes(bytes + SYNCED_BYTES);
        let mut families = Families::of(self);
        for op in direct() {
            match op {
                Op::Put(table, key, value) => out.put_cf(families.get(*table), key, value),
                Op::Delete(table, key) => out.delete_cf(families.get(*table), key),
                Op::DeleteRange(table, from, to) => {
                    out.delete_range_cf(families.get(*table), from, to);
                }
                Op::Defer(..) => unreachable!("filtered"),
            }
        }
        out
    }

    /// Adds everything that is deferred. Of a key that the batch at hand writes otherwise it is what came after that.
    fn settle(&self, out: &mut rocksdb::WriteBatch) {
        let mut families = Families::of(self);
        for (table, key, value) in self.pending().entries() {
            let family = families.get(table);
            match value {
                Some(value) => out.put_cf(family, key, value),
                None => out.delete_cf(family, key),
            }
        }
    }

    fn absorb(&self, batch: WriteBatch) {
        self.pending_mut().absorb(batch);
    }

    fn pending(&self) -> RwLockReadGuard<'_, Pending> {
        self.pending.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending_mut(&self) -> RwLockWriteGuard<'_, Pending> {
        self.pending.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(deferred) = self.pending().get(table, key) {
            return Ok(deferred.map(<[u8]>::to_vec));
        }
        self.db
            .get_cf_opt(self.family(table), key, &self.reads)
            .map_err(failed("get"))
    }

    fn contains(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        if let Some(deferred) = self.pending().get(table, key) {
            return Ok(deferred.is_some());
        }
        let family = self.family(table);
        let found = self.db.get_pinned_cf_opt(family, key, &self.reads);
        Ok(found.map_err(failed("get"))?.is_some())
    }

    /// Reads what a stretch that is not empty holds at one moment, while the replica goes on: of what is deferred a part is
    /// copied, as much as so many entries need if little is deleted, and more only if the reading comes to its end.
    fn read<T>(
        &self,
        table: Table,
        (from, to): (&[u8], Option<&[u8]>),
        limit: usize,
        order: Order,
        mut read: impl FnMut(
            &mut dyn Iterator<Item = Result<Entry, StoreError>>,
        ) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut most = limit.min(PART) + PART;
        loop {
            let (above, whole, snapshot) = {
                let pending = self.pending();
                let mut changes = pending.range(table, (from, to), order);
                // As many values are entries themselves, and one more tells that there are more.
                let (mut above, mut values) = (Vec::new(), 0);
                while above.len() < most && values <= limit {
                    let Some((key, value)) = changes.next() else {
                        break;
                    };
                    values += usize::from(value.is_some());
                    above.push((key.to_vec(), value.map(<[u8]>::to_vec)));
                }
                // What lies below these changes, and not what they are settled into.
                let snapshot = (!above.is_empty()).then(|| self.db.snapshot());
                (above, changes.next().is_none(), snapshot)
            };
            let mut options = ReadOptions::default();
            if let Some(snapshot) = &snapshot {
                options.set_snapshot(snapshot);
            }
            let end = above.last().map(|(key, _)| key.clone()).filter(|_| !whole);
            let below = Walk::new(self, options, table, (from, to), order);
            // Behind the part nothing is known.
            let known = |key: &[u8]| match (&end, order) {
                (None, _) => true,
                (Some(end), Order::Ascending) => key <= end.as_slice(),
                (Some(end), Order::Descending) => key >= end.as_slice(),
            };
            let mut merged = merge(above, below, order);
            let mut short = false;
            let found = read(&mut std::iter::from_fn(|| {
                let next = merged.next();
                let behind = match &next {
                    Some(Ok((key, _))) => !known(key),
                    Some(Err(_)) => false,
                    None => true,
                };
                short = behind && !whole;
                next.filter(|_| !short)
            }))?;
            if !short {
                return Ok(found);
            }
            most = most.saturating_mul(8);
        }
    }

    fn log_bytes(&self) -> Result<u64, StoreError> {
        let path = self.db.path();
        let mut bytes = 0u64;
        for entry in fs::read_dir(path).map_err(StoreError::io("list", path))? {
            let entry = entry.map_err(StoreError::io("list", path))?;
            if entry.path().extension().is_some_and(|end| end == "log") {
                // A log may be deleted between the listing and this: it then takes no space.
                bytes = bytes.saturating_add(entry.metadata().map_or(0, |data| data.len()));
            }
        }
        Ok(bytes)
    }
}

/// Wraps an error of the database.
fn failed(operation: &'static str) -> impl FnOnce(rocksdb::Error) -> StoreError {
    move |error| {
        let message = error.to_string();
        let fault = match error.kind() {
            ErrorKind::Corruption => Fault::Corruption,
            // The text of ENOSPC is all that the C interface passes on.
            _ if message.contains("No space left on device") => Fault::Full,
            _ if message.contains("lock ") => Fault::Busy,
            // It names a file of its own that is gone, or that never was: the name rotted.
            _ if message.contains("No such file or directory") => Fault::Corruption,
            ErrorKind::Busy => Fault::Busy,
            ErrorKind::IOError => Fault::Io,
            _ => Fault::Other,
        };
        StoreError::Database {
            operation,
            fault,
            message,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
