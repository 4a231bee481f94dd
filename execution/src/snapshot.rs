//! A state in chunks: cut from a replica's own records, proved chunk by chunk, and put together again elsewhere.
//!
//! A chunk holds all records of a part of the key space, and the proof that under the certified state root there are no
//! others in it ([`tree::RangeProof`]). So each is judged alone, before it is kept, by whoever knows the root: it does not
//! matter who sent it. The root does not depend on history, so the tree that [`Installer`] grows from the records is the
//! one that was certified, in pages of its own.
//!
//! What is cut is held against the tree that the executor keeps: a record that rotted in storage is an error here, never a
//! chunk. Nothing here reads or writes files, or decides which height is worth a snapshot.
//!
//! ```text
//! chunk     version 2, LE (1) │ canonical: records (key, record), ascending │ range proof
//! ```

use alloc::vec::Vec;

use quorate_types::accumulator::Accumulator;
use quorate_types::codec::{self, DecodeError, MAX_ENCODED_BYTES};
use quorate_types::{Blob, Digest, Height, Roots};
use serde::{Deserialize, Serialize};

use crate::executor::OpenError;
use crate::persist::{self, AnchorRecord, Pages};
use crate::record;
use crate::space::{Change, Entry, Reader, Space};
use crate::tree::{self, RangeProof, Tree, TreeError, TreeLimits};

/// Version that every encoded chunk begins with.
pub const CHUNK_VERSION: u16 = 1;
/// A chunk ends with the record that brings its keys and records to this many bytes.
pub const CHUNK_BYTES: usize = 1 << 20;

/// Records read at a time.
const SCAN: usize = 256;
/// Memory for clean pages while a state is cut or put together.
const CACHE_BYTES: usize = 16 << 20;

/// All records of a part of the key space, and the proof of that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Keys with their records, ascending.
    pub records: Vec<(Blob, Blob)>,
    /// That there are no others.
    pub proof: RangeProof,
}

/// A chunk behind the key that it starts at.
pub type Started = (Vec<u8>, Chunk);

/// Records, and the key behind them.
type Records = (Vec<(Blob, Blob)>, Option<Vec<u8>>);

/// Why a chunk is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The bytes are no chunk.
    #[error(transparent)]
    Encoding(#[from] DecodeError),
    /// Another version of the format.
    #[error("chunk format {0} is not {CHUNK_VERSION}, the one this release reads")]
    Version(u16),
    /// The records are not those of the state.
    #[error("not what the certified state holds: {0}")]
    Proof(#[from] tree::ProofError),
}

impl Chunk {
    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = codec::encode(&CHUNK_VERSION);
        codec::encode_into(self, &mut bytes);
        bytes
    }

    /// Reads what [`Chunk::encode`] wrote.
    ///
    /// # Errors
    /// [`ChunkError::Encoding`], [`ChunkError::Version`].
    pub fn decode(bytes: &[u8]) -> Result<Chunk, ChunkError> {
        let Some((version, rest)) = bytes.split_first_chunk() else {
            return Err(ChunkError::Encoding(DecodeError::Malformed));
        };
        match u16::from_le_bytes(*version) {
            CHUNK_VERSION => Ok(codec::decode(rest, MAX_ENCODED_BYTES)?),
            version => Err(ChunkError::Version(version)),
        }
    }

    /// Checks that under `root` these are all records with start ≤ key < end; no `end` is the end of the key space.
    ///
    /// # Errors
    /// [`ChunkError::Proof`]: do not keep it.
    pub fn verify(
        &self,
        root: &Digest,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<(), ChunkError> {
        let entries = self.records.iter();
        let entries: Vec<(Vec<u8>, Digest)> = entries
            .map(|(key, record)| (key.0.clone(), record::digest(&record.0)))
            .collect();
        Ok(self.proof.verify(root, start, end, &entries)?)
    }
}

/// Cuts the state that a reader shows. The reader must show the same for as long as this lives.
#[derive(Debug)]
pub struct Cutter<'r, R> {
    reader: &'r R,
    tree: Tree,
    height: Height,
    roots: Roots,
    /// Where the next chunk starts; none after the last.
    next: Option<Vec<u8>>,
}

