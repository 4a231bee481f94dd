//! The watermark: how many synced writes were reported durable, kept outside the database.
//!
//! The database numbers its synced writes in the writes themselves. Its log ends at the first record that does not check
//! out, which a power cut in the middle of an unsynced write explains, and so does rot in a synced one. The number here
//! tells them apart: a database that ends below it has forgotten something that was promised, and must not start.
//!
//! It costs one write to the page cache a sync, and one sync of its own every [`SYNC_EVERY`]. A kill of the process loses
//! nothing of it; a power cut may bring it back lower than it was (never higher: it is written after the sync that it
//! counts), so the last few synced writes before a power cut are guarded by the database's checksums alone.
//!
//! ```text
//! offset   0  count u64 BE  CRC-32 of the eight bytes, u32 BE       even counts
//! offset 512  count u64 BE  CRC-32 of the eight bytes, u32 BE       odd counts
//! ```
//! Two slots in two sectors, so that a torn write leaves the one before.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::StoreError;
use crate::files::{crc32, replace};

/// Synced writes between two syncs of the watermark itself.
pub const SYNC_EVERY: u64 = 256;

const SECTOR: u64 = 512;
const SLOT: usize = 12;

/// The open file.
#[derive(Debug)]
pub(crate) struct Watermark {
    file: File,
    path: PathBuf,
    count: u64,
}

impl Watermark {
    /// Starts from nothing promised; durable on return.
    pub(crate) fn create(path: &Path) -> Result<Watermark, StoreError> {
        replace(path, &slot(0))?;
        Watermark::open(path)?.ok_or_else(|| StoreError::Damaged {
            path: path.to_path_buf(),
        })
    }

    /// Opens it. `None`: there is no such file.
    pub(crate) fn open(path: &Path) -> Result<Option<Watermark>, StoreError> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(StoreError::io("open", path))?,
        };
        let mut count: Option<u64> = None;
        for offset in [0, SECTOR] {
            let mut bytes = [0; SLOT];
            match file.read_exact_at(&mut bytes, offset) {
                Ok(()) => count = count.max(read_slot(&bytes)),
                // The second slot is there from the first odd count on.
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(StoreError::io("read", path)(error)),
            }
        }
        let path = path.to_path_buf();
        match count {
            Some(count) => Ok(Some(Watermark { file, path, count })),
            None => Err(StoreError::Damaged { path }),
        }
    }

    /// The number of synced writes that were promised.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Notes that the synced write of this number, and all before, are durable.
    pub(crate) fn raise(&mut self, count: u64) -> Result<(), StoreError> {
        assert!(count >= self.count, "synced writes are numbered upwards");
        let offset = (count % 2) * SECTOR;
        self.file
            .write_all_at(&slot(count), offset)
            .map_err(StoreError::io("write", &self.path))?;
        self.count = count;
        match count.is_multiple_of(SYNC_EVERY) {
            true => self.sync(),
            false => Ok(()),
        }
    }

    /// Makes it durable as it stands.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.file
            .sync_data()
            .map_err(StoreError::io("sync", &self.path))
    }
}

fn slot(count: u64) -> [u8; SLOT] {
    let count = count.to_be_bytes();
    let mut slot = [0; SLOT];
    slot[..8].copy_from_slice(&count);
    slot[8..].copy_from_slice(&crc32(&count).to_be_bytes());
    slot
}

fn read_slot(slot: &[u8; SLOT]) -> Option<u64> {
    let (count, check) = slot.split_at(8);
    (crc32(count).to_be_bytes() == check)
        .then(|| u64::from_be_bytes(count.try_into().expect("eight of twelve bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &Path) -> u64 {
        let watermark = Watermark::open(path).expect("readable");
        watermark.expect("there").count()
    }

    #[test]
    fn remembers_and_survives_a_torn_slot() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("synced");
        assert!(Watermark::open(&path).expect("no error").is_none());
        let mut watermark = Watermark::create(&path).expect("created");
        for count in 1..=600 {
            watermark.raise(count).expect("written");
            assert_eq!(at(&path), count);
        }
        watermark
            .file
            .write_all_at(&[0xFF; 3], 3)
            .expect("slot of 600 torn");
        assert_eq!(at(&path), 599);
        watermark
            .file
            .write_all_at(&[0xFF; 3], SECTOR)
            .expect("and the other one");
        assert!(matches!(
            Watermark::open(&path),
            Err(StoreError::Damaged { .. })
        ));
    }
}
