//! What the executor asks of storage: byte strings in seven spaces, read through [`Reader`] and changed by the
//! [`Change`]s that it hands out. It never writes by itself and never sees a database.

use alloc::vec::Vec;

/// Where a record belongs. The replica maps each to a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Records of the replicated state, by their key in the authenticated tree.
    State,
    /// Pages of the authenticated tree, by page id.
    Tree,
    /// Roots of full subtrees of the receipts accumulator: level (1 byte) ‖ index (8, big-endian) to 32 bytes.
    Accumulator,
    /// Receipts: height (8, big-endian) ‖ index (4, big-endian) to the canonical receipt.
    Receipts,
    /// Transaction id (32) to the canonical `(Height, u32)` of its first place.
    Places,
    /// `roots/` ‖ height (8, big-endian) to the canonical `Roots`.
    Roots,
    /// What the executor needs to start again.
    Meta,
}

impl Space {
    /// Whether what a block changes here may be stored later than the block, together with what blocks after it change, or
    /// be lost before: an executor that is opened where it was stored last works it out again from the blocks. All such
    /// spaces of a block are stored together. The others are read by height, whether the state is there or not.
    #[must_use]
    pub const fn may_lag(self) -> bool {
        match self {
            Space::State | Space::Tree | Space::Places | Space::Meta => true,
            Space::Accumulator | Space::Receipts | Space::Roots => false,
        }
    }
}

/// A key with its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Read access to everything that was executed before, persisted or pending.
pub trait Reader {
    /// Why storage could not answer. Whoever drives the executor treats it as fatal.
    type Error;

    /// The value of a key.
    ///
    /// # Errors
    /// Whatever storage fails with.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error>;

    /// The first `limit` entries with `from` ≤ key < `to` (no `to`: to the end of the space), ascending.
    ///
    /// # Errors
    /// Whatever storage fails with.
    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, Self::Error>;
}

/// One record to write, or to delete if `value` is `None` (there may be nothing to delete).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub space: Space,
    /// Its key there.
    pub key: Vec<u8>,
    /// The new value.
    pub value: Option<Vec<u8>>,
}

impl Change {
    /// A record to write.
    #[must_use]
    pub fn put(space: Space, key: Vec<u8>, value: Vec<u8>) -> Change {
        let value = Some(value);
        Change { space, key, value }
    }

    /// A record to delete.
    #[must_use]
    pub fn delete(space: Space, key: Vec<u8>) -> Change {
        let value = None;
        Change { space, key, value }
    }
}