impl<'r, R: Reader> Cutter<'r, R> {
    /// Opens the state and checks its roots, as a start does.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(reader: &'r R) -> Result<Cutter<'r, R>, OpenError<R::Error>> {
        let mut restored = persist::restore(reader)?;
        restored.tree.set_cache_bytes(CACHE_BYTES);
        Ok(Cutter {
            reader,
            tree: restored.tree,
            height: restored.tip.height,
            roots: restored.roots,
            next: Some(Vec::new()),
        })
    }

    /// The executed height.
    #[must_use]
    pub fn height(&self) -> Height {
        self.height
    }

    /// The roots after it.
    #[must_use]
    pub fn roots(&self) -> Roots {
        self.roots
    }

    /// The next chunk with its start, or `None` behind the last.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::Damaged`] if the records are not those of the tree.
    pub fn cut(&mut self) -> Result<Option<Started>, OpenError<R::Error>> {
        let Some(start) = self.next.take() else {
            return Ok(None);
        };
        let (records, end) = self.records(&start)?;
        let pages = Pages(self.reader);
        let reply = self
            .tree
            .prove_range(&pages, &start, end.as_deref(), usize::MAX)
            .map_err(opened)?;
        let same = reply.entries.len() == records.len()
            && reply.entries.iter().zip(&records).all(|(entry, found)| {
                entry.0 == found.0.0 && entry.1 == record::digest(&found.1.0)
            });
        if !same {
            return Err(OpenError::Damaged);
        }
        self.next = end;
        let proof = reply.proof;
        Ok(Some((start, Chunk { records, proof })))
    }

    /// Records from `start` on, up to a chunk's size, and the key behind them.
    fn records(&self, start: &[u8]) -> Result<Records, OpenError<R::Error>> {
        let (mut records, mut bytes) = (Vec::new(), 0usize);
        let mut from = start.to_vec();
        loop {
            let page = self.reader.scan(Space::State, &from, None, SCAN);
            let page = page.map_err(OpenError::Source)?;
            let Some((last, _)) = page.last() else {
                return Ok((records, None));
            };
            from = crate::overlay::successor(last);
            for (key, record) in page {
                if bytes >= CHUNK_BYTES {
                    return Ok((records, Some(key)));
                }
                bytes = bytes.saturating_add(key.len()).saturating_add(record.len());
                records.push((Blob(key), Blob(record)));
            }
        }
    }
}

/// Grows a state from chunks, in their order. What it hands out for a chunk is to be written in one batch, so that it can
/// be taken up again behind any chunk.
#[derive(Debug)]
pub struct Installer {
    tree: Tree,
}

impl Installer {
    /// What has to be gone before the first chunk is written: ranges of keys.
    #[must_use]
    pub fn ranges() -> Vec<(Space, Vec<u8>, Vec<u8>)> {
        persist::ranges()
    }

    /// Begins with nothing.
    #[must_use]
    pub fn begin() -> Installer {
        let mut tree = Tree::new(TreeLimits::default());
        tree.set_cache_bytes(CACHE_BYTES);
        Installer { tree }
    }

    /// Goes on behind the last chunk whose changes were written.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn resume<R: Reader>(reader: &R) -> Result<Installer, OpenError<R::Error>> {
        let mut installer = Installer::begin();
        if let Some(anchor) = persist::anchor(reader)? {
            installer.tree = Tree::open(TreeLimits::default(), &anchor.anchor);
            installer.tree.set_cache_bytes(CACHE_BYTES);
        }
        Ok(installer)
    }

    /// Takes the next chunk, which was verified.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn add<R: Reader>(
        &mut self,
        reader: &R,
        chunk: Chunk,
    ) -> Result<Vec<Change>, OpenError<R::Error>> {
        let records = chunk.records.into_iter();
        self.add_records(reader, records.map(|(key, record)| (key.0, record.0)))
    }

    /// Takes records of which nothing was verified. Whoever does so trusts what [`Installer::finish`] says of the root.
    pub(crate) fn add_records<R: Reader>(
        &mut self,
        reader: &R,
        records: impl Iterator<Item = Entry>,
    ) -> Result<Vec<Change>, OpenError<R::Error>> {
        let (mut edits, mut changes) = (Vec::new(), Vec::new());
        for (key, record) in records {
            edits.push((key.clone(), Some(record::digest(&record))));
            changes.push(Change::put(Space::State, key, record));
        }
        self.tree.apply(&Pages(reader), &edits).map_err(opened)?;
        let flush = self.tree.flush();
        let pages = flush.pages.into_iter();
        changes.extend(pages.map(|(key, value)| Change {
            space: Space::Tree,
            key,
            value,
        }));
        let record = AnchorRecord {
            height: Height(0),
            anchor: flush.anchor,
        };
        persist::put_anchor(&mut changes, &record);
        Ok(changes)
    }

    /// The root of what was added so far.
    pub(crate) fn root(&mut self) -> Digest {
        self.tree.root()
    }

    /// The end, after all chunks: from the batch with these changes on, the state is that of `height`.
    ///
    /// # Errors
    /// [`OpenError::RootMismatch`] if the chunks were not those of the certified state.
    pub fn finish<E>(
        mut self,
        height: Height,
        roots: &Roots,
        accumulator: &Accumulator,
    ) -> Result<Vec<Change>, OpenError<E>> {
        let counted = accumulator.is_whole() && accumulator.count() == height.0;
        if !counted || self.tree.root() != roots.state || accumulator.root() != roots.receipts {
            return Err(OpenError::RootMismatch { height });
        }
        let mut changes = Vec::new();
        let anchor = self.tree.flush().anchor;
        persist::put_anchor(&mut changes, &AnchorRecord { height, anchor });
        let tip = persist::Tip {
            height,
            accumulator: accumulator.clone(),
        };
        persist::put_block(&mut changes, &tip, roots, accumulator.peaks());
        Ok(changes)
    }
}

fn opened<E>(error: TreeError<E>) -> OpenError<E> {
    match error {
        TreeError::Source(error) => OpenError::Source(error),
        _ => OpenError::Damaged,
    }
}
