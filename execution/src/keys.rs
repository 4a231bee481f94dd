//! The key space of the state: namespaces, and the executor's own keys under `sys/`.
//!
//! | key | record |
//! |---|---|
//! | `sys/chain` | [`Chain`]: chain id, name, machine |
//! | `sys/parameters` | `Parameters` |
//! | `sys/validators/` epoch (8, big-endian) | `Vec<ValidatorInfo>`, in the order of their indices |
//! | `sys/client/` key (32) | [`ClientRecord`] |
//! | `sys/head` | the revision, `u64`; absent before the first change |
//! | `sys/session/` key (32) `/head`, `/c` chunk (8, big-endian) | see [`crate::session`] |
//! | `sys/expiry/` bucket (8, big-endian) key (32) | `()`: the session may be dropped when the bucket is over |
//!
//! What a machine keeps under `kv/` and `past/` says its module, e.g. [`crate::kv`].

use alloc::string::String;
use alloc::vec::Vec;

use quorate_types::{ChainId, Epoch, PublicKey, Role};
use serde::{Deserialize, Serialize};

/// A part of the key space. A machine touches only those that it owns; `sys/` is the executor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespace {
    /// Configuration, clients, sessions.
    Sys,
    /// Keys and values.
    Kv,
    /// What keys held at checkpoints.
    Past,
    /// Topics.
    Topic,
    /// Locks.
    Lock,
    /// Applications.
    App,
}

impl Namespace {
    /// What the keys of the namespace begin with.
    #[must_use]
    pub const fn prefix(self) -> &'static [u8] {
        match self {
            Namespace::Sys => b"sys/",
            Namespace::Kv => b"kv/",
            Namespace::Past => b"past/",
            Namespace::Topic => b"topic/",
            Namespace::Lock => b"lock/",
            Namespace::App => b"app/",
        }
    }

    /// The first key behind the namespace: its prefix with `/` raised to `0`.
    #[must_use]
    pub const fn end(self) -> &'static [u8] {
        match self {
            Namespace::Sys => b"sys0",
            Namespace::Kv => b"kv0",
            Namespace::Past => b"past0",
            Namespace::Topic => b"topic0",
            Namespace::Lock => b"lock0",
            Namespace::App => b"app0",
        }
    }

    /// A key of the namespace, as the state and the tree know it.
    #[must_use]
    pub fn key(self, name: &[u8]) -> Vec<u8> {
        join(&[self.prefix(), name])
    }
}

/// What the chain is. Written by the genesis only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Its identity; see [`Genesis::state_id`](quorate_types::Genesis::state_id) for a chain with an origin.
    pub id: ChainId,
    /// Its name, for people.
    pub name: String,
    /// Its state machine.
    pub machine: String,
}

/// A registered client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRecord {
    /// For people.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// Key of [`Chain`].
pub const CHAIN: &[u8] = b"sys/chain";
/// Key of the chain's parameters.
pub const PARAMETERS: &[u8] = b"sys/parameters";
/// Key of the revision.
pub const HEAD: &[u8] = b"sys/head";
/// What the keys of clients begin with.
pub const CLIENTS: &[u8] = b"sys/client/";
/// What the keys of the index of expiring sessions begin with.
pub const EXPIRY: &[u8] = b"sys/expiry/";

/// Key of an epoch's validator set.
#[must_use]
pub fn validators(epoch: Epoch) -> Vec<u8> {
    join(&[b"sys/validators/", &epoch.0.to_be_bytes()])
}

/// Key of a client's record.
#[must_use]
pub fn client(key: &PublicKey) -> Vec<u8> {
    join(&[CLIENTS, key.as_bytes()])
}

/// What the keys of a client's session begin with.
#[must_use]
pub fn session(client: &PublicKey) -> Vec<u8> {
    join(&[b"sys/session/", client.as_bytes(), b"/"])
}

/// Key of a session's head.
#[must_use]
pub fn session_head(client: &PublicKey) -> Vec<u8> {
    join(&[b"sys/session/", client.as_bytes(), b"/head"])
}

/// Key of a chunk of a session. Chunks sort by number, and before the head.
#[must_use]
pub fn session_chunk(client: &PublicKey, chunk: u64) -> Vec<u8> {
    let number = chunk.to_be_bytes();
    join(&[b"sys/session/", client.as_bytes(), b"/c", &number])
}

/// Key of a session in the index of expiring sessions.
#[must_use]
pub fn expiry(bucket: u64, client: &PublicKey) -> Vec<u8> {
    join(&[EXPIRY, &bucket.to_be_bytes(), client.as_bytes()])
}

/// The first key behind all that begin with `prefix`, which ends in `/`.
#[must_use]
pub fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    let last = end.last_mut().expect("a prefix is not empty");
    assert_eq!(*last, b'/', "prefixes end in a slash");
    *last = b'0';
    end
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}
