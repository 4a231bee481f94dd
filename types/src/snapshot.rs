//! What names a snapshot: the manifest, and why a reader who trusts nobody but the genesis may believe it.
//!
//! Everything but the list of pieces is checked against certificates here ([`Manifest::check`]): the block at the
//! snapshot's height is final, and a later final block claims the roots that the state has (V5). The list of pieces is
//! only a proposal how to cut the work: each piece carries its own proof against the certified state root, so a false list
//! costs time and nothing else. It must never be trusted for what the state holds.
//!
//! ```text
//! blocks (2n + 8, or from the genesis) … ◄─ block at `height` ◄─ above[0] ◄─ … ◄─ above[k] ◄─ … ◄─ above[m]
//!                                            │ finality: CC, QC               claims (height, roots)     claim: CC, QC
//! ```

use alloc::vec::Vec;

use quorate_crypto::{Digest, Domain, hash};
use serde::{Deserialize, Serialize};

use crate::accumulator::Accumulator;
use crate::{Blob, Block, BlockId, ChainId, Finality, Header, Height, Reject, Roots, Validators};
use crate::{Unverified, Verified, codec};

/// Version that every manifest carries.
pub const MANIFEST_VERSION: u16 = 1;
/// Most pieces of a snapshot: 16 GiB of state in pieces of 1 MiB.
pub const MAX_PIECES: usize = 16_384;
/// Most headers between a snapshot's block and the certificate of its claim.
pub const MAX_ABOVE: usize = 1_024;

/// A part of the key space, with what it holds. Pieces follow each other without a gap: each ends where the next starts,
/// the last at the end of the key space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The first key that may be in it; empty for the first piece.
    pub start: Blob,
    /// Records in it.
    pub records: u32,
    /// Length of the encoded chunk, in bytes.
    pub bytes: u32,
    /// [`Piece::digest`] of the encoded chunk.
    pub digest: Digest,
}

impl Piece {
    /// The digest of an encoded chunk.
    #[must_use]
    pub fn digest(chunk: &[u8]) -> Digest {
        hash(Domain::Snapshot, &[b"chunk", chunk])
    }
}

/// A snapshot of the state after the block at `height`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub version: u16,
    /// The chain.
    pub chain: ChainId,
    /// The height.
    pub height: Height,
    /// What execution up to and including it has led to.
    pub roots: Roots,
    /// The receipts of all heights, as far as it takes to go on.
    pub accumulator: Accumulator,
    /// Committed blocks up to the one at `height`, oldest first, their batches apart: leaders are elected from them (L1).
    pub blocks: Vec<Block>,
    /// Of the last of `blocks`.
    pub finality: Finality,
    /// The headers above `height` up to the one that `claim` is for; one of them claims the roots.
    pub above: Vec<Header>,
    /// Finality of the last of `above`.
    pub claim: Finality,
    /// The state, in the order of keys.
    pub pieces: Vec<Piece>,
}

impl Manifest {
    /// How many blocks a manifest has, unless the chain is shorter: as many as consensus starts from.
    #[must_use]
    pub fn span(validators: &Validators) -> usize {
        validators.count().saturating_mul(2).saturating_add(8)
    }

    /// What two validators agree on that have the same snapshot: height, roots and pieces. Certificates may differ.
    #[must_use]
    pub fn content(&self) -> Digest {
        let parts = codec::encode(&(self.height, self.roots, &self.pieces));
        hash(Domain::Snapshot, &[b"content", &parts])
    }

    /// Bytes of all chunks.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| u64::from(piece.bytes)).sum()
    }

    /// Records of all chunks.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.pieces
            .iter()
            .map(|piece| u64::from(piece.records))
            .sum()
    }

    /// Checks everything that certificates can vouch for, and the form of the rest.
    ///
    /// # Errors
    /// [`Reject`]: do not believe it.
    pub fn check(&self, validators: &Validators) -> Result<(), Reject> {
        if self.version != MANIFEST_VERSION {
            return Err(Reject::WrongVersion);
        }
        if self.chain != validators.chain() {
            return Err(Reject::WrongChain);
        }
        if self.pieces.len() > MAX_PIECES || self.above.len() > MAX_ABOVE {
            return Err(Reject::TooLarge);
        }
        self.check_pieces()?;
        self.check_blocks(validators)?;
        self.check_claim(validators)
    }

    fn check_pieces(&self) -> Result<(), Reject> {
        let from_start = self.pieces.first().is_some_and(|p| p.start.0.is_empty());
        let ascending = self.pieces.windows(2).all(|p| p[0].start.0 < p[1].start.0);
        match from_start && ascending {
            true => Ok(()),
            false => Err(Reject::Malformed),
        }
    }

    /// The blocks are one chain that ends, final, at the height.
    fn check_blocks(&self, validators: &Validators) -> Result<(), Reject> {
        let span = u64::try_from(Manifest::span(validators)).unwrap_or(u64::MAX);
        let wanted = self
            .height
            .0
            .checked_add(1)
            .ok_or(Reject::Malformed)?
            .min(span);
        if u64::try_from(self.blocks.len()) != Ok(wanted) || self.height.0 == 0 {
            return Err(Reject::Malformed);
        }
        let mut height = Height(self.height.0 + 1 - wanted);
        let mut parent: Option<BlockId> = None;
        for block in &self.blocks {
            let linked = parent.is_none_or(|id| id == block.header.parent);
            if block.header.height != height || !linked {
                return Err(Reject::Malformed);
            }
            block.check_payload()?;
            parent = Some(block.id());
            height = height.next();
        }
        let (cc, last) = (&self.finality.cc, parent);
        if last != Some(cc.block) || cc.height != self.height {
            return Err(Reject::CertificateMismatch);
        }
        validators.check_finality(&self.finality)
    }

    /// A final block above claims the roots, and the accumulator is the one that they name.
    fn check_claim(&self, validators: &Validators) -> Result<(), Reject> {
        let (mut id, mut height) = (self.finality.cc.block, self.height);
        let mut claimed = false;
        for header in &self.above {
            height = height.next();
            if header.height != height || header.parent != id {
                return Err(Reject::Malformed);
            }
            let claim = &header.claim;
            claimed |= claim.height == self.height && claim.roots == self.roots;
            id = header.id();
        }
        if id != self.claim.cc.block || self.claim.cc.height != height || !claimed {
            return Err(Reject::CertificateMismatch);
        }
        validators.check_finality(&self.claim)?;
        let whole = self.accumulator.is_whole() && self.accumulator.count() == self.height.0;
        if !whole || self.accumulator.root() != self.roots.receipts {
            return Err(Reject::WrongClaim);
        }
        Ok(())
    }
}

impl Unverified<Manifest> {
    /// See [`Manifest::check`].
    ///
    /// # Errors
    /// [`Reject`].
    pub fn verify(self, validators: &Validators) -> Result<Verified<Manifest>, Reject> {
        let manifest = self.into_checked();
        manifest.check(validators)?;
        Ok(Verified::trust(manifest))
    }
}

impl Verified<Manifest> {
    /// Finality of the block at the snapshot's height.
    #[must_use]
    pub fn finality(&self) -> Verified<Finality> {
        Verified::trust(self.finality.clone())
    }
}
