//! The typed ledger over a small chain, whole and then damaged entry by entry.

use quorate_crypto::SecretKey;
use quorate_storage::ledger::{self, keys};
use quorate_storage::{LedgerError, MemStore, Op, Store, Sync, Table, Tip, View, WriteBatch};
use quorate_types::accumulator::NodeId;
use quorate_types::transaction::TransactionBody;
use quorate_types::*;

const CHAIN: ChainId = ChainId(Digest::from_bytes([7; 32]));

/// Every third block has its own finality proof; each block of height h has time 1000·h and h % 3 batches.
struct Chain {
    store: MemStore,
    blocks: Vec<Block>,
}

fn batch(sequence: u64, expiry: u64) -> Batch {
    let key = SecretKey::from_seed(&[1; 32]);
    let body = TransactionBody {
        version: FORMAT_VERSION,
        chain: CHAIN,
        client: key.public(),
        sequence,
        valid_until: BlockTime(expiry),
        commands: vec![Blob(vec![9; 500])],
    };
    Batch {
        version: FORMAT_VERSION,
        epoch: Epoch(0),
        origin: ValidatorIndex(0),
        sequence,
        expiry: BlockTime(expiry),
        transactions: vec![body.sign(&key)],
    }
}

fn round(number: u64) -> Round {
    Round::new(Epoch(0), number)
}

/// A child; rounds are twice the height, so that there is room between them.
fn child(parent: &Block, number: u64, batches: Vec<BatchId>) -> Block {
    let mut header = parent.header.clone();
    header.parent = parent.id();
    header.justify = Justify {
        round: parent.header.round,
        block: parent.id(),
        signers: Signers::NONE,
    };
    header.height = parent.header.height.next();
    header.round = round(number);
    header.time = BlockTime(1_000 * header.height.0);
    header.payload = Block::payload_root(&batches);
    Block { header, batches }
}

fn proof(block: &Block) -> Finality {
    let (round, id) = (block.header.round, block.id());
    Finality {
        cc: Cc::anchor(round, id, block.header.height),
        qc: Qc::anchor(round, id),
    }
}

fn genesis() -> Block {
    Block {
        header: Header::genesis(CHAIN, BlockTime(0), Roots::default()),
        batches: Vec::new(),
    }
}

fn chain(heights: u64) -> Chain {
    let mut write = WriteBatch::new();
    let mut blocks = vec![genesis()];
    let mut tip = ledger::create(&mut write, CHAIN, &blocks[0]);
    for height in 1..=heights {
        let batches: Vec<Batch> = (0..height % 3)
            .map(|n| batch(10 * height + n, 1_000 * height + 500))
            .collect();
        let ids = batches.iter().map(Batch::id).collect();
        let parent = blocks.last().expect("the genesis");
        let block = child(parent, 2 * height, ids);
        for batch in &batches {
            ledger::put_batch(&mut write, batch.id(), batch);
        }
        let proof = proof(&block);
        let own = (height % 3 == 0 || height == heights).then_some(&proof);
        tip = ledger::append(&mut write, &tip, &block, own);
        blocks.push(block);
    }
    let mut store = MemStore::new();
    store.write(write, Sync::Yes).expect("a good disk");
    Chain { store, blocks }
}

fn commit(store: &mut MemStore, write: WriteBatch) {
    store.write(write, Sync::Yes).expect("a good disk");
}

fn damaged<T: std::fmt::Debug>(result: Result<T, LedgerError>) -> Table {
    match result.expect_err("noticed") {
        error @ LedgerError::Damaged { table, .. } => {
            assert!(error.is_damage());
            table
        }
        other => panic!("{other}"),
    }
}

