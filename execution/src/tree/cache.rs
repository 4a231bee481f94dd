//! The pages in memory, and the way to those that are not. Part of [`Tree`].
//!
//! A dirty page is always in memory, and so is every page that a stale reference leads to.

use alloc::boxed::Box;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;

use quorate_crypto::Digest;

use super::page::{Kind, Page, PageId};
use super::{PageSource, Tree, TreeError};

impl Tree {
    /// A page, read if need be and then held against the hash that its parent has for it.
    pub(super) fn load<S: PageSource>(
        &mut self,
        source: &S,
        id: PageId,
        hash: &Digest,
    ) -> Result<&Page, TreeError<S::Error>> {
        let page = match self.pages.entry(id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let bytes = source.page(&id.0).map_err(TreeError::Source)?;
                let page = Page::decode(&bytes.ok_or(TreeError::Damaged)?)
                    .map_err(|_| TreeError::Damaged)?;
                if page.hash(0) != *hash {
                    return Err(TreeError::Damaged);
                }
                self.memory += page.memory();
                entry.insert(Box::new(page))
            }
        };
        page.used = self.tick;
        Ok(page)
    }

    /// A page that the call at hand has loaded.
    pub(super) fn cached(&self, id: PageId) -> &Page {
        self.pages.get(&id).expect("the call has loaded the page")
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
        let (mut next, mut hash) = (self.top, self.root);
        while let Some(id) = next {
            let page = self.load(source, id, &hash)?;
            let at = page.descend(key);
            path.push((id, at));
            next = match page.nodes[at].kind {
                Kind::Child { id, .. } => Some(id),
                Kind::Inner { .. } | Kind::Leaf { .. } => None,
            };
            hash = page.nodes[at].digest;
        }
        let found = path.last().copied();
        self.path = path;
        Ok(found)
    }

    /// Changes a page and counts what that does to the memory.
    pub(super) fn edit<R>(&mut self, id: PageId, change: impl FnOnce(&mut Page) -> R) -> R {
        let page = self.pages.get_mut(&id).expect("the call has loaded the page");
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
        self.pages.insert(id, Box::new(page));
        id
    }

    /// Forgets a page, here and at the next flush in storage. Returns it if it was in memory.
    pub(super) fn free(&mut self, id: PageId) -> Option<Box<Page>> {
        self.freed.push(id);
        let page = self.pages.remove(&id)?;
        self.memory -= page.memory();
        self.dirty -= if page.dirty { page.memory() } else { 0 };
        Some(page)
    }

    /// Drops the clean pages that were used longest ago. An eighth more than it must, so that it runs rarely.
    pub(super) fn evict(&mut self) {
        let limit = self.limits.cache_bytes;
        if self.memory <= limit || self.memory == self.dirty {
            return;
        }
        let mut clean: Vec<(u64, PageId)> = self
            .pages
            .iter()
            .filter(|(_, page)| !page.dirty)
            .map(|(id, page)| (page.used, *id))
            .collect();
        clean.sort_unstable();
        for (_, id) in clean {
            if self.memory <= limit - limit / 8 {
                break;
            }
            let page = self.pages.remove(&id).expect("listed above");
            self.memory -= page.memory();
        }
    }
}
