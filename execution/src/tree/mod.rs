//! The authenticated state tree: one digest that commits to a set of (key, digest of the value).
//!
//! Owns the commitment, its proofs, and the pages that it is kept in. It must never let storage shape the root: the
//! root is a function of the set alone, so replicas that page differently, restart, or start from a snapshot agree (I6).
//! Why this tree: docs/decisions/0001-state-tree.md.
//!
//! # The commitment
//! A crit-bit trie (binary Patricia trie) over the bits of the keys. Each inner node names the
//! first bit in which the keys below it differ: keys with a 0 there are left, with a 1 right.
//!
//! ```text
//! bits of a key   1 b₇…b₀  1 b₇…b₀  …  0            nine for each byte, highest first, then a 0: at most 10,369
//! leaf            SHA-256( tag TreeLeaf, 16 bytes ‖ length of the key, 2, big-endian ‖ key ‖ value digest, 32 )
//! inner node      SHA-256( tag TreeNode, 16 bytes ‖ bit index, 2, big-endian ‖ left, 32 ‖ right, 32 )
//! no keys         SHA-256( tag TreeEmpty, 16 bytes )
//! ```
//!
//! Clients choose keys. They can make a path as deep as the longest key has bits, [`MAX_DEPTH`], and no deeper; each
//! level costs them a key. No tree whose shape depends on the set alone does fundamentally better.
//!
//! # Pages and persistence
//! Changed pages stay in memory until [`Tree::begin_flush`] and [`Tree::take_page`] hand them over, with an [`Anchor`], to be
//! written. Between two flushes the owner stores the changes of each block instead; after a restart it opens the last anchor and applies them
//! again. A page read from storage is hashed and held against the reference to it: a damaged
//! page is an error, never a wrong root.

mod bits;
mod cache;
mod diff;
mod edit;
mod flush;
mod hash;
mod keys;
mod page;
mod pages;
mod proof;
mod prove;
mod range;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use quorate_crypto::Digest;
use serde::{Deserialize, Serialize};

pub use bits::{MAX_DEPTH, MAX_KEY_BYTES};
pub use diff::{Diff, Difference, Held};
use edit::Stale;
pub use flush::Begun;
use flush::Leaving;
use page::PageId;
use pages::Pages;
pub use proof::{Proof, ProofError, Step};
pub use range::{RangeNode, RangeProof, RangeReply};

/// Where pages come from that are not in memory.
pub trait PageSource {
    /// Why storage could not answer.
    type Error;

    /// The page stored as `id`, of at most [`TreeLimits::MAX_PAGE_BYTES`] + 2 KiB; `None` if there is none.
    ///
    /// # Errors
    /// Whatever storage fails with. The tree is unusable afterwards.
    fn page(&self, id: &[u8]) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// The source of a tree that has never been flushed, or that is kept in memory whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPages;

impl PageSource for NoPages {
    type Error = core::convert::Infallible;

    fn page(&self, _id: &[u8]) -> Result<Option<Vec<u8>>, Self::Error> {
        Ok(None)
    }
}

/// Bounds of a tree's memory and pages, in bytes. They shape no root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeLimits {
    /// Memory for pages. Between two calls, clean pages are dropped until no more than this is used; dirty ones, and those
    /// that a flush has not taken yet, cannot be (if they take up all, an eighth more may be clean), so flush when [`Tree::dirty_bytes`] nears it. One call can exceed it by the pages that it touches.
    pub cache_bytes: usize,
    /// Encoded size above which a page is split, from 128 to [`Self::MAX_PAGE_BYTES`].
    pub page_bytes: usize,
}

impl TreeLimits {
    /// Largest `page_bytes`.
    pub const MAX_PAGE_BYTES: usize = 16 * 1024;
}

impl Default for TreeLimits {
    /// 128 MiB of pages of up to 8 KiB.
    fn default() -> Self {
        Self {
            cache_bytes: 128 * 1024 * 1024,
            page_bytes: 8192,
        }
    }
}

/// Why the tree did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError<E> {
    /// Keys of a list of changes are not in ascending order, or one occurs twice. Nothing was changed.
    #[error("change {0} is not behind its predecessor in key order")]
    Unordered(usize),
    /// A key of more than [`MAX_KEY_BYTES`]. Nothing was changed.
    #[error("a key of {0} bytes is too long")]
    KeyTooLong(usize),
    /// The end of a range does not lie behind its start, or the limit is 0.
    #[error("the range is empty")]
    EmptyRange,
    /// Storage failed. The tree must be dropped and opened again.
    #[error("storage could not be read")]
    Source(E),
    /// A page is missing, malformed, or not the one that was written. The tree must be dropped; the state is damaged.
    #[error("a stored page is missing or damaged")]
    Damaged,
    /// An earlier call failed with `Source` or `Damaged`.
    #[error("the tree is unusable after an earlier failure")]
    Unusable,
}

/// Where a flushed tree begins: to be stored with the pages of its flush, in the same batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    root: Digest,
    page: Option<[u8; 6]>,
    next: [u8; 6],
}

impl Anchor {
    /// The root of the tree that was flushed.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.root
    }
}

