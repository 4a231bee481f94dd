//! What goes with the past, and what stays.

use std::collections::BTreeMap;

use quorate_storage::ledger::{self, Spared, keys};
use quorate_storage::{MemStore, Order, Store, Sync, Table, View, WriteBatch};
use quorate_types::accumulator::Accumulator;
use quorate_types::{
    Batch, BatchId, Block, BlockId, BlockTime, ChainId, Digest, Epoch, FORMAT_VERSION, Finality,
    Header, Height, Outcome, PublicKey, Receipt, Rejection, Roots, Round, Signers, TransactionId,
    ValidatorIndex, codec,
};
use quorate_types::{Cc, Justify, Qc};

const CHAIN: ChainId = ChainId(Digest::from_bytes([7; 32]));

fn name(height: u64, index: u32) -> TransactionId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&height.to_be_bytes());
    bytes[8..12].copy_from_slice(&index.to_be_bytes());
    TransactionId(Digest::from_bytes(bytes))
}

fn receipt(height: u64, index: u32) -> Receipt {
    let outcome = match index {
        0 => Outcome::Executed {
            revision: height,
            results: vec![],
        },
        1 => Outcome::Rejected(Rejection::UnknownClient),
        _ => Outcome::Duplicate {
            height: Height(1),
            index: 0,
        },
    };
    Receipt {
        transaction: name(height, index),
        client: PublicKey::from_bytes_unchecked([1; 32]),
        sequence: height,
        height: Height(height),
        index,
        time: BlockTime(height),
        outcome,
    }
}

fn batch(sequence: u64) -> Batch {
    Batch {
        version: FORMAT_VERSION,
        epoch: Epoch(0),
        origin: ValidatorIndex(0),
        sequence,
        expiry: BlockTime(1 << 40),
        transactions: vec![],
    }
}

/// Heights with a batch and three receipts each; the second was refused before, at the height below.
fn chain(heights: u64) -> MemStore {
    let mut write = WriteBatch::new();
    let header = Header::genesis(CHAIN, BlockTime(0), Roots::default());
    let mut parent = Block {
        header,
        batches: vec![],
    };
    let mut tip = ledger::create(&mut write, CHAIN, &parent);
    let mut accumulator = Accumulator::default();
    for height in 1..=heights {
        let batch = batch(height);
        let mut header = parent.header.clone();
        header.parent = parent.id();
        header.justify = Justify {
            round: parent.header.round,
            block: parent.id(),
            signers: Signers::NONE,
        };
        header.height = Height(height);
        header.round = Round::new(Epoch(0), height);
        header.payload = Block::payload_root(&[batch.id()]);
        let block = Block {
            header,
            batches: vec![batch.id()],
        };
        ledger::put_batch(&mut write, batch.id(), &batch);
        let (round, id) = (block.header.round, block.id());
        let proof = Finality {
            cc: Cc::anchor(round, id, block.header.height),
            qc: Qc::anchor(round, id),
        };
        tip = ledger::append(&mut write, &tip, &block, Some(&proof));
        for index in 0..3 {
            let receipt = receipt(height, index);
            write.put(
                Table::Receipts,
                keys::receipt(Height(height), index),
                codec::encode(&receipt),
            );
            let place = match index {
                0 => (Height(height), index),
                // Heard of at the height below.
                1 => (Height(height.saturating_sub(1)), 1),
                _ => continue,
            };
            write.put(
                Table::Places,
                keys::place(receipt.transaction),
                codec::encode(&place),
            );
        }
        for (node, digest) in accumulator.append(Digest::from_bytes([1; 32])) {
            write.put(
                Table::Accumulator,
                keys::accumulator(node),
                *digest.as_bytes(),
            );
        }
        write.put(
            Table::Meta,
            keys::roots(Height(height)),
            codec::encode(&Roots::default()),
        );
        parent = block;
    }
    let mut store = MemStore::new();
    store.write(write, Sync::Yes).expect("a good disk");
    store
}

fn count(store: &MemStore, table: Table) -> usize {
    let all = store.scan(table, b"", None, usize::MAX, Order::Ascending);
    all.expect("a good disk").len()
}