#[test]
fn opens_what_it_created_and_nothing_else() {
    let mut store = MemStore::new();
    assert_eq!(ledger::open(&store, CHAIN).expect("readable"), None);
    let mut write = WriteBatch::new();
    let tip = ledger::create(&mut write, CHAIN, &genesis());
    commit(&mut store, write);
    assert_eq!(ledger::open(&store, CHAIN).expect("ours"), Some(tip));
    assert_eq!(tip, Tip::of(&genesis()));

    let other = ChainId(Digest::from_bytes([8; 32]));
    assert!(matches!(
        ledger::open(&store, other),
        Err(LedgerError::OtherChain { found, expected }) if found == CHAIN && expected == other
    ));
    for other in [ledger::SCHEMA - 1, ledger::SCHEMA + 1] {
        let mut written = store.clone();
        let mut write = WriteBatch::new();
        write.put(Table::Meta, keys::SCHEMA, other.to_be_bytes());
        commit(&mut written, write);
        assert!(matches!(
            ledger::open(&written, CHAIN),
            Err(LedgerError::OtherSchema { found, expected: ledger::SCHEMA }) if found == other
        ));
    }
    for key in [keys::SCHEMA, keys::CHAIN, keys::TIP] {
        let mut broken = store.clone();
        let mut write = WriteBatch::new();
        write.delete(Table::Meta, key);
        commit(&mut broken, write);
        assert_eq!(damaged(ledger::open(&broken, CHAIN)), Table::Meta);
    }
}

#[test]
fn reads_back_the_chain() {
    let Chain { store, blocks } = chain(10);
    let tip = ledger::tip(&store).expect("there");
    assert_eq!(tip, Tip::of(&blocks[10]));
    for block in &blocks {
        let height = block.header.height;
        let found = ledger::block_by_height(&store, height).expect("whole");
        assert_eq!(found.as_ref(), Some(block));
        let found = ledger::block_by_id(&store, block.id()).expect("whole");
        assert_eq!(found.as_ref(), Some(block));
        for id in &block.batches {
            assert_eq!(
                ledger::ordered_at(&store, *id).expect("whole"),
                Some(height)
            );
            let found = ledger::batch(&store, *id).expect("whole").expect("there");
            let raw = ledger::raw_batch(&store, *id).expect("whole");
            assert_eq!(raw, Some(codec::encode(&*found)));
            assert!(ledger::has_batch(&store, *id).expect("readable"));
        }
    }
    assert_eq!(
        ledger::block_by_height(&store, Height(11)).expect("whole"),
        None
    );
    let headers = ledger::headers(&store, Height(3), Height(99)).expect("whole");
    assert_eq!(headers.len(), 8);
    assert_eq!(headers[0], blocks[3].header);
    assert!(
        ledger::uncommitted_blocks(&store)
            .expect("whole")
            .is_empty()
    );
}

#[test]
fn finality_by_height() {
    let Chain { store, blocks } = chain(10);
    let own = |height: u64| Some(proof(&blocks[usize::try_from(height).expect("small")]));
    let at = |height| ledger::finality(&store, Height(height)).expect("whole");
    assert_eq!((at(3), at(4), at(10)), (own(3), None, own(10)));
    let above = |height| ledger::finality_at_or_above(&store, Height(height)).expect("whole");
    assert_eq!((above(0), above(3), above(4)), (own(3), own(3), own(6)));
    assert_eq!((above(10), above(11)), (own(10), None));
    let below = |height| ledger::finality_at_or_below(&store, Height(height)).expect("whole");
    assert_eq!((below(0), below(2), below(3)), (None, None, own(3)));
    assert_eq!((below(5), below(u64::MAX)), (own(3), own(10)));
}

#[test]
fn the_safety_record() {
    let mut store = MemStore::new();
    assert_eq!(ledger::record(&store).expect("readable"), None);
    let qc = Qc::anchor(round(4), genesis().id());
    let record = SafetyRecord {
        round: round(5),
        entry: Entry::Qc(qc.clone()),
        high_qc: qc,
        highest_timeout: round(3),
    };
    let mut write = WriteBatch::new();
    ledger::put_record(&mut write, &record);
    commit(&mut store, write);
    assert_eq!(ledger::record(&store).expect("whole"), Some(record));
    // The tag of the entry.
    assert!(store.rot(Table::Meta, keys::RECORD, 17));
    assert_eq!(damaged(ledger::record(&store)), Table::Meta);
}

