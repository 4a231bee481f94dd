//! Checkpoints: what the keys held at a named place in the log, and the way back.
//!
//! A replica may have truncated its ledger, or have got its state from a peer. So what keys held is taken from the state
//! itself, where all replicas have the same: while a checkpoint is open, the first write to a key leaves what the key held
//! before in a *past record*. A checkpoint costs nothing when it is made; who writes pays for the past record.
//!
//! | key | record |
//! |---|---|
//! | `past/head` | `Vec<Checkpoint>`, oldest first; absent if there are none |
//! | `past/c` id (8, big-endian) key | `Option<LeafRecord>`: what the key held until it was first written after the checkpoint |
//!
//! Past records are written for the newest kept checkpoint only. So what a key held at a checkpoint stands in the past
//! record of the first checkpoint from that one on that has one for the key; without any it was not written since.
//! Hence a checkpoint that is released is *kept* until all older ones are released, too; then nothing needs its past
//! records, and they are dropped, a bounded number with each release.
//!
//! A revert is a transaction like any other: it writes, under its own revision, what keys held. Nothing of the past is
//! taken away by it, and itself can be reverted.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use quorate_mutants::{Mutant, mutant};
use quorate_types::{Blob, BlockTime, Height, PublicKey, Role};
use serde::{Deserialize, Serialize};

use super::machine::{Before, RANGE_PAGE, Run};
use super::{KvResult, LeafRecord};
use crate::keys::Namespace;
use crate::machine::CommandError;
use crate::overlay::successor;
use crate::record;

/// Longest name of a checkpoint, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// Most checkpoints that are kept, released ones that older ones need among them.
pub const MAX_CHECKPOINTS: usize = 16;

/// Name of the list within the namespace.
const HEAD: &[u8] = b"head";
/// Encoded bytes of a checkpoint besides its name: id, length, owner, height, time, revision, flag.
const CHECKPOINT_BYTES: usize = 8 + 8 + 32 + 8 + 8 + 8 + 1;
/// Encoded bytes of a list in a result besides its entries: tag, length.
const LIST_BYTES: usize = 4 + 8;
/// Encoded bytes of a reverted key besides the key: length, version.
const REVERTED_BYTES: usize = 8 + 8;
/// Encoded bytes of where a revert goes on besides the key: flag, length.
const NEXT_BYTES: usize = 1 + 8;

/// A place in the log to which keys can be taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Larger than those of older ones that are kept.
    pub id: u64,
    /// What it is called.
    pub name: Blob,
    /// Who made it.
    pub owner: PublicKey,
    /// Height of the block that made it. What stood before its command, in that block too, is in it.
    pub height: Height,
    /// The block's time.
    pub time: BlockTime,
    /// Revision of the transaction that made it.
    pub revision: u64,
    /// Whether it is over, and kept only for older ones.
    pub released: bool,
}

/// Which keys a revert is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keys {
    /// These, 1 to [`super::MAX_TXN_OPS`].
    Named(Vec<Blob>),
    /// All from `start` on, before `end`.
    Range {
        /// First key.
        start: Blob,
        /// Key behind the last; `None`: to the end.
        end: Option<Blob>,
        /// Most past records looked at for each checkpoint, so that a large range goes in steps; 0: all, or the transaction
        /// is rejected.
        limit: u32,
    },
}

/// A key that a revert changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reverted {
    /// The key.
    pub key: Blob,
    /// Its version now; 0 if it was deleted.
    pub version: u64,
}

/// What keys held, `None` if they did not exist.
type Past = BTreeMap<Vec<u8>, Option<LeafRecord>>;

impl Run<'_, '_> {
    pub(super) fn checkpoint(&mut self, name: Blob) -> Result<KvResult, CommandError> {
        let mut kept = self.kept()?;
        if open(&kept).any(|checkpoint| checkpoint.name == name) {
            return Err(CommandError::CheckpointExists);
        }
        if kept.len() == MAX_CHECKPOINTS {
            return Err(CommandError::TooManyCheckpoints);
        }
        let checkpoint = Checkpoint {
            id: kept.last().map_or(0, |newest| newest.id.saturating_add(1)),
            name,
            owner: self.context.client,
            height: self.context.height,
            time: self.context.time,
            revision: self.context.revision,
            released: false,
        };
        self.take(4 + CHECKPOINT_BYTES + checkpoint.name.0.len())?;
        kept.push(checkpoint.clone());
        self.keep(&kept)?;
        Ok(KvResult::Checkpoint(checkpoint))
    }

    pub(super) fn checkpoints(&mut self) -> Result<KvResult, CommandError> {
        let kept = self.kept()?;
        let names: usize = kept.iter().map(|checkpoint| checkpoint.name.0.len()).sum();
        self.take(LIST_BYTES + names + kept.len() * CHECKPOINT_BYTES)?;
        Ok(KvResult::Checkpoints(kept))
    }

