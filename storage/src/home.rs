//! The home directory of a validator: one process at a time, and no start on half a memory.
//!
//! `data/` is the database; `safety/` holds, outside it, the [ceiling] and the
//! [watermark](crate::watermark). Either alone proves that something was lost, and a validator that has forgotten what it
//! signed must not sign (P5). Serves I1 and I2 across restarts. It must never create what it misses, except in a home
//! where nothing was ever signed. Keys and configuration are the node's.
//!
//! | `data/` | `safety/` | a start |
//! |---|---|---|
//! | – | –, or a ceiling of "none" | [`Found::Fresh`] |
//! | there | whole | [`Found::Existing`] |
//! | – | a ceiling with a round | [`HomeError::DataLost`] |
//! | there | a file missing | [`HomeError::SafetyLost`] |
//! | any | a file damaged | [`HomeError::SafetyDamaged`] |

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate_types::Round;

use crate::files::create_dir;
use crate::watermark::Watermark;
use crate::{StoreError, ceiling};

/// What a start found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing was ever signed here, and there is no database.
    Fresh,
    /// Both halves of the memory.
    Existing,
}

/// Why a home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The system refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another process uses the home.
    #[error(
        "{} is in use by {}. Stop that one first; two validators with one key would be faulty",
        path.display(),
        holder.map_or_else(|| "another process".to_owned(), |pid| format!("another process, {pid}"))
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, if it could say so.
        holder: Option<u32>,
    },
    /// The database is gone, but this validator has signed (exit status 7).
    #[error(
        "{} is lost, and this validator may have signed up to round {ceiling}. It must not start from nothing: put \
         the disk back, or give the validator a new key. To recover such a home is not possible in this release",
        path.display()
    )]
    DataLost {
        /// Where the database should be.
        path: PathBuf,
        /// What may have been signed.
        ceiling: Round,
    },
    /// The memory outside the database is gone (exit status 7).
    #[error(
        "{} is lost, so nothing tells whether the database is complete. Put the file back, or give the validator a new \
         key. To recover such a home is not possible in this release",
        path.display()
    )]
    SafetyLost {
        /// The file that should be there.
        path: PathBuf,
    },
    /// A file of the memory outside the database is not what was written (exit status 7).
    #[error(
        "{} is damaged, so nothing tells whether the database is complete. Put a good copy back, or give the validator a \
         new key. To recover such a home is not possible in this release",
        path.display()
    )]
    SafetyDamaged {
        /// The file.
        path: PathBuf,
    },
}

impl HomeError {
    /// Whether the start is refused because this validator might contradict what it signed (exit status 7).
    #[must_use]
    pub fn is_unsafe(&self) -> bool {
        match self {
            HomeError::Store(_) => false,
            HomeError::Locked { .. }
            | HomeError::DataLost { .. }
            | HomeError::SafetyLost { .. }
            | HomeError::SafetyDamaged { .. } => true,
        }
    }
}

/// A home that this process alone uses, until it and every reader of its store are dropped.
#[derive(Debug)]
pub struct Home {
    root: PathBuf,
    lock: Arc<File>,
    found: Found,
    ceiling: Option<Round>,
    watermark: Watermark,
}

impl Home {
    /// Takes the lock and looks at what is there. The directory itself must exist. In a fresh home, makes `safety/` and
    /// an empty `data/`, durably.
    ///
    /// # Errors
    /// [`HomeError`]: nothing was changed, except that the lock file is there.
    pub fn open(root: &Path) -> Result<Home, HomeError> {
        let lock = lock(&root.join("LOCK"))?;
        let (ceiling_path, watermark_path) = (ceiling_path(root), watermark_path(root));
        let data = root.join("data");
        let ceiling = ceiling::read(&ceiling_path).map_err(damage)?;
        let watermark = Watermark::open(&watermark_path).map_err(damage)?;
        // A database starts to exist with this file, which names its manifest and is renamed into place.
        let has_data = data.join("CURRENT").exists();

        let fresh = match (ceiling, has_data) {
            (None, false) | (Some(None), false) => true,
            (Some(_), true) => false,
            (Some(Some(ceiling)), false) => {
                return Err(HomeError::DataLost {
                    path: data,
                    ceiling,
                });
            }
            (None, true) => return Err(HomeError::SafetyLost { path: ceiling_path }),
        };
        let watermark = match (fresh, watermark) {
            (true, _) => {
                create_dir(&root.join("safety"))?;
                let watermark = Watermark::create(&watermark_path)?;
                // Last, because its presence says that `safety/` is complete.
                ceiling::write(&ceiling_path, None)?;
                create_dir(&data)?;
                watermark
            }
            (false, Some(watermark)) => watermark,
            (false, None) => {
                return Err(HomeError::SafetyLost {
                    path: watermark_path,
                });
            }
        };
        Ok(Home {
            root: root.to_path_buf(),
            lock: Arc::new(lock),
            found: match fresh {
                true => Found::Fresh,
                false => Found::Existing,
            },
            ceiling: ceiling.flatten(),
            watermark,
        })
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The database's directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// What the start found.
    #[must_use]
    pub fn found(&self) -> Found {
        self.found
    }

    /// See [`crate::Store::ceiling`].
    #[must_use]
    pub fn ceiling(&self) -> Option<Round> {
        self.ceiling
    }

    /// See [`crate::Store::raise_ceiling`].
    ///
    /// # Errors
    /// [`StoreError::CeilingFalls`]; otherwise fatal.
    pub fn raise_ceiling(&mut self, to: Round) -> Result<(), StoreError> {
        if let Some(at) = self.ceiling {
            if to < at {
                return Err(StoreError::CeilingFalls { at, to });
            }
            if to == at {
                return Ok(());
            }
        }
        ceiling::write(&ceiling_path(&self.root), Some(to))?;
        self.ceiling = Some(to);
        self.watermark.sync()
    }

    /// Number of the last synced write that was reported durable.
    #[must_use]
    pub fn promised(&self) -> u64 {
        self.watermark.count()
    }

    /// Notes that the synced write of this number is durable.
    pub(crate) fn promise(&mut self, number: u64) -> Result<(), StoreError> {
        self.watermark.raise(number)
    }

    /// Keeps the home locked for as long as it lives.
    pub(crate) fn lock(&self) -> Arc<File> {
        Arc::clone(&self.lock)
    }
}

fn ceiling_path(root: &Path) -> PathBuf {
    root.join("safety").join("ceiling")
}

fn watermark_path(root: &Path) -> PathBuf {
    root.join("safety").join("synced")
}

/// The lock ends with the process; the number in the file is for people, and stays behind.
fn lock(path: &Path) -> Result<File, HomeError> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(StoreError::io("open", path))?;
    match file.try_lock() {
        Ok(()) => {
            // A disk without room for a number is no reason not to start.
            let _ = file.set_len(0);
            let _ = writeln!(file, "{}", std::process::id());
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Err(HomeError::Locked {
            path: path.to_path_buf(),
            holder: holder(file),
        }),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", path)(error).into()),
    }
}

fn holder(file: File) -> Option<u32> {
    let mut text = String::new();
    // More than any number: whatever else is in the file is not read.
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Damage in `safety/` has its own name.
fn damage(error: StoreError) -> HomeError {
    match error {
        StoreError::Damaged { path } => HomeError::SafetyDamaged { path },
        other => HomeError::Store(other),
    }
}
