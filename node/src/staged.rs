//! A directory, or a file, that gets its name when it is whole.
//!
//! It is made as `NAME.unfinished` beside its place, synced file by file, and renamed. So a crash or an interrupt leaves
//! either everything or a directory whose name says what it is, and which the next attempt removes. What is there
//! already is never touched.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::exit::Failure;
use crate::owner;

/// See the [module](self). Removed if it is dropped before it is finished.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    target: PathBuf,
    finished: bool,
}

impl Staged {
    /// Begins a directory, which must be new or empty.
    ///
    /// # Errors
    /// Status 1: something is there, or the system refused. 2: see [`owner::check`].
    pub fn begin(target: &Path) -> Result<Staged, Failure> {
        owner::check(target)?;
        let mut found = match fs::read_dir(target) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(cannot("read", target, &error)),
        };
        if found.as_mut().and_then(Iterator::next).is_some() {
            let message = format!("{} is not empty", target.display());
            let hint = "name a new directory; nothing is overwritten";
            return Err(Failure::failed(message).hint(hint));
        }
        let Some(name) = target.file_name() else {
            return Err(Failure::usage("name a directory to make"));
        };
        let mut unfinished = OsString::from(name);
        unfinished.push(".unfinished");
        let path = target.with_file_name(unfinished);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(|error| cannot("remove", &path, &error))?;
        }
        fs::create_dir_all(&path).map_err(|error| cannot("create", &path, &error))?;
        Ok(Staged {
            path,
            target: target.to_path_buf(),
            finished: false,
        })
    }

    /// Where to write.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes everything durable, and gives it its name.
    ///
    /// # Errors
    /// Status 1: the system refused; nothing has the name.
    pub fn finish(mut self) -> Result<(), Failure> {
        sync(&self.path)?;
        // Onto an empty directory, or onto nothing.
        fs::rename(&self.path, &self.target)
            .map_err(|error| cannot("rename", &self.path, &error))?;
        self.finished = true;
        sync_parent(&self.target)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed now is by the next attempt.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Makes a file or a directory with all that is in it durable.
fn sync(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(|error| cannot("read", path, &error))? {
            sync(&entry.map_err(|error| cannot("read", path, &error))?.path())?;
        }
    }
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| cannot("sync", path, &error))
}

/// Makes the names in a file's directory durable.
///
/// # Errors
/// Status 1.
pub fn sync_parent(path: &Path) -> Result<(), Failure> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let synced = File::open(parent).and_then(|directory| directory.sync_all());
    synced.map_err(|error| cannot("sync", parent, &error))
}

/// Writes a new file that is whole and durable, or not there.
///
/// # Errors
/// Status 1: something is there, which is not touched, or the system refused.
pub fn keep(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if path.symlink_metadata().is_ok() {
        return Err(Failure::failed(format!("{} is there", path.display())));
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = Path::new(&unfinished);
    let written = fs::write(unfinished, bytes);
    written.map_err(|error| cannot("write", unfinished, &error))?;
    sync(unfinished)?;
    fs::rename(unfinished, path).map_err(|error| cannot("rename", unfinished, &error))?;
    sync_parent(path)
}

/// Writes a new file.
///
/// # Errors
/// Status 1.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = File::create_new(path).and_then(|mut file| file.write_all(bytes));
    written.map_err(|error| cannot("write", path, &error))
}

/// Copies a file.
///
/// # Errors
/// Status 1.
pub fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    // Reading and writing are told apart by who refuses.
    fs::copy(from, to)
        .map(drop)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
                cannot("copy", from, &error)
            }
            _ => cannot("write", to, &error),
        })
}

/// What the system refused, and what to do if the disk is full.
pub fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    let failure = Failure::failed(format!("cannot {what} {}: {error}", path.display()));
    match error.kind() {
        io::ErrorKind::StorageFull => {
            failure.hint("make room on the disk, and try again: nothing was left behind")
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitStatus;

    #[test]
    fn what_has_the_name_is_whole_and_nothing_is_overwritten() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let target = directory.path().join("new");
        let unfinished = directory.path().join("new.unfinished");
        let staged = Staged::begin(&target).expect("nothing is there");
        write(&staged.path().join("a"), b"1").expect("written");
        write(&staged.path().join("a"), b"2").expect_err("it is there");
        drop(staged);
        assert!(
            !unfinished.exists() && !target.exists(),
            "an error leaves nothing"
        );
        // As a crash would leave it.
        fs::create_dir_all(unfinished.join("old")).expect("made");
        fs::create_dir(&target).expect("made: empty is as good as absent");
        let staged = Staged::begin(&target).expect("what is unfinished goes");
        assert!(!staged.path().join("old").exists());
        fs::create_dir(staged.path().join("b")).expect("made");
        write(&staged.path().join("b/c"), b"1").expect("written");
        copy(&staged.path().join("none"), &staged.path().join("d")).expect_err("not there");
        staged.finish().expect("renamed");
        assert_eq!(fs::read(target.join("b/c")).expect("there"), b"1");
        assert!(!unfinished.exists());
        let refused = Staged::begin(&target).expect_err("something is there");
        assert_eq!(refused.status, ExitStatus::Failed);
        assert!(
            refused.message.contains("is not empty"),
            "{}",
            refused.message
        );
    }

    #[test]
    fn what_is_kept_is_kept_once() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("t.tx");
        // As a crash would leave it.
        fs::write(directory.path().join("t.tx.unfinished"), b"0123").expect("writable");
        keep(&path, b"1").expect("new");
        let refused = keep(&path, b"2").expect_err("it is there");
        assert_eq!(refused.status, ExitStatus::Failed);
        assert_eq!(fs::read(&path).expect("there"), b"1");
        assert_eq!(fs::read_dir(&directory).expect("readable").count(), 1);
    }

    #[test]
    fn a_full_disk_is_named_with_the_way_out() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let failure = cannot("write", Path::new("x"), &full);
        assert!(failure.hint.is_some_and(|hint| hint.contains("make room")));
    }
}