    pub(super) fn revert(&mut self, name: &Blob, keys: Keys) -> Result<KvResult, CommandError> {
        let kept = self.kept()?;
        let id = named(&kept, name)?.id;
        let newest = kept.last().filter(|_| mutant(Mutant::RevertsToTheNewest));
        let from = newest.map_or(id, |newest| newest.id);
        let since: Vec<u64> = kept.iter().map(|c| c.id).filter(|c| *c >= from).collect();
        let (past, next) = match keys {
            Keys::Named(keys) => (self.past_of(&since, keys)?, None),
            Keys::Range { start, end, limit } => {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                self.past_between(&since, &start.0, end.as_ref(), limit)?
            }
        };
        self.take(LIST_BYTES + NEXT_BYTES + next.as_ref().map_or(0, Vec::len))?;
        let mut changes = Vec::new();
        for (key, past) in past {
            if let Some(version) = self.revert_key(&key, past)? {
                self.take(REVERTED_BYTES + key.len())?;
                let key = Blob(key);
                changes.push(Reverted { key, version });
            }
        }
        let next = next.map(Blob);
        Ok(KvResult::Reverted { changes, next })
    }

    pub(super) fn release(
        &mut self,
        name: Option<&Blob>,
        limit: u32,
    ) -> Result<KvResult, CommandError> {
        let mut kept = self.kept()?;
        if let Some(name) = name {
            let id = named(&kept, name)?.id;
            let found = kept.iter_mut().find(|checkpoint| checkpoint.id == id);
            let checkpoint = found.ok_or(CommandError::UnknownCheckpoint)?;
            if checkpoint.owner != self.context.client && self.context.role < Role::Admin {
                return Err(CommandError::Forbidden);
            }
            checkpoint.released = true;
        }
        let (before, mut dropped) = (kept.len(), 0);
        // The oldest first: as long as one is open, it needs the past records of all that follow.
        while let Some(oldest) = kept.first().filter(|checkpoint| checkpoint.released) {
            let (some, all) = self.drop_past(oldest.id, limit - dropped)?;
            dropped += some;
            if !all {
                break;
            }
            kept.remove(0);
        }
        if name.is_some() || kept.len() < before {
            self.keep(&kept)?;
        }
        let more = kept.first().is_some_and(|checkpoint| checkpoint.released);
        self.take(4 + 4 + 1)?;
        Ok(KvResult::Released { dropped, more })
    }

    /// Notes what a key holds that is about to be written, if a checkpoint needs it.
    pub(super) fn remember(
        &mut self,
        key: &[u8],
        before: Option<Before>,
    ) -> Result<(), CommandError> {
        let kept = self.kept()?;
        let Some(newest) = kept.last().filter(|_| open(&kept).next().is_some()) else {
            return Ok(());
        };
        // Whoever wrote it then has noted what was before; nothing to look up.
        if before
            .as_ref()
            .is_some_and(|before| before.modified > newest.revision)
        {
            return Ok(());
        }
        if before.is_none() && mutant(Mutant::PastOfNothing) {
            return Ok(());
        }
        let name = past_name(newest.id, key);
        if self.view.get(Namespace::Past, &name)?.is_none() {
            let past = before.map(|before| self.whole(before)).transpose()?;
            self.view.put(Namespace::Past, &name, record::seal(&past))?;
        }
        Ok(())
    }

    /// Writes what a key held, unless it holds that. Returns its version, if it was written.
    fn revert_key(
        &mut self,
        key: &[u8],
        past: Option<LeafRecord>,
    ) -> Result<Option<u64>, CommandError> {
        let before = self.load(key)?;
        match (before, past) {
            (None, None) => Ok(None),
            (Some(before), None) => self.remove(key, before.into()).map(|()| Some(0)),
            (Some(before), Some(past))
                if (&before.value, before.lease) == (&past.value, past.lease) =>
            {
                Ok(None)
            }
            (before, Some(past)) => {
                let before = before.map(Before::from);
                self.store(key, past.value, past.lease, before).map(Some)
            }
        }
    }

    /// What these keys held; those that were not written since are left out.
    fn past_of(&mut self, since: &[u64], keys: Vec<Blob>) -> Result<Past, CommandError> {
        let mut past = Past::new();
        for Blob(key) in keys {
            for id in since {
                let found = self.view.get(Namespace::Past, &past_name(*id, &key))?;
                if let Some(record) = found {
                    past.insert(key, opened(&record)?);
                    break;
                }
            }
        }
        Ok(past)
    }