#[test]
fn uncommitted_blocks_stay_until_their_round_is_committed() {
    let Chain { mut store, blocks } = chain(2);
    let next = child(&blocks[2], 5, vec![]);
    let rival = child(&blocks[2], 7, vec![]);
    let later = child(&next, 9, vec![]);
    let mut write = WriteBatch::new();
    for block in [&later, &rival, &next] {
        ledger::put_block(&mut write, block);
    }
    commit(&mut store, write);
    let stored = ledger::uncommitted_blocks(&store).expect("whole");
    assert_eq!(
        stored,
        [next.clone(), rival.clone(), later.clone()],
        "by round"
    );
    let stale = |store: &MemStore, from: Round| {
        let mut write = WriteBatch::new();
        let tip = ledger::tip(store).expect("there");
        let removed = ledger::remove_stale_blocks(store, &mut write, &tip, from, 9);
        let (_, next) = removed.expect("whole");
        (write, next)
    };
    let tip = ledger::tip(&store).expect("there");
    let (write, from) = stale(&store, Round::default());
    assert_eq!(write.len(), 0, "P1: none is below the root");
    assert_eq!(from, tip.round.next());

    let mut write = WriteBatch::new();
    let tip = ledger::append(&mut write, &tip, &next, None);
    let tip = ledger::append(&mut write, &tip, &later, Some(&proof(&later)));
    // In the same write, from the view before it: touches nothing that is being committed.
    write.extend(stale(&store, from).0);
    commit(&mut store, write);
    assert_eq!(ledger::tip(&store).expect("there"), tip);
    assert!(
        ledger::uncommitted_blocks(&store)
            .expect("whole")
            .is_empty()
    );
    let (write, from) = stale(&store, from);
    assert_eq!(write.len(), 2, "the rival and its place in the list");
    commit(&mut store, write);
    assert_eq!(
        ledger::block_by_id(&store, rival.id()).expect("whole"),
        None
    );
    for block in [&next, &later] {
        let found = ledger::block_by_id(&store, block.id()).expect("whole");
        assert_eq!(found.as_ref(), Some(block));
    }
    assert_eq!(from, tip.round.next());
    assert_eq!(stale(&store, Round::default()).0.len(), 0);
}

/// B5, P1: with a block that nobody can commit any more go those of its batches that only it had a use for. Until they did,
/// what a faulty leader invented to expire at the end of time stayed on disk for ever.
#[test]
fn the_batches_of_a_stale_block_go_unless_something_needs_them() {
    let Chain { mut store, blocks } = chain(4);
    let tip = ledger::tip(&store).expect("there");
    let last = blocks.last().expect("a few");
    let ordered = *last.batches.first().expect("the fourth has one");
    let made: Vec<Batch> = (900..904).map(|number| batch(number, u64::MAX)).collect();
    let ids: Vec<BatchId> = made.iter().map(Batch::id).collect();
    let [invented, held, above, absent] = ids[..] else {
        panic!("four")
    };
    let mut write = WriteBatch::new();
    for (id, batch) in ids.iter().zip(&made).take(3) {
        ledger::put_batch(&mut write, *id, batch);
    }
    let rival = child(&blocks[3], 7, vec![invented, held, above, absent, ordered]);
    for block in [&rival, &child(last, 20, vec![above])] {
        ledger::put_block(&mut write, block);
    }
    commit(&mut store, write);
    let mut write = WriteBatch::new();
    let removed = ledger::remove_stale_blocks(&store, &mut write, &tip, Round::default(), 9);
    let (stale, _) = removed.expect("whole");
    assert_eq!(stale, [rival.id()]);
    let needed = |id: &BatchId| *id == held;
    ledger::remove_stale_batches(&store, &mut write, &stale, needed).expect("whole");
    commit(&mut store, write);
    let there =
        [invented, held, above, ordered].map(|id| ledger::has_batch(&store, id).expect("readable"));
    assert_eq!(there, [false, true, true, true]);
}

#[test]
fn a_stored_block_that_is_gone_is_noticed() {
    let Chain { mut store, blocks } = chain(2);
    let next = child(&blocks[2], 5, vec![]);
    let mut write = WriteBatch::new();
    ledger::put_block(&mut write, &next);
    write.delete(Table::Blocks, *next.id().as_bytes());
    commit(&mut store, write);
    assert_eq!(damaged(ledger::uncommitted_blocks(&store)), Table::Blocks);
}

