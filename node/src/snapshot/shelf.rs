//! The snapshots that this validator hands to peers, and the thread that does.
//!
//! A chunk is hashed before it is sent: what rotted on this disk takes its snapshot off the shelf, and is never served.
//! One that is being fetched stays beyond its time, or whoever takes longer than new ones are made would never join.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate_replica::Target;
use quorate_replica::snapshot::{Shelf as Source, answer};
use quorate_storage::{RocksReader, ledger};
use quorate_types::message::VerifiedMessage;
use quorate_types::snapshot::Piece;
use quorate_types::{Digest, Height, Manifest, ValidatorIndex};

use super::files::{self, Directory, FileError};
use crate::net::{Credit, Network};

/// Requests that wait; further ones are not answered, and their peers ask another.
const WAITING: usize = 256;
/// After each chunk, so that peers that join never take a disk or a core for themselves: at most 100 MB/s.
const PAUSE: Duration = Duration::from_millis(10);

/// A snapshot of which a chunk was asked so lately is being fetched: longer than a peer rests between two questions.
const FETCHED: Duration = Duration::from_secs(30);
/// So long one that is being fetched is kept beyond its time: nobody can hold the past here for ever by asking.
const HELD: Duration = Duration::from_secs(3_600);

/// What is on the shelf, newest last.
#[derive(Debug)]
pub struct Shelf {
    directory: Directory,
    snapshots: RwLock<VecDeque<Arc<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    content: Digest,
    manifest: Manifest,
    fetched: Mutex<Use>,
}

/// Whether a snapshot is being fetched.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    /// When a chunk was asked for last.
    asked: Option<Instant>,
    /// When it would have gone if nobody had asked.
    over: Option<Instant>,
}

impl Use {
    /// Whether it stays although its time is over.
    fn holds(&mut self, now: Instant) -> bool {
        let over = *self.over.get_or_insert(now);
        let fetched = |asked| now.duration_since(asked) < FETCHED;
        self.asked.is_some_and(fetched) && now.duration_since(over) < HELD
    }
}

impl Shelf {
    /// The snapshots of a home, those that pass `check`.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub fn open(
        directory: Directory,
        check: impl Fn(&Manifest) -> bool,
    ) -> Result<Shelf, FileError> {
        let mut snapshots = VecDeque::new();
        for height in directory.heights()? {
            match files::read_manifest(&directory.path(height)) {
                Ok(manifest) if manifest.height == height && check(&manifest) => {
                    snapshots.push_back(Entry::new(manifest));
                }
                Ok(_) => {
                    tracing::error!(event = "snapshot_foreign", %height, "a snapshot is of another chain or height")
                }
                Err(error) => {
                    tracing::error!(event = "snapshot_unusable", %error, "a snapshot cannot be used")
                }
            }
        }
        Ok(Shelf {
            directory,
            snapshots: RwLock::new(snapshots),
        })
    }

    /// Where the files are.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Puts a snapshot on the shelf, and takes the oldest off it until `keep` are left, and one more if that is being
    /// fetched.
    pub fn add(&self, manifest: Manifest, keep: usize) {
        let gone = {
            let mut snapshots = self.write();
            let height = manifest.height;
            snapshots.retain(|entry| entry.manifest.height != height);
            snapshots.push_back(Entry::new(manifest));
            sweep(&mut snapshots, keep.max(1), Instant::now())
        };
        for height in gone {
            if let Err(error) = self.directory.remove(height) {
                tracing::warn!(event = "snapshot_not_removed", %error, "an old snapshot cannot be removed");
            }
        }
    }

    /// Height of the oldest and of the newest snapshot.
    #[must_use]
    pub fn span(&self) -> Option<(Height, Height)> {
        let snapshots = self.read();
        let (first, last) = (snapshots.front()?, snapshots.back()?);
        Some((first.manifest.height, last.manifest.height))
    }

    fn read(&self) -> RwLockReadGuard<'_, VecDeque<Arc<Entry>>> {
        self.snapshots
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, VecDeque<Arc<Entry>>> {
        self.snapshots
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn new(manifest: Manifest) -> Arc<Entry> {
        Arc::new(Entry {
            content: manifest.content(),
            manifest,
            fetched: Mutex::default(),
        })
    }

    fn fetched(&self) -> MutexGuard<'_, Use> {
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the oldest away until `keep` are left, but for the first that is being fetched. Returns their heights.
fn sweep(snapshots: &mut VecDeque<Arc<Entry>>, keep: usize, now: Instant) -> Vec<Height> {
    let over = snapshots.len().saturating_sub(keep);
    let old: Vec<_> = snapshots.drain(..over).collect();
    let held = old.iter().position(|entry| entry.fetched().holds(now));
    let mut gone = Vec::new();
    for (place, entry) in old.into_iter().enumerate() {
        match Some(place) == held {
            true => snapshots.push_front(entry),
            false => gone.push(entry.manifest.height),
        }
    }
    gone
}

impl Source for Shelf {
    fn newest(&self, above: Height) -> Option<Manifest> {
        let newest = self.read().back().cloned()?;
        (newest.manifest.height > above).then(|| newest.manifest.clone())
    }

    fn chunk(&self, height: Height, content: Digest, index: u32) -> Option<Vec<u8>> {
        let known =
            |entry: &&Arc<Entry>| entry.manifest.height == height && entry.content == content;
        let entry = self.read().iter().find(known).cloned()?;
        entry.fetched().asked = Some(Instant::now());
        let piece = entry.manifest.pieces.get(usize::try_from(index).ok()?)?;
        let read = files::read_chunk(&self.directory.path(height), index);
        match read {
            Ok(bytes) if Piece::digest(&bytes) == piece.digest => return Some(bytes),
            Ok(_) => {
                tracing::error!(event = "chunk_damaged", %height, index, "a chunk is damaged; its snapshot is not served any more")
            }
            Err(error) => {
                tracing::error!(event = "chunk_unreadable", %error, "a chunk cannot be read; its snapshot is not served any more")
            }
        }
        self.write().retain(|entry| entry.manifest.height != height);
        None
    }
}

/// A peer's request.
struct Request {
    from: ValidatorIndex,
    message: VerifiedMessage,
    _credit: Credit,
}

/// Where requests go.
#[derive(Clone)]
pub struct Counter(SyncSender<Request>);

/// Where they are waited for.
pub struct Queue(Receiver<Request>);

/// Both ends.
#[must_use]
pub fn counter() -> (Counter, Queue) {
    let (sender, receiver) = sync_channel(WAITING);
    (Counter(sender), Queue(receiver))
}

impl Counter {
    /// Whether the message is for the shelf.
    #[must_use]
    pub fn takes(message: &VerifiedMessage) -> bool {
        matches!(
            message,
            VerifiedMessage::SnapshotRequest(_) | VerifiedMessage::ChunkRequest(_)
        )
    }

    /// Hands a request over. Never waits; a full queue swallows it.
    pub fn push(&self, from: ValidatorIndex, message: VerifiedMessage, credit: Credit) {
        let request = Request {
            from,
            message,
            _credit: credit,
        };
        match self.0.try_send(request) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                tracing::debug!(%from, "too many ask for snapshots");
            }
        }
    }
}

