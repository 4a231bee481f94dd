//! The one thread that owns the replica and its store.
//!
//! It takes what has arrived from a bounded inbox, takes a turn, persists, signs, and hands out what was released. It
//! never waits for anything but its inbox, its disk and its next deadline. An error of the store ends the process: what
//! is on disk then is read by the next start (protocol §4, Durability).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use quorate_crypto::SecretKey;
use quorate_replica::replica::Status;
use quorate_replica::{BootError, Input, Notice, Output, Passed, Past, Replica, ReplicaError};
use quorate_replica::{Setup, Signed, Target};
use quorate_storage::{RocksStore, Store as _, StoreError, Sync, WriteBatch};
use quorate_types::{BlockTime, Height, Validators};
use tokio::sync::{oneshot, watch};

use super::arrivals::{Arrivals, Taker, arrivals};
use super::clock::{Clock, wall};
use super::tickets::Tickets;
use super::watch::{Watch, signed};
use crate::net::{Credit, Network};
use crate::snapshot::disk::Space;
use crate::snapshot::keeper::Hook;
use crate::trace::Journeys;

/// Clients' inputs that wait for a turn.
const MAX_WAITING: usize = 16_384;
/// Inputs taken in one turn: enough to share a synced write, few enough to answer soon.
const TURN: usize = 1_024;
/// Who prepared deletions waits so long for them to be written.
const CHORE: Duration = Duration::from_secs(30);
/// While there is no room on the disk, it is looked for so often.
const HALT: Duration = Duration::from_millis(100);
/// A turn is taken at least so often, so that a stuck thread shows.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// An input, and what the network lent for it.
#[derive(Debug)]
pub struct Item {
    /// For the replica.
    pub input: Input,
    /// Dropped once it was taken.
    pub credit: Credit,
}

/// What other threads see of the core.
#[derive(Clone, Debug)]
pub struct Core {
    arrivals: Arrivals<Item>,
    tickets: Arc<Tickets>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Clients' inputs in the inbox.
    waiting: AtomicUsize,
    status: RwLock<Status>,
    /// Monotonic nanoseconds of the last turn.
    turned: AtomicU64,
    /// Monotonic nanoseconds of the last commit, or of the last turn without work.
    moved: AtomicU64,
    stopping: AtomicBool,
    /// The committed height, for those who follow the log; none once they should go elsewhere.
    heads: watch::Sender<Option<Height>>,
    /// Odd while a snapshot takes the state's place; each begin and end adds one.
    installations: AtomicU64,
    /// Deletions to write between two turns, and who waits for that.
    chores: Mutex<VecDeque<(WriteBatch, SyncSender<()>)>>,
    clock: Clock,
}

impl Core {
    /// Hands over what came from a peer or from the network itself. Never waits. Nothing happens once the core has
    /// stopped.
    pub fn push(&self, item: Item) {
        self.put(item);
        self.wake();
    }

    /// As [`Core::push`], where more may follow at once: [`Core::wake`] must come behind the last.
    pub fn put(&self, item: Item) {
        // Once the core has stopped, it is dropped.
        let _ = self.arrivals.put(item);
    }