fn sweep(store: &mut MemStore, to: u64, ops: usize) -> ledger::Swept {
    let swept = ledger::truncate(store, Height(to), ops).expect("whole");
    store
        .write(swept.writes.clone(), Sync::No)
        .expect("a good disk");
    swept
}

#[test]
fn the_past_goes_and_the_rest_is_as_it_was() {
    let whole = chain(40);
    let mut store = whole.clone();
    let swept = sweep(&mut store, 31, usize::MAX);
    assert_eq!(
        (swept.heights, swept.below, swept.more),
        (30, Height(31), false)
    );
    assert_eq!(ledger::first(&store).expect("written"), Height(31));
    for table in [Table::Batches, Table::Certificates] {
        assert_eq!(count(&store, table), 10, "{table}");
    }
    assert_eq!(count(&store, Table::Blocks), 11, "the genesis stays");
    assert_eq!(count(&store, Table::Receipts), 30);
    // Places at heights that stay, and those that point to another height than their receipt.
    for height in 1..=40 {
        let there = |index| {
            let place = ledger::place(&store, name(height, index));
            place.expect("readable").is_some()
        };
        assert_eq!(there(0), height >= 31, "height {height}");
    }
    for height in 31..=40 {
        let height = Height(height);
        let block = |store| ledger::block_by_height(store, height).expect("readable");
        assert_eq!(block(&store), block(&whole));
        let receipts = ledger::receipts(&store, height).expect("readable");
        assert_eq!(receipts.len(), 3);
    }
    // A peer that is behind is given nothing rather than half.
    let low = ledger::stretch(&store, Height(12), 1 << 20).expect("readable");
    assert!(low.blocks.is_empty() && low.finality.is_none());
    let high = ledger::stretch(&store, Height(31), 1 << 20).expect("readable");
    assert_eq!(high.blocks.len(), 10);
    // Asked again, nothing happens.
    assert_eq!(sweep(&mut store, 31, usize::MAX).heights, 0);
}

#[test]
fn in_steps_it_comes_to_the_same() {
    let (mut one, mut many) = (chain(50), chain(50));
    sweep(&mut one, 44, usize::MAX);
    let mut steps = 0;
    loop {
        let swept = sweep(&mut many, 44, 12);
        steps += 1;
        assert!(swept.heights <= 3);
        if !swept.more {
            break;
        }
    }
    assert!(steps > 10);
    for table in Table::ALL {
        let all = |store: &MemStore| store.scan(table, b"", None, usize::MAX, Order::Ascending);
        assert_eq!(all(&one).expect("readable"), all(&many).expect("readable"));
    }
}

/// Later receipts are proved against the same roots as before.
#[test]
fn what_proofs_of_later_receipts_need_stays() {
    let whole = chain(70);
    for to in [2, 17, 32, 33, 63, 64, 65] {
        let mut store = whole.clone();
        sweep(&mut store, to, usize::MAX);
        for height in to..=70 {
            for size in [height, 66, 70] {
                if size < height {
                    continue;
                }
                let path = |store: &MemStore| {
                    quorate_types::accumulator::path(height - 1, size, |node| {
                        ledger::accumulator_node(store, node).map(|d| d.expect("needed"))
                    })
                };
                let (one, other) = (path(&whole), path(&store));
                assert_eq!(one.expect("readable"), other.expect("readable"));
            }
        }
        let kept = count(&store, Table::Accumulator);
        let all = usize::try_from(2 * (70 - to) + 20).expect("small");
        assert!(kept <= all, "{kept} nodes are left from {to} on");
    }
}

