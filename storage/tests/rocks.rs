//! What only a real disk can suffer: rot, torn tails, lost files, an older copy put back.
#![cfg(feature = "rocks")]

mod support;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use quorate_storage::{Fault, Home, Options, Order, RocksStore, Store, StoreError};
use quorate_storage::{Sync, Table, View, WriteBatch};
use support::Disk;
use support::real::{Rocks, copy, copy_to, newest_log};

fn put(key: u8, bytes: usize) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(Table::State, [key], vec![key; bytes]);
    batch
}

fn open(home: &Path) -> Result<RocksStore, StoreError> {
    let home = Home::open(home).expect("both halves are there");
    RocksStore::open(home, &Options::default())
}

fn has(store: &RocksStore, key: u8) -> bool {
    store.contains(Table::State, &[key]).expect("readable")
}

fn log_length(home: &Path) -> u64 {
    fs::metadata(newest_log(home)).expect("a log").len()
}

fn cut_log(home: &Path, length: u64) {
    let log = OpenOptions::new().write(true).open(newest_log(home));
    log.expect("a log").set_len(length).expect("cut");
}

fn flip(path: &Path, offset: u64, bit: u8) {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.expect("there");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("in the file");
    file.write_all_at(&[byte[0] ^ (1 << bit)], offset)
        .expect("written");
}

