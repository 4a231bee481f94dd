//! A start from a damaged store is refused with a word about what is damaged: every checksum may hold, and the content
//! still not be what was written.

use quorate_consensus::committed_headers;
use quorate_crypto::SecretKey;
use quorate_execution::{Executor, OpenError};
use quorate_replica::lag::{self, LagLimits};
use quorate_replica::view::StateReader;
use quorate_replica::{BootError, Replica, Setup};
use quorate_storage::ledger::{self, LedgerError};
use quorate_storage::{MemStore, Store, Sync, Table, View, WriteBatch};
use quorate_types::vote::Signable;
use quorate_types::{
    Batch, BatchId, Block, BlockId, BlockTime, Cc, CommitVote, Digest, Epoch, FORMAT_VERSION,
    Finality, Genesis, Height, Instant, Now, Parameters, Qc, Reject, Roots, Signature,
    ValidatorIndex, ValidatorInfo, Vote, codec,
};

const START: u64 = 1_700_000_000_000_000_000;
const STEP: u64 = 1_000_000;
const ME: ValidatorIndex = ValidatorIndex(0);

fn key() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

/// A chain of one validator: it is its own quorum.
fn setup() -> Setup {
    let network = SecretKey::from_seed(&[101; 32]).public();
    let genesis = Genesis {
        version: FORMAT_VERSION,
        name: "lone".into(),
        time: BlockTime(START),
        parameters: Parameters::default(),
        validators: vec![ValidatorInfo {
            name: "v0".into(),
            consensus_key: key().public(),
            network_key: network,
            address: "127.0.0.1:7650".into(),
            proof: ValidatorInfo::prove(&key(), key().public(), network),
        }],
        clients: Vec::new(),
        machine: "kv".into(),
        origin: None,
    };
    Setup::new(&genesis, Some(&key().public())).unwrap()
}

fn at(elapsed: u64) -> Now {
    Now {
        monotonic: Instant(elapsed),
        wall: BlockTime(START + elapsed),
    }
}

/// What is on disk after a few blocks, and where the ledger ends.
fn ran() -> (MemStore, ledger::Tip) {
    ran_to(Height(3), LagLimits::default())
}

fn ran_to(height: Height, lag: LagLimits) -> (MemStore, ledger::Tip) {
    let mut store = MemStore::new();
    let mut setup = setup();
    setup.lag = lag;
    let (mut replica, mut output) = Replica::open(setup, &mut store, at(0)).unwrap();
    for step in 1.. {
        let own = output.persist(&mut store).unwrap().sign(&key()).own;
        if replica.status().height >= height {
            break;
        }
        output = replica.turn(&store, at(step * STEP), own).unwrap();
    }
    let tip = ledger::tip(&store).unwrap();
    (store, tip)
}

fn refusal(mut store: MemStore) -> BootError {
    match Replica::open(setup(), &mut store, at(0)) {
        Ok(_) => panic!("started"),
        Err(error) => error,
    }
}

fn put(store: &mut MemStore, table: Table, key: &[u8], value: Vec<u8>) {
    let mut writes = WriteBatch::new();
    writes.put(table, key, value);
    store.write(writes, Sync::Yes).unwrap();
}

fn put_finality(store: &mut MemStore, height: Height, finality: &Finality) {
    let key = ledger::keys::certificate(height);
    put(store, Table::Certificates, &key, codec::encode(finality));
}

#[test]
fn what_is_whole_starts() {
    let (mut store, tip) = ran();
    let (replica, _) = Replica::open(setup(), &mut store, at(0)).unwrap();
    assert_eq!(replica.status().height, tip.height);
}

/// It decoded, and ended the start with the panic of an assertion instead of a refusal.
#[test]
fn a_finality_proof_whose_signature_fails_is_refused() {
    for certificate in ["cc", "qc"] {
        let (mut store, tip) = ran();
        let mut finality = ledger::finality(&store, tip.height).unwrap().unwrap();
        match certificate {
            "cc" => finality.cc.signatures[0] = Signature::default(),
            _ => finality.qc.signatures[0] = Signature::default(),
        }
        put_finality(&mut store, tip.height, &finality);
        let error = refusal(store);
        let BootError::BadFinality { height, reject } = error else {
            panic!("{error}");
        };
        assert_eq!((height, reject), (tip.height, Reject::BadSignature));
    }
}