    /// What the keys of a range held, as far as the limit goes, and where to go on.
    fn past_between(
        &mut self,
        since: &[u64],
        start: &[u8],
        end: Option<&Blob>,
        limit: usize,
    ) -> Result<(Past, Option<Vec<u8>>), CommandError> {
        let (mut past, mut cut) = (Past::new(), None::<Vec<u8>>);
        for id in since {
            let (found, more) = self.past_records(*id, start, end, limit)?;
            // Behind the last of them this checkpoint may have another.
            if let Some((last, _)) = found.last().filter(|_| more) {
                let next = successor(last);
                cut = Some(cut.map_or_else(|| next.clone(), |cut| cut.min(next.clone())));
            }
            for (key, record) in found {
                past.entry(key).or_insert(record);
            }
        }
        // Where the range ends nothing is behind the last, and nobody could ask for it.
        let cut = cut.filter(|cut| end.is_none_or(|end| *cut < end.0));
        if let Some(cut) = &cut {
            past.retain(|key, _| key < cut);
        }
        Ok((past, cut))
    }

    /// A checkpoint's past records of a range, at most `limit` (0: all), and whether there are more.
    #[expect(clippy::type_complexity, reason = "a list and whether it is whole")]
    fn past_records(
        &mut self,
        id: u64,
        start: &[u8],
        end: Option<&Blob>,
        limit: usize,
    ) -> Result<(Vec<(Vec<u8>, Option<LeafRecord>)>, bool), CommandError> {
        let (mut from, to) = (past_name(id, start), past_end(id, end));
        let mut records = Vec::new();
        loop {
            let left = match limit {
                0 => RANGE_PAGE,
                limit => (limit - records.len()).min(RANGE_PAGE),
            };
            let page = self.view.range(Namespace::Past, &from, Some(&to), left)?;
            let whole = page.len() < left;
            if let Some((last, _)) = page.last() {
                from = successor(last);
            }
            for (name, record) in page {
                let key = name.get(NAME_BYTES..).ok_or(CommandError::DAMAGED)?;
                records.push((key.to_vec(), opened(&record)?));
            }
            if whole {
                return Ok((records, false));
            }
            if records.len() == limit {
                return Ok((records, true));
            }
        }
    }

    /// Drops up to `limit` of a checkpoint's past records. Returns how many, and whether those were all.
    fn drop_past(&mut self, id: u64, limit: u32) -> Result<(u32, bool), CommandError> {
        let (mut from, to) = (past_name(id, &[]), past_end(id, None));
        let mut dropped = 0;
        loop {
            let left = usize::try_from(limit - dropped).unwrap_or(usize::MAX);
            let wanted = left.clamp(1, RANGE_PAGE);
            let page = self.view.range(Namespace::Past, &from, Some(&to), wanted)?;
            if page.is_empty() {
                return Ok((dropped, true));
            }
            if left == 0 {
                return Ok((dropped, false));
            }
            for (name, _) in page {
                self.view.delete(Namespace::Past, &name)?;
                from = successor(&name);
                dropped += 1;
            }
        }
    }

    fn kept(&mut self) -> Result<Vec<Checkpoint>, CommandError> {
        match self.view.get_hot(Namespace::Past, HEAD)? {
            Some(bytes) => record::unseal(&bytes).map_err(|_| CommandError::DAMAGED),
            None => Ok(Vec::new()),
        }
    }

    fn keep(&mut self, kept: &Vec<Checkpoint>) -> Result<(), CommandError> {
        match kept.is_empty() {
            true => self.view.delete(Namespace::Past, HEAD),
            false => self.view.put(Namespace::Past, HEAD, record::seal(kept)),
        }
    }
}

fn open(kept: &[Checkpoint]) -> impl Iterator<Item = &Checkpoint> {
    kept.iter().filter(|checkpoint| !checkpoint.released)
}

fn named<'a>(kept: &'a [Checkpoint], name: &Blob) -> Result<&'a Checkpoint, CommandError> {
    let found = open(kept).find(|checkpoint| checkpoint.name == *name);
    found.ok_or(CommandError::UnknownCheckpoint)
}

fn opened(record: &[u8]) -> Result<Option<LeafRecord>, CommandError> {
    record::unseal(record).map_err(|_| CommandError::DAMAGED)
}

/// Bytes of a past record's name before the key.
const NAME_BYTES: usize = 1 + 8;

/// Name of a past record within the namespace.
fn past_name(id: u64, key: &[u8]) -> Vec<u8> {
    [b"c".as_slice(), &id.to_be_bytes(), key].concat()
}

/// The first name behind a checkpoint's past records of keys before `end`.
fn past_end(id: u64, end: Option<&Blob>) -> Vec<u8> {
    match end {
        Some(end) => past_name(id, &end.0),
        None => past_name(id.saturating_add(1), &[]),
    }
}
