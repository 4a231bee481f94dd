//! `origin.state`: the records that a forked chain starts from, beside the genesis that names their root.
//!
//! ```text
//! "quorate origin 1\n" │ pieces: length 4, LE │ canonical: (key, record) …, ascending │ … │ 0000
//! ```
//!
//! Nothing that is read here is believed: only records that lead to the genesis' root become a state.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use quorate_execution::fork::{Foundation, is_taken_over};
use quorate_execution::{Entry, Reader as _, Space};
use quorate_replica::{BootError, Setup, found};
use quorate_storage::Store;
use quorate_types::codec::{self, MAX_ENCODED_BYTES};
use quorate_types::{Blob, Digest, Genesis};

use crate::exit::Failure;
use crate::scratch::Scratch;
use crate::staged::cannot;

/// Name of the file, beside `genesis.json`.
pub const FILE: &str = "origin.state";

const HEAD: &[u8] = b"quorate origin 1\n";
/// A piece ends with the record that brings its keys and records to this many bytes.
const PIECE_BYTES: usize = 1 << 20;
/// Records read from a state at a time.
const PAGE: usize = 256;

/// The records of a state that go over to a fork, ascending, page by page.
pub struct Records<'a> {
    state: &'a Scratch,
    from: Option<Vec<u8>>,
}

impl<'a> Records<'a> {
    /// Of a state on disk.
    #[must_use]
    pub fn of(state: &'a Scratch) -> Records<'a> {
        let from = Some(Vec::new());
        Records { state, from }
    }

    /// The next page; `None` behind the last.
    ///
    /// # Errors
    /// Status 1: the scratch.
    pub fn page(&mut self) -> Result<Option<Vec<Entry>>, Failure> {
        let Some(from) = self.from.take() else {
            return Ok(None);
        };
        let page = self.state.scan(Space::State, &from, None, PAGE);
        let mut page = page.map_err(|error| self.state.failure(&error))?;
        let Some((last, _)) = page.last() else {
            return Ok(None);
        };
        let mut next = last.clone();
        next.push(0);
        self.from = Some(next);
        page.retain(|(key, _)| is_taken_over(key));
        Ok(Some(page))
    }
}

/// The root that the origin of this genesis has to name, if `next` hands out the other chain's records. Only the tree of
/// them is put into `tree`, which is empty.
///
/// # Errors
/// Status 1: the scratch; and whatever `next` fails with.
pub fn root(
    genesis: &Genesis,
    tree: &mut Scratch,
    mut next: impl FnMut() -> Result<Option<Vec<Entry>>, Failure>,
) -> Result<Digest, Failure> {
    let begun = Foundation::begin(&*tree, genesis);
    let (mut foundation, changes) = begun.map_err(|error| tree.lost(error))?;
    tree.apply_tree(changes)?;
    while let Some(page) = next()? {
        let added = foundation.add(&*tree, page);
        tree.apply_tree(added.map_err(|error| tree.lost(error))?)?;
    }
    Ok(foundation.root())
}

/// As [`root`], of the records in the file that lies in a directory.
///
/// # Errors
/// Status 3: there is none. 8: it is damaged. And as [`root`].
pub fn root_of_file(
    genesis: &Genesis,
    directory: &Path,
    mut each: impl FnMut(u64) -> Result<(), Failure>,
) -> Result<Digest, Failure> {
    let mut pieces = Pieces::open(&directory.join(FILE))?;
    root(genesis, &mut Scratch::temporary()?, || {
        let piece = pieces.piece()?;
        let count = piece.as_ref().map_or(0, Vec::len);
        each(u64::try_from(count).expect("memory is smaller"))?;
        Ok(piece)
    })
}

/// Writes the file.
///
/// # Errors
/// Status 1; and whatever `next` fails with.
pub fn write(
    path: &Path,
    mut next: impl FnMut() -> Result<Option<Vec<Entry>>, Failure>,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| cannot("write", path, &error);
    let mut file = BufWriter::new(File::create_new(path).map_err(failed)?);
    file.write_all(HEAD).map_err(failed)?;
    let (mut piece, mut bytes) = (Vec::new(), 0);
    while let Some(page) = next()? {
        for (key, record) in page {
            bytes += key.len() + record.len();
            piece.push((Blob(key), Blob(record)));
            if bytes >= PIECE_BYTES {
                put(&mut file, &piece).map_err(failed)?;
                (piece, bytes) = (Vec::new(), 0);
            }
        }
    }
    if !piece.is_empty() {
        put(&mut file, &piece).map_err(failed)?;
    }
    file.write_all(&0u32.to_le_bytes()).map_err(failed)?;
    file.flush().map_err(failed)
}

fn put(file: &mut impl std::io::Write, piece: &Vec<(Blob, Blob)>) -> std::io::Result<()> {
    let bytes = codec::encode(piece);
    let length = u32::try_from(bytes.len()).expect("a piece is a megabyte and a record at most");
    file.write_all(&length.to_le_bytes())?;
    file.write_all(&bytes)
}

/// Reads the file piece by piece.
pub struct Pieces {
    file: BufReader<File>,
    path: PathBuf,
}

impl Pieces {
    /// Opens the file.
    ///
    /// # Errors
    /// Status 3: it is missing. 8: it is no such file.
    pub fn open(path: &Path) -> Result<Pieces, Failure> {
        let file = File::open(path).map_err(|error| {
            let message = format!("cannot read {}: {error}", path.display());
            Failure::config(message).hint(
                "this chain starts from another chain's state: take origin.state from beside the genesis that quorate \
                 fork made",
            )
        })?;
        let mut pieces = Pieces {
            file: BufReader::new(file),
            path: path.to_path_buf(),
        };
        let mut head = [0; HEAD.len()];
        pieces.read(&mut head)?;
        match head == HEAD {
            true => Ok(pieces),
            false => Err(pieces.damaged()),
        }
    }