#[test]
fn a_finality_proof_of_another_block_is_refused() {
    let (mut store, tip) = ran();
    let validators = setup().validators;
    let (round, block) = (tip.round, BlockId(Digest::from_bytes([7; 32])));
    let (chain, signature) = (validators.chain(), Signature::default());
    let vote = Vote {
        round,
        block,
        voter: ME,
        signature,
        held: Vec::new(),
    };
    let commit_vote = CommitVote {
        round,
        block,
        height: tip.height,
        voter: ME,
        signature,
        held: Vec::new(),
    };
    let finality = Finality {
        cc: Cc::assemble(&[commit_vote.sign(chain, &key())], &validators).into_inner(),
        qc: Qc::assemble(&[vote.sign(chain, &key())], &validators).into_inner(),
    };
    put_finality(&mut store, tip.height, &finality);
    let error = refusal(store);
    let BootError::BadFinality { reject, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(reject, Reject::CertificateMismatch);
}

#[test]
fn a_safety_record_whose_certificate_fails_is_refused() {
    let (mut store, _) = ran();
    let mut record = ledger::record(&store).unwrap().unwrap();
    record.high_qc.signatures[0] = Signature::default();
    let mut writes = WriteBatch::new();
    ledger::put_record(&mut writes, &record);
    store.write(writes, Sync::Yes).unwrap();
    let error = refusal(store);
    assert!(
        matches!(error, BootError::BadRecord(Reject::BadSignature)),
        "{error}"
    );
}

/// Taken as it was, it ended the process with an assertion at the first Timeout.
#[test]
fn a_safety_record_that_contradicts_itself_is_refused() {
    let (mut store, _) = ran();
    let mut record = ledger::record(&store).unwrap().unwrap();
    record.highest_timeout = record.round.next();
    let mut writes = WriteBatch::new();
    ledger::put_record(&mut writes, &record);
    store.write(writes, Sync::Yes).unwrap();
    let error = refusal(store);
    assert!(
        matches!(error, BootError::BadRecord(Reject::Malformed)),
        "{error}"
    );
}

#[test]
fn a_tip_that_is_not_the_newest_block_is_refused() {
    let (store, tip) = ran();
    let other = ledger::Tip {
        round: tip.round.next(),
        ..tip
    };
    let above = ledger::Tip {
        height: tip.height.next(),
        ..tip
    };
    for damaged in [other, above] {
        let mut store = store.clone();
        let key = ledger::keys::TIP;
        assert!(store.contains(Table::Meta, key).unwrap());
        put(&mut store, Table::Meta, key, codec::encode(&damaged));
        let error = refusal(store);
        assert!(
            matches!(
                error,
                BootError::Ledger(LedgerError::Damaged { .. }) | BootError::Heights { .. }
            ),
            "{error}"
        );
    }
}

/// A store whose process was killed: what was deferred is gone, and nothing else.
fn killed() -> (MemStore, ledger::Tip) {
    let (mut store, tip) = ran();
    store.crash(store.unsynced());
    assert_eq!(executed(&store), Height(0), "nothing was settled");
    (store, tip)
}

/// The same with roots at a height that its blocks do not lead to.
fn killed_with_other_roots(height: Height) -> MemStore {
    let (mut store, _) = killed();
    let roots = codec::encode(&Roots::default());
    put(&mut store, Table::Meta, &ledger::keys::roots(height), roots);
    store
}

/// Where the state in a store ends.
fn executed(store: &MemStore) -> Height {
    Executor::open(&StateReader(store)).unwrap().height()
}

#[test]
fn a_state_behind_the_ledger_is_worked_out_again() {
    let (mut store, tip) = killed();
    let (replica, _) = Replica::open(setup(), &mut store, at(0)).unwrap();
    let status = replica.status();
    assert_eq!(status.height, tip.height);
    let stored = ledger::roots(&store, tip.height).unwrap();
    assert_eq!(stored, Some(status.roots));
    store.crash(store.unsynced());
    assert_eq!(executed(&store), tip.height, "it is settled");
}

#[test]
fn a_state_that_settles_with_each_block_is_never_behind() {
    let lag = LagLimits {
        blocks: 1,
        ..LagLimits::default()
    };
    let (mut store, tip) = ran_to(Height(3), lag);
    store.crash(store.unsynced());
    assert_eq!(executed(&store), tip.height);
}

#[test]
fn blocks_that_lead_to_other_roots_than_those_stored_are_refused() {
    let error = refusal(killed_with_other_roots(Height(2)));
    assert!(
        matches!(
            error,
            BootError::State(OpenError::RootMismatch { height: Height(2) })
        ),
        "{error}"
    );
}

#[test]
fn a_block_that_is_needed_again_and_gone_is_named() {
    let (mut store, _) = killed();
    let key = ledger::keys::height(Height(2));
    let mut writes = WriteBatch::new();
    writes.delete(Table::Ledger, key.clone());
    store.write(writes, Sync::Yes).unwrap();
    let error = refusal(store);
    assert!(
        matches!(&error, BootError::Ledger(LedgerError::Damaged { table: Table::Ledger, key: of }) if *of == key),
        "{error}"
    );
}

#[test]
fn a_state_ahead_of_the_ledger_is_refused() {
    let (mut store, tip) = ran();
    let mut below = ledger::block_by_height(&store, Height(1)).unwrap().unwrap();
    below.batches.clear();
    put(
        &mut store,
        Table::Meta,
        ledger::keys::TIP,
        codec::encode(&ledger::Tip::of(&below)),
    );
    let error = refusal(store);
    let (state, ledger) = match error {
        BootError::Heights { state, ledger } => (state, ledger),
        error => panic!("{error}"),
    };
    assert_eq!((state, ledger), (tip.height, Height(1)));
}

/// The blocks that a state on disk needs again must not go before it does not.
#[test]
fn a_ledger_without_its_past_starts_after_a_crash() {
    let kept = u64::try_from(committed_headers(&setup().validators)).unwrap();
    let (mut store, tip) = ran_to(Height(kept + 10), LagLimits::default());
    let swept = ledger::truncate(&store, Height(10), usize::MAX).unwrap();
    assert_eq!(swept.heights, 9);
    store.write(swept.writes, Sync::No).unwrap();
    store.crash(store.unsynced());
    let (replica, _) = Replica::open(setup(), &mut store, at(0)).unwrap();
    assert_eq!(replica.status().height, tip.height);
}

#[test]
fn before_blocks_that_lead_elsewhere_the_state_is_that_of_the_height_below() {
    let mut store = killed_with_other_roots(Height(2));
    assert!(lag::catch_up(&mut store, LagLimits::default()).is_err());
    store.crash(store.unsynced());
    assert_eq!(executed(&store), Height(1));
}

/// Stores batches that nobody has ordered, in this validator's name.
fn put_batches(
    store: &mut MemStore,
    numbers: core::ops::Range<u64>,
    expiry: BlockTime,
) -> Vec<BatchId> {
    let mut writes = WriteBatch::new();
    let ids = numbers.map(|sequence| {
        let batch = Batch {
            version: FORMAT_VERSION,
            epoch: Epoch(0),
            origin: ME,
            sequence,
            expiry,
            transactions: Vec::new(),
        };
        ledger::put_batch(&mut writes, batch.id(), &batch);
        batch.id()
    });
    let ids = ids.collect();
    store.write(writes, Sync::Yes).unwrap();
    ids
}

/// However many are stored: they are read in pages.
#[test]
fn a_start_finds_every_batch_that_may_still_be_ordered() {
    let (mut store, _) = ran();
    let _over = put_batches(&mut store, 0..300, BlockTime(START - 1));
    let live = put_batches(&mut store, 300..1_000, BlockTime(START + 60_000_000_000));
    let (replica, _) = Replica::open(setup(), &mut store, at(0)).unwrap();
    let bytes = ledger::batch(&store, live[0])
        .unwrap()
        .unwrap()
        .encoded_len();
    assert_eq!(replica.status().pool_bytes, 700 * bytes);
}

/// Starts again, and has some more blocks committed.
fn go_on(store: &mut MemStore, height: Height) {
    let (mut replica, mut output) = Replica::open(setup(), store, at(0)).unwrap();
    for step in 10.. {
        let own = output.persist(store).unwrap().sign(&key()).own;
        if replica.status().height >= height {
            break;
        }
        output = replica.turn(store, at(step * STEP), own).unwrap();
    }
}

/// A faulty leader's block named them, and was never complete; they expire at the end of time, and stayed on disk until then.
#[test]
fn what_was_invented_for_a_block_goes_with_it() {
    let (mut store, tip) = ran();
    let mut batches = put_batches(&mut store, 0..3, BlockTime(u64::MAX));
    let live = put_batches(&mut store, 3..4, BlockTime(START + 60_000_000_000));
    batches.extend(&live);
    let mut stale = ledger::block_by_height(&store, Height(2)).unwrap().unwrap();
    stale.header.payload = Block::payload_root(&batches);
    stale.batches = batches.clone();
    let mut writes = WriteBatch::new();
    ledger::put_block(&mut writes, &stale);
    store.write(writes, Sync::Yes).unwrap();
    go_on(&mut store, Height(tip.height.0 + 3));
    let found = ledger::block_by_id(&store, stale.id()).unwrap();
    assert_eq!(found, None);
    let there = batches
        .iter()
        .filter(|id| ledger::has_batch(&store, **id).unwrap());
    let there: Vec<BatchId> = there.copied().collect();
    assert_eq!(there, live, "the pool holds it, or it is ordered");
}

/// The blocks of a leader that is faulty may be stored with 64 batches each and never be committed: what was deleted with a
/// commit was no more than 128, and so what had expired could pile up.
#[test]
fn expired_batches_are_deleted_as_fast_as_they_pile_up() {
    let (mut store, tip) = ran();
    let over = put_batches(&mut store, 0..3_000, BlockTime(START - 1));
    go_on(&mut store, Height(tip.height.0 + 8));
    let left = over
        .iter()
        .filter(|id| ledger::has_batch(&store, **id).unwrap());
    assert_eq!(left.count(), 0);
}