/// Rot, wherever it hits: the start refuses, or (a byte that nothing depends on) everything is still there. Never does it
/// forget. Every byte of the headers of the log's records is among those tried.
#[test]
fn a_flipped_bit_in_synced_log_is_never_forgotten() {
    let mut disk = Rocks::fresh();
    for key in 0..4 {
        disk.write(put(key, 40), Sync::Yes);
    }
    disk.close();
    let length = log_length(disk.path());
    let mut refused = 0;
    for offset in (0..length).step_by(3) {
        let home = copy(disk.path());
        flip(
            &newest_log(home.path()),
            offset,
            u8::try_from(offset % 8).expect("below 8"),
        );
        match open(home.path()) {
            Ok(store) => assert!(
                (0..4).all(|key| has(&store, key)),
                "forgot, after a flip at {offset}"
            ),
            Err(StoreError::LostWrites { promised: 4, found }) => {
                assert!(found < 4);
                refused += 1;
                // The evidence lies outside what the first attempt may have rewritten.
                assert!(open(home.path()).is_err(), "accepted the second time");
            }
            Err(error) => {
                assert!(error.is_damage(), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > length / 6, "only {refused} of {length} / 3");
}

#[test]
fn a_torn_unsynced_tail_is_normal_wherever_it_is_torn() {
    let mut disk = Rocks::fresh();
    disk.write(put(1, 100), Sync::Yes);
    let synced = log_length(disk.path());
    disk.write(put(2, 300), Sync::No);
    disk.close();
    let end = log_length(disk.path());
    assert!(end > synced + 300);
    for length in (synced..end).step_by(7) {
        let home = copy(disk.path());
        cut_log(home.path(), length);
        let store = open(home.path()).expect("a torn tail is no damage");
        assert!(has(&store, 1) && !has(&store, 2), "cut at {length}");
    }
    // Pages that never reached the disk read as zeros, also in the middle of what did.
    let home = copy(disk.path());
    let log = OpenOptions::new().write(true).open(newest_log(home.path()));
    log.expect("a log")
        .write_all_at(&[0; 150], synced + 60)
        .expect("zeroed");
    let store = open(home.path()).expect("a torn tail is no damage");
    assert!(has(&store, 1) && !has(&store, 2));
}

/// Pages reach a disk in any order, so that a power cut leaves any subset of those that were not synced. What the store then
/// shows is a prefix of the writes all the same, in all tables: the log is one, and its replay ends at the first hole. The
/// simulator's disk, which loses a suffix, loses what this one can lose.
#[test]
fn whichever_pages_of_the_unsynced_log_are_missing_a_prefix_is_left() {
    const WRITES: u8 = 12;
    const PAGE: usize = 64;
    let mut disk = Rocks::fresh();
    disk.write(put(0, 100), Sync::Yes);
    let synced = log_length(disk.path());
    for key in 1..=WRITES {
        let mut batch = put(key, 90);
        batch.put(Table::Blocks, [key], vec![key; 60]);
        disk.write(batch, Sync::No);
    }
    disk.close();
    let pages = usize::try_from(log_length(disk.path()) - synced).expect("short") / PAGE;
    let mut lengths = [0; 1 + WRITES as usize];
    for subset in 1..24u64 {
        let home = copy(disk.path());
        let log = OpenOptions::new().write(true).open(newest_log(home.path()));
        let log = log.expect("a log");
        // The first hole comes early or late, and behind it half of the pages are missing.
        let first = usize::try_from(subset).expect("small") * pages / 24;
        let bits = subset.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for page in (first..pages).filter(|page| bits >> (page % 61) & 1 == 1) {
            let offset = synced + u64::try_from(page * PAGE).expect("short");
            log.write_all_at(&[0; PAGE], offset).expect("zeroed");
        }
        let store = open(home.path()).expect("a torn tail is no damage");
        let there: Vec<bool> = (0..=WRITES).map(|key| has(&store, key)).collect();
        let length = there.iter().take_while(|there| **there).count();
        assert!(length >= 1, "the synced write is gone");
        assert!(!there[length..].contains(&true), "a hole: {there:?}");
        for key in 1..=WRITES {
            let both = store.contains(Table::Blocks, &[key]).expect("readable");
            assert_eq!(both, there[usize::from(key)], "half a write");
        }
        lengths[length - 1] += 1;
    }
    // The subsets end at different places.
    assert!(
        lengths.iter().filter(|count| **count > 0).count() >= 3,
        "{lengths:?}"
    );
}

#[test]
fn a_cut_into_synced_log_is_refused() {
    let mut disk = Rocks::fresh();
    disk.write(put(1, 100), Sync::Yes);
    let first = log_length(disk.path());
    disk.write(put(2, 100), Sync::Yes);
    disk.close();
    for length in [0, first / 2, first, first + 50] {
        let home = copy(disk.path());
        cut_log(home.path(), length);
        let error = open(home.path()).err().expect("refused");
        assert!(error.is_damage(), "cut to {length}: {error}");
    }
    let home = copy(disk.path());
    fs::remove_file(newest_log(home.path())).expect("removed");
    assert!(open(home.path()).err().expect("refused").is_damage());
}

#[test]
fn a_kill_at_any_moment_loses_nothing_written() {
    let mut disk = Rocks::fresh();
    for key in 0..20 {
        let sync = if key % 3 == 0 { Sync::Yes } else { Sync::No };
        disk.write(put(key, 1_000), sync);
        // The page cache survives a kill: this is what the files hold now, with the database still open.
        let home = copy(disk.path());
        let store = open(home.path()).expect("opens");
        assert!((0..=key).all(|key| has(&store, key)));
    }
}

#[test]
fn an_older_copy_of_the_database_is_refused() {
    let mut disk = Rocks::fresh();
    disk.write(put(1, 10), Sync::Yes);
    disk.close();
    let backup = copy(disk.path());
    disk.open();
    disk.write(put(2, 10), Sync::Yes);
    disk.close();
    fs::remove_dir_all(disk.path().join("data")).expect("removed");
    fs::rename(backup.path().join("data"), disk.path().join("data")).expect("put back");
    let error = open(disk.path()).err();
    assert!(
        matches!(
            error,
            Some(StoreError::LostWrites {
                promised: 2,
                found: 1
            })
        ),
        "{error:?}"
    );
}

#[test]
fn a_watermark_that_a_power_cut_set_back_is_caught_up() {
    let mut disk = Rocks::fresh();
    disk.write(put(1, 10), Sync::Yes);
    let older = copy(disk.path());
    disk.write(put(2, 10), Sync::Yes);
    disk.close();
    let path = |home: &Path| home.join("safety").join("synced");
    fs::copy(path(older.path()), path(disk.path())).expect("set back");
    let store = open(disk.path()).expect("nothing is lost");
    assert!(has(&store, 2));
    assert_eq!(store.home().promised(), 2);
}

#[test]
fn rot_in_a_table_file_is_an_error_and_no_answer() {
    let mut disk = Rocks::fresh();
    for key in 0..50 {
        disk.write(put(key, 1_000), Sync::Yes);
    }
    // An open turns the log into table files.
    disk.restart();
    disk.close();
    let files = fs::read_dir(disk.path().join("data")).expect("a directory");
    let tables: Vec<_> = files
        .map(|file| file.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "sst"))
        .collect();
    assert!(!tables.is_empty());
    for table in &tables {
        flip(table, 100, 3);
    }
    let failed = open(disk.path()).and_then(|store| {
        for key in 0..50 {
            assert_eq!(
                store.get(Table::State, &[key])?,
                Some(vec![key; 1_000]),
                "served rot"
            );
        }
        Ok(())
    });
    let error = failed.expect_err("noticed");
    assert!(error.is_damage(), "{error}");
}

/// A flipped digit of `MANIFEST-000005` made the database look for a file that never was, and the start spoke of input and
/// output.
#[test]
fn rot_in_the_name_of_a_file_is_damage() {
    let mut disk = Rocks::fresh();
    disk.write(put(1, 10), Sync::Yes);
    disk.close();
    flip(&disk.path().join("data/CURRENT"), 10, 0);
    let error = open(disk.path()).map(drop).expect_err("noticed");
    assert!(error.is_damage(), "{error}");
}

#[test]
fn a_reader_sees_writes_and_keeps_the_home_locked() {
    let mut disk = Rocks::fresh();
    let reader = disk.store().reader();
    disk.write(put(1, 10), Sync::No);
    let other = reader.clone();
    let seen = std::thread::spawn(move || other.contains(Table::State, &[1]));
    assert!(seen.join().expect("no panic").expect("readable"));
    disk.close();
    assert!(Home::open(disk.path()).is_err(), "still read from");
    drop(reader);
    assert!(Home::open(disk.path()).is_ok());
}

/// A range of large values is read as far as its bound in bytes, whether they are on the disk or deferred, and no further.
#[test]
fn a_scan_ends_behind_the_entry_that_fills_its_bytes() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut store = open(home.path()).expect("whole");
    for key in 0..60 {
        store.write(put(key, 99), Sync::No).expect("a good disk");
    }
    let mut batch = WriteBatch::new();
    for key in 20..40 {
        let value = (key % 2 == 0).then(|| vec![key; 199]);
        batch.defer(Table::State, [key], value);
    }
    store.write(batch, Sync::No).expect("a good disk");
    let reader = store.reader();
    let all = |limit| reader.scan(Table::State, &[1], Some(&[59]), limit, Order::Ascending);
    let whole = all(99).expect("readable");
    assert_eq!(whole.len(), 48);
    for (limit, bytes, found, more) in [
        (99, usize::MAX, 48, true),
        (48, usize::MAX, 48, true),
        (47, usize::MAX, 47, true),
        (99, 1, 1, true),
        (99, 1_000, 10, true),
        (99, 1_001, 11, true),
        (99, 1_900 + 200 * 10 + 1_900 - 1, 48, false),
        (99, 0, 0, true),
    ] {
        let range = (&[1][..], Some(&[59][..]));
        let scanned = reader.scan_within(Table::State, range, limit, bytes);
        let (entries, goes_on) = scanned.expect("readable");
        assert_eq!(entries, whole[..found], "{limit} {bytes}");
        let more = more && found < whole.len();
        assert_eq!(goes_on, more, "{limit} {bytes}");
    }
}

#[test]
fn what_is_frozen_shows_what_was_deferred_then() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut store = open(home.path()).expect("whole");
    let mut batch = put(1, 10);
    batch.defer(Table::State, [2], Some(vec![2]));
    store.write(batch, Sync::No).expect("a good disk");
    let reader = store.reader();
    let frozen = reader.freeze();
    let mut batch = WriteBatch::new();
    batch.defer(Table::State, [2], None);
    batch.defer(Table::State, [3], Some(vec![3]));
    batch.settle();
    store.write(batch, Sync::No).expect("a good disk");
    let keys = |view: &dyn View| -> Vec<u8> {
        let all = view.scan(Table::State, b"", None, 9, Order::Ascending);
        all.expect("readable")
            .into_iter()
            .map(|(key, _)| key[0])
            .collect()
    };
    assert_eq!(keys(&frozen), [1, 2]);
    assert_eq!(
        frozen.get(Table::State, &[2]).expect("readable"),
        Some(vec![2])
    );
    assert_eq!(keys(&reader), [1, 3]);
}

