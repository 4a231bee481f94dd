//! What every store promises (the page of `quorate_storage::store`), tried on each.

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use quorate_storage::store::prefix_end;
use quorate_storage::{Op, Order, Store, StoreError, Sync, Table, View, WriteBatch};
use quorate_types::{Epoch, Round};
use support::{Disk, Mem};

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod mem {
            $(#[test] fn $name() { super::$name::<super::Mem>(); })*
        }
        #[cfg(feature = "rocks")]
        mod rocks {
            $(#[test] fn $name() { super::$name::<super::support::real::Rocks>(); })*
        }
    };
}

contract!(
    tables_are_apart,
    order_within_a_batch,
    scans_are_ordered_and_bounded,
    prefix_scans,
    ranges_are_deleted,
    empty_keys_and_values,
    large_values,
    a_restart_keeps_everything,
    a_power_cut_keeps_what_was_synced,
    a_synced_write_carries_those_before_it,
    a_power_cut_keeps_a_prefix,
    a_batch_is_whole_or_not_there,
    an_empty_synced_write_syncs,
    what_is_deferred_is_seen_and_goes_with_the_process,
    a_write_that_settles_takes_along_what_was_deferred,
    a_power_cut_takes_back_a_settling_write_with_all_it_settled,
    scans_see_what_is_deferred,
    the_ceiling_only_rises,
    a_clean_cut_is_repeatable,
);

fn put(key: &[u8], value: &[u8]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(Table::State, key, value);
    batch
}

fn all(view: &impl View, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    view.scan(table, b"", None, usize::MAX, Order::Ascending)
        .expect("readable")
}