/// B5: what a block above the root may still order is never pruned, and what is ordered stays.
#[test]
fn only_expired_batches_that_nobody_ordered_are_pruned() {
    let Chain { mut store, blocks } = chain(8);
    let (expired, edge, live) = (batch(900, 7_999), batch(901, 8_000), batch(902, 9_000));
    let mut write = WriteBatch::new();
    for batch in [&expired, &edge, &live] {
        ledger::put_batch(&mut write, batch.id(), batch);
    }
    commit(&mut store, write);
    let has =
        |store: &MemStore, batch: &Batch| ledger::has_batch(store, batch.id()).expect("readable");
    let time = blocks[8].header.time;
    let mut from = BlockTime(0);
    // A small limit gets there in several turns.
    for _ in 0..10 {
        let mut write = WriteBatch::new();
        from = ledger::prune_expired_batches(&store, &mut write, time, from, 3).expect("whole");
        commit(&mut store, write);
    }
    assert_eq!(from, time);
    assert_eq!(
        (
            has(&store, &expired),
            has(&store, &edge),
            has(&store, &live)
        ),
        (false, true, true)
    );
    for id in blocks.iter().flat_map(|block| &block.batches) {
        assert!(ledger::batch(&store, *id).expect("whole").is_some());
    }
}

#[test]
fn receipts_places_roots_and_subtrees() {
    let mut store = MemStore::new();
    let receipt = |height, index| Receipt {
        transaction: TransactionId(Digest::from_bytes([3; 32])),
        client: PublicKey::from_bytes_unchecked([4; 32]),
        sequence: 5,
        height: Height(height),
        index,
        time: BlockTime(6),
        outcome: Outcome::Rejected(Rejection::Expired),
    };
    let all = [receipt(5, 0), receipt(5, 1), receipt(5, 300), receipt(6, 0)];
    let node = NodeId { level: 2, index: 9 };
    let roots = Roots {
        state: Digest::from_bytes([1; 32]),
        receipts: Digest::from_bytes([2; 32]),
    };
    let mut write = WriteBatch::new();
    for receipt in &all {
        let key = keys::receipt(receipt.height, receipt.index);
        write.put(Table::Receipts, key, codec::encode(receipt));
    }
    let id = all[0].transaction;
    let place = (Height(5), 1u32);
    write.put(Table::Places, keys::place(id), codec::encode(&place));
    write.put(Table::Meta, keys::roots(Height(5)), codec::encode(&roots));
    write.put(Table::Accumulator, keys::accumulator(node), [8; 32]);
    commit(&mut store, write);
    assert_eq!(ledger::place(&store, id).expect("whole"), Some(place));
    let other = TransactionId::default();
    assert_eq!(ledger::place(&store, other).expect("whole"), None);
    assert_eq!(
        ledger::roots(&store, Height(5)).expect("whole"),
        Some(roots)
    );
    assert_eq!(ledger::roots(&store, Height(6)).expect("whole"), None);
    let found = ledger::accumulator_node(&store, node).expect("whole");
    assert_eq!(found, Some(Digest::from_bytes([8; 32])));
    let found = ledger::receipt(&store, Height(5), 300).expect("whole");
    assert_eq!(found.as_ref(), Some(&all[2]));
    assert_eq!(ledger::receipt(&store, Height(5), 2).expect("whole"), None);
    assert_eq!(
        ledger::receipts(&store, Height(6)).expect("whole"),
        all[3..]
    );
    assert!(
        ledger::receipts(&store, Height(7))
            .expect("whole")
            .is_empty()
    );
    let gap = ledger::receipts(&store, Height(5));
    assert_eq!(damaged(gap), Table::Receipts, "2 to 299 are missing");
    // By the last one alone, which is what makes it cheap.
    for (height, count) in [(4, 0), (5, 301), (6, 1), (7, 0)] {
        let found = ledger::receipt_count(&store, Height(height)).expect("whole");
        assert_eq!(found, count, "height {height}");
    }
    let mut write = WriteBatch::new();
    let key = keys::receipt(Height(5), 400);
    write.put(Table::Receipts, key, codec::encode(&receipt(5, 399)));
    write.put(Table::Receipts, keys::receipt(Height(6), 1), [1]);
    let last = keys::receipt(Height(7), u32::MAX);
    write.put(Table::Receipts, last, codec::encode(&receipt(7, u32::MAX)));
    commit(&mut store, write);
    for height in 5..=7 {
        let count = ledger::receipt_count(&store, Height(height));
        assert_eq!(damaged(count), Table::Receipts, "height {height}");
    }
}

