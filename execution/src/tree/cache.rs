//! The pages in memory, and the way to those that are not. Part of [`Tree`].
//!
//! A dirty page is always in memory, and so is one that leaves, and every page that a stale reference leads to.

use alloc::vec::Vec;

use quorate_crypto::Digest;

use super::bits;
use super::page::{Kind, Page, PageId};
use super::{Change, PageSource, Tree, TreeError, WARM_KEYS};

impl Tree {
    /// A page, read if need be. It must be the one that the reference to it has the hash of; `None` if that hash is out
    /// of date, or there is no reference.
    pub(super) fn load<S: PageSource>(
        &mut self,
        source: &S,
        id: PageId,
        hash: Option<&Digest>,
    ) -> Result<&Page, TreeError<S::Error>> {
        if self.pages.get(id).is_none() {
            let bytes = source.page(&id.0).map_err(TreeError::Source)?;
            let page =
                Page::decode(&bytes.ok_or(TreeError::Damaged)?).map_err(|_| TreeError::Damaged)?;
            self.memory += page.memory();
            self.pages.insert(id, page).stored = true;
        }
        let page = self.pages.get_mut(id).expect("it was just read");
        // Also if it was in memory: ids are no part of any hash, and a damaged one may name another page.
        if hash.is_some_and(|hash| !page.is(hash)) {
            return Err(TreeError::Damaged);
        }
        page.used = self.tick;
        Ok(page)
    }

    /// A page that the call at hand has loaded.
    pub(super) fn cached(&self, id: PageId) -> &Page {
        self.pages.get(id).expect("the call has loaded the page")
    }

    /// Follows the bits of `key` to a leaf and leaves the way in `path`, whose last element is the leaf. `None` if
    /// there are no keys.
    pub(super) fn find<S: PageSource>(
        &mut self,
        source: &S,
        key: &[u8],
    ) -> Result<Option<(PageId, usize)>, TreeError<S::Error>> {
        let mut path = core::mem::take(&mut self.path);
        path.clear();
        // In the middle of a list of changes the root is out of date, but then its page is in memory.
        let cold = self.top.is_some_and(|top| self.pages.get(top).is_none());
        let (mut next, mut hash) = (self.top, cold.then_some(self.root));
        while let Some(id) = next {
            let page = self.load(source, id, hash.as_ref())?;
            let at = page.descend(key);
            path.push((id, at));
            (next, hash) = match page.nodes[at] {
                Kind::Child { id, stale } => (Some(id), (!stale).then_some(page.digests[at])),
                Kind::Inner { .. } | Kind::Leaf { .. } => (None, None),
            };
        }
        let found = path.last().copied();
        self.path = path;
        Ok(found)
    }

    /// Follows the keys of some changes down the pages in memory, all by one node at a time, and does nothing else.
    /// A key alone waits for main memory at most of its nodes; side by side, the waits overlap, as long as nothing that is
    /// waited for decides a branch that the processor guesses wrong. Takes a third off the
    /// time of a block of random keys at a million keys.
    pub(super) fn warm(&self, changes: &[Change]) {
        let Some(top) = self.top.and_then(|top| self.pages.get(top)) else {
            return;
        };
        let start = Way {
            page: top,
            at: 0,
            beside: 0,
        };
        let mut ways = [start; WARM_KEYS];
        let mut going = true;
        while going {
            going = false;
            for (way, (key, _)) in ways.iter_mut().zip(changes) {
                match way.page.nodes[way.at] {
                    Kind::Inner { bit, skip, .. } => {
                        way.step(bits::bit(key, bit), usize::from(skip));
                        going = true;
                    }
                    Kind::Child { id, .. } => {
                        if let Some(page) = self.pages.get(id) {
                            (way.page, way.at, way.beside) = (page, 0, 0);
                            going = true;
                        }
                    }
                    Kind::Leaf { .. } => {}
                }
            }
        }
        for way in &ways[..changes.len()] {
            for at in [way.at, way.beside] {
                core::hint::black_box(way.page.key(at).first());
            }
        }
    }

    /// Changes a page and counts what that does to the memory.
    pub(super) fn edit<R>(&mut self, id: PageId, change: impl FnOnce(&mut Page) -> R) -> R {
        let page = self
            .pages
            .get_mut(id)
            .expect("the call has loaded the page");
        self.leaving.keep(id, page);
        self.memory -= page.memory();
        self.dirty -= if page.dirty { page.memory() } else { 0 };
        page.dirty = true;
        let result = change(page);
        self.memory += page.memory();
        self.dirty += page.memory();
        result
    }

    /// Stores a new page under an id of its own.
    pub(super) fn store(&mut self, mut page: Page) -> PageId {
        let id = self.next;
        self.next = id.next();
        page.dirty = true;
        page.used = self.tick;
        self.memory += page.memory();
        self.dirty += page.memory();
        self.pages.insert(id, page);
        id
    }

    /// Forgets a page, here and at the next flush in storage. Returns it if it was in memory.
    pub(super) fn free(&mut self, id: PageId) -> Option<Page> {
        let mut page = self.pages.remove(id);
        if let Some(page) = &mut page {
            self.leaving.keep(id, page);
        }
        if page.as_ref().is_none_or(|page| page.stored) {
            self.freed.push(id);
        }
        let page = page?;
        self.memory -= page.memory();
        self.dirty -= if page.dirty { page.memory() } else { 0 };
        Some(page)
    }

    /// Drops the pages that were used longest ago of those that storage has. More than it must, so that it runs rarely: if
    /// pages that cannot go take up all, up to an eighth of the limit is left to the others.
    pub(super) fn evict(&mut self) {
        let limit = self.limits.cache_bytes;
        let mut droppable = self.memory - self.dirty - self.leaving.memory;
        if self.memory <= limit || droppable <= limit / 8 {
            return;
        }
        let mut clean: Vec<(u64, PageId)> = self
            .pages
            .iter_mut()
            .filter(|(_, page)| !page.dirty && !page.leaves)
            .map(|(id, page)| (page.used, id))
            .collect();
        clean.sort_unstable();
        for (_, id) in clean {
            if self.memory <= limit - limit / 8 || droppable <= limit / 16 {
                break;
            }
            let page = self.pages.remove(id).expect("listed above");
            self.memory -= page.memory();
            droppable -= page.memory();
        }
    }
}

/// Where [`Tree::warm`] is with a key.
#[derive(Clone, Copy)]
struct Way<'a> {
    page: &'a Page,
    at: usize,
    /// The other side of the last branch.
    beside: usize,
}

impl Way<'_> {
    /// To the right side or to the left one, without a branch. Touches what hashing will read and write.
    fn step(&mut self, right: bool, skip: usize) {
        let digests = &self.page.digests;
        let (left, behind) = (self.at + 1, self.at + skip);
        core::hint::black_box(digests[self.at].as_bytes()[0]);
        self.at = left + usize::from(right) * (behind - left);
        self.beside = left + behind - self.at;
        core::hint::black_box(digests[self.beside].as_bytes()[0]);
    }
}
