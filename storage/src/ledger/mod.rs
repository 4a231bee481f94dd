//! Types for the bytes: keys, encodings and checks of every table.
//!
//! Functions that read take a [`View`]; functions that write add to a [`WriteBatch`], which the caller persists. What is
//! read is checked against what it must be: a block and a batch are hashed again, a header must name its parent, a
//! receipt its place. What fails is [`LedgerError::Damaged`] and names its table and key: never served, never voted on.
//! Serves P1–P4, B5, and asserts I4. It must never decide what to commit.
//!
//! Keys (`BE` most significant byte first, so that keys sort as numbers do; `‖` joins; values are canonical encodings of
//! `quorate_types::codec` unless drawn):
//!
//! ```text
//! Meta          "ledger/schema"                                   u32 BE
//!               "ledger/chain"                                    chain id, 32 bytes
//!               "ledger/tip"                                      Tip
//!               "ledger/record"                                   SafetyRecord
//!               "ledger/first"                                    height u64 BE: nothing below is kept
//!               "ledger/swept"                                    height u64 BE: everything below is removed
//!               "ledger/install"                                  u32 BE: chunks installed of the staged snapshot
//!               "ledger/founding"                                 chain id, 32 bytes: its first state is not whole yet
//!               "roots/" ‖ height u64 BE                          Roots
//! Blocks        block id, 32 bytes                                Block
//! Ledger        'b' ‖ batch id, 32 bytes                          height u64 BE that ordered it (last, if repeated)
//!               'e' ‖ expiry u64 BE ‖ batch id, 32 bytes          empty: not ordered when it was stored
//!               'h' ‖ height u64 BE                               block id, 32 bytes
//!               'u' ‖ epoch u64 BE ‖ round u64 BE ‖ block id      empty: stored, not committed
//! Certificates  height u64 BE                                     Finality of the block at that height
//! Batches       batch id, 32 bytes                                Batch
//! Receipts      height u64 BE ‖ index u32 BE                      Receipt
//! Places        transaction id, 32 bytes                          (Height, u32)
//! Accumulator   level u8 ‖ index u64 BE                           digest, 32 bytes
//! Staging       "manifest"                                        Manifest of the snapshot that is fetched
//!               "chunk/" ‖ index u32 BE                           chunk, encoded
//!               "held/" ‖ index u32 BE                            empty: that chunk is there
//! State, Tree   of the execution crate
//! ```

mod batches;
mod blocks;
pub mod keys;
mod receipts;
mod staging;
mod stretch;
mod truncate;

use quorate_types::codec::{self, MAX_ENCODED_BYTES};
use quorate_types::{Block, BlockId, ChainId, Digest, Header, Height, Round, SafetyRecord};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use batches::{
    batch, has_batch, ordered_at, prune_expired_batches, put_batch, raw_batch,
    remove_stale_batches, rewrite_batch,
};
pub use blocks::{
    append, block_by_height, block_by_id, finality, finality_at_or_above, finality_at_or_below,
    headers, put_block, remove_stale_blocks, rewrite_block, uncommitted_blocks,
};
pub use receipts::roots_from;
pub use receipts::{accumulator_node, place, receipt, receipt_count, receipts, roots};
pub use staging::{
    clear_staging, held_chunks, install_mark, put_chunk, put_install_mark, put_manifest,
    staged_chunk, staged_manifest, take_over,
};
pub use stretch::{MOST_STRETCH_BYTES, stretch, stretch_within};
pub use truncate::{Spared, Swept, bound, except, first, raise_first, truncate};

use crate::{Fault, StoreError, Table, View, WriteBatch};

/// The format that this release reads and writes. Another one is refused.
pub const SCHEMA: u32 = 2;

/// The last committed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    /// Its height.
    pub height: Height,
    /// Its identity.
    pub block: BlockId,
    /// Its round.
    pub round: Round,
}

impl Tip {
    /// Of a block.
    #[must_use]
    pub fn of(block: &Block) -> Tip {
        Tip {
            height: block.header.height,
            block: block.id(),
            round: block.header.round,
        }
    }

    /// Whether it is of this header's block.
    #[must_use]
    pub fn is_of(&self, header: &Header) -> bool {
        (self.height, self.block, self.round) == (header.height, header.id(), header.round)
    }
}

/// Why the ledger cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An entry is not what was written there, or is missing where others say that it must be.
    #[error("damaged entry in table {table}, key {}", Hex(key))]
    Damaged {
        /// Where.
        table: Table,
        /// Which.
        key: Vec<u8>,
    },
    /// The store holds another chain.
    #[error("the store belongs to chain {found}, not to {expected}")]
    OtherChain {
        /// Whose data it is.
        found: ChainId,
        /// The chain of the genesis at hand.
        expected: ChainId,
    },
    /// The store was written by another release.
    #[error("the store has schema {found}, this release knows {expected}")]
    OtherSchema {
        /// Of the store.
        found: u32,
        /// [`SCHEMA`].
        expected: u32,
    },
}

impl LedgerError {
    /// Whether what is on the disk is not what was written (exit status 8).
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            LedgerError::Store(error) => error.is_damage(),
            LedgerError::Damaged { .. } => true,
            LedgerError::OtherChain { .. } | LedgerError::OtherSchema { .. } => false,
        }
    }
}