#[test]
fn a_stretch_ends_where_it_proves_itself() {
    let Chain { store, blocks } = chain(10);
    let stretch =
        |from, max_bytes| ledger::stretch(&store, Height(from), max_bytes).expect("whole");
    let heights = |answer: &message::LedgerResponse| {
        let heights = answer.blocks.iter().map(|b| b.block.header.height.0);
        heights.collect::<Vec<u64>>()
    };
    // However small the bound: up to the next proof.
    let least = stretch(1, 0);
    assert_eq!((least.from, least.head), (Height(1), Height(10)));
    assert_eq!(heights(&least), [1, 2, 3]);
    assert_eq!(least.finality, Some(proof(&blocks[3])));
    // However large: up to the tip, with every batch.
    let most = stretch(2, u64::MAX);
    assert_eq!(heights(&most), (2..=10).collect::<Vec<_>>());
    assert_eq!(most.finality, Some(proof(&blocks[10])));
    for entry in &most.blocks {
        let ids: Vec<BatchId> = entry.batches.iter().map(Batch::id).collect();
        assert_eq!(ids, entry.block.batches);
    }
    // In between: never above the bound once there is a proof, and maximal.
    let full = codec::encode(&most.blocks).len();
    for bound in (0..u64::try_from(full).expect("small")).step_by(100) {
        let answer = stretch(2, bound);
        let last = *heights(&answer).last().expect("not empty");
        assert!(last % 3 == 0 || last == 10, "ends in a proof");
        let bytes: usize = answer
            .blocks
            .iter()
            .map(|entry| {
                let batches: usize = entry.batches.iter().map(Batch::encoded_len).sum();
                codec::encode(&entry.block).len() + batches
            })
            .sum();
        assert!(last == 3 || u64::try_from(bytes).expect("small") <= bound);
    }
    for nothing in [stretch(0, u64::MAX), stretch(11, u64::MAX)] {
        assert_eq!((nothing.blocks.len(), nothing.finality), (0, None));
        assert_eq!(nothing.head, Height(10));
    }
}

/// Whatever single byte rots, and whatever single entry is lost: a read answers what was written or says that it cannot.
#[test]
fn no_rot_is_served() {
    let Chain { store, .. } = chain(5);
    let whole = everything(&store).expect("whole");
    for table in [
        Table::Blocks,
        Table::Ledger,
        Table::Batches,
        Table::Certificates,
    ] {
        let order = quorate_storage::Order::Ascending;
        let entries = store.scan(table, b"", None, usize::MAX, order);
        for (key, value) in entries.expect("readable") {
            // Signatures apart (these proofs have none), every byte of these tables is checked on reading. An index entry
            // of a batch only decides about pruning.
            if table == Table::Ledger && key[0] != b'h' {
                continue;
            }
            for offset in (0..value.len()).step_by(5) {
                let mut rotten = store.clone();
                assert!(rotten.rot(table, &key, offset));
                // What a peer gets ends before the damage.
                if let Ok(stretch) = ledger::stretch(&rotten, Height(1), u64::MAX) {
                    assert!(whole.blocks.starts_with(&stretch.blocks));
                }
                match everything(&rotten) {
                    Ok(read) => assert!(
                        table == Table::Certificates || read == whole,
                        "{table}, byte {offset} served"
                    ),
                    Err(error) => assert!(error.is_damage()),
                }
            }
            let mut holed = store.clone();
            let mut write = WriteBatch::new();
            write.delete(table, key);
            commit(&mut holed, write);
            if table != Table::Certificates {
                assert!(everything(&holed).expect_err("a hole").is_damage());
            }
        }
    }
}

fn everything(store: &MemStore) -> Result<message::LedgerResponse, LedgerError> {
    for height in 0..=ledger::tip(store)?.height.0 {
        let Some(block) = ledger::block_by_height(store, Height(height))? else {
            return Err(LedgerError::Damaged {
                table: Table::Ledger,
                key: keys::height(Height(height)),
            });
        };
        for id in &block.batches {
            if ledger::batch(store, *id)?.is_none() {
                return Err(LedgerError::Damaged {
                    table: Table::Batches,
                    key: id.as_bytes().to_vec(),
                });
            }
        }
    }
    ledger::stretch(store, Height(1), u64::MAX)
}

