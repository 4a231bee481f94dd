//! The key-value machine, as a client uses it.
//!
//! Everything here is a signed transaction through the log, so reads are linearizable. For reads that may be old and
//! cost no transaction, see [`Client::key`] and [`Client::range`].

use quorate_crypto::SecretKey;
use quorate_execution::kv::{Checkpoint, Command, Compare, Keys, KvResult, LeafRecord, Op};
use quorate_execution::kv::{OpResult, RangeEntry, Reverted};
use quorate_types::{Blob, Outcome, Receipt};

use crate::client::Client;
use crate::error::ClientError;

/// A signing key at work on one chain.
#[derive(Debug)]
pub struct Kv<'a> {
    client: &'a Client,
    key: &'a SecretKey,
}

/// A result with the receipt that it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// What the command led to.
    pub value: T,
    /// The receipt of its transaction.
    pub receipt: Receipt,
}

/// A page of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In order of keys.
    pub entries: Vec<RangeEntry>,
    /// Whether the range holds more behind the last entry.
    pub more: bool,
}

impl Page {
    /// Where the next page begins, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<Vec<u8>> {
        let last = self.entries.last().filter(|_| self.more)?;
        Some(key_behind(&last.key.0))
    }
}

/// What a revert did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reversion {
    /// The keys that changed, in their order.
    pub changes: Vec<Reverted>,
    /// Where the next revert of the range goes on, if it was not finished.
    pub next: Option<Vec<u8>>,
}

impl Client {
    /// The key-value machine with this signing key.
    #[must_use]
    pub fn kv<'a>(&'a self, key: &'a SecretKey) -> Kv<'a> {
        Kv { client: self, key }
    }
}