    /// The next piece; `None` behind the last.
    ///
    /// # Errors
    /// Status 8: the file is damaged. 1: it cannot be read.
    pub fn piece(&mut self) -> Result<Option<Vec<Entry>>, Failure> {
        let mut length = [0; 4];
        self.read(&mut length)?;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length == 0 {
            return Ok(None);
        }
        if length > MAX_ENCODED_BYTES {
            return Err(self.damaged());
        }
        let mut bytes = vec![0; length];
        self.read(&mut bytes)?;
        let piece = codec::decode::<Vec<(Blob, Blob)>>(&bytes, MAX_ENCODED_BYTES);
        let piece = piece.map_err(|_| self.damaged())?;
        Ok(Some(piece.into_iter().map(|(k, r)| (k.0, r.0)).collect()))
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Failure> {
        let read = self.file.read_exact(bytes);
        read.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.damaged(),
            _ => cannot("read", &self.path, &error),
        })
    }

    fn damaged(&self) -> Failure {
        Failure::damaged(format!("{} is damaged", self.path.display()))
    }
}

/// Puts the state that the chain starts from into a store that lacks it. `directory` is where the genesis lies.
///
/// # Errors
/// Status 3: the file is missing. 6: it holds another state. 8: it is damaged.
pub fn found(directory: &Path, setup: &Setup, store: &mut dyn Store) -> Result<(), Failure> {
    if !found::is_needed(setup, &*store)? {
        return Ok(());
    }
    let mut pieces = Pieces::open(&directory.join(FILE))?;
    let done = found::found::<Founding>(setup, store, || Ok(pieces.piece()?));
    done.map_err(|error| match error {
        Founding::File(failure) => failure,
        Founding::Boot(BootError::State(quorate_execution::OpenError::RootMismatch { .. })) => {
            other_state(&pieces.path)
        }
        Founding::Boot(error) => error.into(),
    })
}

/// Why a state was not put together.
enum Founding {
    File(Failure),
    Boot(BootError),
}

impl From<BootError> for Founding {
    fn from(error: BootError) -> Founding {
        Founding::Boot(error)
    }
}

impl From<Failure> for Founding {
    fn from(failure: Failure) -> Founding {
        Founding::File(failure)
    }
}

/// The file leads to another root than the genesis names.
#[must_use]
pub fn other_state(path: &Path) -> Failure {
    let message = format!("{} is not the state that the genesis names", path.display());
    Failure::verification(message)
}