/// A copy holds whole writes, and of what was deferred what was settled.
#[test]
fn a_copy_is_without_what_is_deferred() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut store = open(home.path()).expect("whole");
    for settled in [true, false] {
        let mut batch = WriteBatch::new();
        batch.defer(Table::State, [u8::from(settled)], Some(vec![1]));
        if settled {
            batch.settle();
        }
        store.write(batch, Sync::Yes).expect("a good disk");
    }
    let copy = home.path().join("copy");
    store.reader().checkpoint(&copy).expect("copied");
    drop(store);
    fs::remove_dir_all(home.path().join("data")).expect("removed");
    fs::rename(copy, home.path().join("data")).expect("renamed");
    let copied = open(home.path()).expect("whole");
    assert!(has(&copied, 1) && !has(&copied, 0));
}

/// While entries go from memory into the database, a reader finds them in one or the other, and never an older value again.
#[test]
fn a_reader_never_misses_what_is_being_settled() {
    const ROUNDS: u32 = 2_000;
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut store = open(home.path()).expect("whole");
    let defer = |round: u32| {
        let mut batch = WriteBatch::new();
        for key in 0..16u8 {
            batch.defer(Table::State, [key], Some(round.to_be_bytes().to_vec()));
        }
        if round.is_multiple_of(3) {
            batch.settle();
        }
        batch
    };
    store.write(defer(0), Sync::No).expect("a good disk");
    let reader = store.reader();
    let number = |value: &[u8]| u32::from_be_bytes(value.try_into().expect("four bytes"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut got, mut scanned) = (0, 0);
            while scanned < ROUNDS {
                let value = reader.get(Table::State, &[7]).expect("readable");
                let value = number(&value.expect("it was always there"));
                assert!(value >= got, "{value} after {got}");
                got = value;
                let all = reader.scan(Table::State, b"", None, 99, Order::Ascending);
                let all = all.expect("readable");
                assert_eq!(all.len(), 16);
                let least = all.iter().map(|(_, value)| number(value)).min();
                let least = least.expect("sixteen");
                assert!(least >= scanned, "{least} after {scanned}");
                scanned = least;
            }
        });
        for round in 1..=ROUNDS {
            store.write(defer(round), Sync::No).expect("a good disk");
        }
    });
}

