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
use quorate_execution::{Entry, Executor, Reader as _, Space};
use quorate_replica::{BootError, Setup, found};
use quorate_storage::Store;
use quorate_types::codec::{self, MAX_ENCODED_BYTES};
use quorate_types::{Blob, Digest, Genesis};

use crate::exit::Failure;
use crate::memory::Memory;
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
    state: &'a Memory,
    from: Option<Vec<u8>>,
}

impl<'a> Records<'a> {
    /// Of a state in memory.
    #[must_use]
    pub fn of(state: &'a Memory) -> Records<'a> {
        let from = Some(Vec::new());
        Records { state, from }
    }
}

impl Iterator for Records<'_> {
    type Item = Vec<Entry>;

    fn next(&mut self) -> Option<Vec<Entry>> {
        let from = self.from.take()?;
        let Ok(mut page) = self.state.scan(Space::State, &from, None, PAGE);
        let mut next = page.last()?.0.clone();
        next.push(0);
        self.from = Some(next);
        page.retain(|(key, _)| is_taken_over(key));
        Some(page)
    }
}

/// The root that the origin of this genesis has to name.
///
/// # Errors
/// Status 8: the state cannot be put together.
pub fn root(genesis: &Genesis, state: &Memory) -> Result<Digest, Failure> {
    // It needs no copy of the records, only of the tree's pages.
    let mut memory = Memory::default();
    let (mut foundation, changes) =
        Foundation::begin(&memory, genesis).map_err(Failure::damaged)?;
    memory.apply_tree(changes);
    for page in Records::of(state) {
        let changes = foundation.add(&memory, page).map_err(Failure::damaged)?;
        memory.apply_tree(changes);
    }
    Ok(foundation.root())
}

/// Writes the file.
///
/// # Errors
/// Status 1.
pub fn write(path: &Path, state: &Memory) -> Result<(), Failure> {
    let failed = |error: std::io::Error| cannot("write", path, &error);
    let mut file = BufWriter::new(File::create_new(path).map_err(failed)?);
    file.write_all(HEAD).map_err(failed)?;
    let (mut piece, mut bytes) = (Vec::new(), 0);
    for (key, record) in Records::of(state).flatten() {
        bytes += key.len() + record.len();
        piece.push((Blob(key), Blob(record)));
        if bytes >= PIECE_BYTES {
            put(&mut file, &piece).map_err(failed)?;
            (piece, bytes) = (Vec::new(), 0);
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
struct Pieces {
    file: BufReader<File>,
    path: PathBuf,
}

impl Pieces {
    fn open(path: PathBuf) -> Result<Pieces, Failure> {
        let file = File::open(&path).map_err(|error| {
            let message = format!("cannot read {}: {error}", path.display());
            Failure::config(message).hint(
                "this chain starts from another chain's state: take origin.state from beside the genesis that quorate \
                 fork made",
            )
        })?;
        let mut pieces = Pieces {
            file: BufReader::new(file),
            path,
        };
        let mut head = [0; HEAD.len()];
        pieces.read(&mut head)?;
        match head == HEAD {
            true => Ok(pieces),
            false => Err(pieces.damaged()),
        }
    }

    fn next(&mut self) -> Result<Option<Vec<Entry>>, Failure> {
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
    let mut pieces = Pieces::open(directory.join(FILE))?;
    let done = found::found::<Founding>(setup, store, || Ok(pieces.next()?));
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

fn other_state(path: &Path) -> Failure {
    let message = format!("{} is not the state that the genesis names", path.display());
    Failure::verification(message)
}

/// The state of height 0, in memory. `directory` is where the genesis lies, if it lies anywhere.
///
/// # Errors
/// As [`found()`].
pub fn in_memory(
    directory: Option<&Path>,
    genesis: &Genesis,
) -> Result<(Memory, Executor), Failure> {
    let mut memory = Memory::default();
    if genesis.origin.is_none() {
        let (executor, changes, _) = Executor::genesis(genesis);
        memory.apply(changes);
        return Ok((memory, executor));
    }
    let Some(directory) = directory else {
        let message = "this chain starts from another chain's state, which is not in its genesis";
        let hint = "name the genesis that lies beside origin.state: --genesis FILE";
        return Err(Failure::config(message).hint(hint));
    };
    let mut pieces = Pieces::open(directory.join(FILE))?;
    let (mut foundation, changes) =
        Foundation::begin(&memory, genesis).map_err(Failure::damaged)?;
    memory.apply(changes);
    while let Some(records) = pieces.next()? {
        let changes = foundation.add(&memory, records).map_err(Failure::damaged)?;
        memory.apply(changes);
    }
    let changes = foundation.finish::<std::convert::Infallible>(genesis);
    memory.apply(changes.map_err(|_| other_state(&pieces.path))?);
    let executor = Executor::open(&memory).map_err(Failure::damaged)?;
    Ok((memory, executor))
}
