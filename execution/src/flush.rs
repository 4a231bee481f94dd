//! Decides when the tree's changed pages are written, and spreads the writing over the blocks that follow.
//!
//! All validators flush at the same height or near it, so one that wrote all pages with one block would stall the chain, and
//! so would one that encoded them all. Here a flush begins at once ([`Tree::begin_flush`]), and a piece is taken with each
//! block:
//!
//! ```text
//! block         h         h+1       h+2       …   h+n                      h+n+1
//! pages         piece     piece     piece         last piece, deletions
//! journal       of h      of h+1    of h+2        of h+n                   of h+n+1
//! anchor                                          of the tree at h
//! deleted                                         journals up to h
//! ```
//!
//! Until the last piece is stored, a start opens the anchor before and applies all journals since. The pages of the
//! pieces lie in storage then and nothing refers to them (see [`tree::Flush`]). It must never let a second flush begin
//! while one waits.

use alloc::vec::Vec;

use quorate_types::Height;

use crate::persist::{self, AnchorRecord};
use crate::space::{Change, Space};
use crate::tree::{self, Tree};

/// When the tree's changed pages are written, and how many with each block. Affects no root; a smaller policy makes
/// starts faster and blocks dearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushPolicy {
    /// Memory of changed pages above which a flush begins, in bytes. The pages of a flush that wait to be written take
    /// about as much again at most.
    pub dirty_bytes: usize,
    /// Changes since the last flush began above which the next one does. A start applies at most about twice as many.
    pub changes: usize,
    /// Pages of a flush written with each block, in bytes, and at least one. More are if the next flush nears: half of
    /// them are written when half of `dirty_bytes` or of `changes` is used up again, and all when all is.
    pub piece_bytes: usize,
}

impl Default for FlushPolicy {
    /// 128 MiB, or 256,000 changes, in pieces of 512 KiB: two to four seconds of a start.
    fn default() -> FlushPolicy {
        FlushPolicy {
            dirty_bytes: 128 << 20,
            changes: 256_000,
            piece_bytes: 512 << 10,
        }
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Flusher {
    policy: FlushPolicy,
    /// Heights of the journals in storage, ascending.
    journals: Vec<Height>,
    /// Changes since the last flush began, or those that a start has applied.
    changes: usize,
    waiting: Option<Waiting>,
}

/// A flush that is not written to its end.
#[derive(Debug)]
struct Waiting {
    record: AnchorRecord,
    /// Pages to delete at the end: the anchor before still needs them.
    unused: Vec<Vec<u8>>,
    /// How many pages there are.
    pages: usize,
}

impl Flusher {
    /// With the journals that a start has found, and the number of changes in them.
    pub(crate) fn restored(journals: Vec<Height>, changes: usize) -> Flusher {
        Flusher {
            journals,
            changes,
            ..Flusher::default()
        }
    }

    pub(crate) fn set_policy(&mut self, policy: FlushPolicy) {
        self.policy = policy;
    }

    /// Appends all pages of a tree that was never stored, and its anchor.
    pub(crate) fn put_first(changes: &mut Vec<Change>, height: Height, tree: &mut Tree) {
        let flush = Waiting::begin(height, tree);
        put_pages(changes, tree, usize::MAX, 0);
        flush.put_end(changes);
    }

    /// Appends what a block whose changes the tree has got makes durable of it: a piece of a flush, a journal.
    pub(crate) fn put_block(
        &mut self,
        changes: &mut Vec<Change>,
        height: Height,
        tree: &mut Tree,
        edits: Vec<tree::Change>,
    ) {
        self.changes += edits.len();
        if self.waiting.is_none() && self.is_due(tree) {
            self.changes = 0;
            self.waiting = Some(Waiting::begin(height, tree));
        }
        let flushed = self.put_piece(changes, tree);
        if flushed != Some(height) && !edits.is_empty() {
            self.journals.push(height);
            persist::put_journal(changes, height, edits);
        }
    }

    fn is_due(&self, tree: &Tree) -> bool {
        tree.dirty_bytes() > self.policy.dirty_bytes || self.changes > self.policy.changes
    }

    /// Appends the next piece. Returns the height of the flush if it was the last one.
    fn put_piece(&mut self, changes: &mut Vec<Change>, tree: &mut Tree) -> Option<Height> {
        let left = self.pages_left(self.waiting.as_ref()?, tree);
        put_pages(changes, tree, self.policy.piece_bytes.max(1), left);
        let done = self.waiting.take_if(|_| tree.pages_to_take() == 0)?;
        let flushed = done.record.height;
        let later = self.journals.partition_point(|height| *height <= flushed);
        persist::delete_journals(changes, self.journals.drain(..later));
        done.put_end(changes);
        Some(flushed)
    }

    /// How many pages of a flush may wait behind the block at hand. None do when the next flush is due, so what waits and
    /// what is dirty stay near the policy together, however large the blocks are.
    fn pages_left(&self, waiting: &Waiting, tree: &Tree) -> usize {
        let policy = &self.policy;
        let dirty = share(waiting.pages, tree.dirty_bytes(), policy.dirty_bytes);
        let changes = share(waiting.pages, self.changes, policy.changes);
        waiting.pages.saturating_sub(dirty.max(changes))
    }
}

/// Appends pages of the tree's flush: `bytes` of them or a little more, and so many that `left` are left at most.
fn put_pages(changes: &mut Vec<Change>, tree: &mut Tree, bytes: usize, left: usize) {
    let mut put = 0usize;
    while (put < bytes || tree.pages_to_take() > left)
        && let Some((id, page)) = tree.take_page()
    {
        put = put.saturating_add(page.len());
        changes.push(Change::put(Space::Tree, id, page));
    }
}

/// The part of `total` that `used` is of `limit`; all of it if `limit` is 0.
fn share(total: usize, used: usize, limit: usize) -> usize {
    let product = total.checked_mul(used);
    let part = product.and_then(|product| product.checked_div(limit));
    part.unwrap_or(total)
}

impl Waiting {
    fn begin(height: Height, tree: &mut Tree) -> Waiting {
        let begun = tree.begin_flush();
        let anchor = begun.anchor;
        Waiting {
            record: AnchorRecord { height, anchor },
            unused: begun.unused,
            pages: tree.pages_to_take(),
        }
    }

    /// Appends what makes the flush count: its anchor, and the deletion of what only the anchor before needs.
    fn put_end(self, changes: &mut Vec<Change>) {
        persist::put_anchor(changes, &self.record);
        let delete = |id| Change::delete(Space::Tree, id);
        changes.extend(self.unused.into_iter().map(delete));
    }
}