/// Shows bytes as hexadecimal.
struct Hex<'a>(&'a [u8]);

impl core::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where the ledger in the store ends. `None` if the store was never used: then [`create`] comes first.
///
/// # Errors
/// [`LedgerError::OtherChain`], [`LedgerError::OtherSchema`]; [`LedgerError::Damaged`] if a store that is in use lacks
/// its marks.
pub fn open<V: View + ?Sized>(view: &V, chain: ChainId) -> Result<Option<Tip>, LedgerError> {
    let Some(schema) = view.get(Table::Meta, keys::SCHEMA)? else {
        // The marks are in the first write of all. Anything without them is no ledger, unless it says that it is not yet.
        let others = view.scan(Table::Meta, b"", None, 1, crate::Order::Ascending)?;
        return match (view.get(Table::Meta, keys::FOUNDING)?, others.is_empty()) {
            (None, true) => Ok(None),
            (None, false) => Err(damaged(Table::Meta, keys::SCHEMA)),
            (Some(found), _) => same_chain(keys::FOUNDING, &found, chain).map(|()| None),
        };
    };
    let schema = u32::from_be_bytes(fixed(Table::Meta, keys::SCHEMA, &schema)?);
    if schema != SCHEMA {
        return Err(LedgerError::OtherSchema {
            found: schema,
            expected: SCHEMA,
        });
    }
    let Some(found) = view.get(Table::Meta, keys::CHAIN)? else {
        return Err(damaged(Table::Meta, keys::CHAIN));
    };
    same_chain(keys::CHAIN, &found, chain)?;
    tip(view).map(Some)
}

fn same_chain(key: &[u8], found: &[u8], expected: ChainId) -> Result<(), LedgerError> {
    let found = ChainId(Digest::from_bytes(fixed(Table::Meta, key, found)?));
    match found == expected {
        true => Ok(()),
        false => Err(LedgerError::OtherChain { found, expected }),
    }
}

/// Adds the mark of a store whose first state is written piece by piece, before [`create`]: until then it counts as one
/// that was never used. To be deleted with the write that creates the ledger.
pub fn put_founding(write: &mut WriteBatch, chain: ChainId) {
    write.put(Table::Meta, keys::FOUNDING, *chain.as_bytes());
}

/// Adds the first write of a store: its marks, and the genesis block as the tip. To be persisted, synced, together with
/// the state of the genesis.
///
/// # Panics
/// If the block is not at height 0 (I4).
pub fn create(write: &mut WriteBatch, chain: ChainId, genesis: &Block) -> Tip {
    assert_eq!(
        genesis.header.height,
        Height(0),
        "I4: the genesis is at height 0"
    );
    let tip = Tip::of(genesis);
    write.put(Table::Meta, keys::SCHEMA, SCHEMA.to_be_bytes());
    write.put(Table::Meta, keys::CHAIN, *chain.as_bytes());
    write.put(Table::Blocks, *tip.block.as_bytes(), codec::encode(genesis));
    write.put(
        Table::Ledger,
        keys::height(tip.height),
        *tip.block.as_bytes(),
    );
    write.put(Table::Meta, keys::TIP, codec::encode(&tip));
    tip
}

/// The last committed block of a ledger that was created.
///
/// # Errors
/// [`LedgerError::Damaged`], also if there is none.
pub fn tip<V: View + ?Sized>(view: &V) -> Result<Tip, LedgerError> {
    read(view, Table::Meta, keys::TIP)?.ok_or_else(|| damaged(Table::Meta, keys::TIP))
}

/// The safety record; `None` if this validator never signed.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn record<V: View + ?Sized>(view: &V) -> Result<Option<SafetyRecord>, LedgerError> {
    read(view, Table::Meta, keys::RECORD)
}

/// Adds the safety record, whole (P1–P3).
pub fn put_record(write: &mut WriteBatch, record: &SafetyRecord) {
    write.put(Table::Meta, keys::RECORD, codec::encode(record));
}

/// Reads and decodes an entry.
fn read<T: DeserializeOwned, V: View + ?Sized>(
    view: &V,
    table: Table,
    key: &[u8],
) -> Result<Option<T>, LedgerError> {
    match get(view, table, key)? {
        Some(bytes) => decode(table, key, &bytes).map(Some),
        None => Ok(None),
    }
}

/// Reads an entry; one that the database finds damaged is named.
fn get<V: View + ?Sized>(
    view: &V,
    table: Table,
    key: &[u8],
) -> Result<Option<Vec<u8>>, LedgerError> {
    view.get(table, key).map_err(|error| match error {
        StoreError::Database {
            fault: Fault::Corruption,
            ..
        } => damaged(table, key),
        error => error.into(),
    })
}

fn decode<T: DeserializeOwned>(table: Table, key: &[u8], bytes: &[u8]) -> Result<T, LedgerError> {
    codec::decode(bytes, MAX_ENCODED_BYTES).map_err(|_| damaged(table, key))
}

/// Bytes of a fixed number.
fn fixed<const N: usize>(table: Table, key: &[u8], bytes: &[u8]) -> Result<[u8; N], LedgerError> {
    bytes.try_into().map_err(|_| damaged(table, key))
}

fn damaged(table: Table, key: &[u8]) -> LedgerError {
    LedgerError::Damaged {
        table,
        key: key.to_vec(),
    }
}
