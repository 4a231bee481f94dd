//! Snapshots as files.
//!
//! ```text
//! HOME/snapshots/
//! └── 00000000000000012000/       height, 20 digits
//!     ├── manifest                canonical manifest │ SHA-256 of it (tag quorate/snapshot, "manifest"), 32 bytes
//!     ├── chunk-00000             canonical chunk
//!     └── …
//! ```
//!
//! A snapshot is written to `HEIGHT.new`, file by file synced, and renamed when it is whole: what has its name is whole, and
//! what is left of another is removed by the next start. Nothing that is read here is believed: a manifest is checked
//! against certificates, and a chunk against the root in it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use quorate_crypto::{Domain, hash};
use quorate_types::codec::{self, MAX_ENCODED_BYTES};
use quorate_types::{Digest, Height, Manifest};

const MANIFEST: &str = "manifest";
const UNFINISHED: &str = "new";

/// Why a file of a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file does not hold what was written.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
    },
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_path_buf();
    move |source| FileError::Io {
        operation,
        path,
        source,
    }
}

/// The snapshots of one home.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Of a home; makes it if it is not there, and removes what was not finished.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub fn open(home: &Path) -> Result<Directory, FileError> {
        let root = home.join("snapshots");
        if !root.is_dir() {
            fs::create_dir(&root).map_err(failed("create", &root))?;
            sync_directory(home)?;
        }
        let directory = Directory { root };
        for entry in fs::read_dir(&directory.root).map_err(failed("list", &directory.root))? {
            let path = entry.map_err(failed("list", &directory.root))?.path();
            if path.extension().is_some_and(|end| end == UNFINISHED) {
                fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
            }
        }
        Ok(directory)
    }

    /// Of a home, as it is: nothing is made or removed.
    #[must_use]
    pub fn look(home: &Path) -> Directory {
        let root = home.join("snapshots");
        Directory { root }
    }

    /// Heights of the whole snapshots, ascending.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub fn heights(&self) -> Result<Vec<Height>, FileError> {
        let mut heights = Vec::new();
        if !self.root.is_dir() {
            return Ok(heights);
        }
        for entry in fs::read_dir(&self.root).map_err(failed("list", &self.root))? {
            let name = entry.map_err(failed("list", &self.root))?.file_name();
            let height = name.to_str().filter(|name| name.len() == 20);
            heights.extend(height.and_then(|name| name.parse().ok()).map(Height));
        }
        heights.sort_unstable();
        Ok(heights)
    }

    /// Where the snapshot of a height is, or would be.
    #[must_use]
    pub fn path(&self, height: Height) -> PathBuf {
        self.root.join(format!("{:020}", height.0))
    }

    /// Begins a snapshot.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub fn begin(&self, height: Height) -> Result<Draft, FileError> {
        let target = self.path(height);
        let path = target.with_extension(UNFINISHED);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
        }
        fs::create_dir_all(&path).map_err(failed("create", &path))?;
        Ok(Draft { path, target })
    }

    /// Removes a snapshot: its name first, so that what is left of it after a crash is not taken for one.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub fn remove(&self, height: Height) -> Result<(), FileError> {
        let path = self.path(height);
        let doomed = path.with_extension(UNFINISHED);
        fs::rename(&path, &doomed).map_err(failed("rename", &path))?;
        sync_directory(&self.root)?;
        fs::remove_dir_all(&doomed).map_err(failed("remove", &doomed))
    }
}

/// A snapshot that is being written. Dropped before it is finished, it is removed: what failed for want of room gives back
/// what it took. After a crash, the next start does that.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    target: PathBuf,
}

impl Draft {
    /// Adds a chunk, durably.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub fn chunk(&mut self, index: u32, bytes: &[u8]) -> Result<(), FileError> {
        write_synced(&chunk_path(&self.path, index), bytes)
    }

    /// Adds the manifest, and gives the snapshot its name, durably. Returns where it is.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub fn finish(self, manifest: &Manifest) -> Result<PathBuf, FileError> {
        let mut bytes = codec::encode(manifest);
        bytes.extend_from_slice(check(&bytes).as_bytes());
        write_synced(&self.path.join(MANIFEST), &bytes)?;
        sync_directory(&self.path)?;
        fs::rename(&self.path, &self.target).map_err(failed("rename", &self.path))?;
        sync_directory(self.target.parent().unwrap_or(Path::new(".")))?;
        Ok(self.target.clone())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Finished, it has another name by now. What cannot be removed is by the next start.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The manifest in a snapshot's directory. Its certificates are not checked here.
///
/// # Errors
/// [`FileError`].
pub fn read_manifest(snapshot: &Path) -> Result<Manifest, FileError> {
    let path = snapshot.join(MANIFEST);
    let bytes = fs::read(&path).map_err(failed("read", &path))?;
    let found = bytes.split_last_chunk::<32>();
    let body = found.filter(|(body, sum)| check(body).as_bytes() == *sum);
    let manifest = body.and_then(|(body, _)| codec::decode(body, MAX_ENCODED_BYTES).ok());
    manifest.ok_or(FileError::Damaged { path })
}

