//! Changes of single keys, across pages. Part of [`Tree`]; keeps pages within their size.

use alloc::vec;
use alloc::vec::Vec;

use quorate_crypto::Digest;

use super::page::{Kind, Page, PageId};
use super::{Change, PageSource, Place, Tree, TreeError, bits, hash};

/// What is stale, while hashes are brought up to date. Kept empty, to save allocations for each page.
#[derive(Debug, Default)]
pub(super) struct Stale {
    /// Pages, parents first, each with the place of the reference to it, and where its part of `nodes` ends.
    order: Vec<(PageId, Option<Place>, usize)>,
    /// Inner nodes, page by page.
    nodes: Vec<usize>,
    /// Scratch space of [`Page::for_each_stale`].
    open: Vec<usize>,
}

const LEAVES: &str = "I6: a page that leaves is not changed";

impl Tree {
    /// Sets one key. Hashes on its path are stale afterwards.
    pub(super) fn set<S: PageSource>(
        &mut self,
        source: &S,
        key: &[u8],
        value: &Digest,
    ) -> Result<(), TreeError<S::Error>> {
        let Some((id, at)) = self.find(source, key)? else {
            self.top = Some(self.store(Page::with_leaf(key, value)));
            return Ok(());
        };
        let page = self.cached(id);
        let Some(crit) = bits::crit(key, page.key(at)) else {
            if page.digests[at] != *value {
                self.edit(id, |page| page.set_value(at, value));
                self.path.pop();
                self.touch_path();
            }
            return Ok(());
        };
        // The new inner node belongs above the first node on the way that branches behind bit `crit`. Above the root
        // of a page, that is a place in the page before.
        while self.path.len() > 1
            && let Some((id, _)) = self.path.last()
            && self.cached(*id).below(crit)
        {
            self.path.pop();
        }
        let (id, _) = self.path.pop().expect("a leaf was found");
        self.edit(id, |page| {
            page.insert(page.position(key, crit), crit, key, value)
        });
        self.touch_path();
        self.split(id);
        Ok(())
    }

    /// Removes one key, if it is there. Hashes on its path are stale afterwards.
    pub(super) fn remove<S: PageSource>(
        &mut self,
        source: &S,
        key: &[u8],
    ) -> Result<(), TreeError<S::Error>> {
        match self.find(source, key)? {
            Some((id, at)) if self.cached(id).key(at) == key => {}
            _ => return Ok(()),
        }
        // A page whose only node goes, goes with it, and so does the reference to it.
        while let Some((id, 0)) = self.path.last() {
            self.free(*id);
            self.path.pop();
        }
        let Some((id, at)) = self.path.pop() else {
            self.top = None;
            return Ok(());
        };
        self.edit(id, |page| page.remove(at));
        self.touch_path();
        self.join(source, id)
    }

    /// After `id` shrank, with `path` leading to it: removes it if all it has is a reference, or moves it into its
    /// parent if it has become small.
    fn join<S: PageSource>(&mut self, source: &S, id: PageId) -> Result<(), TreeError<S::Error>> {
        let page = self.cached(id);
        let (first, hash) = (page.nodes[0], page.digests[0]);
        let parent = self.path.last().copied();
        if let Kind::Child { id: below, stale } = first {
            self.load(source, below, (!stale).then_some(&hash))?;
            self.free(id);
            match parent {
                Some((parent, at)) => self.edit(parent, |page| page.redirect(at, first, hash)),
                None => self.top = Some(below),
            }
        } else if let Some((parent, at)) = parent
            && self
                .cached(id)
                .fits_into(self.cached(parent), self.limits.page_bytes)
        {
            let small = self.free(id).expect("it was just changed");
            self.edit(parent, |page| page.absorb(at, &small));
            self.split(parent);
        }
        Ok(())
    }

    /// Marks all references in `path`, and what they are part of, as stale; from below, until one is so already.
    fn touch_path(&mut self) {
        for at in (0..self.path.len()).rev() {
            let (id, at) = self.path[at];
            if !self.edit(id, |page| page.touch_child(at)) {
                return;
            }
        }
    }

