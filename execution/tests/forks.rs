//! A chain that starts from another chain's state.

mod common;

use common::*;
use quorate_execution::fork::{Foundation, is_taken_over};
use quorate_execution::kv::{Command, Keys, KvResult};
use quorate_execution::{Executor, OpenError, Reader, Space, genesis_roots};
use quorate_types::genesis::FORKED_VERSION;
use quorate_types::{Digest, Genesis, Height, Origin, Outcome, Rejection};

/// A chain with keys, revisions, an open checkpoint and sessions.
fn parent() -> Chain {
    let mut chain = Chain::new();
    for n in 0..20 {
        chain.kv(put(format!("k{n}"), "old")).unwrap();
    }
    let name = blob("cp");
    chain.kv(Command::Checkpoint { name }).unwrap();
    chain.kv(put("k7", "new")).unwrap();
    chain
}

fn state(chain: &Chain) -> Vec<(Vec<u8>, Vec<u8>)> {
    chain
        .memory
        .scan(Space::State, b"", None, usize::MAX)
        .unwrap()
}

/// The state of the genesis, put together from records in pieces; `None` if they are not those that it means.
fn found(genesis: &Genesis, records: &[(Vec<u8>, Vec<u8>)]) -> Option<Memory> {
    let mut memory = Memory::default();
    let (mut foundation, changes) = Foundation::begin(&memory, genesis).unwrap();
    memory.apply(&changes);
    for piece in records.chunks(7) {
        let changes = foundation.add(&memory, piece.to_vec()).unwrap();
        memory.apply(&changes);
    }
    match foundation.finish::<()>(genesis) {
        Ok(changes) => memory.apply(&changes),
        Err(OpenError::RootMismatch { height: Height(0) }) => return None,
        Err(error) => panic!("{error:?}"),
    }
    Some(memory)
}

fn root(genesis: &Genesis, records: &[(Vec<u8>, Vec<u8>)]) -> Digest {
    let memory = Memory::default();
    let mut foundation = Foundation::begin(&memory, genesis).unwrap().0;
    foundation.add(&memory, records.to_vec()).unwrap();
    foundation.root()
}

fn forked(chain: &Chain) -> Genesis {
    let mut genesis = genesis(|parameters| parameters.session_window = 128);
    genesis.name = "sandbox".into();
    genesis.version = FORKED_VERSION;
    let mut origin = Origin {
        chain: chain.chain_id(),
        height: chain.executor.height(),
        state: chain.executor.roots().state,
        root: Digest::default(),
    };
    genesis.origin = Some(origin);
    origin.root = root(&genesis, &state(chain));
    genesis.origin = Some(origin);
    genesis.check().expect("a good genesis");
    genesis
}

#[test]
fn a_fork_goes_on_with_keys_revisions_and_checkpoints_and_without_sessions() {
    let mut chain = parent();
    let genesis = forked(&chain);
    let memory = found(&genesis, &state(&chain)).expect("its own records");
    assert_eq!(memory.count(Space::State, b"sys/session/"), 0);
    assert_eq!(memory.count(Space::State, b"sys/expiry/"), 0);
    let executor = Executor::open(&memory).expect("it opens");
    assert_eq!(executor.height(), Height(0));
    assert_eq!(executor.roots(), genesis_roots(&genesis));
    assert_eq!(executor.revision(), chain.executor.revision());
    assert_eq!(
        executor.parameters().session_window,
        128,
        "of the new genesis"
    );
    let mut fork = Chain::new();
    (fork.genesis, fork.executor, fork.memory) = (genesis, executor, memory);
    assert_ne!(fork.chain_id(), chain.chain_id());
    let everything = || Command::Revert {
        checkpoint: blob("cp"),
        keys: Keys::Range {
            start: blob(""),
            end: None,
            limit: 0,
        },
    };
    let there = chain.kv(everything()).unwrap();
    // Numbers that were used there are fresh here.
    assert_eq!(fork.kv(everything()).unwrap(), there);
    let Ok(KvResult::Get(Some(record))) = fork.kv(get("k7")) else {
        panic!("it is there")
    };
    assert_eq!(
        (record.value, record.create_revision, record.version),
        (blob("old"), 8, 3)
    );
    fork.reopen();
    let stranger = fork.next(STRANGER, &[put("k", "v")]);
    assert_eq!(
        fork.one(stranger),
        Outcome::Rejected(Rejection::UnknownClient)
    );
}

#[test]
fn other_records_do_not_start() {
    let chain = parent();
    let (genesis, records) = (forked(&chain), state(&chain));
    assert!(found(&genesis, &records).is_some());
    for place in 0..records.len() {
        let taken = is_taken_over(&records[place].0);
        let mut lacking = records.clone();
        lacking.remove(place);
        assert_eq!(found(&genesis, &lacking).is_none(), taken, "{place}");
        let mut flipped = records.clone();
        *flipped[place].1.last_mut().unwrap() ^= 1;
        assert_eq!(found(&genesis, &flipped).is_none(), taken, "{place}");
    }
    let mut more = records;
    more.push((b"kv/more".to_vec(), vec![1]));
    assert!(found(&genesis, &more).is_none());
}

#[test]
fn what_is_not_in_a_genesis_cannot_come_from_it() {
    let genesis = forked(&parent());
    let result = std::panic::catch_unwind(|| Executor::genesis(&genesis).2);
    assert!(result.is_err());
}