fn keys(entries: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<Vec<u8>> {
    entries.into_iter().map(|(key, _)| key).collect()
}

fn tables_are_apart<D: Disk>() {
    let mut disk = D::fresh();
    let mut batch = WriteBatch::new();
    for table in Table::ALL {
        batch.put(table, b"key".as_slice(), table.name().as_bytes());
    }
    disk.write(batch, Sync::Yes);
    disk.restart();
    for table in Table::ALL {
        let value = disk.store().get(table, b"key").expect("readable");
        assert_eq!(value.as_deref(), Some(table.name().as_bytes()));
        assert!(disk.store().contains(table, b"key").expect("readable"));
        assert!(!disk.store().contains(table, b"other").expect("readable"));
        assert_eq!(all(disk.store(), table).len(), 1);
    }
}

fn order_within_a_batch<D: Disk>() {
    let mut disk = D::fresh();
    let mut batch = put(b"a", b"1");
    batch.put(Table::State, b"a".as_slice(), b"2".as_slice());
    batch.put(Table::State, b"b".as_slice(), b"1".as_slice());
    batch.delete(Table::State, b"b".as_slice());
    batch.delete_range(Table::State, b"a".as_slice(), b"z".as_slice());
    batch.put(Table::State, b"c".as_slice(), b"3".as_slice());
    disk.write(batch, Sync::No);
    assert_eq!(
        all(disk.store(), Table::State),
        [(b"c".to_vec(), b"3".to_vec())]
    );
}

fn scans_are_ordered_and_bounded<D: Disk>() {
    let mut disk = D::fresh();
    let mut batch = WriteBatch::new();
    for key in [b"b".as_slice(), b"", b"ab", b"a", b"\xff\xff", b"a\0"] {
        batch.put(Table::Ledger, key, key);
    }
    disk.write(batch, Sync::No);
    let store = disk.store();
    let scan = |from: &[u8], to: Option<&[u8]>, limit, order| {
        keys(
            store
                .scan(Table::Ledger, from, to, limit, order)
                .expect("readable"),
        )
    };
    use Order::{Ascending, Descending};
    let sorted: [&[u8]; 6] = [b"", b"a", b"a\0", b"ab", b"b", b"\xff\xff"];
    let mut reversed = sorted;
    reversed.reverse();
    assert_eq!(scan(b"", None, 9, Ascending), sorted);
    assert_eq!(scan(b"", None, 9, Descending), reversed);
    assert_eq!(scan(b"a", Some(b"b"), 9, Ascending), sorted[1..4]);
    assert_eq!(scan(b"a", Some(b"b"), 2, Descending), reversed[2..4]);
    assert_eq!(scan(b"a\0", Some(b"aa"), 9, Descending), sorted[2..3]);
    assert_eq!(scan(b"aa", None, 1, Ascending), sorted[3..4]);
    assert_eq!(scan(b"", None, 0, Ascending), sorted[..0]);
    assert_eq!(scan(b"b", Some(b"b"), 9, Ascending), sorted[..0]);
    assert_eq!(scan(b"b", Some(b"a"), 9, Descending), sorted[..0]);
    assert_eq!(scan(b"", Some(b""), 9, Ascending), sorted[..0]);
}

fn prefix_scans<D: Disk>() {
    let mut disk = D::fresh();
    let mut batch = WriteBatch::new();
    for key in [b"p".as_slice(), b"p\0", b"p\xff", b"p\xff\xff", b"q", b"o"] {
        batch.put(Table::State, key, Vec::new());
    }
    disk.write(batch, Sync::No);
    for (prefix, expected) in [(b"p".as_slice(), 4), (b"p\xff", 2), (b"", 6), (b"x", 0)] {
        let end = prefix_end(prefix);
        let order = Order::Ascending;
        let found = disk
            .store()
            .scan(Table::State, prefix, end.as_deref(), 9, order);
        let found = keys(found.expect("readable"));
        assert_eq!(found.len(), expected);
        assert!(found.iter().all(|key| key.starts_with(prefix)));
    }
    assert_eq!(prefix_end(b"\xff\xff"), None);
}

fn ranges_are_deleted<D: Disk>() {
    let mut disk = D::fresh();
    let mut batch = WriteBatch::new();
    for key in 0..10u8 {
        batch.put(Table::Receipts, [key], [key]);
        batch.put(Table::Places, [key], [key]);
    }
    disk.write(batch, Sync::Yes);
    let mut batch = WriteBatch::new();
    batch.delete_range(Table::Receipts, [2], [5]);
    batch.delete_range(Table::Receipts, [8], [8]);
    batch.delete_range(Table::Receipts, [9], [1]);
    assert_eq!(batch.len(), 1, "an empty range is no change");
    disk.write(batch, Sync::Yes);
    disk.restart();
    let left = keys(all(disk.store(), Table::Receipts));
    assert_eq!(left, [[0], [1], [5], [6], [7], [8], [9]]);
    assert_eq!(all(disk.store(), Table::Places).len(), 10);
}

fn empty_keys_and_values<D: Disk>() {
    let mut disk = D::fresh();
    disk.write(put(b"", b""), Sync::Yes);
    disk.restart();
    assert_eq!(
        disk.store().get(Table::State, b"").expect("readable"),
        Some(vec![])
    );
    let mut batch = WriteBatch::new();
    batch.delete(Table::State, b"".as_slice());
    disk.write(batch, Sync::Yes);
    assert_eq!(disk.store().get(Table::State, b"").expect("readable"), None);
}

fn large_values<D: Disk>() {
    let mut disk = D::fresh();
    let value: Vec<u8> = (0..4 << 20).map(|i: u32| i.to_le_bytes()[1]).collect();
    let mut batch = WriteBatch::new();
    for key in 0..12u8 {
        batch.put(Table::Batches, [key], value.as_slice());
    }
    assert_eq!(batch.bytes(), 12 * (value.len() + 1));
    disk.write(batch, Sync::Yes);
    disk.restart();
    for key in 0..12u8 {
        let found = disk.store().get(Table::Batches, &[key]).expect("readable");
        assert!(found.is_some_and(|found| found == value));
    }
}

fn a_restart_keeps_everything<D: Disk>() {
    let mut disk = D::fresh();
    disk.write(put(b"a", b"1"), Sync::Yes);
    disk.write(put(b"b", b"2"), Sync::No);
    disk.restart();
    assert_eq!(all(disk.store(), Table::State).len(), 2);
}

fn a_power_cut_keeps_what_was_synced<D: Disk>() {
    let mut disk = D::fresh();
    disk.write(put(b"a", b"1"), Sync::Yes);
    disk.write(put(b"b", b"2"), Sync::No);
    disk.cut_power(0);
    assert_eq!(keys(all(disk.store(), Table::State)), [b"a"]);
}

fn a_synced_write_carries_those_before_it<D: Disk>() {
    let mut disk = D::fresh();
    disk.write(put(b"a", b"1"), Sync::No);
    disk.write(put(b"b", b"2"), Sync::Yes);
    disk.cut_power(0);
    assert_eq!(all(disk.store(), Table::State).len(), 2);
}

fn a_power_cut_keeps_a_prefix<D: Disk>() {
    for keep in 0..=3 {
        let mut disk = D::fresh();
        disk.write(put(b"s", b""), Sync::Yes);
        for key in [b"1", b"2", b"3"] {
            disk.write(put(key, b""), Sync::No);
        }
        disk.cut_power(keep);
        let mut expected = vec![b"1".to_vec(), b"2".to_vec(), b"3".to_vec()];
        expected.truncate(keep);
        expected.push(b"s".to_vec());
        assert_eq!(keys(all(disk.store(), Table::State)), expected);
    }
}

fn a_batch_is_whole_or_not_there<D: Disk>() {
    for keep in 0..=1 {
        let mut disk = D::fresh();
        disk.write(put(b"old", b""), Sync::Yes);
        let mut batch = WriteBatch::new();
        batch.delete(Table::State, b"old".as_slice());
        for table in Table::ALL {
            batch.put(table, b"new".as_slice(), vec![7; 10_000]);
        }
        disk.write(batch, Sync::No);
        disk.cut_power(keep);
        let old = disk.store().get(Table::State, b"old").expect("readable");
        assert_eq!(old.is_none(), keep == 1);
        for table in Table::ALL {
            let new = disk.store().get(table, b"new").expect("readable");
            assert_eq!(new.is_some(), keep == 1);
        }
    }
}

fn an_empty_synced_write_syncs<D: Disk>() {
    let mut disk = D::fresh();
    disk.write(put(b"a", b"1"), Sync::No);
    disk.write(WriteBatch::new(), Sync::Yes);
    disk.cut_power(0);
    assert_eq!(all(disk.store(), Table::State).len(), 1);
}

fn defer(key: &[u8], value: Option<&[u8]>) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.defer(Table::State, key, value.map(<[u8]>::to_vec));
    batch
}