impl Kv<'_> {
    /// Sets a key. Returns its version, 1 for a new one.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn put(&self, key: &[u8], value: &[u8]) -> Result<Answer<u64>, ClientError> {
        let command = Command::Put {
            key: blob(key),
            value: blob(value),
            lease: None,
        };
        self.run(command, |result| match result {
            KvResult::Put { version } => Some(version),
            _ => None,
        })
        .await
    }

    /// Reads a key, in the order of all transactions.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn get(&self, key: &[u8]) -> Result<Answer<Option<LeafRecord>>, ClientError> {
        self.run(Command::Get { key: blob(key) }, |result| match result {
            KvResult::Get(record) => Some(record),
            _ => None,
        })
        .await
    }

    /// Deletes a key. Returns whether it existed.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn delete(&self, key: &[u8]) -> Result<Answer<bool>, ClientError> {
        self.run(Command::Delete { key: blob(key) }, |result| match result {
            KvResult::Delete { existed } => Some(existed),
            _ => None,
        })
        .await
    }

    /// Sets a key (`None` deletes it) if it has the expected value (`None`: if it does not exist). Returns whether it
    /// did, and the key's version now.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn compare_and_set(
        &self,
        key: &[u8],
        expect: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<Answer<(bool, u64)>, ClientError> {
        let command = Command::CompareAndSet {
            key: blob(key),
            expect: expect.map(blob),
            value: value.map(blob),
        };
        self.run(command, |result| match result {
            KvResult::CompareAndSet { swapped, version } => Some((swapped, version)),
            _ => None,
        })
        .await
    }

    /// Reads the keys that begin with a prefix; at most `limit` of them, 0 for as many as fit a result. Begins at `from`,
    /// the [next](Page::next) of the page before, if there was one.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn range(
        &self,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: u32,
    ) -> Result<Answer<Page>, ClientError> {
        let command = Command::Range {
            start: blob(from.unwrap_or_default().max(prefix)),
            end: behind(prefix).map(Blob),
            limit,
            keys_only: false,
        };
        self.run(command, |result| match result {
            KvResult::Range { entries, more } => Some(Page { entries, more }),
            _ => None,
        })
        .await
    }

    /// If all compares hold, does `then`, else `otherwise`. Returns which, and the results.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn txn(
        &self,
        compare: Vec<Compare>,
        then: Vec<Op>,
        otherwise: Vec<Op>,
    ) -> Result<Answer<(bool, Vec<OpResult>)>, ClientError> {
        let command = Command::Txn {
            compare,
            then,
            otherwise,
        };
        self.run(command, |result| match result {
            KvResult::Txn { succeeded, results } => Some((succeeded, results)),
            _ => None,
        })
        .await
    }

    /// Gives what all keys hold now a name, to go back to.
    ///
    /// # Errors
    /// As [`Client::execute`]; rejected with [`CheckpointExists`](quorate_types::Rejection::CheckpointExists) or
    /// [`TooManyCheckpoints`](quorate_types::Rejection::TooManyCheckpoints).
    pub async fn checkpoint(&self, name: &[u8]) -> Result<Answer<Checkpoint>, ClientError> {
        let command = Command::Checkpoint { name: blob(name) };
        self.run(command, |result| match result {
            KvResult::Checkpoint(checkpoint) => Some(checkpoint),
            _ => None,
        })
        .await
    }

    /// The checkpoints that are kept, oldest first.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn checkpoints(&self) -> Result<Answer<Vec<Checkpoint>>, ClientError> {
        self.run(Command::Checkpoints, |result| match result {
            KvResult::Checkpoints(checkpoints) => Some(checkpoints),
            _ => None,
        })
        .await
    }

    /// Takes these keys back to what they held at a checkpoint, all or none.
    ///
    /// # Errors
    /// As [`Client::execute`]; rejected with [`UnknownCheckpoint`](quorate_types::Rejection::UnknownCheckpoint), or
    /// [`CostExceeded`](quorate_types::Rejection::CostExceeded) if they are too many.
    pub async fn revert(
        &self,
        checkpoint: &[u8],
        keys: &[&[u8]],
    ) -> Result<Answer<Reversion>, ClientError> {
        let keys = keys.iter().copied().map(blob).collect();
        self.take_back(checkpoint, Keys::Named(keys)).await
    }

    /// Takes the keys that begin with a prefix back to what they held at a checkpoint. With a `limit`, so many of them
    /// are looked at and the answer says where to go on (`from` of the next call); with 0 all or none go back.
    ///
    /// # Errors
    /// As [`Kv::revert`].
    pub async fn revert_prefix(
        &self,
        checkpoint: &[u8],
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: u32,
    ) -> Result<Answer<Reversion>, ClientError> {
        let keys = Keys::Range {
            start: blob(from.unwrap_or_default().max(prefix)),
            end: behind(prefix).map(Blob),
            limit,
        };
        self.take_back(checkpoint, keys).await
    }

    async fn take_back(&self, name: &[u8], keys: Keys) -> Result<Answer<Reversion>, ClientError> {
        let checkpoint = blob(name);
        let command = Command::Revert { checkpoint, keys };
        self.run(command, |result| match result {
            KvResult::Reverted { changes, next } => Some(Reversion {
                changes,
                next: next.map(|next| next.0),
            }),
            _ => None,
        })
        .await
    }

    /// Ends a checkpoint (`None`: none), and drops up to `limit` records that no other one needs. Returns how many, and
    /// whether there are more.
    ///
    /// # Errors
    /// As [`Client::execute`]; rejected with [`UnknownCheckpoint`](quorate_types::Rejection::UnknownCheckpoint), or
    /// [`Forbidden`](quorate_types::Rejection::Forbidden) if another client made it.
    pub async fn release(
        &self,
        checkpoint: Option<&[u8]>,
        limit: u32,
    ) -> Result<Answer<(u32, bool)>, ClientError> {
        let checkpoint = checkpoint.map(blob);
        self.run(
            Command::Release { checkpoint, limit },
            |result| match result {
                KvResult::Released { dropped, more } => Some((dropped, more)),
                _ => None,
            },
        )
        .await
    }

    async fn run<T>(
        &self,
        command: Command,
        pick: impl FnOnce(KvResult) -> Option<T>,
    ) -> Result<Answer<T>, ClientError> {
        let (receipt, submission) = self
            .client
            .execute(self.key, vec![command.encode()])
            .await?;
        let value = match &receipt.outcome {
            Outcome::Executed { results, .. } => results.first(),
            Outcome::Rejected(_) | Outcome::Duplicate { .. } => None,
        };
        let value = value.and_then(|bytes| KvResult::decode(&bytes.0).ok());
        let value = value.and_then(pick).ok_or(ClientError::BadAnswer {
            endpoint: submission.endpoint,
            what: String::from("the receipt has no result of this command"),
        })?;
        Ok(Answer { value, receipt })
    }
}

/// The first key behind `key`.
#[must_use]
pub fn key_behind(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The first key behind all that begin with `prefix`; `None` if there is no such key.
#[must_use]
pub fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

fn blob(bytes: &[u8]) -> Blob {
    Blob(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_next_key_that_does_not_begin_with_it() {
        assert_eq!(behind(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(behind(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(behind(b"\xff"), None);
        assert_eq!(behind(b""), None);
    }
}