#[test]
fn usage_names_every_table_and_the_log() {
    let mut disk = Rocks::fresh();
    let mut batch = WriteBatch::new();
    batch.put(Table::Batches, [1], vec![1; 100_000]);
    disk.write(batch, Sync::Yes);
    let usage = disk.store().usage().expect("readable");
    let names: Vec<&str> = usage.iter().map(|(name, _)| *name).collect();
    let tables = Table::ALL.into_iter().map(Table::name);
    assert_eq!(names, tables.chain(["wal"]).collect::<Vec<_>>());
    let of =
        |usage: &[(&str, u64)], kind| usage.iter().find(|(name, _)| *name == kind).map(|u| u.1);
    assert!(of(&usage, "wal") > Some(100_000));
    disk.restart();
    let usage = disk.store().usage().expect("readable");
    assert!(of(&usage, "batches") > Some(100_000), "blobs count");
    assert_eq!(disk.store().reader().background_errors().expect("read"), 0);
}

/// A full disk shows as such, ends the store, and leaves it whole for the next start.
#[test]
fn after_a_failed_write_nothing_is_accepted() {
    let mut disk = Rocks::fresh();
    disk.write(put(1, 10), Sync::Yes);
    // The promise cannot be noted any more: its file has become a directory.
    let safety = disk.path().join("safety");
    fs::rename(&safety, disk.path().join("gone")).expect("moved");
    let round = quorate_types::Round::default().next();
    let error = disk.store().raise_ceiling(round).expect_err("no directory");
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert!(!error.is_disk_full() && !error.is_damage());
    let refused = disk.store().write(put(2, 10), Sync::Yes);
    assert!(matches!(refused, Err(StoreError::Failed)));
    let refused = disk.store().raise_ceiling(round);
    assert!(matches!(refused, Err(StoreError::Failed)));
    fs::rename(disk.path().join("gone"), &safety).expect("moved back");
    disk.restart();
    assert!(has(disk.store(), 1) && !has(disk.store(), 2));
}