fn settle() -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.settle();
    batch
}

fn what_is_deferred_is_seen_and_goes_with_the_process<D: Disk>() {
    let mut disk = D::fresh();
    disk.write(put(b"a", b"1"), Sync::Yes);
    disk.write(put(b"b", b"1"), Sync::Yes);
    disk.write(defer(b"a", Some(b"2")), Sync::Yes);
    disk.write(defer(b"b", None), Sync::No);
    disk.write(defer(b"c", Some(b"2")), Sync::No);
    disk.write(put(b"d", b"2"), Sync::Yes);
    let seen = [b"a", b"c", b"d"].map(|key| (key.to_vec(), b"2".to_vec()));
    assert_eq!(all(disk.store(), Table::State), seen);
    let there =
        |disk: &mut D, key: &[u8]| disk.store().contains(Table::State, key).expect("readable");
    assert!(!there(&mut disk, b"b") && there(&mut disk, b"c"));
    disk.restart();
    assert_eq!(keys(all(disk.store(), Table::State)), [b"a", b"b", b"d"]);
    let old = disk.store().get(Table::State, b"a").expect("readable");
    assert_eq!(old.as_deref(), Some(b"1".as_slice()));
}

fn a_write_that_settles_takes_along_what_was_deferred<D: Disk>() {
    let mut disk = D::fresh();
    disk.write(put(b"b", b"1"), Sync::Yes);
    disk.write(defer(b"a", Some(b"1")), Sync::No);
    disk.write(defer(b"a", Some(b"2")), Sync::No);
    disk.write(defer(b"b", None), Sync::No);
    disk.write(settle(), Sync::Yes);
    disk.write(defer(b"a", None), Sync::Yes);
    disk.cut_power(0);
    let left = all(disk.store(), Table::State);
    assert_eq!(left, [(b"a".to_vec(), b"2".to_vec())]);
}

fn a_power_cut_takes_back_a_settling_write_with_all_it_settled<D: Disk>() {
    for keep in 0..=1 {
        let mut disk = D::fresh();
        disk.write(defer(b"a", Some(b"1")), Sync::Yes);
        let mut last = defer(b"b", Some(b"1"));
        last.put(Table::Meta, b"tip".as_slice(), b"1".as_slice());
        last.settle();
        disk.write(last, Sync::No);
        disk.cut_power(keep);
        assert_eq!(all(disk.store(), Table::State).len(), 2 * keep);
        assert_eq!(all(disk.store(), Table::Meta).len(), keep);
    }
}

