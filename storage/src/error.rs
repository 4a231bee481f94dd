//! Why a store could not do what it was asked.
//!
//! No caller retries: after any of these the process stops, and the next start decides from what the disk then holds.

use std::io;
use std::path::PathBuf;

use quorate_types::Round;

/// A store failed. Fatal: the state of what was being written is unknown until the store is opened anew.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused, on one of the files outside the database.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database refused, now or in the background before.
    #[error("database, {operation}: {fault}: {message}")]
    Database {
        /// What was being done.
        operation: &'static str,
        /// Of which kind the failure is, for who has to react.
        fault: Fault,
        /// What the database said.
        message: String,
    },
    /// Writes that were reported durable are not in the database that was opened: bytes rotted, files were lost, or
    /// `data/` was put back from an older copy.
    #[error(
        "the database has lost synced writes: it ends at number {found}, and number {promised} was promised"
    )]
    LostWrites {
        /// Number of a synced write that was reported durable.
        promised: u64,
        /// Number of the last synced write that the database holds.
        found: u64,
    },
    /// The ceiling may only rise (I2 across restarts).
    #[error("the ceiling is at {at} and cannot fall to {to}")]
    CeilingFalls {
        /// Where it is.
        at: Round,
        /// What was asked for.
        to: Round,
    },
    /// A file of `safety/` does not hold what this program writes there.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A write failed before: nothing more is accepted until the store is opened anew.
    #[error("an earlier write failed; the store accepts no more until it is opened again")]
    Failed,
    /// The simulator asked for it.
    #[error("injected failure")]
    Injected,
}

/// What kind of failure a database reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No space is left on the device.
    #[error("disk full")]
    Full,
    /// The device or the system failed.
    #[error("input or output failed")]
    Io,
    /// A checksum or a format does not hold.
    #[error("data damaged")]
    Corruption,
    /// Another process holds the database.
    #[error("in use")]
    Busy,
    /// Anything else.
    #[error("failed")]
    Other,
}

impl StoreError {
    /// Wraps an error of the operating system.
    #[cfg(feature = "rocks")]
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.into();
        move |source| StoreError::Io {
            operation,
            path,
            source,
        }
    }

    /// Whether space on the disk is what is missing, so that the operator can be told.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            StoreError::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            StoreError::Database { fault, .. } => *fault == Fault::Full,
            _ => false,
        }
    }

    /// Whether what is on the disk is not what was written (exit status 8).
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            StoreError::LostWrites { .. } | StoreError::Damaged { .. } => true,
            StoreError::Database { fault, .. } => *fault == Fault::Corruption,
            _ => false,
        }
    }
}
