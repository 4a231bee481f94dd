//! The key-value machine: what its clients sign, what they get back, and what is stored.
//!
//! Commands and results are canonical encodings ([`quorate_types::codec`]) of [`Command`] and [`KvResult`]: enum tags
//! of 4 bytes in the order of declaration, little-endian integers, 8-byte lengths, options of one byte 0 or 1. So
//! `Put { key: "k", value: "v", lease: None }` is
//! `00000000 0100000000000000 6b 0100000000000000 76 00`. New commands are added at the end.
//!
//! A key is 1 to [`MAX_KEY_BYTES`] bytes and lies in the namespace `kv/`. Every transaction that changes something
//! raises the revision of the whole state by one; all its changes carry that revision, as in etcd. Command
//! bounds that do not hold make the transaction [`quorate_types::Rejection::BadCommand`].
//!
//! How keys go back to what they were: [`checkpoint`].

pub mod checkpoint;
mod machine;

use alloc::vec::Vec;

use quorate_types::{Blob, codec};
use serde::{Deserialize, Serialize};

use crate::keys::Namespace;
use crate::record;
pub use checkpoint::{Checkpoint, Keys, Reverted};
pub use machine::KvMachine;

/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 1_024;
/// Longest value, in bytes: with its key and its revisions it fits into one result of 64 KiB.
pub const MAX_VALUE_BYTES: usize = 62 * 1_024;
/// Most compares, and most operations in each branch, of a `Txn`.
pub const MAX_TXN_OPS: usize = 128;

/// One command of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// See [`Op::Put`].
    Put {
        /// The key.
        key: Blob,
        /// The new value.
        value: Blob,
        /// A lease to note with the key. Nothing expires by it yet.
        lease: Option<u64>,
    },
    /// See [`Op::Get`].
    Get {
        /// The key.
        key: Blob,
    },
    /// See [`Op::Delete`].
    Delete {
        /// The key.
        key: Blob,
    },
    /// Sets or deletes a key if its value is the expected one. If it is not, that is a result, no failure.
    CompareAndSet {
        /// The key.
        key: Blob,
        /// The value that it must have; `None`: it must not exist.
        expect: Option<Blob>,
        /// The new value; `None` deletes. An existing lease is kept.
        value: Option<Blob>,
    },
    /// See [`Op::Range`].
    Range {
        /// First key.
        start: Blob,
        /// Key behind the last; `None`: to the end.
        end: Option<Blob>,
        /// Most entries; 0: as many as fit.
        limit: u32,
        /// Leave the values out.
        keys_only: bool,
    },
    /// If all compares hold, `then`, else `otherwise`.
    Txn {
        /// Up to [`MAX_TXN_OPS`].
        compare: Vec<Compare>,
        /// Up to [`MAX_TXN_OPS`].
        then: Vec<Op>,
        /// Up to [`MAX_TXN_OPS`].
        otherwise: Vec<Op>,
    },
    /// Ordered and receipted; has no effect on the state.
    Opaque(Blob),
    /// Gives what all keys hold now a name.
    Checkpoint {
        /// Of 1 to [`checkpoint::MAX_NAME_BYTES`]; no open checkpoint has it.
        name: Blob,
    },
    /// Takes keys back to what they held at an open checkpoint, as writes of this transaction.
    Revert {
        /// Its name.
        checkpoint: Blob,
        /// Which.
        keys: Keys,
    },
    /// Ends a checkpoint, and drops what no other one needs. For who made it, and admins.
    Release {
        /// Its name; `None` only drops.
        checkpoint: Option<Blob>,
        /// Most records dropped, so that it stays within the cost limits.
        limit: u32,
    },
    /// Lists the checkpoints.
    Checkpoints,
}

/// What a `Txn` consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Sets a key.
    Put {
        /// The key.
        key: Blob,
        /// The new value, of at most [`MAX_VALUE_BYTES`].
        value: Blob,
        /// A lease to note with the key. Nothing expires by it yet.
        lease: Option<u64>,
    },
    /// Reads a key.
    Get {
        /// The key.
        key: Blob,
    },
    /// Deletes a key, if it exists.
    Delete {
        /// The key.
        key: Blob,
    },
    /// Reads the keys from `start` on, before `end`, in order. Answers with fewer than there are, and `more`, if they
    /// exceed `limit` or the result's size.
    Range {
        /// First key.
        start: Blob,
        /// Key behind the last; `None`: to the end.
        end: Option<Blob>,
        /// Most entries; 0: as many as fit.
        limit: u32,
        /// Leave the values out.
        keys_only: bool,
    },
}

/// A condition of a `Txn` on one key. A key that does not exist has version and revisions 0, and no value: it meets no
/// [`Check::Value`], whatever the relation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// The key.
    pub key: Blob,
    /// What about it.
    pub check: Check,
}

/// What is compared. The relation stands between what the state holds (left) and what is given (right).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Check {
    /// The value, byte by byte.
    Value(Relation, Blob),
    /// How often the key was set since it was made.
    Version(Relation, u64),
    /// The revision that made the key.
    CreateRevision(Relation, u64),
    /// The revision that set it last.
    ModifyRevision(Relation, u64),
    /// Whether it exists.
    Exists(bool),
}

