//! Decides what is kept: when a snapshot is made, and how much of the past goes.
//!
//! A snapshot is due at every multiple of the interval. All validators try to freeze the same height then, the first above
//! it whose block claims nothing in between, so that a peer that joins can fetch from all of them at once: the core meets
//! the keeper ([`Hook`]) behind the turn that commits it, for the time that it takes to freeze the store (some
//! microseconds; what is deferred was settled). The keeper waits until a final header claims the state, and cuts it on its
//! own thread.
//!
//! Nothing above the oldest snapshot goes, so that whoever fetches it finds the blocks that follow.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate_replica::snapshot::{Certified, SnapshotError, certified, cut};
use quorate_storage::ledger::{self, LedgerError, keys};
use quorate_storage::{Frozen, RocksReader, StoreError, Table};
use quorate_types::{Height, Manifest, Validators};
use tokio::sync::oneshot;

use super::disk::Disk;
pub use super::disk::Space;
use super::files::FileError;
use super::shelf::Shelf;
use crate::metrics::Metrics;
use crate::validator::core::Core;

/// How often the keeper looks around.
const TICK: Duration = Duration::from_secs(1);
/// The core waits so long for the keeper to freeze, and then goes on without.
const MEETING: Duration = Duration::from_millis(50);
/// A keeper that is busy is asked again after so many heights.
const BUSY: u64 = 100;
/// States frozen at a time while it is not known which will be certified.
const CANDIDATES: usize = 8;
/// Heights between two validators that settle ahead of a snapshot.
const NEAR: u64 = 4;
/// An order for a snapshot fails after this long without a certified height.
const PATIENCE: Duration = Duration::from_secs(20);
/// Blocks that always stay: more than elections, proofs and peers a little behind need.
pub const MIN_BLOCKS: u64 = 512;
/// Deletions written at once.
const STEP: usize = 4_096;
/// Removed heights after which the database is asked to give space back.
const COMPACT_HEIGHTS: u64 = 4_096;

/// What an operator decides.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Heights between snapshots; 0: only on demand.
    pub interval: u64,
    /// Snapshots kept.
    pub snapshots: usize,
    /// Blocks kept; 0: all.
    pub blocks: u64,
    /// Bytes of the database above which fewer are kept; 0: no bound.
    pub max_bytes: u64,
}

/// Why the keeper failed at something. It tries again later.
#[derive(Debug, thiserror::Error)]
enum KeeperError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the validator stops")]
    Stopping,
    #[error("no height is certified yet; the next block brings one")]
    NothingCertified,
    #[error("the disk is nearly full")]
    DiskLow,
}

/// What the keeper is asked for.
enum Order {
    /// By the core, which waits: freeze the store as it is.
    Freeze(SyncSender<()>),
    /// By an operator: a snapshot now. The height, or why not.
    Make(oneshot::Sender<Result<Height, String>>),
}

/// The keeper's ear in the core, and everybody else's to the keeper.
#[derive(Clone)]
pub struct Hook {
    orders: SyncSender<Order>,
    /// The core halts behind the commit of this height or a later one.
    due: Arc<AtomicU64>,
}

/// Where orders are waited for.
pub struct Orders(Receiver<Order>, Hook);

/// Both ends.
#[must_use]
pub fn hook() -> (Hook, Orders) {
    let (orders, receiver) = sync_channel(8);
    let due = Arc::new(AtomicU64::new(u64::MAX));
    let hook = Hook { orders, due };
    (hook.clone(), Orders(receiver, hook))
}

impl Hook {
    /// Whether the store is to be frozen at this height. Copying what is deferred would take the core's time and memory
    /// for each of several heights: it is settled first.
    #[must_use]
    pub fn is_due(&self, height: Height) -> bool {
        height.0 >= self.due.load(Ordering::Relaxed)
    }

    /// Whether it will be soon: what is deferred is settled then, by each validator at a height of its own, and little is
    /// left to do for all of them at the one that is due.
    #[must_use]
    pub fn is_near(&self, height: Height, seat: u16) -> bool {
        let ahead = NEAR * (u64::from(seat) + 1);
        height.0.checked_add(ahead) == Some(self.due.load(Ordering::Relaxed))
    }

