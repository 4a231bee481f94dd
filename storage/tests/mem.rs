//! How the simulated disk fails.

use quorate_storage::mem::WriteFault;
use quorate_storage::{MemStore, Store, StoreError, Sync, Table, View, WriteBatch};
use quorate_types::Round;

fn put(key: u8) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(Table::State, [key], [key]);
    batch
}

fn has(store: &MemStore, key: u8) -> bool {
    store.contains(Table::State, &[key]).expect("readable")
}

#[test]
fn a_failed_write_fails_the_store_until_it_is_opened_anew() {
    for (fault, before, kept, dropped) in [
        (WriteFault::Lost, false, false, false),
        (WriteFault::NotSynced, true, true, false),
        (WriteFault::Silent, true, true, true),
    ] {
        for keep in [true, false] {
            let mut store = MemStore::new();
            store.write(put(1), Sync::Yes).expect("a good disk");
            store.fail_next(fault);
            let failed = store.write(put(2), Sync::Yes);
            assert!(matches!(failed, Err(StoreError::Injected)));
            assert_eq!(has(&store, 2), before, "{fault:?}");
            let refused = store.write(put(3), Sync::Yes);
            assert!(matches!(refused, Err(StoreError::Failed)));
            let refused = store.raise_ceiling(Round::default().next());
            assert!(matches!(refused, Err(StoreError::Failed)));
            store.crash(if keep { store.unsynced() } else { 0 });
            assert!(has(&store, 1) && !has(&store, 3));
            assert_eq!(
                has(&store, 2),
                if keep { kept } else { dropped },
                "{fault:?}"
            );
            store.write(put(4), Sync::Yes).expect("a good disk again");
        }
    }
}

#[test]
fn a_failed_raise_does_not_raise() {
    let to = Round::default().next();
    for (fault, after) in [
        (WriteFault::Lost, None),
        (WriteFault::NotSynced, None),
        (WriteFault::Silent, Some(to)),
    ] {
        let mut store = MemStore::new();
        store.fail_next(fault);
        assert!(store.raise_ceiling(to).is_err());
        store.crash(0);
        assert_eq!(store.ceiling(), after);
    }
}

#[test]
fn clones_are_independent_and_syncs_are_counted() {
    let mut store = MemStore::new();
    store.write(put(1), Sync::No).expect("a good disk");
    let mut copy = store.clone();
    copy.write(put(2), Sync::Yes).expect("a good disk");
    assert_eq!((store.syncs(), copy.syncs()), (0, 1));
    assert_eq!((store.unsynced(), copy.unsynced()), (1, 0));
    store.crash(0);
    assert!(!has(&store, 1) && has(&copy, 1) && has(&copy, 2));
    assert!(!store.rot(Table::State, &[1], 0), "nothing there to rot");
    assert!(copy.rot(Table::State, &[1], 0));
    assert_eq!(
        copy.get(Table::State, &[1]).expect("readable"),
        Some(vec![0])
    );
}
