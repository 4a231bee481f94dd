//! A start from a damaged store is refused with a word about what is damaged: every checksum may hold, and the content
//! still not be what was written.

use quorate_crypto::SecretKey;
use quorate_replica::{BootError, Replica, Setup};
use quorate_storage::ledger::{self, LedgerError};
use quorate_storage::{MemStore, Store, Sync, Table, View, WriteBatch};
use quorate_types::vote::Signable;
use quorate_types::{
    BlockId, BlockTime, Cc, CommitVote, Digest, FORMAT_VERSION, Finality, Genesis, Height, Instant,
    Now, Parameters, Qc, Reject, Signature, ValidatorIndex, ValidatorInfo, Vote, codec,
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
    let mut store = MemStore::new();
    let (mut replica, mut output) = Replica::open(setup(), &mut store, at(0)).unwrap();
    for step in 1.. {
        let own = output.persist(&mut store).unwrap().sign(&key()).own;
        if replica.status().height >= Height(3) {
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
