//! What a state machine is: a deterministic function from a command and the state to a result and a changed state.
//!
//! A machine sees agreed values only ([`Context`]), and the state only through a [`StateView`], which keeps it within its
//! namespaces and counts the cost of everything. It must never keep state of its own between commands, since a restarted
//! replica has only the records.

use alloc::vec::Vec;
use core::fmt;

use quorate_types::{BlockTime, Height, PublicKey, Role};

use crate::keys::Namespace;
use crate::meter::{self, CostExceeded, Meter};
use crate::outlines::Known;
use crate::space::Entry;
use crate::tree::MAX_KEY_BYTES;

/// A pluggable machine.
pub trait StateMachine: fmt::Debug + Send + Sync {
    /// The namespaces that it owns; `sys/` is never among them.
    fn namespaces(&self) -> &'static [Namespace];

    /// Executes one command. Changes made before an error are taken back, with those of the whole transaction.
    ///
    /// # Errors
    /// [`CommandError`]: the transaction is rejected.
    fn execute(
        &self,
        context: &Context,
        view: &mut StateView<'_>,
        command: &[u8],
    ) -> Result<Vec<u8>, CommandError>;

    /// What a command may want to know of a record that it replaces; `None` for nothing. A function of the record alone, for
    /// [`StateView::outline`].
    fn outline(&self, namespace: Namespace, record: &[u8]) -> Option<Outline> {
        let _ = (namespace, record);
        None
    }
}

/// A few numbers that a machine reads off a record: which ones is for it to say.
pub type Outline = [u64; 3];

/// A record of which an outline is at hand. Whether the record is, a machine cannot tell.
#[derive(Debug)]
pub struct Outlined {
    /// See [`StateMachine::outline`].
    pub outline: Outline,
    /// The record if it was read, or else its key.
    record: Result<Vec<u8>, Vec<u8>>,
}

/// What a command may know besides the state. Equal on all replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Agreed time of the block.
    pub time: BlockTime,
    /// Height of the block.
    pub height: Height,
    /// Who signed the transaction.
    pub client: PublicKey,
    /// What it may do.
    pub role: Role,
    /// The revision that the transaction's changes get, if it makes any.
    pub revision: u64,
    /// Most bytes that the result may have.
    pub max_result_bytes: usize,
}

/// Why a command rejects its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The machine cannot read it, or a field is out of its range.
    #[error("it is none of the machine's commands")]
    Bad,
    /// The client's role does not allow it, or the machine reached outside of its namespaces.
    #[error("it is not allowed")]
    Forbidden,
    /// It costs too much.
    #[error(transparent)]
    Cost(#[from] CostExceeded),
    /// The result cannot be made small enough.
    #[error("its result is too large")]
    ResultTooLarge,
    /// It names a checkpoint that is not open.
    #[error("it names a checkpoint that is not open")]
    UnknownCheckpoint,
    /// A checkpoint with the name is open.
    #[error("a checkpoint with this name is open")]
    CheckpointExists,
    /// No more checkpoints may be kept.
    #[error("as many checkpoints are kept as may be")]
    TooManyCheckpoints,
    /// Storage failed, or holds a record that the machine did not write. The block is not executed.
    #[error("the state could not be read")]
    Storage(StorageFailed),
}

/// Storage failed while a view read from it, or gave what was never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageFailed(pub(crate) ());

impl CommandError {
    /// For a record that does not decode. Never answer so to what a client sent: it stops the replica.
    pub const DAMAGED: CommandError = CommandError::Storage(StorageFailed(()));
}

/// Untyped access to the records, whatever they are stored in.
pub(crate) trait Access {
    fn read(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageFailed>;
    fn read_hot(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageFailed>;
    fn outline(&self, key: &[u8]) -> Option<Known>;
    fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>);
    fn range(
        &mut self,
        range: (&[u8], &[u8]),
        limit: usize,
        meter: &mut Meter,
    ) -> Result<Vec<Entry>, CommandError>;
}

/// A machine's sight of the state: its own namespaces, metered.
pub struct StateView<'a> {
    access: &'a mut dyn Access,
    meter: &'a mut Meter,
    machine: &'a dyn StateMachine,
}

impl fmt::Debug for StateView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateView").finish_non_exhaustive()
    }
}

