//! The snapshots that this validator hands to peers, and the thread that does.
//!
//! A chunk is hashed before it is sent: what rotted on this disk takes its snapshot off the shelf, and is never served.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

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

/// What is on the shelf, newest last.
#[derive(Debug)]
pub struct Shelf {
    directory: Directory,
    manifests: RwLock<VecDeque<Arc<(Digest, Manifest)>>>,
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
        let mut manifests = VecDeque::new();
        for height in directory.heights()? {
            match files::read_manifest(&directory.path(height)) {
                Ok(manifest) if manifest.height == height && check(&manifest) => {
                    manifests.push_back(Arc::new((manifest.content(), manifest)));
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
            manifests: RwLock::new(manifests),
        })
    }

    /// Where the files are.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Puts a snapshot on the shelf, and takes the oldest off it until `keep` are left.
    pub fn add(&self, manifest: Manifest, keep: usize) {
        let mut gone = Vec::new();
        {
            let mut manifests = self.write();
            let height = manifest.height;
            manifests.retain(|entry| entry.1.height != height);
            manifests.push_back(Arc::new((manifest.content(), manifest)));
            while manifests.len() > keep.max(1) {
                gone.extend(manifests.pop_front().map(|entry| entry.1.height));
            }
        }
        for height in gone {
            if let Err(error) = self.directory.remove(height) {
                tracing::warn!(event = "snapshot_not_removed", %error, "an old snapshot cannot be removed");
            }
        }
    }

    /// Height of the oldest and of the newest snapshot.
    #[must_use]
    pub fn span(&self) -> Option<(Height, Height)> {
        let manifests = self.read();
        let (first, last) = (manifests.front()?, manifests.back()?);
        Some((first.1.height, last.1.height))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, VecDeque<Arc<(Digest, Manifest)>>> {
        self.manifests
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, VecDeque<Arc<(Digest, Manifest)>>> {
        self.manifests
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Shelf {
    fn newest(&self, above: Height) -> Option<Manifest> {
        let newest = self.read().back().cloned()?;
        (newest.1.height > above).then(|| newest.1.clone())
    }

    fn chunk(&self, height: Height, content: Digest, index: u32) -> Option<Vec<u8>> {
        let known =
            |entry: &&Arc<(Digest, Manifest)>| entry.1.height == height && entry.0 == content;
        let entry = self.read().iter().find(known).cloned()?;
        let piece = entry.1.pieces.get(usize::try_from(index).ok()?)?;
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
        self.write().retain(|entry| entry.1.height != height);
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