#[test]
fn a_height_that_leads_to_another_branch_is_damage() {
    let Chain { mut store, blocks } = chain(5);
    let rival = child(&blocks[1], 9, vec![]);
    assert_eq!(rival.header.height, Height(2));
    let mut write = WriteBatch::new();
    ledger::put_block(&mut write, &rival);
    write.put(
        Table::Ledger,
        keys::height(Height(2)),
        *rival.id().as_bytes(),
    );
    commit(&mut store, write);
    let headers = ledger::headers(&store, Height(1), Height(5));
    assert_eq!(damaged(headers), Table::Ledger);
    let stretch = ledger::stretch(&store, Height(1), u64::MAX);
    assert_eq!(damaged(stretch), Table::Ledger);
    let mut write = WriteBatch::new();
    write.put(
        Table::Ledger,
        keys::height(Height(4)),
        *rival.id().as_bytes(),
    );
    commit(&mut store, write);
    let block = ledger::block_by_height(&store, Height(4));
    assert_eq!(damaged(block), Table::Ledger);
}

fn append_after(heights: u64, change: impl FnOnce(&mut Block, &mut Option<Finality>)) {
    let Chain { store, blocks } = chain(heights);
    let tip = ledger::tip(&store).expect("there");
    let mut block = child(blocks.last().expect("some"), 2 * heights + 1, vec![]);
    let mut finality = None;
    change(&mut block, &mut finality);
    let mut write = WriteBatch::new();
    let _ = ledger::append(&mut write, &tip, &block, finality.as_ref());
}

#[test]
fn append_takes_the_next_block() {
    append_after(3, |block, finality| *finality = Some(proof(block)));
}

#[test]
#[should_panic(expected = "I4: no gap")]
fn append_refuses_a_gap() {
    append_after(3, |block, _| block.header.height = Height(5));
}

#[test]
#[should_panic(expected = "I4: each parent hash matches")]
fn append_refuses_another_parent() {
    append_after(3, |block, _| block.header.parent = genesis().id());
}

#[test]
#[should_panic(expected = "I4: rounds rise along the chain")]
fn append_refuses_an_earlier_round() {
    append_after(3, |block, _| block.header.round = round(6));
}

#[test]
#[should_panic(expected = "I4: finality of this block")]
fn append_refuses_the_proof_of_another_block() {
    append_after(3, |_, finality| *finality = Some(proof(&genesis())));
}

#[test]
#[should_panic(expected = "I4: the genesis is at height 0")]
fn create_refuses_another_height() {
    let block = child(&genesis(), 1, vec![]);
    let _ = ledger::create(&mut WriteBatch::new(), CHAIN, &block);
}

/// The layout is what docs/STORAGE.md draws; a change needs another schema.
#[test]
fn keys_are_as_drawn() {
    let block = child(&genesis(), 0x0102, vec![batch(1, 0x0A0B).id()]);
    let mut write = WriteBatch::new();
    ledger::put_block(&mut write, &block);
    ledger::put_batch(&mut write, block.batches[0], &batch(1, 0x0A0B));
    let tip = Tip::of(&genesis());
    let _ = ledger::append(&mut write, &tip, &block, Some(&proof(&block)));
    let drawn: Vec<(Table, Vec<u8>)> = write
        .ops()
        .iter()
        .map(|op| match op {
            Op::Put(table, key, _) | Op::Delete(table, key) => (*table, key.clone()),
            Op::DeleteRange(..) | Op::Defer(..) => panic!("none here"),
        })
        .collect();
    let id = block.id().as_bytes().to_vec();
    let batch = block.batches[0].as_bytes().to_vec();
    let join = |parts: &[&[u8]]| parts.concat();
    let uncommitted = join(&[b"u", &[0; 8], &[0, 0, 0, 0, 0, 0, 1, 2], &id]);
    let height = [0, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(
        drawn,
        [
            (Table::Blocks, id.clone()),
            (Table::Ledger, uncommitted.clone()),
            (Table::Batches, batch.clone()),
            (
                Table::Ledger,
                join(&[b"e", &[0, 0, 0, 0, 0, 0, 10, 11], &batch])
            ),
            (Table::Blocks, id),
            (Table::Ledger, join(&[b"h", &height])),
            (Table::Ledger, uncommitted),
            (Table::Ledger, join(&[b"b", &batch])),
            (Table::Certificates, height.to_vec()),
            (Table::Meta, b"ledger/tip".to_vec()),
        ]
    );
    assert_eq!(keys::roots(Height(1)), join(&[b"roots/", &height]));
    assert_eq!(keys::receipt(Height(1), 2), join(&[&height, &[0, 0, 0, 2]]));
    let node = NodeId { level: 3, index: 1 };
    assert_eq!(keys::accumulator(node), join(&[&[3], &height]));
}