    /// Hands over what came from a client, if there is room. Never waits.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn try_push(&self, input: Input) -> Result<(), Busy> {
        self.try_put(input)?;
        self.wake();
        Ok(())
    }

    /// As [`Core::try_push`], where more may follow at once: [`Core::wake`] must come behind the last.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn try_put(&self, input: Input) -> Result<(), Busy> {
        let waiting = &self.shared.waiting;
        if waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Busy::Full);
        }
        let credit = Credit::none();
        let put = self.arrivals.put(Item { input, credit });
        put.map_err(|_| {
            waiting.fetch_sub(1, Ordering::Relaxed);
            Busy::Stopped
        })
    }

    /// Has a turn taken, if anything was put.
    pub fn wake(&self) {
        self.arrivals.wake();
    }

    /// Where answers are waited for.
    #[must_use]
    pub fn tickets(&self) -> &Arc<Tickets> {
        &self.tickets
    }

    /// The replica's status after its last turn.
    #[must_use]
    pub fn status(&self) -> Status {
        let status = self.shared.status.read();
        status.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Transactions taken here and not executed yet, as of the last turn.
    #[must_use]
    pub fn queued(&self) -> usize {
        let status = self.shared.status.read();
        status.unwrap_or_else(PoisonError::into_inner).queued
    }

    /// The committed height, as it grows; none once the validator stops.
    #[must_use]
    pub fn heads(&self) -> watch::Receiver<Option<Height>> {
        self.shared.heads.subscribe()
    }

    /// Tells those who follow the log that there will be no more of it here.
    pub fn end_heads(&self) {
        self.shared.heads.send_replace(None);
    }

    /// A number that another installation of a snapshot changes; none during one, when there is no state. What was read
    /// between two equal ones was the state.
    #[must_use]
    pub fn installed(&self) -> Option<u64> {
        let installations = self.shared.installations.load(Ordering::SeqCst);
        installations.is_multiple_of(2).then_some(installations)
    }

    /// Time since the last turn.
    #[must_use]
    pub fn silence(&self) -> Duration {
        if self.installed().is_none() {
            return Duration::ZERO;
        }
        self.since(&self.shared.turned)
    }

    /// Time for which there has been work and no commit; zero if there is nothing to do.
    #[must_use]
    pub fn stalled(&self) -> Duration {
        self.since(&self.shared.moved)
    }

    /// Has deletions of the past written between two turns; false if that did not happen for a while. Waits.
    #[must_use]
    pub fn chore(&self, writes: WriteBatch) -> bool {
        let (done, wait) = sync_channel(1);
        let chores = &self.shared.chores;
        chores
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back((writes, done));
        let begun = std::time::Instant::now();
        while begun.elapsed() < CHORE && !self.shared.stopping.load(Ordering::SeqCst) {
            if wait.recv_timeout(HALT).is_ok() {
                return true;
            }
        }
        false
    }

    /// Takes no further inputs, and ends after the turn in progress.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
    }

    fn taken(&self, inputs: &[Input]) {
        let of_client =
            |input: &&Input| matches!(input, Input::Submit { .. } | Input::Prove { .. });
        let count = inputs.iter().filter(of_client).count();
        self.shared.waiting.fetch_sub(count, Ordering::Relaxed);
    }

    fn since(&self, instant: &AtomicU64) -> Duration {
        let now = self.shared.clock.monotonic().0;
        Duration::from_nanos(now.saturating_sub(instant.load(Ordering::Relaxed)))
    }
}

/// Why an input was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Try again.
    Full,
    /// The core has stopped.
    Stopped,
}

