//! Seeds: whole inputs of every kind, in `corpus/TARGET/` of this crate. `quorate-fuzz corpus` writes them anew from a chain
//! that is run for it; what once failed is added by hand and stays.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the corpus of a target lies.
#[must_use]
pub fn directory(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target)
}

/// The seeds of a target, in the order of their names.
///
/// # Errors
/// Those of the file system.
pub fn read(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(directory(target))? {
        files.push(entry?.path());
    }
    files.sort();
    files.iter().map(fs::read).collect()
}

/// Writes seeds, each under its name.
///
/// # Errors
/// Those of the file system.
pub fn write(target: &str, seeds: &[(String, Vec<u8>)]) -> io::Result<()> {
    let directory = directory(target);
    fs::create_dir_all(&directory)?;
    for (name, bytes) in seeds {
        fs::write(directory.join(name), bytes)?;
    }
    Ok(())
}
