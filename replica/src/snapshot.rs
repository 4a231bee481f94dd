//! Making snapshots of this replica's state, and handing them to peers. Both happen outside of the turn: what is committed
//! and certified does not change, so another thread can read it.
//!
//! A state is worth a snapshot when a final header claims it (V5): then everybody who has the genesis can check it. Which
//! header does is known two or three blocks later, so a state is frozen first, and its height looked up in the ledger
//! that has grown since ([`certified`]). Nothing here decides when a snapshot is made or where it is kept.

use quorate_execution::OpenError;
use quorate_execution::snapshot::{Chunk, Cutter};
use quorate_storage::ledger::{self, LedgerError};
use quorate_storage::{StoreError, View};
use quorate_types::accumulator::Accumulator;
use quorate_types::message::{ChunkResponse, SnapshotResponse, VerifiedMessage};
use quorate_types::snapshot::{MANIFEST_VERSION, MAX_ABOVE, MAX_PIECES, Piece};
use quorate_types::{Blob, Digest, Height, Manifest, Message, Validators};

use crate::view::StateReader;

/// Heights below the frozen one that are looked at: on a chain at rest the last blocks change nothing and are claimed by
/// nobody.
const BACK: u64 = 64;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The state.
    #[error("state: {0}")]
    State(#[from] OpenError<StoreError>),
    /// It needs more than [`MAX_PIECES`] pieces.
    #[error("the state is too large for a snapshot of {MAX_PIECES} pieces")]
    TooLarge,
}

/// What becomes of a frozen state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certified {
    /// It is certified: the manifest, without its pieces.
    Yes(Box<Manifest>),
    /// Not yet: the ledger has to grow.
    NotYet,
    /// No header will claim this very height: freeze another.
    Never,
}

/// Whether the state that `frozen` shows is certified by what is in `live`, the same ledger later on.
///
/// # Errors
/// [`LedgerError`].
pub fn certified(
    frozen: &dyn View,
    live: &dyn View,
    validators: &Validators,
) -> Result<Certified, LedgerError> {
    let tip = ledger::tip(frozen)?.height;
    let Some(state) = ledger::roots(frozen, tip)?.map(|roots| roots.state) else {
        return Ok(Certified::Never);
    };
    for back in 0..BACK {
        let Some(height) = tip.0.checked_sub(back).filter(|height| *height > 0) else {
            break;
        };
        let height = Height(height);
        let roots = ledger::roots(frozen, height)?;
        let Some(roots) = roots.filter(|roots| roots.state == state) else {
            break;
        };
        if let Some(mut manifest) = certificates(live, height, validators)? {
            manifest.roots = roots;
            manifest.accumulator = Accumulator::at(height.0, |node| {
                ledger::accumulator_node(frozen, node).map(Option::unwrap_or_default)
            })?;
            // What cannot convince others is no snapshot: a hole in this ledger, above all.
            manifest.pieces = vec![whole()];
            if manifest.check(validators).is_ok() {
                manifest.pieces.clear();
                return Ok(Certified::Yes(Box::new(manifest)));
            }
        }
    }
    let newest = ledger::block_by_height(live, ledger::tip(live)?.height)?;
    let passed = newest.is_some_and(|block| block.header.claim.height > tip);
    let settled = ledger::finality_at_or_above(live, tip)?.is_some();
    Ok(match passed && settled {
        true => Certified::Never,
        false => Certified::NotYet,
    })
}