/// A chunk in a snapshot's directory. Nothing about it is checked.
///
/// # Errors
/// [`FileError::Io`].
pub fn read_chunk(snapshot: &Path, index: u32) -> Result<Vec<u8>, FileError> {
    let path = chunk_path(snapshot, index);
    fs::read(&path).map_err(failed("read", &path))
}

fn chunk_path(snapshot: &Path, index: u32) -> PathBuf {
    snapshot.join(format!("chunk-{index:05}"))
}

fn check(manifest: &[u8]) -> Digest {
    hash(Domain::Snapshot, &[b"manifest", manifest])
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = File::create(path).map_err(failed("create", path))?;
    file.write_all(bytes).map_err(failed("write", path))?;
    file.sync_all().map_err(failed("sync", path))
}

fn sync_directory(path: &Path) -> Result<(), FileError> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(failed("sync", path))
}

#[cfg(test)]
pub(super) mod tests {
    use quorate_types::accumulator::Accumulator;
    use quorate_types::snapshot::{MANIFEST_VERSION, Piece};
    use quorate_types::{Blob, BlockId, Cc, ChainId, Finality, Qc, Roots, Round};

    use super::*;

    pub(in crate::snapshot) fn manifest(height: u64, chunk: &[u8]) -> Manifest {
        let (round, block) = (Round::default(), BlockId::default());
        let finality = Finality {
            cc: Cc::anchor(round, block, Height(height)),
            qc: Qc::anchor(round, block),
        };
        Manifest {
            version: MANIFEST_VERSION,
            chain: ChainId::default(),
            height: Height(height),
            roots: Roots::default(),
            accumulator: Accumulator::default(),
            blocks: vec![],
            finality: finality.clone(),
            above: vec![],
            claim: finality,
            pieces: vec![Piece {
                start: Blob(vec![]),
                records: 1,
                bytes: 5,
                digest: Piece::digest(chunk),
            }],
        }
    }

    #[test]
    fn only_what_is_whole_has_a_name() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let directory = Directory::open(home.path()).expect("made");
        let mut draft = directory.begin(Height(7)).expect("made");
        draft.chunk(0, b"chunk").expect("written");
        assert!(directory.heights().expect("readable").is_empty());
        // A crash: the next start removes it.
        std::mem::forget(draft);
        let directory = Directory::open(home.path()).expect("there");
        assert!(
            !home
                .path()
                .join("snapshots/00000000000000000007.new")
                .exists()
        );
        for height in [7, 9] {
            let mut draft = directory.begin(Height(height)).expect("made");
            draft.chunk(0, b"chunk").expect("written");
            draft.finish(&manifest(height, b"chunk")).expect("whole");
        }
        assert_eq!(
            directory.heights().expect("readable"),
            [Height(7), Height(9)]
        );
        let path = directory.path(Height(7));
        let found = read_manifest(&path).expect("whole");
        assert_eq!(found, manifest(7, b"chunk"));
        assert_eq!(read_chunk(&path, 0).expect("there"), b"chunk");
        assert!(read_chunk(&path, 1).is_err());
        directory.remove(Height(7)).expect("removed");
        assert_eq!(directory.heights().expect("readable"), [Height(9)]);
    }

    #[test]
    fn a_snapshot_that_is_given_up_leaves_nothing() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let directory = Directory::open(home.path()).expect("made");
        let mut draft = directory.begin(Height(7)).expect("made");
        draft.chunk(0, b"chunk").expect("written");
        drop(draft);
        let left = fs::read_dir(home.path().join("snapshots")).expect("there");
        assert_eq!(left.count(), 0);
        // Its very last step may fail, too: here its name is taken.
        let draft = directory.begin(Height(7)).expect("made");
        draft.finish(&manifest(7, b"")).expect("whole");
        let draft = directory.begin(Height(7)).expect("made");
        assert!(draft.finish(&manifest(7, b"")).is_err());
        let left = fs::read_dir(home.path().join("snapshots")).expect("there");
        assert_eq!(left.count(), 1, "the one that has the name");
    }

    #[test]
    fn any_flipped_byte_of_a_manifest_is_noticed() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let directory = Directory::open(home.path()).expect("made");
        let draft = directory.begin(Height(7)).expect("made");
        let path = draft.finish(&manifest(7, b"")).expect("whole");
        let file = path.join(MANIFEST);
        let bytes = fs::read(&file).expect("there");
        for place in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[place] ^= 1;
            fs::write(&file, forged).expect("written");
            assert!(read_manifest(&path).is_err(), "byte {place}");
        }
        fs::write(&file, &bytes[..20]).expect("written");
        assert!(read_manifest(&path).is_err());
    }
}