    /// Splits a page until it and its parts are within the limit, or consist of what cannot be split.
    fn split(&mut self, id: PageId) {
        let limit = self.limits.page_bytes;
        if self.cached(id).fits(limit) {
            return;
        }
        let mut grown = vec![id];
        while let Some(id) = grown.pop() {
            let new = self.next;
            if let Some(part) = self.edit(id, |page| page.carve(limit, new)) {
                self.store(part);
                grown.extend([id, new]);
            }
        }
    }

    /// Brings all hashes up to date, and with them the root.
    pub(super) fn rehash(&mut self) {
        self.root = match self.top {
            Some(top) => self.rehash_below(top),
            None => hash::empty(),
        };
    }

    /// Brings the hashes up to date of the pages that changes led to and the next ones do not, while they are in the processor's
    /// nearest cache: behind a whole block most of what was touched is out of it. Keys are in order, so what lies beside the way
    /// of the next one is over with, as a rule; if it is not, it becomes stale again. Whatever is left stale [`Tree::rehash`] finds.
    pub(super) fn rehash_behind(&mut self, changes: &[Change]) {
        let (mut way, mut next) = core::mem::take(&mut self.ways);
        way.clear();
        for (key, _) in changes {
            self.stale_way(key, &mut next);
            let common = way.iter().zip(&next).take_while(|(a, b)| a.0 == b.0);
            let common = common.count();
            for at in (common.max(1)..way.len()).rev() {
                let hash = self.rehash_below(way[at].0);
                self.set_child_hash(way[at - 1], hash);
            }
            core::mem::swap(&mut way, &mut next);
        }
        self.ways = (way, next);
    }

    /// Leaves in `way` how far the way of `key` leads by references that are stale, as [`Tree::find`] does in `path`.
    fn stale_way(&self, key: &[u8], way: &mut Vec<Place>) {
        way.clear();
        let mut next = self.top;
        while let Some(id) = next {
            let page = self.cached(id);
            let at = page.descend(key);
            way.push((id, at));
            next = match page.nodes[at] {
                Kind::Child { id, stale: true } => Some(id),
                Kind::Child { .. } | Kind::Inner { .. } | Kind::Leaf { .. } => None,
            };
        }
    }

    /// Brings the hashes of a page and of all below it up to date, deepest pages first. Returns the page's.
    fn rehash_below(&mut self, root: PageId) -> Digest {
        let mut stale = core::mem::take(&mut self.stale);
        let Stale { order, nodes, open } = &mut stale;
        order.push((root, None, 0));
        let mut next = 0;
        while let Some((id, _, _)) = order.get(next).copied() {
            let page = self.pages.get(id).expect("stale pages are in memory");
            page.for_each_stale(open, |at, kind| match kind {
                Kind::Child { id: child, .. } => order.push((child, Some((id, at)), 0)),
                Kind::Inner { .. } | Kind::Leaf { .. } => nodes.push(at),
            });
            order[next].2 = nodes.len();
            next += 1;
        }
        loop {
            let (id, reference, _) = order.pop().expect("the root is the last");
            let page = self.pages.get_mut(id).expect("stale pages are in memory");
            let begin = order.last().map_or(0, |(_, _, end)| *end);
            let unchanged = begin == nodes.len();
            assert!(unchanged || !page.leaves, "{LEAVES}");
            for at in nodes.drain(begin..).rev() {
                page.rehash(at);
            }
            let hash = page.hash(0);
            let Some(reference) = reference else {
                self.stale = stale;
                return hash;
            };
            self.set_child_hash(reference, hash);
        }
    }

    /// Notes the hash of the page that a reference leads to.
    fn set_child_hash(&mut self, (parent, reference): Place, hash: Digest) {
        let parent = self.pages.get_mut(parent).expect("parents are in memory");
        assert!(!parent.leaves, "{LEAVES}");
        parent.set_child_hash(reference, hash);
    }
}
