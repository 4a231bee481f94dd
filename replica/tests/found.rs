//! A chain that starts from another chain's state: into an empty store, whole or not at all.

use quorate_crypto::SecretKey;
use quorate_execution::fork::Foundation;
use quorate_execution::kv::{LeafRecord, state_key};
use quorate_execution::{Entry, OpenError, Reader, Space};
use quorate_replica::found::{found, is_needed};
use quorate_replica::{BootError, Replica, Setup};
use quorate_storage::ledger::LedgerError;
use quorate_storage::{MemStore, Order, Table, View};
use quorate_types::genesis::FORKED_VERSION;
use quorate_types::{Blob, BlockTime, ChainId, Client, Digest, Genesis, Height, Instant, Now};
use quorate_types::{Origin, Parameters, Role, ValidatorInfo};

const NOW: Now = Now {
    monotonic: Instant(0),
    wall: BlockTime(5),
};

/// Storage with nothing in it.
struct Nothing;

impl Reader for Nothing {
    type Error = ();

    fn get(&self, _: Space, _: &[u8]) -> Result<Option<Vec<u8>>, ()> {
        Ok(None)
    }

    fn scan(&self, _: Space, _: &[u8], _: Option<&[u8]>, _: usize) -> Result<Vec<Entry>, ()> {
        Ok(Vec::new())
    }
}

fn records() -> Vec<Entry> {
    let record = |n: u64| LeafRecord {
        value: Blob(vec![b'x'; 100]),
        create_revision: n,
        modify_revision: n,
        version: 1,
        lease: None,
    };
    let mut records: Vec<Entry> = (0..500u64)
        .map(|n| (state_key(format!("k{n:03}").as_bytes()), record(n).encode()))
        .collect();
    records.push((b"sys/session/nobody".to_vec(), vec![1, 2, 3]));
    records
}

fn genesis() -> Genesis {
    let key = |seed: u8| SecretKey::from_seed(&[seed; 32]);
    let (consensus, network) = (key(1), key(2));
    let mut genesis = Genesis {
        version: FORKED_VERSION,
        name: "fork".into(),
        time: BlockTime(4),
        parameters: Parameters::default(),
        validators: vec![ValidatorInfo {
            name: "v".into(),
            consensus_key: consensus.public(),
            network_key: network.public(),
            address: "127.0.0.1:7650".into(),
            proof: ValidatorInfo::prove(&consensus, consensus.public(), network.public()),
        }],
        clients: vec![Client {
            name: "alice".into(),
            key: key(3).public(),
            role: Role::Admin,
        }],
        machine: "kv".into(),
        origin: None,
    };
    let mut origin = Origin {
        chain: ChainId::default(),
        height: Height(9),
        state: Digest::from_bytes([1; 32]),
        root: Digest::default(),
    };
    genesis.origin = Some(origin);
    let mut foundation = Foundation::begin(&Nothing, &genesis).unwrap().0;
    foundation.add(&Nothing, records()).unwrap();
    origin.root = foundation.root();
    genesis.origin = Some(origin);
    genesis.check().expect("a good genesis");
    genesis
}

fn setup() -> Setup {
    let genesis = genesis();
    Setup::new(&genesis, Some(&genesis.validators[0].consensus_key)).unwrap()
}

/// Hands the records out in pieces, and fails behind the first `good` of them.
fn put(store: &mut MemStore, records: &[Entry], good: usize) -> Result<(), BootError> {
    let mut pieces = records.chunks(64).enumerate();
    found(&setup(), store, || match pieces.next() {
        Some((place, _)) if place == good => Err(BootError::NoFinality(Height(77))),
        Some((_, piece)) => Ok(Some(piece.to_vec())),
        None => Ok(None),
    })
}

fn start(store: &mut MemStore) {
    let (replica, _) = Replica::open(setup(), store, NOW).expect("it starts");
    assert_eq!(replica.status().height, Height(0));
}

fn state(store: &MemStore) -> Vec<Entry> {
    let all = store.scan(Table::State, &[], None, usize::MAX, Order::Ascending);
    all.expect("memory does not fail")
}

#[test]
fn an_empty_store_does_not_start_by_itself() {
    let mut store = MemStore::new();
    assert!(is_needed(&setup(), &store).unwrap());
    let refused = Replica::open(setup(), &mut store, NOW).map(|_| ());
    assert!(matches!(refused, Err(BootError::NoOrigin)), "{refused:?}");
    put(&mut store, &records(), usize::MAX).expect("its own records");
    assert!(!is_needed(&setup(), &store).unwrap());
    let (replica, _) = Replica::open(setup(), &mut store, NOW).expect("it starts");
    assert_eq!(replica.status().height, Height(0));
    assert_eq!(replica.status().roots.state, genesis().origin.unwrap().root);
    let kept = state(&store);
    assert!(
        kept.iter()
            .all(|(key, _)| !key.starts_with(b"sys/session/"))
    );
    assert_eq!(
        kept.iter()
            .filter(|(key, _)| key.starts_with(b"kv/"))
            .count(),
        500
    );
}

#[test]
fn other_records_are_refused_and_the_right_ones_can_follow() {
    let mut store = MemStore::new();
    let mut flipped = records();
    *flipped[70].1.last_mut().unwrap() ^= 1;
    for wrong in [flipped, records()[1..].to_vec()] {
        let refused = put(&mut store, &wrong, usize::MAX);
        let mismatch = BootError::State(OpenError::RootMismatch { height: Height(0) });
        assert_eq!(
            refused.map_err(|e| e.to_string()),
            Err(mismatch.to_string())
        );
        assert!(is_needed(&setup(), &store).unwrap());
    }
    put(&mut store, &records(), usize::MAX).expect("its own records");
    start(&mut store);
}

#[test]
fn a_start_that_was_cut_short_begins_again() {
    let mut clean = MemStore::new();
    put(&mut clean, &records(), usize::MAX).expect("its own records");
    for good in [0, 1, 5, 7] {
        let mut store = MemStore::new();
        let cut = put(&mut store, &records(), good);
        assert!(
            matches!(cut, Err(BootError::NoFinality(Height(77)))),
            "{cut:?}"
        );
        assert!(is_needed(&setup(), &store).unwrap(), "it counts as empty");
        put(&mut store, &records(), usize::MAX).expect("its own records");
        assert_eq!(state(&store), state(&clean));
        start(&mut store);
    }
}

/// What another genesis makes of a store that a start has left halfway.
#[test]
fn half_a_state_is_of_one_chain() {
    let mut store = MemStore::new();
    put(&mut store, &records(), 3).expect_err("cut short");
    let mut genesis = genesis();
    genesis.name = "other".into();
    let other = Setup::new(&genesis, None).unwrap();
    for refused in [
        is_needed(&other, &store).map(|_| ()),
        Replica::open(other.clone(), &mut store, NOW).map(|_| ()),
    ] {
        let ledger = matches!(
            refused,
            Err(BootError::Ledger(LedgerError::OtherChain { .. }))
        );
        assert!(ledger, "{refused:?}");
    }
}