fn scans_see_what_is_deferred<D: Disk>() {
    let mut disk = D::fresh();
    for key in [1u8, 3, 5, 7, 9] {
        disk.write(put(&[key], b"old"), Sync::No);
    }
    for key in [1, 3, 7] {
        disk.write(defer(&[key], None), Sync::No);
    }
    disk.write(defer(&[5], Some(b"new")), Sync::No);
    disk.write(defer(&[6], Some(b"new")), Sync::No);
    let mut scan = |from: u8, to, limit, order| {
        let to: Option<&[u8]> = to;
        let found = disk.store().scan(Table::State, &[from], to, limit, order);
        keys(found.expect("readable")).concat()
    };
    assert_eq!(scan(0, None, 9, Order::Ascending), [5, 6, 9]);
    assert_eq!(scan(0, None, 9, Order::Descending), [9, 6, 5]);
    assert_eq!(scan(0, None, 1, Order::Ascending), [5]);
    assert_eq!(scan(0, None, 2, Order::Descending), [9, 6]);
    assert_eq!(scan(0, Some(&[9]), 2, Order::Descending), [6, 5]);
    assert_eq!(scan(1, Some(&[5]), 9, Order::Ascending), []);
    assert_eq!(scan(6, Some(&[7]), 9, Order::Descending), [6]);
    assert_eq!(scan(6, Some(&[6]), 9, Order::Ascending), []);
}

fn the_ceiling_only_rises<D: Disk>() {
    let round = |epoch, number| Round::new(Epoch(epoch), number);
    let mut disk = D::fresh();
    assert_eq!(disk.store().ceiling(), None);
    for to in [
        round(0, 1_024),
        round(0, 1_024),
        round(0, 2_048),
        round(1, 5),
    ] {
        disk.store().raise_ceiling(to).expect("raised");
        assert_eq!(disk.store().ceiling(), Some(to));
    }
    let fall = disk.store().raise_ceiling(round(0, 9_999));
    assert!(
        matches!(fall, Err(StoreError::CeilingFalls { at, to }) if at == round(1, 5) && to == round(0, 9_999))
    );
    // A refused fall is no failure of the disk.
    disk.write(put(b"a", b"1"), Sync::Yes);
    disk.cut_power(0);
    assert_eq!(disk.store().ceiling(), Some(round(1, 5)));
}

fn a_clean_cut_is_repeatable<D: Disk>() {
    let mut disk = D::fresh();
    for number in 0..5u8 {
        disk.write(put(&[number], b"synced"), Sync::Yes);
        disk.write(put(&[number, 1], b"not"), Sync::No);
        disk.cut_power(0);
    }
    let left = keys(all(disk.store(), Table::State));
    assert_eq!(left, [[0], [1], [2], [3], [4]]);
}

/// A step of the model test.
#[derive(Clone, Debug)]
enum Step {
    Write(WriteBatch, bool),
    Restart,
    CutPower(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || prop::collection::vec(0u8..3, 0..3);
    let table = || prop::sample::select(vec![Table::State, Table::Batches]);
    let value = prop::collection::vec(any::<u8>(), 0..2_000);
    let op = (table(), key(), key(), value, 0u8..8);
    let ops = prop::collection::vec(op, 0..6);
    let batch = (ops, prop::bool::weighted(0.2)).prop_map(|(ops, settles)| {
        let mut batch = WriteBatch::new();
        if settles {
            batch.settle();
        }
        for (table, key, other, value, kind) in ops {
            match kind {
                0 => batch.delete(table, key),
                1 => batch.delete_range(table, key, other),
                2 => batch.defer(table, key, None),
                3 | 4 => batch.defer(table, key, Some(value)),
                _ => batch.put(table, key, value),
            }
        }
        batch
    });
    let step = prop_oneof![
        8 => (batch, any::<bool>()).prop_map(|(batch, sync)| Step::Write(batch, sync)),
        1 => Just(Step::Restart),
        1 => (0usize..4).prop_map(Step::CutPower),
    ];
    prop::collection::vec(step, 1..24)
}

fn run<D: Disk>(steps: &[Step]) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut disk = D::fresh();
    let mut seen = Vec::new();
    let mut unsynced = 0;
    for step in steps {
        match step {
            Step::Write(batch, sync) => {
                disk.write(batch.clone(), if *sync { Sync::Yes } else { Sync::No });
                unsynced = if *sync { 0 } else { unsynced + 1 };
            }
            Step::Restart => {
                disk.restart();
                unsynced = 0;
            }
            Step::CutPower(keep) => {
                disk.cut_power(unsynced.min(*keep));
                unsynced = 0;
            }
        }
        for table in [Table::State, Table::Batches] {
            seen.push(all(disk.store(), table));
            let mut reversed = disk
                .store()
                .scan(table, b"", None, usize::MAX, Order::Descending)
                .expect("readable");
            reversed.reverse();
            assert_eq!(seen.last(), Some(&reversed));
            let (store, whole) = (disk.store(), &reversed);
            for limit in 1..4 {
                let scan = |order| {
                    store
                        .scan(table, b"", None, limit, order)
                        .expect("readable")
                };
                let first = whole.iter().take(limit).cloned();
                assert!(scan(Order::Ascending).into_iter().eq(first));
                let last = whole.iter().rev().take(limit).cloned();
                assert!(scan(Order::Descending).into_iter().eq(last));
            }
        }
    }
    seen
}