#[test]
fn a_database_that_is_held_elsewhere_says_so() {
    let disk = Rocks::fresh();
    // A copy of the lock that guards the home does not help: the database has its own.
    fs::remove_file(disk.path().join("LOCK")).expect("removed by a careless operator");
    let error = open(disk.path()).err().expect("refused");
    assert!(
        matches!(
            error,
            StoreError::Database {
                fault: Fault::Busy,
                ..
            }
        ),
        "{error}"
    );
}

/// Run by hand with TMPDIR on a file system of some 40 MB (a tmpfs): `--ignored`.
#[test]
#[ignore = "fills the file system of the temporary directory"]
fn a_full_disk_says_so_and_loses_nothing() {
    let mut disk = Rocks::fresh();
    let mut written = Vec::new();
    let error = loop {
        let key = u8::try_from(written.len()).expect("full before 256 MiB");
        match disk.store().write(put(key, 1 << 20), Sync::Yes) {
            Ok(()) => written.push(key),
            Err(error) => break error,
        }
    };
    println!("{error}");
    assert!(error.is_disk_full(), "{error}");
    let refused = disk.store().write(put(0, 1), Sync::Yes);
    assert!(matches!(refused, Err(StoreError::Failed)));
    disk.close();
    // Space comes back, here by moving to another file system.
    let elsewhere = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let copied = copy_to(disk.path(), elsewhere);
    let store = open(copied.path()).expect("opens again");
    assert!(written.iter().all(|key| has(&store, *key)));
}

/// What a sync costs on the disk that holds the temporary directory: run by hand with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn costs() {
    let mut disk = Rocks::fresh();
    for (name, bytes, sync, runs) in [
        ("synced, 1 KiB", 1 << 10, Sync::Yes, 2_000u32),
        ("synced, 128 KiB", 128 << 10, Sync::Yes, 400),
        ("synced, 512 KiB", 512 << 10, Sync::Yes, 200),
        ("unsynced, 1 KiB", 1 << 10, Sync::No, 20_000),
        ("unsynced, 256 KiB", 256 << 10, Sync::No, 1_000),
    ] {
        let mut nanos: Vec<u128> = (0..runs)
            .map(|run| {
                let mut batch = WriteBatch::new();
                batch.put(Table::Batches, run.to_be_bytes(), vec![7; bytes]);
                let start = std::time::Instant::now();
                disk.store().write(batch, sync).expect("a good disk");
                start.elapsed().as_nanos()
            })
            .collect();
        nanos.sort_unstable();
        let at = |percent: usize| nanos[nanos.len() * percent / 100] / 1_000;
        println!("{name}: p50 {} us, p99 {} us", at(50), at(99));
    }
}