    /// The core has committed a height, and it is in the store.
    pub fn committed(&self, height: Height) {
        if !self.is_due(height) {
            return;
        }
        self.due
            .store(height.0.saturating_add(1), Ordering::Relaxed);
        let (done, wait) = sync_channel(1);
        if self.orders.try_send(Order::Freeze(done)).is_ok() {
            // Without an answer this height is missed, and the core does not ask again soon.
            if wait.recv_timeout(MEETING).is_err() {
                self.arm(height.0.saturating_add(BUSY));
            }
        }
    }

    /// Orders a snapshot now.
    pub fn make(&self) -> oneshot::Receiver<Result<Height, String>> {
        let (reply, receiver) = oneshot::channel();
        // A full queue drops the sender, which the receiver sees.
        let _ = self.orders.try_send(Order::Make(reply));
        receiver
    }

    fn arm(&self, height: u64) {
        self.due.store(height, Ordering::Relaxed);
    }
}

/// See the [module](self).
pub struct Keeper {
    /// What to keep.
    pub policy: Policy,
    /// The store.
    pub reader: RocksReader,
    /// Who writes.
    pub core: Core,
    /// Where snapshots are put.
    pub shelf: Arc<Shelf>,
    /// The first epoch's set.
    pub validators: Arc<Validators>,
    /// Whether there is room.
    pub disk: Disk,
    /// What is shown.
    pub metrics: Metrics,
    /// Set when the process has been told to stop.
    pub stopping: Arc<AtomicBool>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(mut self, orders: Orders) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name(String::from("keeper"))
            .spawn(move || self.run(&orders))
    }

    fn run(&mut self, orders: &Orders) {
        let mut removed = 0u64;
        self.arm(orders);
        while !self.stops() {
            match orders.0.recv_timeout(TICK) {
                Ok(order) => {
                    let made = self.make(orders, order);
                    if let Err(error) = made {
                        tracing::warn!(event = "snapshot_failed", %error, "no snapshot was made");
                    }
                    self.arm(orders);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            match self.truncate() {
                Ok(heights) => removed += heights,
                Err(error) => {
                    tracing::error!(event = "truncation_failed", %error, "the past cannot be removed")
                }
            }
            if removed >= COMPACT_HEIGHTS || (removed > 0 && self.disk.space.is_low()) {
                removed = 0;
                if let Err(error) = self.compact() {
                    tracing::error!(event = "compaction_failed", %error, "space cannot be given back");
                }
            }
        }
    }

    fn stops(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The next multiple of the interval above what is there.
    fn arm(&self, orders: &Orders) {
        let height = self.core.status().height.0;
        let last = self.shelf.span().map_or(0, |(_, newest)| newest.0);
        let next = height
            .max(last)
            .checked_div(self.policy.interval)
            .map(|n| n.saturating_add(1).saturating_mul(self.policy.interval));
        orders.1.arm(next.unwrap_or(u64::MAX));
        if let Some((oldest, newest)) = self.shelf.span() {
            self.metrics.snapshot_height.set(gauge(newest.0));
            tracing::debug!(%oldest, %newest, "snapshots");
        }
    }

    /// Freezes until a frozen state is certified, and cuts it.
    fn make(&self, orders: &Orders, first: Order) -> Result<(), KeeperError> {
        let mut waiting = Vec::new();
        let result = self.certified_cut(orders, first, &mut waiting);
        for reply in waiting {
            let answer = result.as_ref().map(|height| *height);
            // Whoever asked may have gone.
            let _ = reply.send(answer.map_err(ToString::to_string));
        }
        result.map(drop)
    }

    fn certified_cut(
        &self,
        orders: &Orders,
        first: Order,
        waiting: &mut Vec<oneshot::Sender<Result<Height, String>>>,
    ) -> Result<Height, KeeperError> {
        let mut frozen: VecDeque<Frozen<'_>> = VecDeque::new();
        let mut take = |order, frozen: &mut VecDeque<_>| match order {
            Order::Freeze(done) => {
                if frozen.len() < CANDIDATES {
                    frozen.push_back(self.reader.freeze());
                }
                let _ = done.send(());
            }
            Order::Make(reply) => {
                // Whatever comes next is wanted, too: this very state may never be claimed.
                orders.1.arm(0);
                if frozen.len() < CANDIDATES {
                    frozen.push_back(self.reader.freeze());
                }
                waiting.push(reply);
            }
        };
        take(first, &mut frozen);
        let since = Instant::now();
        loop {
            if self.stops() {
                return Err(KeeperError::Stopping);
            }
            self.room()?;
            while let Some(candidate) = frozen.front() {
                match certified(candidate, &self.reader, &self.validators)? {
                    Certified::Yes(manifest) => {
                        orders.1.arm(u64::MAX);
                        return self.cut(candidate, *manifest);
                    }
                    Certified::NotYet => break,
                    Certified::Never => drop(frozen.pop_front()),
                }
            }
            if since.elapsed() >= PATIENCE {
                return Err(KeeperError::NothingCertified);
            }
            match orders.0.recv_timeout(Duration::from_millis(50)) {
                Ok(order) => take(order, &mut frozen),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(KeeperError::Stopping),
            }
        }
    }

    fn cut(&self, frozen: &Frozen<'_>, manifest: Manifest) -> Result<Height, KeeperError> {
        let (height, begun) = (manifest.height, Instant::now());
        let there = self
            .shelf
            .span()
            .is_some_and(|(_, newest)| newest == height);
        if there {
            return Ok(height);
        }
        let mut draft = self.shelf.directory().begin(height)?;
        let manifest = cut::<KeeperError>(frozen, manifest, |index, chunk| {
            if self.stops() {
                return Err(KeeperError::Stopping);
            }
            self.room()?;
            Ok(draft.chunk(index, &chunk)?)
        })?;
        draft.finish(&manifest)?;
        tracing::info!(event = "snapshot_made",
            %height, chunks = manifest.pieces.len(), bytes = manifest.bytes(),
            records = manifest.records(), seconds = begun.elapsed().as_secs_f64(),
            root = %manifest.roots.state, "snapshot made"
        );
        self.shelf.add(manifest, self.policy.snapshots);
        Ok(height)
    }

    /// Looks, however little time has passed: between two looks nothing may fill the disk.
    fn room(&self) -> Result<(), KeeperError> {
        self.disk.look();
        match self.disk.space.is_low() {
            true => Err(KeeperError::DiskLow),
            false => Ok(()),
        }
    }

    /// Removes what need not be kept; returns how many heights went.
    fn truncate(&self) -> Result<u64, KeeperError> {
        let policy = &self.policy;
        let Some((oldest, _)) = self.shelf.span() else {
            // Who is behind needs either the blocks or a snapshot.
            return Ok(0);
        };
        let tip = ledger::tip(&self.reader)?.height.0;
        let mut keep = match policy.blocks {
            0 => u64::MAX,
            blocks => blocks.max(MIN_BLOCKS),
        };
        if policy.max_bytes > 0 {
            let bytes: u64 = self.reader.usage()?.iter().map(|(_, bytes)| bytes).sum();
            if bytes > policy.max_bytes {
                keep = MIN_BLOCKS;
            }
        }
        let to = Height(tip.saturating_sub(keep)).min(oldest);
        let mut removed = 0;
        loop {
            let swept = ledger::truncate(&self.reader, to, STEP)?;
            if swept.heights == 0 || self.stops() {
                break;
            }
            if !self.core.chore(swept.writes) {
                break;
            }
            removed += swept.heights;
            self.metrics.storage_first_height.set(gauge(swept.below.0));
            if !swept.more {
                break;
            }
        }
        if removed > 0 {
            tracing::debug!(removed, %to, "removed from the ledger");
        }
        Ok(removed)
    }

    /// Lets the database give back what was removed.
    fn compact(&self) -> Result<(), KeeperError> {
        let begun = Instant::now();
        let first = ledger::first(&self.reader)?;
        let below = keys::receipts(first);
        self.reader.compact(Table::Receipts, None, Some(&below))?;
        self.reader
            .compact(Table::Certificates, None, Some(&below))?;
        for table in [Table::Batches, Table::Blocks, Table::Places] {
            if self.stops() {
                return Ok(());
            }
            self.reader.compact(table, None, None)?;
        }
        // The log, too: it holds everything that any table has only in memory.
        self.reader.flush()?;
        tracing::debug!(seconds = begun.elapsed().as_secs_f64(), "space given back");
        Ok(())
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use quorate_replica::{Replica, Setup};
    use quorate_storage::{Home, Options, RocksStore};

    use super::super::files::Directory;
    use super::super::files::tests::manifest;
    use super::*;
    use crate::testnet::tests::sample;
    use crate::validator::clock::Clock;
    use crate::validator::core::Inbox;

    /// A keeper of a home at its genesis, whose disk is nearly full as soon as it looks.
    fn keeper(home: &Path) -> (Keeper, RocksStore) {
        let setup = Setup::new(&sample(), None).expect("a sound genesis");
        let locked = Home::open(home).expect("a fresh home");
        let mut store = RocksStore::open(locked, &Options::default()).expect("opens");
        let clock = Clock::start();
        let opened = Replica::open(setup.clone(), &mut store, clock.now());
        let (replica, _unsent) = opened.expect("a genesis");
        let directory = Directory::open(home).expect("made");
        let keeper = Keeper {
            policy: Policy {
                interval: 0,
                snapshots: 1,
                blocks: 0,
                max_bytes: 0,
            },
            reader: store.reader(),
            core: Inbox::new(replica.status(), clock).core,
            shelf: Arc::new(Shelf::open(directory, |_| true).expect("empty")),
            validators: setup.validators,
            disk: Disk {
                home: home.to_path_buf(),
                min_free: u64::MAX,
                space: Arc::default(),
                metrics: Metrics::new(),
            },
            metrics: Metrics::new(),
            stopping: Arc::default(),
        };
        (keeper, store)
    }

    /// The disk was looked at between two orders only: a snapshot, which takes a minute for each GB, went on until nothing
    /// was left, and the core's next write was its last.
    #[test]
    fn a_snapshot_that_fills_the_disk_is_given_up_and_gives_back_what_it_took() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let (mut keeper, _store) = keeper(home.path());
        let frozen = keeper.reader.freeze();
        let mut manifest = manifest(0, b"");
        manifest.roots = keeper.core.status().roots;
        manifest.pieces.clear();
        let refused = keeper.cut(&frozen, manifest.clone());
        assert!(matches!(refused, Err(KeeperError::DiskLow)), "{refused:?}");
        assert!(keeper.disk.space.is_out(), "the core is told");
        let left = std::fs::read_dir(home.path().join("snapshots")).expect("there");
        assert_eq!(left.count(), 0);
        keeper.disk.min_free = 1;
        keeper.disk.look();
        let made = keeper.cut(&frozen, manifest);
        assert_eq!(made.expect("there is room"), Height(0));
    }

    #[test]
    fn validators_settle_ahead_of_a_snapshot_each_at_its_own_height() {
        let (hook, _orders) = hook();
        hook.arm(100);
        let near = |seat| {
            (0..200)
                .filter(|height| hook.is_near(Height(*height), seat))
                .collect()
        };
        let heights: [Vec<u64>; 2] = [near(0), near(1)];
        assert_eq!(heights, [[100 - NEAR], [100 - 2 * NEAR]]);
        assert!(hook.is_due(Height(100)) && !hook.is_due(Height(99)));
    }

    #[test]
    fn the_core_does_not_wait_for_a_keeper_that_does_not_come() {
        let (hook, _orders) = hook();
        hook.committed(Height(1 << 40));
        hook.arm(5);
        hook.committed(Height(4));
        hook.committed(Height(5));
        assert_eq!(hook.due.load(Ordering::Relaxed), 5 + BUSY);
    }
}