/// A manifest with everything about a height that the ledger says.
fn certificates(
    live: &dyn View,
    height: Height,
    validators: &Validators,
) -> Result<Option<Manifest>, LedgerError> {
    let Some(finality) = ledger::finality(live, height)? else {
        return Ok(None);
    };
    let last = ledger::tip(live)?.height;
    let most = u64::try_from(MAX_ABOVE).expect("a small constant");
    let mut above = Vec::new();
    let mut claimed = false;
    let mut next = height.next();
    while next <= last && next.0 - height.0 <= most {
        let Some(block) = ledger::block_by_height(live, next)? else {
            return Ok(None);
        };
        let claim = block.header.claim;
        above.push(block.header);
        if !claimed && claim.height > height {
            return Ok(None);
        }
        claimed |= claim.height == height;
        let proof = match claimed {
            true => ledger::finality(live, next)?,
            false => None,
        };
        if let Some(claim) = proof {
            let span = u64::try_from(Manifest::span(validators)).expect("a few hundred");
            let mut blocks = Vec::new();
            for height in (height.0 + 1).saturating_sub(span)..=height.0 {
                let Some(block) = ledger::block_by_height(live, Height(height))? else {
                    return Ok(None);
                };
                blocks.push(block);
            }
            return Ok(Some(Manifest {
                version: MANIFEST_VERSION,
                chain: validators.chain(),
                height,
                roots: quorate_types::Roots::default(),
                accumulator: Accumulator::default(),
                blocks,
                finality,
                above,
                claim,
                pieces: Vec::new(),
            }));
        }
        next = next.next();
    }
    Ok(None)
}

/// The whole key space in one piece.
fn whole() -> Piece {
    Piece {
        start: Blob(Vec::new()),
        records: 0,
        bytes: 0,
        digest: Digest::default(),
    }
}

/// Cuts the frozen state into chunks and hands each to `keep`, encoded; returns the manifest with all pieces.
///
/// # Errors
/// [`SnapshotError`], or whatever `keep` fails with.
pub fn cut<E: From<SnapshotError>>(
    frozen: &dyn View,
    mut manifest: Manifest,
    mut keep: impl FnMut(u32, Vec<u8>) -> Result<(), E>,
) -> Result<Manifest, E> {
    let reader = StateReader(frozen);
    let mut cutter = Cutter::open(&reader).map_err(SnapshotError::State)?;
    if cutter.roots().state != manifest.roots.state {
        return Err(SnapshotError::State(OpenError::Damaged).into());
    }
    while let Some((start, chunk)) = cutter.cut().map_err(SnapshotError::State)? {
        if manifest.pieces.len() >= MAX_PIECES {
            return Err(SnapshotError::TooLarge.into());
        }
        let index = u32::try_from(manifest.pieces.len()).expect("at most MAX_PIECES");
        let records = u32::try_from(chunk.records.len()).expect("a chunk is bounded");
        let bytes = chunk.encode();
        manifest.pieces.push(Piece {
            start: Blob(start),
            records,
            bytes: u32::try_from(bytes.len()).expect("a chunk is bounded"),
            digest: Piece::digest(&bytes),
        });
        keep(index, bytes)?;
    }
    Ok(manifest)
}

/// Whether these are the bytes of a manifest's piece, and what the certified state holds there.
#[must_use]
pub fn check_chunk(manifest: &Manifest, index: u32, bytes: &[u8]) -> bool {
    let Ok(place) = usize::try_from(index) else {
        return false;
    };
    let Some(piece) = manifest.pieces.get(place) else {
        return false;
    };
    let end = manifest.pieces.get(place + 1);
    let end = end.map(|piece| piece.start.0.as_slice());
    let root = &manifest.roots.state;
    Chunk::decode(bytes).is_ok_and(|chunk| chunk.verify(root, &piece.start.0, end).is_ok())
}

/// Where a replica's snapshots are kept.
pub trait Shelf {
    /// The manifest of the newest snapshot above a height.
    fn newest(&self, above: Height) -> Option<Manifest>;

    /// A chunk of the snapshot of this height, if it has this content.
    fn chunk(&self, height: Height, content: Digest, index: u32) -> Option<Vec<u8>>;
}

/// The answer to a peer that asks for snapshots; `None` to any other message. `first` is the first height that is kept.
#[must_use]
pub fn answer(shelf: &dyn Shelf, first: Height, message: &VerifiedMessage) -> Option<Message> {
    match message {
        VerifiedMessage::SnapshotRequest(request) => {
            let manifest = shelf.newest(request.above);
            Some(Message::SnapshotResponse(Box::new(SnapshotResponse {
                first,
                manifest,
            })))
        }
        VerifiedMessage::ChunkRequest(request) => {
            let chunk = shelf.chunk(request.height, request.content, request.index);
            Some(Message::ChunkResponse(Box::new(ChunkResponse {
                content: request.content,
                index: request.index,
                chunk: chunk.map(Blob),
            })))
        }
        _ => None,
    }
}
