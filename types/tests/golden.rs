//! Golden vectors: the bytes and the identity of one fixed instance of every format.
//!
//! A difference means that the format changed: data on disk, signatures and peers of the last release no longer fit.
//! If that is meant, raise `FORMAT_VERSION` and write them anew with `QUORATE_BLESS=1 cargo test -p quorate-types --test golden`.

mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::{env, fs};

use common::formats::{Format, formats};

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The encoding in lines of 32 bytes, and behind it the identity.
fn text(format: &Format) -> String {
    let mut text = String::new();
    for line in format.bytes.chunks(32) {
        text.push_str(&hex::encode(line));
        text.push('\n');
    }
    if let Some(id) = &format.id {
        text.push_str(&format!("id {id}\n"));
    }
    text
}

#[test]
fn formats_are_what_they_were() {
    let directory = directory();
    let bless = env::var_os("QUORATE_BLESS").is_some();
    let mut expected = BTreeSet::new();
    for format in formats() {
        let path = directory.join(format!("{}.hex", format.name));
        assert!(
            expected.insert(path.clone()),
            "two formats called {}",
            format.name
        );
        if bless {
            fs::write(&path, text(&format)).expect("the folder of the vectors can be written");
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            text(&format),
            golden,
            "the format of {} changed",
            format.name
        );
    }
    let files = fs::read_dir(directory).expect("the folder of the vectors");
    let found: BTreeSet<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    assert_eq!(found, expected, "a vector a format");
}
