//! Pages on their way to storage. Part of [`Tree`].
//!
//! A flush begins at once and ends page by page: a page that leaves is encoded when it is taken, or just before it
//! changes. So the beginning costs little however much is dirty, and what is taken is the tree as it was then. A page that
//! leaves stays in memory; it must never change or go before its encoding is kept.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::page::{Page, PageId};
use super::{Anchor, Flush, Tree};

/// The pages of a flush that were not taken yet.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// With the encoding of those that have changed or gone since.
    pages: BTreeMap<PageId, Option<Vec<u8>>>,
    /// Memory of those that have not, which cannot be dropped.
    pub(super) memory: usize,
}

impl Leaving {
    /// Has a page leave as it is now.
    fn add(&mut self, id: PageId, page: &mut Page) {
        (page.dirty, page.stored, page.leaves) = (false, true, true);
        self.memory += page.memory();
        self.pages.insert(id, None);
    }

    /// To be called before a page changes or goes.
    pub(super) fn keep(&mut self, id: PageId, page: &mut Page) {
        if core::mem::replace(&mut page.leaves, false) {
            self.memory -= page.memory();
            self.pages.insert(id, Some(page.encode()));
        }
    }
}

/// A flush that has begun: its pages are to be taken with [`Tree::take_page`] and stored, in any number of batches, and
/// with the last or behind it what is here, in one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Begun {
    /// Replaces the anchor stored before.
    pub anchor: Anchor,
    /// Ids of the pages to delete with it.
    pub unused: Vec<Vec<u8>>,
}

impl Tree {
    /// Begins to hand over what changed since the last flush, and counts it as stored: from the moment that a page is
    /// taken the source must answer with it. If it cannot be stored, drop the tree.
    ///
    /// # Panics
    /// If pages of an earlier flush were not taken.
    pub fn begin_flush(&mut self) -> Begun {
        assert_eq!(
            self.pages_to_take(),
            0,
            "I6: one flush ends before the next"
        );
        self.rename();
        for (id, page) in self.pages.iter_mut().filter(|(_, page)| page.dirty) {
            self.leaving.add(id, page);
        }
        self.dirty = 0;
        Begun {
            anchor: Anchor {
                root: self.root,
                page: self.top.map(|id| id.0),
                next: self.next.0,
            },
            unused: self.freed.drain(..).map(|id| id.0.to_vec()).collect(),
        }
    }

    /// Pages of the flush that were not taken yet.
    #[must_use]
    pub fn pages_to_take(&self) -> usize {
        self.leaving.pages.len()
    }

    /// The next page of the flush, its id of 6 bytes and the bytes to store; `None` if all were taken.
    pub fn take_page(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        let (id, kept) = self.leaving.pages.pop_first()?;
        let bytes = kept.unwrap_or_else(|| {
            let page = self.pages.get_mut(id).expect("a page that leaves stays");
            page.leaves = false;
            self.leaving.memory -= page.memory();
            self.memory -= page.memory();
            page.trim();
            self.memory += page.memory();
            page.encode()
        });
        Some((id.0.to_vec(), bytes))
    }

    /// Hands over at once what changed since the last flush.
    pub fn flush(&mut self) -> Flush {
        let begun = self.begin_flush();
        let mut pages = Vec::new();
        while let Some((id, bytes)) = self.take_page() {
            pages.push((id, Some(bytes)));
        }
        pages.extend(begun.unused.into_iter().map(|id| (id, None)));
        self.evict();
        Flush {
            pages,
            anchor: begun.anchor,
        }
    }

    /// Gives each dirty page that storage has another version of a new id, so that the flush at hand overwrites none.
    /// Whatever is above a dirty page is dirty.
    fn rename(&mut self) {
        let mut open = Vec::new();
        self.top = self.top.map(|top| self.renamed(top, &mut open));
        while let Some(id) = open.pop() {
            let page = self.cached(id);
            let children: Vec<(usize, PageId)> = page.children().collect();
            for (at, child) in children {
                let new = self.renamed(child, &mut open);
                if new != child {
                    self.edit(id, |page| page.refer(at, new));
                }
            }
        }
    }

    /// The new id of a page, if it gets one; notes it as one to look into, if it is dirty.
    fn renamed(&mut self, id: PageId, open: &mut Vec<PageId>) -> PageId {
        let new = match self.pages.get(id) {
            Some(page) if page.dirty && page.stored => {
                let page = self.pages.remove(id).expect("it is there");
                self.freed.push(id);
                let new = self.next;
                self.next = new.next();
                self.pages.insert(new, page);
                new
            }
            Some(page) if page.dirty => id,
            _ => return id,
        };
        open.push(new);
        new
    }
}