/// How two values must relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    /// Left = right.
    Equal,
    /// Left ≠ right.
    NotEqual,
    /// Left < right.
    Less,
    /// Left > right.
    Greater,
}

/// What a key holds: the record of the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafRecord {
    /// The value.
    pub value: Blob,
    /// The revision that made the key.
    pub create_revision: u64,
    /// The revision that set it last.
    pub modify_revision: u64,
    /// How often it was set since it was made, from 1.
    pub version: u64,
    /// The lease noted with it.
    pub lease: Option<u64>,
}

impl LeafRecord {
    /// The record's bytes in the state; see [`record`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        record::seal(self)
    }

    /// Reads what [`LeafRecord::encode`] wrote.
    ///
    /// # Errors
    /// As [`record::unseal`].
    pub fn decode(bytes: &[u8]) -> Result<LeafRecord, codec::DecodeError> {
        record::unseal(bytes)
    }
}

/// A key of a range with what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeEntry {
    /// The key.
    pub key: Blob,
    /// What it holds; the value is empty if only keys were asked for.
    pub record: LeafRecord,
}

/// What a [`Command`] led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvResult {
    /// Of a put.
    Put {
        /// The key's version now.
        version: u64,
    },
    /// Of a get: what the key holds.
    Get(Option<LeafRecord>),
    /// Of a delete.
    Delete {
        /// Whether there was something to delete.
        existed: bool,
    },
    /// Of a compare-and-set.
    CompareAndSet {
        /// Whether the value was the expected one.
        swapped: bool,
        /// The key's version now; 0 if it does not exist.
        version: u64,
    },
    /// Of a range.
    Range {
        /// In order of keys.
        entries: Vec<RangeEntry>,
        /// Whether the range holds more. Ask again from behind the last key.
        more: bool,
    },
    /// Of a txn.
    Txn {
        /// Whether all compares held.
        succeeded: bool,
        /// One an operation of the branch taken.
        results: Vec<OpResult>,
    },
    /// Of opaque bytes.
    Opaque,
    /// Of a checkpoint that was made.
    Checkpoint(Checkpoint),
    /// Of a revert.
    Reverted {
        /// The keys that changed, in their order; those that held the same already are left out.
        changes: Vec<Reverted>,
        /// Where the next revert goes on, if the range was not finished.
        next: Option<Blob>,
    },
    /// Of a release.
    Released {
        /// Records dropped.
        dropped: u32,
        /// Whether there is more to drop.
        more: bool,
    },
    /// Of a list of checkpoints: those kept, oldest first.
    Checkpoints(Vec<Checkpoint>),
}

impl KvResult {
    /// Reads a result from a receipt.
    ///
    /// # Errors
    /// As [`codec::decode`].
    pub fn decode(bytes: &[u8]) -> Result<KvResult, codec::DecodeError> {
        codec::decode(bytes, codec::MAX_ENCODED_BYTES)
    }
}

/// What an [`Op`] led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpResult {
    /// Of a put.
    Put {
        /// The key's version now.
        version: u64,
    },
    /// Of a get: what the key holds.
    Get(Option<LeafRecord>),
    /// Of a delete.
    Delete {
        /// Whether there was something to delete.
        existed: bool,
    },
    /// Of a range.
    Range {
        /// In order of keys.
        entries: Vec<RangeEntry>,
        /// Whether the range holds more. Ask again from behind the last key.
        more: bool,
    },
}

impl From<OpResult> for KvResult {
    fn from(result: OpResult) -> KvResult {
        match result {
            OpResult::Put { version } => KvResult::Put { version },
            OpResult::Get(record) => KvResult::Get(record),
            OpResult::Delete { existed } => KvResult::Delete { existed },
            OpResult::Range { entries, more } => KvResult::Range { entries, more },
        }
    }
}

impl Command {
    /// The bytes to sign in a transaction.
    #[must_use]
    pub fn encode(&self) -> Blob {
        Blob(codec::encode(self))
    }

    /// Reads a command.
    ///
    /// # Errors
    /// As [`codec::decode`].
    pub fn decode(bytes: &[u8]) -> Result<Command, codec::DecodeError> {
        codec::decode(bytes, codec::MAX_ENCODED_BYTES)
    }

    /// Whether it only reads, so that a `Reader` may send it.
    #[must_use]
    pub fn reads_only(&self) -> bool {
        match self {
            Command::Get { .. } | Command::Range { .. } | Command::Checkpoints => true,
            Command::Txn {
                then, otherwise, ..
            } => then.iter().chain(otherwise).all(Op::reads_only),
            _ => false,
        }
    }
}

impl Op {
    /// Whether it changes nothing.
    #[must_use]
    pub fn reads_only(&self) -> bool {
        matches!(self, Op::Get { .. } | Op::Range { .. })
    }
}

/// Where the state holds a key of this machine.
#[must_use]
pub fn state_key(key: &[u8]) -> Vec<u8> {
    Namespace::Kv.key(key)
}