/// The simplest store there could be: every image, replayed from the list of writes that survive. A crash stands in it
/// as `None`.
fn model(steps: &[Step]) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    let (mut kept, mut synced): (Vec<Option<&WriteBatch>>, usize) = (Vec::new(), 0);
    let mut seen = Vec::new();
    for step in steps {
        match step {
            Step::Write(batch, sync) => {
                kept.push(Some(batch));
                if *sync {
                    synced = kept.len();
                }
            }
            Step::Restart => {
                kept.push(None);
                synced = kept.len();
            }
            Step::CutPower(keep) => {
                kept.truncate(synced + keep);
                kept.push(None);
                synced = kept.len();
            }
        }
        let image = image(&kept);
        for table in [Table::State, Table::Batches] {
            let of_table = image.iter().filter(|((t, _), _)| *t == table);
            seen.push(of_table.map(|((_, k), v)| (k.clone(), v.clone())).collect());
        }
    }
    seen
}

/// What a reader sees after these writes and crashes.
fn image(kept: &[Option<&WriteBatch>]) -> BTreeMap<(Table, Vec<u8>), Vec<u8>> {
    // What counts if it crashes now, and the changes that are seen beyond it, oldest first.
    let (mut settled, mut deferred) = (BTreeMap::new(), Vec::new());
    for batch in kept {
        let Some(batch) = batch else {
            deferred.clear();
            continue;
        };
        if batch.settles() {
            deferred.drain(..).for_each(|op| change(&mut settled, op));
        }
        for op in batch.ops() {
            match op {
                Op::Defer(..) if !batch.settles() => deferred.push(op),
                op => {
                    change(&mut settled, op);
                    deferred.retain(|old| !covers(op, old));
                }
            }
        }
    }
    deferred.into_iter().for_each(|op| change(&mut settled, op));
    settled
}

/// Whether a change takes the place of a deferred one.
fn covers(op: &Op, deferred: &Op) -> bool {
    let Op::Defer(of, key, _) = deferred else {
        return false;
    };
    match op {
        Op::Put(table, at, _) | Op::Delete(table, at) | Op::Defer(table, at, _) => {
            (table, at) == (of, key)
        }
        Op::DeleteRange(table, from, to) => table == of && from <= key && key < to,
    }
}

fn change(image: &mut BTreeMap<(Table, Vec<u8>), Vec<u8>>, op: &Op) {
    match op {
        Op::Put(table, key, value) | Op::Defer(table, key, Some(value)) => {
            image.insert((*table, key.clone()), value.clone());
        }
        Op::Delete(table, key) | Op::Defer(table, key, None) => {
            image.remove(&(*table, key.clone()));
        }
        Op::DeleteRange(table, from, to) => {
            image.retain(|(t, key), _| t != table || key < from || key >= to);
        }
    }
}

proptest! {
    #[test]
    fn mem_is_the_model(steps in steps()) {
        prop_assert_eq!(run::<Mem>(&steps), model(&steps));
    }
}

#[cfg(feature = "rocks")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn rocks_is_the_model(steps in steps()) {
        prop_assert_eq!(run::<support::real::Rocks>(&steps), model(&steps));
    }
}
