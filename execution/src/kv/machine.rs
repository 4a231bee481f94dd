//! Executes the commands of the key-value machine. Checks every bound of a command before its first effect.

use alloc::vec::Vec;

use quorate_types::{Blob, Role, codec};

use super::checkpoint::MAX_NAME_BYTES;
use super::{Check, Command, Compare, Keys, KvResult, LeafRecord, MAX_KEY_BYTES, MAX_TXN_OPS};
use super::{MAX_VALUE_BYTES, Op, OpResult, RangeEntry, Relation};
use crate::keys::Namespace;
use crate::machine::{CommandError, Context, Outline, Outlined, StateMachine, StateView};
use crate::overlay::successor;

/// The key-value machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct KvMachine;

/// Entries that a range reads at a time.
pub(super) const RANGE_PAGE: usize = 32;
/// Encoded bytes of an entry of a range besides its key and value: two lengths, three numbers, a lease.
const ENTRY_BYTES: usize = 8 + 8 + 3 * 8 + 9;
/// Encoded bytes of a range's result besides its entries: tag, length, flag.
const RANGE_BYTES: usize = 4 + 8 + 1;
/// Encoded bytes of a txn's result besides those of its operations: tag, flag, length.
const TXN_BYTES: usize = 4 + 1 + 8;

impl StateMachine for KvMachine {
    fn namespaces(&self) -> &'static [Namespace] {
        &[Namespace::Kv, Namespace::Past]
    }

    fn execute(
        &self,
        context: &Context,
        view: &mut StateView<'_>,
        command: &[u8],
    ) -> Result<Vec<u8>, CommandError> {
        let command = Command::decode(command).map_err(|_| CommandError::Bad)?;
        check(&command)?;
        if context.role < Role::Writer && !command.reads_only() {
            return Err(CommandError::Forbidden);
        }
        let mut run = Run {
            view,
            context,
            room: context.max_result_bytes,
        };
        Ok(codec::encode(&run.command(command)?))
    }

    /// Of what a key holds: the revisions that made it and set it last, and its version.
    fn outline(&self, namespace: Namespace, record: &[u8]) -> Option<Outline> {
        let record = (namespace == Namespace::Kv).then(|| LeafRecord::decode(record));
        Some(outline(&record?.ok()?))
    }
}

/// What a write needs to know of what its key held.
pub(super) struct Before {
    created: u64,
    pub(super) modified: u64,
    version: u64,
    whole: Whole,
}

enum Whole {
    Read(LeafRecord),
    Outlined(Outlined),
}

impl Before {
    fn new([created, modified, version]: Outline, whole: Whole) -> Before {
        Before {
            created,
            modified,
            version,
            whole,
        }
    }
}

impl From<LeafRecord> for Before {
    fn from(record: LeafRecord) -> Before {
        Before::new(outline(&record), Whole::Read(record))
    }
}

impl From<Outlined> for Before {
    fn from(outlined: Outlined) -> Before {
        Before::new(outlined.outline, Whole::Outlined(outlined))
    }
}

fn outline(record: &LeafRecord) -> Outline {
    [
        record.create_revision,
        record.modify_revision,
        record.version,
    ]
}

pub(super) struct Run<'a, 'v> {
    pub(super) view: &'a mut StateView<'v>,
    pub(super) context: &'a Context,
    /// Bytes that the result may still take.
    room: usize,
}

impl Run<'_, '_> {
    fn command(&mut self, command: Command) -> Result<KvResult, CommandError> {
        let op = match command {
            Command::Put { key, value, lease } => Op::Put { key, value, lease },
            Command::Get { key } => Op::Get { key },
            Command::Delete { key } => Op::Delete { key },
            Command::Range {
                start,
                end,
                limit,
                keys_only,
            } => Op::Range {
                start,
                end,
                limit,
                keys_only,
            },
            Command::CompareAndSet { key, expect, value } => {
                return self.compare_and_set(&key.0, expect, value);
            }
            Command::Txn {
                compare,
                then,
                otherwise,
            } => return self.txn(&compare, then, otherwise),
            Command::Opaque(_) => return Ok(KvResult::Opaque),
            Command::Checkpoint { name } => return self.checkpoint(name),
            Command::Revert { checkpoint, keys } => return self.revert(&checkpoint, keys),
            Command::Release { checkpoint, limit } => {
                return self.release(checkpoint.as_ref(), limit);
            }
            Command::Checkpoints => return self.checkpoints(),
        };
        Ok(self.op(op)?.into())
    }

    fn txn(
        &mut self,
        compare: &[Compare],
        then: Vec<Op>,
        otherwise: Vec<Op>,
    ) -> Result<KvResult, CommandError> {
        let mut succeeded = true;
        for compare in compare {
            succeeded &= holds(&compare.check, self.load(&compare.key.0)?.as_ref());
        }
        let branch = if succeeded { then } else { otherwise };
        self.take(TXN_BYTES)?;
        let mut results = Vec::with_capacity(branch.len());
        for op in branch {
            results.push(self.op(op)?);
        }
        Ok(KvResult::Txn { succeeded, results })
    }