impl<'a> StateView<'a> {
    pub(crate) fn new(
        access: &'a mut dyn Access,
        meter: &'a mut Meter,
        machine: &'a dyn StateMachine,
    ) -> StateView<'a> {
        StateView {
            access,
            meter,
            machine,
        }
    }

    /// The record of a key.
    ///
    /// # Errors
    /// [`CommandError::Forbidden`] for a namespace that the machine does not own, or a key too long for the tree;
    /// [`CommandError::Cost`]; [`CommandError::Storage`].
    pub fn get(
        &mut self,
        namespace: Namespace,
        name: &[u8],
    ) -> Result<Option<Vec<u8>>, CommandError> {
        let key = self.own(namespace, name)?;
        self.meter.charge(meter::READ)?;
        let value = self.access.read(&key).map_err(CommandError::Storage)?;
        let bytes = value.as_ref().map_or(0, Vec::len);
        self.meter.charge_bytes(bytes, meter::READ_BYTES_PER_UNIT)?;
        Ok(value)
    }

    /// What a command may want to know of the record of a key that it replaces: what its outline says, and the record itself
    /// where it is asked for. Costs what reading the record does, and saves most of the work of it if the record was written
    /// lately.
    ///
    /// # Errors
    /// As [`StateView::get`]; [`CommandError::DAMAGED`] for a record that the machine has no outline of.
    pub fn outline(
        &mut self,
        namespace: Namespace,
        name: &[u8],
    ) -> Result<Option<Outlined>, CommandError> {
        let key = self.own(namespace, name)?;
        if let Some(known) = self.access.outline(&key) {
            self.meter.charge(meter::READ)?;
            let bytes = usize::try_from(known.bytes).unwrap_or(usize::MAX);
            self.meter.charge_bytes(bytes, meter::READ_BYTES_PER_UNIT)?;
            let (outline, record) = (known.outline, Err(key));
            return Ok(Some(Outlined { outline, record }));
        }
        let Some(record) = self.get(namespace, name)? else {
            return Ok(None);
        };
        let outline = self.machine.outline(namespace, &record);
        let (outline, record) = (outline.ok_or(CommandError::DAMAGED)?, Ok(record));
        Ok(Some(Outlined { outline, record }))
    }

    /// The record that an outline is of, which was paid for with it. Nothing may have been written to its key since.
    ///
    /// # Errors
    /// [`CommandError::Storage`].
    pub fn outlined(&mut self, outlined: Outlined) -> Result<Vec<u8>, CommandError> {
        match outlined.record {
            Ok(record) => Ok(record),
            Err(key) => {
                let record = self.access.read(&key).map_err(CommandError::Storage)?;
                record.ok_or(CommandError::DAMAGED)
            }
        }
    }

    /// The record of a key that nearly every command needs: storage is asked once a block. It is free while there is no
    /// record, so that a feature costs nothing that nobody uses.
    ///
    /// # Errors
    /// As [`StateView::get`].
    pub fn get_hot(
        &mut self,
        namespace: Namespace,
        name: &[u8],
    ) -> Result<Option<Vec<u8>>, CommandError> {
        let key = self.own(namespace, name)?;
        let value = self.access.read_hot(&key).map_err(CommandError::Storage)?;
        let bytes = value.as_ref().map_or(0, Vec::len);
        self.meter.charge_bytes(bytes, meter::READ_BYTES_PER_UNIT)?;
        Ok(value)
    }

    /// Writes the record of a key.
    ///
    /// # Errors
    /// As [`StateView::get`].
    pub fn put(
        &mut self,
        namespace: Namespace,
        name: &[u8],
        record: Vec<u8>,
    ) -> Result<(), CommandError> {
        let key = self.own(namespace, name)?;
        self.meter.charge(meter::WRITE)?;
        let bytes = key.len() + record.len();
        self.meter
            .charge_bytes(bytes, meter::WRITE_BYTES_PER_UNIT)?;
        self.access.write(key, Some(record));
        Ok(())
    }

    /// Deletes the record of a key. Delete only what exists: it counts as a change.
    ///
    /// # Errors
    /// As [`StateView::get`].
    pub fn delete(&mut self, namespace: Namespace, name: &[u8]) -> Result<(), CommandError> {
        let key = self.own(namespace, name)?;
        self.meter.charge(meter::WRITE)?;
        self.meter
            .charge_bytes(key.len(), meter::WRITE_BYTES_PER_UNIT)?;
        self.access.write(key, None);
        Ok(())
    }

    /// The first `limit` records of a namespace with `start` ≤ key < `end` (no `end`: to the end of the namespace),
    /// ascending, with their keys within the namespace. What the block has replaced or deleted costs as much to pass as what is
    /// found.
    ///
    /// # Errors
    /// As [`StateView::get`].
    pub fn range(
        &mut self,
        namespace: Namespace,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, CommandError> {
        let from = self.own(namespace, start)?;
        let to = match end {
            Some(end) => self.own(namespace, end)?,
            None => namespace.end().to_vec(),
        };
        self.meter.charge(meter::RANGE)?;
        let mut entries = self.access.range((&from, &to), limit, self.meter)?;
        for (key, _) in &mut entries {
            key.drain(..namespace.prefix().len());
        }
        Ok(entries)
    }

    fn own(&self, namespace: Namespace, name: &[u8]) -> Result<Vec<u8>, CommandError> {
        let namespaces = self.machine.namespaces();
        let owned = namespace != Namespace::Sys && namespaces.contains(&namespace);
        if !owned || namespace.prefix().len() + name.len() > MAX_KEY_BYTES {
            return Err(CommandError::Forbidden);
        }
        Ok(namespace.key(name))
    }
}
