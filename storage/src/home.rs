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
//!
//! `safety/forgetful` is there while a validator is being recovered (`quorate recover`): it says that what was signed is not
//! known here any more, so that whatever is missing is made anew, and its validator starts behind the strict fence (P5). It
//! goes when there is a record again.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate_types::Round;

use crate::files::{create_dir, remove, replace};
use crate::watermark::Watermark;
use crate::{StoreError, ceiling};

/// Content of `safety/forgetful`: that it is there is what counts.
const MARK: &[u8] = b"quorate forgetful 1\n";

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
         the disk back, or have the others tell it what it may have signed (`quorate recover`)",
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
        "{} is lost, so nothing tells whether the database is complete. Put the file back, or have the others tell this \
         validator what it may have signed (`quorate recover`)",
        path.display()
    )]
    SafetyLost {
        /// The file that should be there.
        path: PathBuf,
    },
    /// A file of the memory outside the database is not what was written (exit status 7).
    #[error(
        "{} is damaged, so nothing tells whether the database is complete. Put a good copy back, or have the others tell \
         this validator what it may have signed (`quorate recover`)",
        path.display()
    )]
    SafetyDamaged {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing to recover.
    #[error(
        "{} has lost nothing: `data` and `safety` are both there. If `data` is damaged, or older than it was, move it \
         away first; a home that was restored whole needs nothing, every start asks the others",
        path.display()
    )]
    Whole {
        /// The home.
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
            | HomeError::SafetyDamaged { .. }
            | HomeError::Whole { .. } => true,
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
    forgetful: bool,
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

        let forgetful = forgetful_path(root).exists();

        let fresh = match (ceiling, has_data) {
            (None, false) | (Some(None), false) => true,
            (Some(_), true) => false,
            (_, has_data) if forgetful => !has_data,
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
                // Last, because its presence says that `safety/` is complete. What it says of lost data stays true.
                ceiling::write(&ceiling_path, ceiling.flatten())?;
                create_dir(&data)?;
                watermark
            }
            (false, Some(watermark)) => watermark,
            (false, None) if forgetful => Watermark::create(&watermark_path)?,
            (false, None) => {
                return Err(HomeError::SafetyLost {
                    path: watermark_path,
                });
            }
        };
        if forgetful && ceiling.is_none() {
            ceiling::write(&ceiling_path, None)?;
        }
        Ok(Home {
            root: root.to_path_buf(),
            lock: Arc::new(lock),
            found: match fresh {
                true => Found::Fresh,
                false => Found::Existing,
            },
            ceiling: ceiling.flatten(),
            watermark,
            forgetful,
        })
    }

    /// Marks a home as one that has forgotten what its validator signed: the next starts are behind the strict fence. What
    /// is left in it stays, except for files of `safety/` that cannot be read.
    ///
    /// # Errors
    /// [`HomeError::Locked`]; [`HomeError::Whole`] if nothing is missing, and the home is not marked already.
    pub fn forget(root: &Path) -> Result<(), HomeError> {
        let _lock = lock(&root.join("LOCK"))?;
        let (ceiling_path, watermark_path) = (ceiling_path(root), watermark_path(root));
        let ceiling = ceiling::read(&ceiling_path);
        let watermark = Watermark::open(&watermark_path);
        let has_data = root.join("data").join("CURRENT").exists();
        let whole = has_data && matches!((&ceiling, &watermark), (Ok(Some(_)), Ok(Some(_))));
        let mark = forgetful_path(root);
        if whole && !mark.exists() {
            let path = root.to_path_buf();
            return Err(HomeError::Whole { path });
        }
        create_dir(&root.join("safety"))?;
        // First: from here on, nothing that is missing can be taken for a fresh start.
        replace(&mark, MARK)?;
        for (path, damaged) in [
            (ceiling_path, is_damage(ceiling.err())),
            (watermark_path, is_damage(watermark.err())),
        ] {
            if damaged {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Whether what this validator signed is not known here (P5).
    #[must_use]
    pub fn is_forgetful(&self) -> bool {
        self.forgetful
    }

    /// As [`Home::forget`] for a home in use.
    ///
    /// # Errors
    /// The disk's.
    pub fn mark_forgetful(&mut self) -> Result<(), StoreError> {
        replace(&forgetful_path(&self.root), MARK)?;
        self.forgetful = true;
        Ok(())
    }

    /// There is a record again, and it is durable: what is signed from now on will be remembered.
    ///
    /// # Errors
    /// The disk's.
    pub fn remember(&mut self) -> Result<(), StoreError> {
        if std::mem::take(&mut self.forgetful) {
            remove(&forgetful_path(&self.root))?;
        }
        Ok(())
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

fn forgetful_path(root: &Path) -> PathBuf {
    root.join("safety").join("forgetful")
}

fn is_damage(error: Option<StoreError>) -> bool {
    matches!(error, Some(StoreError::Damaged { .. }))
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