/// Why the core ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The disk, while writing.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    /// The disk while reading, or what is on it.
    #[error("the replica cannot go on: {0}")]
    Replica(#[from] ReplicaError),
    /// A fetched snapshot, or the state in it.
    #[error("the fetched snapshot cannot be started from: {0}")]
    Boot(#[from] BootError),
}

/// What the thread owns.
pub struct Parts {
    /// Opened a moment ago.
    pub replica: Replica,
    /// Its store.
    pub store: RocksStore,
    /// The consensus key.
    pub key: SecretKey,
    /// The set whose verified signatures are remembered, own ones too.
    pub validators: Arc<Validators>,
    /// To the peers.
    pub network: Arc<Network>,
    /// Metrics and logs.
    pub watch: Watch,
    /// The validator's clock.
    pub clock: Clock,
    /// What a replica is opened with.
    pub setup: Setup,
    /// Told about each commit.
    pub hook: Hook,
    /// Whether there is room on the disk.
    pub space: Arc<Space>,
    /// Follows traced transactions, if any are.
    pub journeys: Option<Journeys>,
}

/// The inbox, made before whoever fills it.
pub struct Inbox {
    taker: Taker<Item>,
    /// What the others get.
    pub core: Core,
}

impl Inbox {
    /// An empty inbox of a replica that stands at `status`.
    #[must_use]
    pub fn new(status: Status, clock: Clock) -> Inbox {
        let (arrivals, taker) = arrivals();
        let now = clock.monotonic().0;
        let (heads, _) = watch::channel(Some(status.height));
        let core = Core {
            arrivals,
            tickets: Arc::new(Tickets::default()),
            shared: Arc::new(Shared {
                waiting: AtomicUsize::new(0),
                status: RwLock::new(status),
                turned: AtomicU64::new(now),
                moved: AtomicU64::new(now),
                stopping: AtomicBool::new(false),
                heads,
                installations: AtomicU64::new(0),
                chores: Mutex::default(),
                clock,
            }),
        };
        Inbox { taker, core }
    }

    /// Starts the thread with the output of the replica's opening, which is not persisted yet. The thread's end, asked for
    /// or not, is told through `ended`.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(
        self,
        parts: Parts,
        first: Output,
        ended: oneshot::Sender<Result<(), CoreError>>,
    ) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name(String::from("replica"))
            .spawn(move || {
                let result = self.run(parts, first);
                // Nobody listens only if the process is ending already.
                let _ = ended.send(result);
            })
    }

    fn run(mut self, mut parts: Parts, first: Output) -> Result<(), CoreError> {
        let mut own = release(&mut parts, first, &self.core, wall())?;
        loop {
            self.write_chores(&mut parts)?;
            let stopping = self.core.shared.stopping.load(Ordering::SeqCst);
            let ready = parts.replica.is_ready_to_install();
            match Step::next(stopping, parts.space.is_out(), ready) {
                Step::Halt => {
                    // Nothing is taken, so peers and clients see a validator that is slow; nothing is lost.
                    let now = parts.clock.monotonic();
                    self.core.shared.turned.store(now.0, Ordering::Relaxed);
                    std::thread::sleep(HALT);
                    continue;
                }
                Step::Install => own = self.install(&mut parts)?,
                Step::Turn => {}
            }
            let patience = match own.is_empty() {
                true => patience(&parts),
                false => Duration::ZERO,
            };
            let items = self.taker.take(TURN, patience);
            if self.core.shared.stopping.load(Ordering::SeqCst) {
                parts.store.write(last_write(&parts.space), Sync::Yes)?;
                return Ok(());
            }
            let (inputs, credits): (Vec<Input>, Vec<Credit>) = items
                .into_iter()
                .map(|item| (item.input, item.credit))
                .unzip();
            self.core.taken(&inputs);
            let now = parts.clock.now();
            if let Some(journeys) = &mut parts.journeys {
                journeys.inputs(&inputs, now.wall.0);
            }
            let inputs = own.into_iter().chain(inputs).collect();
            let output = parts.replica.turn(&parts.store, now, inputs)?;
            let taken = parts.clock.monotonic().since(now.monotonic);
            parts.watch.turned(Duration::from_nanos(taken));
            own = release(&mut parts, output, &self.core, now.wall)?;
            drop(credits);
        }
    }

    /// Writes the deletions that the keeper prepared, except of what a newer block needs.
    fn write_chores(&self, parts: &mut Parts) -> Result<(), CoreError> {
        loop {
            let mut chores = self
                .core
                .shared
                .chores
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let Some((writes, done)) = chores.pop_front() else {
                return Ok(());
            };
            drop(chores);
            let writes = parts.replica.may_go(&parts.store, writes);
            parts
                .store
                .write(writes.map_err(ReplicaError::from)?, Sync::No)?;
            let _ = done.send(());
        }
    }

    /// Closes the replica and opens it again on the snapshot that is here whole. Peers stay connected.
    fn install(&self, parts: &mut Parts) -> Result<Vec<Input>, CoreError> {
        let begun = parts.clock.monotonic();
        let installations = &self.core.shared.installations;
        installations.fetch_add(1, Ordering::SeqCst);
        tracing::info!(
            event = "snapshot_complete",
            "all chunks of the snapshot are here; starting from it"
        );
        let connected = parts.replica.status().connected;
        let opened = Replica::open(parts.setup.clone(), &mut parts.store, parts.clock.now());
        let (replica, first) = opened?;
        let closed = std::mem::replace(&mut parts.replica, replica);
        self.core.tickets.answer(closed.close());
        let mut own = release(parts, first, &self.core, wall())?;
        own.extend(connected.iter().map(Input::Connected));
        installations.fetch_add(1, Ordering::SeqCst);
        let nanos = parts.clock.monotonic().since(begun);
        let height = parts.replica.status().height;
        tracing::info!(event = "snapshot_installed", %height, seconds = Duration::from_nanos(nanos).as_secs_f64(), "snapshot installed");
        Ok(own)
    }
}

