//! Small files that must survive a power cut whole, and the checksum that they carry.
//!
//! A rename is durable only after its directory is synced (protocol §7).

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::StoreError;

/// Replaces a file: a crash leaves the old content or the new, never a mixture, and after the return only the new.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let new = path.with_extension("new");
    let mut file = File::create(&new).map_err(StoreError::io("create", &new))?;
    file.write_all(content)
        .map_err(StoreError::io("write", &new))?;
    file.sync_all().map_err(StoreError::io("sync", &new))?;
    drop(file);
    fs::rename(&new, path).map_err(StoreError::io("rename to", path))?;
    sync_parent(path)
}

/// Removes a file, durably.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    fs::remove_file(path).map_err(StoreError::io("remove", path))?;
    sync_parent(path)
}

/// Makes a directory, if it is not there, and its name durable.
pub(crate) fn create_dir(path: &Path) -> Result<(), StoreError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StoreError::io("create", path)(error)),
        Ok(()) => sync_parent(path),
    }
}

/// Makes the names in a file's directory durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(StoreError::io("sync", parent))
}

/// CRC-32 (IEEE 802.3, reflected): against accidents, in files of a few bytes.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc = (crc >> 1) ^ (0xEDB8_8320 * low);
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32_is_the_published_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn replaces_whole_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("file");
        replace(&path, b"first").expect("written");
        replace(&path, b"second").expect("written");
        assert_eq!(fs::read(&path).expect("there"), b"second");
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1);
    }
}