/// What to write to make a tree durable: in one atomic batch, or, to spread the work, pages to store in any number of
/// batches ahead and then pages to delete in one batch with the anchor. No page that an anchor needs is overwritten, so
/// all that the one before needs is there until then.
///
/// A flush that is cut short by a restart leaves pages that no anchor refers to. The tree opened again at the anchor
/// before gives their ids out once more, perhaps to pages with other contents, and never reads them until it has handed
/// over pages of its own under these ids; those overwrite them before an anchor refers to them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Flush {
    /// Page ids with the bytes to store; behind them those to delete, with `None`. Ids have 6 bytes.
    pub pages: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Replaces the anchor stored before.
    pub anchor: Anchor,
}

/// A change of one key: the digest of its new value, or `None` to remove it.
pub type Change = (Vec<u8>, Option<Digest>);

/// A page, and a node in it.
type Place = (PageId, usize);

/// Keys whose ways down the tree are followed at the same time.
const WARM_KEYS: usize = 16;

/// The tree: its root, and those of its pages that are in memory.
#[derive(Debug)]
pub struct Tree {
    limits: TreeLimits,
    root: Digest,
    /// Page that holds the root node; none if there are no keys.
    top: Option<PageId>,
    pages: Pages,
    next: PageId,
    /// Pages in storage that nothing refers to any more.
    freed: Vec<PageId>,
    leaving: Leaving,
    /// Memory of all pages in `pages` and of the dirty ones.
    memory: usize,
    dirty: usize,
    /// Counts calls, to know which pages were used lately.
    tick: u64,
    unusable: bool,
    /// The way to the node at hand: pages with the reference followed in each. Kept to save an allocation a key.
    path: Vec<Place>,
    /// Two of the kind, and what is stale: kept for the same reason.
    ways: (Vec<Place>, Vec<Place>),
    stale: Stale,
}

impl Tree {
    /// The tree without keys.
    #[must_use]
    pub fn new(limits: TreeLimits) -> Self {
        let anchor = Anchor {
            root: hash::empty(),
            page: None,
            next: PageId::FIRST.0,
        };
        Self::open(limits, &anchor)
    }

    /// The tree as it was when `anchor` was made. Pages are read when they are needed.
    #[must_use]
    pub fn open(mut limits: TreeLimits, anchor: &Anchor) -> Self {
        limits.page_bytes = limits.page_bytes.clamp(128, TreeLimits::MAX_PAGE_BYTES);
        Self {
            limits,
            root: anchor.root,
            top: anchor.page.map(PageId),
            pages: Pages::default(),
            next: PageId(anchor.next),
            freed: Vec::new(),
            leaving: Leaving::default(),
            memory: 0,
            dirty: 0,
            tick: 0,
            unusable: false,
            path: Vec::new(),
            ways: Default::default(),
            stale: Stale::default(),
        }
    }

    /// Changes [`TreeLimits::cache_bytes`].
    pub fn set_cache_bytes(&mut self, bytes: usize) {
        self.limits.cache_bytes = bytes;
        self.evict();
    }

    /// The digest that commits to all keys and values.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.root
    }

    /// Memory of the pages that the next flush hands over, in bytes.
    #[must_use]
    pub fn dirty_bytes(&self) -> usize {
        self.dirty
    }

    /// Memory of all pages held, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.memory
    }

    /// Applies changes, sorted by key and with each key once, and returns the new root. Applying a list again, or
    /// several in their order, after a restart leads to the same root.
    ///
    /// # Errors
    /// [`TreeError::Unordered`] and [`TreeError::KeyTooLong`] leave the tree as it was. `Source` and `Damaged` make it
    /// unusable.
    pub fn apply<S: PageSource>(
        &mut self,
        source: &S,
        changes: &[Change],
    ) -> Result<Digest, TreeError<S::Error>> {
        if changes.is_empty() {
            // Of a tree that was just opened not even the top page is in memory.
            return Ok(self.root);
        }
        if let Some((key, _)) = changes.iter().find(|(key, _)| key.len() > MAX_KEY_BYTES) {
            return Err(TreeError::KeyTooLong(key.len()));
        }
        if let Some(at) = changes.windows(2).position(|pair| pair[0].0 >= pair[1].0) {
            return Err(TreeError::Unordered(at + 1));
        }
        self.guarded(|tree| {
            for (index, group) in changes.chunks(WARM_KEYS).enumerate() {
                tree.warm(group);
                for (key, value) in group {
                    match value {
                        Some(value) => tree.set(source, key, value)?,
                        None => tree.remove(source, key)?,
                    }
                }
                // With the last one of the group before, whose next key was not known there.
                let begin = (index * WARM_KEYS).saturating_sub(1);
                tree.rehash_behind(&changes[begin..index * WARM_KEYS + group.len()]);
            }
            tree.rehash();
            Ok(())
        })?;
        Ok(self.root)
    }

    /// Runs one call: refuses after a failure, remembers one, and keeps the cache within its limit.
    fn guarded<R, E>(
        &mut self,
        call: impl FnOnce(&mut Self) -> Result<R, TreeError<E>>,
    ) -> Result<R, TreeError<E>> {
        if self.unusable {
            return Err(TreeError::Unusable);
        }
        self.tick += 1;
        let result = call(self);
        self.unusable = matches!(result, Err(TreeError::Source(_) | TreeError::Damaged));
        self.evict();
        result
    }
}