/// What the core does next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// There is no room.
    Halt,
    /// A snapshot takes the state's place; then as below.
    Install,
    /// Takes what has arrived, or ends.
    Turn,
}

impl Step {
    /// Told to stop, it begins nothing: the next start installs what is here, and a full disk has no room for it.
    fn next(stopping: bool, out: bool, ready: bool) -> Step {
        match (stopping, out, ready) {
            (true, _, _) | (_, false, false) => Step::Turn,
            (false, true, _) => Step::Halt,
            (false, false, true) => Step::Install,
        }
    }
}

/// How long to wait for an input: until the replica's deadline, or the heartbeat.
fn patience(parts: &Parts) -> Duration {
    let now = parts.clock.monotonic();
    parts.replica.deadline().map_or(HEARTBEAT, |deadline| {
        Duration::from_nanos(deadline.since(now)).min(HEARTBEAT)
    })
}

/// Persists, signs, sends and answers what a turn led to that began at `turned`. Returns what this validator signed itself,
/// for the next turn.
fn release(
    parts: &mut Parts,
    output: Output,
    core: &Core,
    turned: BlockTime,
) -> Result<Vec<Input>, CoreError> {
    let begun = parts.clock.monotonic();
    let synced = output.must_sync();
    let released = output.persist(&mut parts.store)?;
    if synced {
        let nanos = parts.clock.monotonic().since(begun);
        parts.watch.synced(Duration::from_nanos(nanos));
    }
    let Signed {
        sends,
        own,
        replies,
        notices,
    } = released.sign(&parts.key);
    if let Some(journeys) = &mut parts.journeys {
        let now = wall();
        journeys.sends(&sends, now.0);
        journeys.notices(&notices, turned.0, now.0);
    }
    let remembers = |notice: &Notice| matches!(notice, Notice::Passed(Passed { strict: true, .. }));
    if notices.iter().any(remembers) {
        // Its record is in the store; should the process end before it is durable, the mark is still there.
        parts.store.remember()?;
        parts.setup.past = Past::Doubted;
    }
    for (to, message) in sends {
        // What goes to all was signed here a moment ago, or is a certificate, which is passed over.
        if to == Target::All {
            parts.validators.remember_own(&message);
        }
        signed(&message);
        parts.network.send(to, &message);
    }
    core.tickets.answer(replies);
    let status = parts.replica.status();
    let now = parts.clock.monotonic();
    let before = core.status();
    if !status.work || status.height > before.height {
        core.shared.moved.store(now.0, Ordering::Relaxed);
    }
    core.shared.turned.store(now.0, Ordering::Relaxed);
    parts.watch.turn(&status, &notices, &parts.store);
    let height = status.height;
    let seat = parts.setup.me.map_or(0, |me| me.0);
    if parts.hook.is_due(height) || parts.hook.is_near(height, seat) {
        parts.store.write(WriteBatch::settling(), Sync::No)?;
        parts.hook.committed(height);
    }
    *core
        .shared
        .status
        .write()
        .unwrap_or_else(PoisonError::into_inner) = status;
    core.shared.heads.send_if_modified(|head| {
        // Once it was ended it stays so.
        let grown = head.is_some_and(|head| head < height);
        if grown {
            *head = Some(height);
        }
        grown
    });
    Ok(own)
}