/// What readers are shown although thousands of deletions lie in front of it, deferred or not: of what is deferred a part
/// is copied first.
#[test]
fn a_reader_sees_what_lies_behind_many_deletions() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut store = open(home.path()).expect("whole");
    let key = |number: u16| number.to_be_bytes().to_vec();
    let mut stored = WriteBatch::new();
    for number in (0..6_000).step_by(2) {
        stored.put(Table::State, key(number), key(number));
    }
    store.write(stored, Sync::No).expect("a good disk");
    let live = [2_500, 2_501, 2_502, 5_999];
    let mut deferred = WriteBatch::new();
    for number in (0..6_000).filter(|number| *number != 2_502) {
        let value = live.contains(&number).then(|| vec![7]);
        deferred.defer(Table::State, key(number), value);
    }
    store.write(deferred, Sync::No).expect("a good disk");
    let reader = store.reader();
    let frozen = reader.freeze();
    let views: [&dyn View; 3] = [&store, &reader, &frozen];
    for limit in [1, 2, 3, 4, 5, usize::MAX] {
        let most = limit.min(4);
        for view in views {
            let scan = |order| {
                let found = view.scan(Table::State, b"", None, limit, order);
                let keys = found.expect("readable").into_iter().map(|(key, _)| key);
                keys.collect::<Vec<_>>()
            };
            let mut all = live.map(key);
            assert_eq!(scan(Order::Ascending), all[..most]);
            all.reverse();
            assert_eq!(scan(Order::Descending), all[..most]);
        }
        let within = reader.scan_within(Table::State, (b"", None), limit, usize::MAX);
        let (found, more) = within.expect("readable");
        assert_eq!((found.len(), more), (most, limit < 4));
    }
}

/// A range walked over every deleted key in front of what it found, until four files had come together by themselves.
#[test]
fn many_deletions_are_merged_away_soon() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut store = open(home.path()).expect("whole");
    let reader = store.reader();
    for value in [Some(vec![7; 100]), None] {
        let mut batch = WriteBatch::new();
        for number in 0..20_000u32 {
            batch.defer(Table::State, number.to_be_bytes(), value.clone());
        }
        batch.settle();
        store.write(batch, Sync::Yes).expect("a good disk");
        if value.is_some() {
            reader.flush().expect("a good disk");
        }
    }
    // The scan itself has them written out.
    let found = store.scan(Table::State, b"", None, 1, Order::Ascending);
    assert_eq!(found.expect("readable"), []);
    let begun = std::time::Instant::now();
    let state = || {
        let usage = reader.usage().expect("readable").into_iter();
        let mut state = usage.filter(|(name, _)| *name == Table::State.name());
        state.next().expect("named").1
    };
    // What is left is of the writes below.
    while state() > 16_384 {
        assert!(begun.elapsed().as_secs() < 60, "{} bytes", state());
        // A write is what begins a flush that is due.
        store.write(put(200, 1), Sync::No).expect("a good disk");
        let mut gone = WriteBatch::new();
        gone.delete(Table::State, [200]);
        store.write(gone, Sync::No).expect("a good disk");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// What a range costs in front of which 100,000 keys were deleted: run by hand with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn costs_of_deletions() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut store = open(home.path()).expect("whole");
    let scan = |store: &RocksStore, what: &str| {
        let mut micros: Vec<u128> = (0..9)
            .map(|_| {
                let start = std::time::Instant::now();
                let found = store.scan(Table::State, b"", None, 1, Order::Ascending);
                assert_eq!(found.expect("readable").len(), 1);
                start.elapsed().as_micros()
            })
            .collect();
        println!("{what}: first {} us", micros[0]);
        micros.sort_unstable();
        println!("{what}: p50 {} us, least {} us", micros[4], micros[0]);
    };
    for deleted in [false, true] {
        let mut batch = WriteBatch::new();
        for number in 0..100_000u32 {
            let value = (!deleted).then(|| vec![7; 100]);
            batch.defer(Table::State, number.to_be_bytes(), value);
        }
        batch.defer(Table::State, 100_000u32.to_be_bytes(), Some(vec![7]));
        store.write(batch, Sync::No).expect("a good disk");
        scan(
            &store,
            if deleted {
                "deletions deferred"
            } else {
                "puts deferred"
            },
        );
        store
            .write(WriteBatch::settling(), Sync::Yes)
            .expect("a good disk");
        scan(
            &store,
            if deleted {
                "deletions settled"
            } else {
                "puts settled"
            },
        );
        std::thread::sleep(std::time::Duration::from_secs(2));
        scan(&store, "2 s later");
        store.reader().flush().expect("a good disk");
        scan(&store, "flushed");
        std::thread::sleep(std::time::Duration::from_secs(2));
        scan(&store, "2 s later");
    }
}