    fn op(&mut self, op: Op) -> Result<OpResult, CommandError> {
        match op {
            Op::Put { key, value, lease } => {
                let before = self.before(&key.0)?;
                let version = self.store(&key.0, value, lease, before)?;
                self.take(4 + 8)?;
                Ok(OpResult::Put { version })
            }
            Op::Get { key } => {
                let record = self.load(&key.0)?;
                let bytes = record.as_ref().map_or(0, |r| ENTRY_BYTES + r.value.0.len());
                self.take(4 + 1 + bytes)?;
                Ok(OpResult::Get(record))
            }
            Op::Delete { key } => {
                let before = self.before(&key.0)?;
                let existed = before.is_some();
                if let Some(before) = before {
                    self.remove(&key.0, before)?;
                }
                self.take(4 + 1)?;
                Ok(OpResult::Delete { existed })
            }
            Op::Range {
                start,
                end,
                limit,
                keys_only,
            } => self.range(start.0, end.as_ref(), limit, keys_only),
        }
    }

    fn compare_and_set(
        &mut self,
        key: &[u8],
        expect: Option<Blob>,
        value: Option<Blob>,
    ) -> Result<KvResult, CommandError> {
        let before = self.load(key)?;
        let (swapped, version) = match (before, value) {
            (before, _) if before.as_ref().map(|record| &record.value) != expect.as_ref() => {
                (false, before.map_or(0, |record| record.version))
            }
            (before, Some(value)) => {
                let lease = before.as_ref().and_then(|record| record.lease);
                (
                    true,
                    self.store(key, value, lease, before.map(Before::from))?,
                )
            }
            (Some(before), None) => {
                self.remove(key, before.into())?;
                (true, 0)
            }
            (None, None) => (true, 0),
        };
        Ok(KvResult::CompareAndSet { swapped, version })
    }

    /// Fills the result until the limit, the end of the range, or the room in the result is reached.
    fn range(
        &mut self,
        start: Vec<u8>,
        end: Option<&Blob>,
        limit: u32,
        keys_only: bool,
    ) -> Result<OpResult, CommandError> {
        let limit = match usize::try_from(limit) {
            Ok(0) | Err(_) => usize::MAX,
            Ok(limit) => limit,
        };
        self.take(RANGE_BYTES)?;
        let (mut entries, mut from) = (Vec::new(), start);
        loop {
            // One more than needed tells whether there is more.
            let wanted = limit.saturating_sub(entries.len()).saturating_add(1);
            let page = wanted.min(RANGE_PAGE);
            let end = end.map(|end| end.0.as_slice());
            let found = self.view.range(Namespace::Kv, &from, end, page)?;
            let complete = found.len() < page;
            for (key, record) in found {
                let mut record = LeafRecord::decode(&record).map_err(|_| CommandError::DAMAGED)?;
                if keys_only {
                    record.value = Blob::default();
                }
                let bytes = ENTRY_BYTES + key.len() + record.value.0.len();
                if entries.len() == limit || bytes > self.room {
                    // Not even one entry: to answer `more` would send the client round for ever.
                    if entries.is_empty() {
                        return Err(CommandError::ResultTooLarge);
                    }
                    let more = true;
                    return Ok(OpResult::Range { entries, more });
                }
                self.room -= bytes;
                from = successor(&key);
                let key = Blob(key);
                entries.push(RangeEntry { key, record });
            }
            if complete {
                let more = false;
                return Ok(OpResult::Range { entries, more });
            }
        }
    }

    pub(super) fn load(&mut self, key: &[u8]) -> Result<Option<LeafRecord>, CommandError> {
        match self.view.get(Namespace::Kv, key)? {
            Some(bytes) => LeafRecord::decode(&bytes)
                .map(Some)
                .map_err(|_| CommandError::DAMAGED),
            None => Ok(None),
        }
    }

    fn before(&mut self, key: &[u8]) -> Result<Option<Before>, CommandError> {
        let outlined = self.view.outline(Namespace::Kv, key)?;
        Ok(outlined.map(Before::from))
    }

    /// What the key held, whole.
    pub(super) fn whole(&mut self, before: Before) -> Result<LeafRecord, CommandError> {
        match before.whole {
            Whole::Read(record) => Ok(record),
            Whole::Outlined(outlined) => {
                let record = self.view.outlined(outlined)?;
                LeafRecord::decode(&record).map_err(|_| CommandError::DAMAGED)
            }
        }
    }

