//! Every pair of halves that a start may find, and what it does.
#![cfg(feature = "rocks")]

use std::fs;
use std::path::Path;

use quorate_storage::{Found, Home, HomeError, Options, RocksStore, Store, StoreError};
use quorate_storage::{Sync, Table, WriteBatch};
use quorate_types::{Epoch, Round};
use tempfile::TempDir;

const SIGNED: Round = Round::new(Epoch(0), 1_024);

fn store(home: &Path) -> RocksStore {
    RocksStore::open(Home::open(home).expect("usable"), &Options::default()).expect("whole")
}

/// A home whose validator has signed.
fn used() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut store = store(dir.path());
    let mut batch = WriteBatch::new();
    batch.put(Table::Meta, b"key".as_slice(), b"value".as_slice());
    store.write(batch, Sync::Yes).expect("written");
    store.raise_ceiling(SIGNED).expect("raised");
    dir
}

fn refused(home: &Path) -> HomeError {
    let error = Home::open(home).expect_err("refused");
    assert!(error.is_unsafe());
    error
}

#[test]
fn fresh_then_existing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let home = Home::open(dir.path()).expect("usable");
    assert_eq!((home.found(), home.ceiling()), (Found::Fresh, None));
    drop(home);
    // A first start that ended before there was a database is still a first start.
    assert_eq!(
        Home::open(dir.path()).expect("usable").found(),
        Found::Fresh
    );
    drop(store(dir.path()));
    let home = Home::open(dir.path()).expect("usable");
    assert_eq!((home.found(), home.ceiling()), (Found::Existing, None));
    assert_eq!(home.root(), dir.path());
}

#[test]
fn the_ceiling_survives() {
    let dir = used();
    let home = Home::open(dir.path()).expect("usable");
    assert_eq!(
        (home.found(), home.ceiling()),
        (Found::Existing, Some(SIGNED))
    );
    assert_eq!(home.promised(), 1);
}

#[test]
fn one_process_at_a_time() {
    let dir = used();
    let first = Home::open(dir.path()).expect("usable");
    let own = std::process::id();
    let error = refused(dir.path());
    assert!(matches!(error, HomeError::Locked { holder, .. } if holder == Some(own)));
    let message = error.to_string();
    assert!(
        message.contains(&format!("in use by another process, {own}.")),
        "{message}"
    );
    // Whoever could not write its number holds it none the less.
    let lock = dir.path().join("LOCK");
    for text in ["", "junk", "1234567890123456789012345678901234567890"] {
        fs::write(&lock, text).expect("writable");
        let error = refused(dir.path());
        assert!(
            matches!(error, HomeError::Locked { holder: None, .. }),
            "{error}"
        );
    }
    drop(first);
    // What an ended process left behind locks nothing.
    assert!(Home::open(dir.path()).is_ok());
}

#[test]
fn lost_data_of_a_validator_that_signed() {
    for leave_directory in [true, false] {
        let dir = used();
        let data = dir.path().join("data");
        fs::remove_dir_all(&data).expect("removed");
        if leave_directory {
            fs::create_dir(&data).expect("an empty mount point");
        }
        match refused(dir.path()) {
            HomeError::DataLost { path, ceiling } => assert_eq!((path, ceiling), (data, SIGNED)),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn lost_data_of_a_validator_that_never_signed_is_a_fresh_start() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut first = store(dir.path());
    first.write(WriteBatch::new(), Sync::Yes).expect("written");
    drop(first);
    fs::remove_dir_all(dir.path().join("data")).expect("removed");
    let mut second = store(dir.path());
    assert_eq!(second.home().found(), Found::Fresh);
    second.write(WriteBatch::new(), Sync::Yes).expect("written");
}

#[test]
fn lost_safety() {
    let dir = used();
    fs::remove_dir_all(dir.path().join("safety")).expect("removed");
    assert!(matches!(refused(dir.path()), HomeError::SafetyLost { .. }));
    for file in ["ceiling", "synced"] {
        let dir = used();
        let file = dir.path().join("safety").join(file);
        fs::remove_file(&file).expect("removed");
        assert!(matches!(refused(dir.path()), HomeError::SafetyLost { path } if path == file));
    }
}

#[test]
fn damaged_safety() {
    for (file, content) in [
        ("ceiling", "quorate ceiling 1\nround 0/7\n"),
        ("synced", "x"),
    ] {
        let dir = used();
        let file = dir.path().join("safety").join(file);
        fs::write(&file, content).expect("written");
        assert!(matches!(refused(dir.path()), HomeError::SafetyDamaged { path } if path == file));
    }
}

#[test]
fn a_directory_that_is_not_there() {
    let error = Home::open(Path::new("/nonexistent/home")).expect_err("refused");
    assert!(matches!(error, HomeError::Store(StoreError::Io { .. })));
    assert!(!error.is_unsafe());
}

fn forgotten(home: &Path) -> Home {
    Home::forget(home).expect("marked");
    Home::open(home).expect("usable")
}

/// P5: whatever is missing is made anew, what is known of the past stays, and the mark stays until there is a record.
#[test]
fn a_home_that_forgot_is_usable_and_stays_marked_until_it_remembers() {
    for lost in [&["data"][..], &["safety"], &["data", "safety"]] {
        let dir = used();
        for part in lost {
            fs::remove_dir_all(dir.path().join(part)).expect("removed");
        }
        let home = forgotten(dir.path());
        assert!(home.is_forgetful());
        let known = (!lost.contains(&"safety")).then_some(SIGNED);
        assert_eq!(home.ceiling(), known, "{lost:?}");
        drop(RocksStore::open(home, &Options::default()).expect("an empty database"));
        let mut store = store(dir.path());
        assert!(store.home().is_forgetful(), "not before there is a record");
        store.remember().expect("unmarked");
        drop(store);
        assert!(!Home::open(dir.path()).expect("whole").is_forgetful());
    }
}

#[test]
fn a_damaged_file_of_a_home_that_forgot_is_made_anew() {
    for file in ["ceiling", "synced"] {
        let dir = used();
        fs::write(dir.path().join("safety").join(file), "x").expect("written");
        assert!(forgotten(dir.path()).is_forgetful());
    }
}

#[test]
fn a_whole_home_has_nothing_to_forget() {
    let dir = used();
    let error = Home::forget(dir.path()).expect_err("refused");
    assert!(matches!(error, HomeError::Whole { .. }) && error.is_unsafe());
    assert!(!Home::open(dir.path()).expect("usable").is_forgetful());
    // Once more is no mistake, and one in use is left alone.
    fs::remove_dir_all(dir.path().join("data")).expect("removed");
    let home = forgotten(dir.path());
    assert!(matches!(
        Home::forget(dir.path()),
        Err(HomeError::Locked { .. })
    ));
    drop(home);
    Home::forget(dir.path()).expect("marked again");
}