#[test]
fn a_batch_that_is_needed_again_stays() {
    let store = chain(10);
    let swept = ledger::truncate(&store, Height(6), usize::MAX).expect("whole");
    assert_eq!(ledger::bound(&swept.writes), Height(6));
    let spared = |sequence| match sequence {
        3 => Spared::AndPlace,
        4 => Spared::Batch,
        _ => Spared::Nothing,
    };
    let ids: BTreeMap<BatchId, u64> = (1..=5).map(|n| (batch(n).id(), n)).collect();
    let writes = ledger::except(&store, swept.writes, |id: BatchId| spared(ids[&id]));
    let mut store = store;
    store.write(writes, Sync::No).expect("a good disk");
    for (id, sequence) in ids {
        let there = ledger::has_batch(&store, id).expect("readable");
        let placed = ledger::ordered_at(&store, id).expect("readable").is_some();
        let stays = spared(sequence);
        let expected = (stays != Spared::Nothing, stays == Spared::AndPlace);
        assert_eq!((there, placed), expected, "{sequence}");
    }
    // What is only held goes when it expires.
    let (mut expired, end) = (WriteBatch::new(), BlockTime(u64::MAX));
    ledger::prune_expired_batches(&store, &mut expired, end, BlockTime(0), 100).expect("readable");
    store.write(expired, Sync::No).expect("a good disk");
    let left = |n| ledger::has_batch(&store, batch(n).id()).expect("readable");
    assert_eq!([3, 4, 6].map(left), [true, false, true]);
    let gone: Option<Block> = ledger::block_by_id(&store, BlockId::default()).expect("readable");
    assert!(gone.is_none());
}

/// What was refused for being too far ahead is executed when its time has come. Between the reading of a step and its
/// writing that took its new place away: nobody found its receipt any more.
#[test]
fn the_place_of_what_was_executed_meanwhile_stays() {
    let mut store = chain(10);
    let place = |height: u64, at: (Height, u32)| {
        let mut batch = WriteBatch::new();
        let key = keys::place(name(height, 1));
        batch.defer(Table::Places, key, Some(codec::encode(&at)));
        batch
    };
    for height in [2, 3, 4] {
        let heard = place(height, (Height(height), 1));
        store.write(heard, Sync::No).expect("a good disk");
    }
    let swept = ledger::truncate(&store, Height(6), usize::MAX).expect("whole");
    // The first height that is kept, and one above the tip of then.
    for (height, executed) in [(3, 6), (4, 11)] {
        let executed = place(height, (Height(executed), 0));
        store.write(executed, Sync::No).expect("a good disk");
    }
    let writes = ledger::except(&store, swept.writes, |_| Spared::Nothing);
    store.write(writes, Sync::No).expect("a good disk");
    let left = |height| ledger::place(&store, name(height, 1)).expect("readable");
    assert_eq!(left(2), None);
    assert_eq!(left(3), Some((Height(6), 0)));
    assert_eq!(left(4), Some((Height(11), 0)));
    let executed = |height| ledger::place(&store, name(height, 0)).expect("readable");
    assert_eq!([1, 5].map(executed), [None, None]);
}

/// Between the reading of a step and its writing the replica may start from a snapshot: peers were then told of blocks
/// that are not here.
#[test]
fn a_step_that_was_prepared_before_a_snapshot_does_not_lower_what_is_kept() {
    let mut store = chain(10);
    let swept = ledger::truncate(&store, Height(6), usize::MAX).expect("whole");
    let mut plain = swept.writes.clone();
    ledger::raise_first(&store, &mut plain).expect("readable");
    let mut installed = WriteBatch::new();
    installed.put(Table::Meta, keys::FIRST, 900u64.to_be_bytes());
    let mut late = swept.writes;
    let mut other = store.clone();
    store.write(installed, Sync::Yes).expect("a good disk");
    ledger::raise_first(&store, &mut late).expect("readable");
    store.write(late, Sync::No).expect("a good disk");
    assert_eq!(ledger::first(&store).expect("readable"), Height(900));
    // Where nothing happened in between, nothing changes.
    other.write(plain, Sync::No).expect("a good disk");
    assert_eq!(ledger::first(&other).expect("readable"), Height(6));
}

/// A state on disk that lies behind is worked out from blocks: they must not go before it.
#[test]
fn what_removes_blocks_settles_what_was_deferred() {
    let store = chain(8);
    let swept = ledger::truncate(&store, Height(4), usize::MAX).unwrap();
    assert!(swept.heights > 0 && swept.writes.settles());
    assert!(ledger::except(&store, swept.writes, |_| Spared::Nothing).settles());
}