    /// Sets a key and returns its version.
    pub(super) fn store(
        &mut self,
        key: &[u8],
        value: Blob,
        lease: Option<u64>,
        before: Option<Before>,
    ) -> Result<u64, CommandError> {
        let revision = self.context.revision;
        let (created, version) = match &before {
            Some(before) => (before.created, before.version.saturating_add(1)),
            None => (revision, 1),
        };
        self.remember(key, before)?;
        let record = LeafRecord {
            value,
            create_revision: created,
            modify_revision: revision,
            version,
            lease,
        };
        self.view.put(Namespace::Kv, key, record.encode())?;
        Ok(version)
    }

    /// Deletes a key that exists.
    pub(super) fn remove(&mut self, key: &[u8], before: Before) -> Result<(), CommandError> {
        self.remember(key, Some(before))?;
        self.view.delete(Namespace::Kv, key)
    }

    /// Sets room in the result aside.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), CommandError> {
        let rest = self.room.checked_sub(bytes);
        self.room = rest.ok_or(CommandError::ResultTooLarge)?;
        Ok(())
    }
}

/// Whether a condition holds for what a key holds.
fn holds(check: &Check, record: Option<&LeafRecord>) -> bool {
    let number = |relation: &Relation, field: fn(&LeafRecord) -> u64, right: &u64| {
        relates(*relation, &record.map_or(0, field), right)
    };
    match check {
        Check::Value(relation, right) => {
            record.is_some_and(|record| relates(*relation, &record.value, right))
        }
        Check::Version(relation, right) => number(relation, |r| r.version, right),
        Check::CreateRevision(relation, right) => number(relation, |r| r.create_revision, right),
        Check::ModifyRevision(relation, right) => number(relation, |r| r.modify_revision, right),
        Check::Exists(right) => record.is_some() == *right,
    }
}

fn relates<T: Ord>(relation: Relation, left: &T, right: &T) -> bool {
    match relation {
        Relation::Equal => left == right,
        Relation::NotEqual => left != right,
        Relation::Less => left < right,
        Relation::Greater => left > right,
    }
}

/// The bounds of a command's fields.
fn check(command: &Command) -> Result<(), CommandError> {
    match command {
        Command::Put { key, value, .. } => check_key(key).and(check_value(value)),
        Command::Get { key } | Command::Delete { key } => check_key(key),
        Command::CompareAndSet { key, expect, value } => {
            [expect, value]
                .into_iter()
                .flatten()
                .try_for_each(check_value)?;
            check_key(key)
        }
        Command::Range { start, end, .. } => check_range(start, end.as_ref()),
        Command::Txn {
            compare,
            then,
            otherwise,
        } => {
            bound(compare.len().max(then.len()).max(otherwise.len()) <= MAX_TXN_OPS)?;
            compare
                .iter()
                .try_for_each(|compare| check_key(&compare.key))?;
            then.iter().chain(otherwise).try_for_each(check_op)
        }
        Command::Opaque(_) | Command::Checkpoints => Ok(()),
        Command::Checkpoint { name } => check_name(name),
        Command::Release { checkpoint, .. } => checkpoint.iter().try_for_each(check_name),
        Command::Revert { checkpoint, keys } => check_name(checkpoint).and(check_keys(keys)),
    }
}

fn check_op(op: &Op) -> Result<(), CommandError> {
    match op {
        Op::Put { key, value, .. } => check_key(key).and(check_value(value)),
        Op::Get { key } | Op::Delete { key } => check_key(key),
        Op::Range { start, end, .. } => check_range(start, end.as_ref()),
    }
}

fn check_key(key: &Blob) -> Result<(), CommandError> {
    bound((1..=MAX_KEY_BYTES).contains(&key.0.len()))
}

fn check_value(value: &Blob) -> Result<(), CommandError> {
    bound(value.0.len() <= MAX_VALUE_BYTES)
}

fn check_name(name: &Blob) -> Result<(), CommandError> {
    bound((1..=MAX_NAME_BYTES).contains(&name.0.len()))
}

fn check_keys(keys: &Keys) -> Result<(), CommandError> {
    match keys {
        Keys::Named(keys) => {
            bound((1..=MAX_TXN_OPS).contains(&keys.len()))?;
            keys.iter().try_for_each(check_key)
        }
        Keys::Range { start, end, .. } => check_range(start, end.as_ref()),
    }
}

/// One byte longer than a key: `key ‖ 0` is where the reader of a truncated range goes on.
fn check_range(start: &Blob, end: Option<&Blob>) -> Result<(), CommandError> {
    let longest = start.0.len().max(end.map_or(0, |end| end.0.len()));
    bound(longest <= MAX_KEY_BYTES + 1)?;
    bound(end.is_none_or(|end| start < end))
}

fn bound(holds: bool) -> Result<(), CommandError> {
    holds.then_some(()).ok_or(CommandError::Bad)
}