/// What a validator that was told to stop writes last. Nothing asks for what is deferred, but the next start should find
/// all that this one knew; where the disk is full it may not have room, and is executed again then.
fn last_write(space: &Space) -> WriteBatch {
    match space.is_out() {
        true => WriteBatch::new(),
        false => WriteBatch::settling(),
    }
}

#[cfg(test)]
mod tests {
    use quorate_consensus::Status as EngineStatus;
    use quorate_replica::Ticket;
    use quorate_types::{BlockId, Roots, Round, Signers};

    use super::*;

    fn inbox() -> Inbox {
        let consensus = EngineStatus {
            round: Round::default(),
            leader: None,
            high_qc: Round::default(),
            last_voted: Round::default(),
            highest_timeout: Round::default(),
            committed: Height::default(),
            committed_block: BlockId::default(),
            committed_round: Round::default(),
            tree: 0,
            diverged: false,
            fenced: false,
        };
        let status = Status {
            consensus,
            height: Height::default(),
            time: BlockTime::default(),
            roots: Roots::default(),
            target: Height::default(),
            transfer: None,
            queued: 0,
            pool_bytes: 0,
            work: false,
            connected: Signers::NONE,
        };
        Inbox::new(status, Clock::start())
    }

    fn ask(core: &Core) -> Result<(), Busy> {
        core.try_push(Input::Prove {
            ticket: Ticket(0),
            key: Vec::new(),
        })
    }

    #[test]
    fn so_much_of_clients_waits_and_no_more_until_some_of_it_was_taken() {
        let mut inbox = inbox();
        for _ in 0..MAX_WAITING {
            assert_eq!(ask(&inbox.core), Ok(()));
        }
        assert_eq!(ask(&inbox.core), Err(Busy::Full));
        let items = inbox.taker.take(1, Duration::ZERO);
        let inputs: Vec<Input> = items.into_iter().map(|item| item.input).collect();
        inbox.core.taken(&inputs);
        assert_eq!(ask(&inbox.core), Ok(()));
        assert_eq!(ask(&inbox.core), Err(Busy::Full));
    }

    /// A read that lies across a whole installation must show, not only one that ends within it.
    #[test]
    fn an_installation_shows_before_within_and_behind_it() {
        let core = inbox().core;
        let before = core.installed();
        assert!(before.is_some());
        core.shared.installations.fetch_add(1, Ordering::SeqCst);
        assert_eq!(core.installed(), None);
        core.shared.installations.fetch_add(1, Ordering::SeqCst);
        assert!(core.installed().is_some());
        assert_ne!(core.installed(), before);
    }

    #[test]
    fn a_core_that_has_stopped_says_so_however_often_it_is_asked() {
        let core = inbox().core;
        for _ in 0..=MAX_WAITING {
            assert_eq!(ask(&core), Err(Busy::Stopped));
        }
    }

    /// A validator that was halted on a full disk, with a snapshot ready, began to install it when it was told to stop.
    #[test]
    fn a_snapshot_is_installed_neither_on_a_full_disk_nor_in_a_stop() {
        assert_eq!(Step::next(false, false, true), Step::Install);
        assert_eq!(Step::next(false, true, true), Step::Halt);
        for (out, ready) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(Step::next(true, out, ready), Step::Turn);
        }
        assert_eq!(Step::next(false, false, false), Step::Turn);
        assert_eq!(Step::next(false, true, false), Step::Halt);
    }

    #[test]
    fn a_stop_settles_what_is_deferred_unless_the_disk_is_full() {
        let space = Space::default();
        for (free, settles) in [(1_000, true), (999, true), (499, false), (1_250, true)] {
            space.update(free, 1_000);
            assert_eq!(last_write(&space).settles(), settles, "{free} B left");
        }
    }
}
