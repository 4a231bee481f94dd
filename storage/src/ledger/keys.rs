//! The keys, as the page of [`crate::ledger`] draws them. The only place that puts them together.

use quorate_types::accumulator::NodeId;
use quorate_types::{BatchId, BlockId, BlockTime, Height, Round, TransactionId};

/// Of the schema version, in `Meta`.
pub const SCHEMA: &[u8] = b"ledger/schema";
/// Of the chain id, in `Meta`.
pub const CHAIN: &[u8] = b"ledger/chain";
/// Of the tip, in `Meta`.
pub const TIP: &[u8] = b"ledger/tip";
/// Of the safety record, in `Meta`.
pub const RECORD: &[u8] = b"ledger/record";
/// Of the first height that is kept, in `Meta`; absent while all are.
pub const FIRST: &[u8] = b"ledger/first";
/// Of the height below which everything was removed, in `Meta`.
pub const SWEPT: &[u8] = b"ledger/swept";
/// Of the next chunk of a snapshot that takes the state's place, in `Meta`; absent unless one does.
pub const INSTALL: &[u8] = b"ledger/install";
/// Of the chain whose first state is being put together from another chain's, in `Meta`; absent when there is a ledger.
pub const FOUNDING: &[u8] = b"ledger/founding";
/// Of the manifest, in `Staging`.
pub const MANIFEST: &[u8] = b"manifest";
/// Before a height, in `Meta`.
pub const ROOTS: &[u8] = b"roots/";

/// Starts the keys of uncommitted blocks in `Ledger`.
pub(super) const UNCOMMITTED: u8 = b'u';
/// Starts the keys of the expiry index in `Ledger`.
pub(super) const EXPIRY: u8 = b'e';

/// `Meta`: the roots after a height.
#[must_use]
pub fn roots(height: Height) -> Vec<u8> {
    [ROOTS, &height.0.to_be_bytes()].concat()
}

/// `Ledger`: the block at a height.
#[must_use]
pub fn height(height: Height) -> Vec<u8> {
    [b"h".as_slice(), &height.0.to_be_bytes()].concat()
}

/// `Ledger`: where a batch was ordered.
#[must_use]
pub fn ordered(batch: BatchId) -> Vec<u8> {
    [b"b".as_slice(), batch.as_bytes()].concat()
}

/// `Ledger`: start of the keys of batches that expire at a time.
#[must_use]
pub fn expiry(time: BlockTime) -> Vec<u8> {
    [[EXPIRY].as_slice(), &time.0.to_be_bytes()].concat()
}

/// `Ledger`: a batch in the order of expiry.
#[must_use]
pub fn expiring(time: BlockTime, batch: BatchId) -> Vec<u8> {
    [expiry(time).as_slice(), batch.as_bytes()].concat()
}

/// `Ledger`: start of the keys of uncommitted blocks of a round.
#[must_use]
pub fn uncommitted_round(round: Round) -> Vec<u8> {
    let (epoch, number) = (round.epoch.0.to_be_bytes(), round.number.to_be_bytes());
    [[UNCOMMITTED].as_slice(), &epoch, &number].concat()
}

/// `Ledger`: an uncommitted block.
#[must_use]
pub fn uncommitted(round: Round, block: BlockId) -> Vec<u8> {
    [uncommitted_round(round).as_slice(), block.as_bytes()].concat()
}

/// `Certificates`: the finality proof of the block at a height.
#[must_use]
pub fn certificate(height: Height) -> Vec<u8> {
    height.0.to_be_bytes().to_vec()
}

/// `Receipts`: start of the keys of a height.
#[must_use]
pub fn receipts(height: Height) -> Vec<u8> {
    height.0.to_be_bytes().to_vec()
}

/// `Receipts`: one receipt.
#[must_use]
pub fn receipt(height: Height, index: u32) -> Vec<u8> {
    [
        height.0.to_be_bytes().as_slice(),
        index.to_be_bytes().as_slice(),
    ]
    .concat()
}

/// `Places`: a transaction.
#[must_use]
pub fn place(transaction: TransactionId) -> Vec<u8> {
    transaction.as_bytes().to_vec()
}

/// `Accumulator`: a subtree.
#[must_use]
pub fn accumulator(node: NodeId) -> Vec<u8> {
    [[node.level].as_slice(), &node.index.to_be_bytes()].concat()
}

/// `Staging`: a chunk.
#[must_use]
pub fn chunk(index: u32) -> Vec<u8> {
    [b"chunk/".as_slice(), &index.to_be_bytes()].concat()
}

/// `Staging`: the mark that a chunk is there.
#[must_use]
pub fn held(index: u32) -> Vec<u8> {
    [b"held/".as_slice(), &index.to_be_bytes()].concat()
}