impl Queue {
    /// Starts the thread that answers.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(
        self,
        shelf: Arc<Shelf>,
        reader: RocksReader,
        network: Arc<Network>,
        stopping: Arc<AtomicBool>,
    ) -> io::Result<JoinHandle<()>> {
        let serve = move || {
            while !stopping.load(Ordering::Relaxed) {
                let request = match self.0.recv_timeout(Duration::from_millis(250)) {
                    Ok(request) => request,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                let first = ledger::first(&reader).unwrap_or_default();
                if let Some(message) = answer(&*shelf, first, &request.message) {
                    network.send(Target::One(request.from), &message);
                    if matches!(request.message, VerifiedMessage::ChunkRequest(_)) {
                        std::thread::sleep(PAUSE);
                    }
                }
            }
        };
        std::thread::Builder::new()
            .name(String::from("shelf"))
            .spawn(serve)
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::tests::manifest;
    use super::*;

    fn at(heights: &[u64]) -> VecDeque<Arc<Entry>> {
        let entry = |height: &u64| Entry::new(manifest(*height, b"chunk"));
        heights.iter().map(entry).collect()
    }

    fn heights(snapshots: &VecDeque<Arc<Entry>>) -> Vec<u64> {
        snapshots
            .iter()
            .map(|entry| entry.manifest.height.0)
            .collect()
    }

    /// With a snapshot at every 25 blocks each was gone before a validator that joined had all of it.
    #[test]
    fn what_is_being_fetched_stays_and_not_for_ever() {
        let now = Instant::now();
        let mut shelf = at(&[10, 20, 30, 40]);
        assert_eq!(sweep(&mut shelf, 3, now), [Height(10)], "nobody asks");
        shelf[0].fetched().asked = Some(now);
        shelf[1].fetched().asked = Some(now);
        shelf.extend(at(&[50, 60]));
        assert_eq!(sweep(&mut shelf, 2, now), [Height(30), Height(40)], "one");
        assert_eq!(heights(&shelf), [20, 50, 60]);
        // Whoever fetched it has it, or has gone.
        let mut done = shelf.clone();
        assert_eq!(sweep(&mut done, 2, now + FETCHED), [Height(20)]);
        // Whoever asks for ever does not get it for ever.
        let late = now + HELD;
        shelf[0].fetched().asked = Some(late);
        assert_eq!(sweep(&mut shelf, 2, late), [Height(20)]);
    }
}
