//! One page: a connected part of the trie, small enough to be read and written at once.
//!
//! Nodes stand in preorder in one vector, so a subtree is a range, and splitting or joining pages moves ranges. How
//! nodes are grouped into pages is no part of the commitment. A page never looks at another one.
//!
//! Encoding, also preorder: inner node `0 ‖ bit(2)`, leaf `1 ‖ length(2) ‖ key ‖ value digest(32)`,
//! reference to a page `2 ‖ id(6) ‖ hash(32)`; integers big-endian. Hashes of inner nodes are left out: whoever reads a
//! page computes its hash anyway, to hold it against the reference.

use alloc::vec::Vec;

use quorate_crypto::Digest;

use super::bits::{self, MAX_KEY_BYTES};
use super::hash;

/// Name of a page in storage. Never used twice while a tree lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PageId(pub(super) [u8; 6]);

impl PageId {
    pub(super) const FIRST: Self = Self([0; 6]);

    /// The id after this one. 2^48 pages last for years at any rate a disk can take.
    pub(super) fn next(self) -> Self {
        let mut bytes = self.0;
        for byte in bytes.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                return Self(bytes);
            }
        }
        panic!("2^48 page ids are used up")
    }
}

/// Bytes that nodes take in the encoding.
const INNER_BYTES: usize = 3;
const LEAF_BYTES: usize = 3 + 32;
const CHILD_BYTES: usize = 1 + 6 + 32;
const _: () = assert!(LEAF_BYTES <= CHILD_BYTES, "see Page::fits");

/// A leaf with a longer key gets a page of its own when its page is full, so that long keys cannot make pages shallow.
const LONG_KEY_BYTES: usize = 128;

/// A page of no more bytes is taken into its parent whenever it shrinks.
const SMALL_BYTES: usize = 128;

/// Bytes of memory for a page besides its nodes and keys, as counted against limits.
const OVERHEAD_BYTES: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The left subtree follows at once, the right one starts `skip` nodes further. `stale`: the hash is out of date.
    Inner { bit: u16, skip: u16, stale: bool },
    /// A key, as a range of the page's key bytes. Its `digest` is that of the value.
    Leaf { at: u16, len: u16 },
    /// A subtree in a page of its own.
    Child { id: PageId, stale: bool },
}

impl Kind {
    fn stale_inner(bit: u16, skip: usize) -> Self {
        Self::Inner {
            bit,
            skip: narrow(skip),
            stale: true,
        }
    }
}

/// Bytes on disk are damaged: they are no page, or not the page that its parent refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged;

#[derive(Debug, Default)]
pub(super) struct Page {
    /// The nodes, apart from their digests: the way down a page then crosses a few lines of cache, and it is these
    /// misses, not the hashing, that most of the time goes into.
    pub(super) nodes: Vec<Kind>,
    /// For each node its hash, or a leaf's value digest.
    pub(super) digests: Vec<Digest>,
    keys: Vec<u8>,
    /// Differs from what storage holds.
    pub(super) dirty: bool,
    /// Storage has a version of it under its id, or gets one from the flush at hand.
    pub(super) stored: bool,
    /// Of a flush that has not taken it yet, and as it was then.
    pub(super) leaves: bool,
    /// Tick of the last use, for eviction.
    pub(super) used: u64,
}

/// Offsets within a page. Pages are split long before this could fail.
fn narrow(value: usize) -> u16 {
    u16::try_from(value).expect("a page holds fewer than 65,536 nodes and key bytes")
}

impl Page {
    pub(super) fn with_leaf(key: &[u8], value: &Digest) -> Self {
        let mut page = Self::default();
        let leaf = page.new_leaf(key);
        page.nodes.push(leaf);
        page.digests.push(*value);
        page
    }

    fn new_leaf(&mut self, key: &[u8]) -> Kind {
        let at = narrow(self.keys.len());
        self.keys.extend_from_slice(key);
        let len = narrow(key.len());
        Kind::Leaf { at, len }
    }

    /// Key of the leaf `at`; empty for other nodes.
    pub(super) fn key(&self, at: usize) -> &[u8] {
        match self.nodes[at] {
            Kind::Leaf { at, len } => &self.keys[usize::from(at)..][..usize::from(len)],
            Kind::Inner { .. } | Kind::Child { .. } => &[],
        }
    }

    /// Hash of the subtree `at`, which must not be stale.
    pub(super) fn hash(&self, at: usize) -> Digest {
        match self.nodes[at] {
            Kind::Leaf { .. } => hash::leaf(self.key(at), &self.digests[at]),
            Kind::Inner { stale, .. } | Kind::Child { stale, .. } => {
                assert!(!stale, "I6: hashes are brought up to date before use");
                self.digests[at]
            }
        }
    }

    /// True if the page has this hash, and not one that is out of date.
    pub(super) fn is(&self, hash: &Digest) -> bool {
        !matches!(self.nodes[0], Kind::Inner { stale: true, .. }) && self.hash(0) == *hash
    }

    /// The leaf or reference that the bits of `key` lead to.
    pub(super) fn descend(&self, key: &[u8]) -> usize {
        let mut at = 0;
        while let Kind::Inner { bit, skip, .. } = self.nodes[at] {
            at += if bits::bit(key, bit) {
                usize::from(skip)
            } else {
                1
            };
        }
        at
    }

    /// Calls `each` with the bit of each ancestor of node `target`, and its subtree that `target` is not in.
    pub(super) fn for_each_above(&self, target: usize, mut each: impl FnMut(u16, usize)) {
        let mut at = 0;
        while let (true, Kind::Inner { bit, skip, .. }) = (at < target, self.nodes[at]) {
            let (left, right) = (at + 1, at + usize::from(skip));
            let goes_right = target >= right;
            each(bit, if goes_right { left } else { right });
            at = if goes_right { right } else { left };
        }
    }

    /// The first node on the way of `key` that does not branch before bit `crit`.
    pub(super) fn position(&self, key: &[u8], crit: u16) -> usize {
        let mut at = 0;
        while let Kind::Inner { bit, skip, .. } = self.nodes[at] {
            if bit > crit {
                break;
            }
            at += if bits::bit(key, bit) {
                usize::from(skip)
            } else {
                1
            };
        }
        at
    }

    /// True if the whole page lies behind bit `crit` of the way to it.
    pub(super) fn below(&self, crit: u16) -> bool {
        !matches!(self.nodes[0], Kind::Inner { bit, .. } if bit < crit)
    }

    /// Index just behind the subtree `at`.
    fn end(&self, mut at: usize) -> usize {
        while let Kind::Inner { skip, .. } = self.nodes[at] {
            at += usize::from(skip);
        }
        at + 1
    }

    /// Marks the ancestors of node `target` as stale and returns the nearest; tells those that hold it on the left
    /// that their left side is about to grow by `added` and shrink by `removed` nodes.
    pub(super) fn touch(&mut self, target: usize, added: usize, removed: usize) -> Option<usize> {
        self.dirty = true;
        let (mut at, mut parent) = (0, None);
        while at < target {
            let Kind::Inner { skip, stale, .. } = &mut self.nodes[at] else {
                panic!("I6: only inner nodes have descendants");
            };
            *stale = true;
            parent = Some(at);
            let right = at + usize::from(*skip);
            if target >= right {
                at = right;
            } else {
                *skip = narrow(usize::from(*skip) + added - removed);
                at += 1;
            }
        }
        parent
    }

    /// Marks the reference `at`, and what it is part of, as stale. False if it was.
    pub(super) fn touch_child(&mut self, at: usize) -> bool {
        if let Kind::Child { stale, .. } = &mut self.nodes[at]
            && !core::mem::replace(stale, true)
        {
            self.touch(at, 0, 0);
            return true;
        }
        false
    }

    /// Makes the reference `at` one to a page further down, because the page between has nothing else to say.
    pub(super) fn redirect(&mut self, at: usize, to: Kind, hash: Digest) {
        self.touch(at, 0, 0);
        self.nodes[at] = to;
        self.digests[at] = hash;
    }

    pub(super) fn set_value(&mut self, at: usize, value: &Digest) {
        self.touch(at, 0, 0);
        self.digests[at] = *value;
    }

    /// Puts a leaf next to the subtree `at`, below a new inner node.
    pub(super) fn insert(&mut self, at: usize, crit: u16, key: &[u8], value: &Digest) {
        self.touch(at, 2, 0);
        let leaf = self.new_leaf(key);
        let end = self.end(at);
        let (place, skip) = if bits::bit(key, crit) {
            (end, end - at + 1)
        } else {
            (at, 2)
        };
        self.nodes.insert(place, leaf);
        self.digests.insert(place, *value);
        self.nodes.insert(at, Kind::stale_inner(crit, skip));
        self.digests.insert(at, Digest::ZERO);
    }

    /// Removes the leaf or reference `at`, which is not the page's root, with the inner node above it.
    pub(super) fn remove(&mut self, at: usize) {
        let parent = self.touch(at, 0, 0).expect("not the root");
        let removed = self.nodes[at];
        self.touch(parent, 0, 2);
        for gone in [at, parent] {
            self.nodes.remove(gone);
            self.digests.remove(gone);
        }
        if let Kind::Leaf { at, len } = removed {
            self.drop_key(at, len);
        }
    }

    fn drop_key(&mut self, from: u16, gone: u16) {
        let range = usize::from(from)..usize::from(from) + usize::from(gone);
        self.keys.drain(range);
        for node in &mut self.nodes {
            if let Kind::Leaf { at, .. } = node
                && *at > from
            {
                *at -= gone;
            }
        }
    }

    /// Replaces the reference `at` by the nodes of the page it refers to.
    pub(super) fn absorb(&mut self, at: usize, child: &Self) {
        self.touch(at, child.nodes.len(), 1);
        let base = narrow(self.keys.len());
        self.keys.extend_from_slice(&child.keys);
        let moved = child.nodes.iter().map(|node| {
            let mut node = *node;
            if let Kind::Leaf { at, .. } = &mut node {
                *at = at.checked_add(base).expect("pages are bounded");
            }
            node
        });
        self.nodes.splice(at..=at, moved);
        self.digests.splice(at..=at, child.digests.iter().copied());
    }

    /// True if a page that shrank to `self` belongs into its parent. Two thirds of the room at most are used, so that
    /// the next insertion does not split them again.
    pub(super) fn fits_into(&self, parent: &Self, page_bytes: usize) -> bool {
        let bytes = self.bytes();
        bytes <= SMALL_BYTES || (bytes + parent.bytes()) * 3 <= page_bytes * 2
    }

    /// Bytes of the encoding.
    pub(super) fn bytes(&self) -> usize {
        // In a binary tree there is one inner node less than there are others; keys are the rest.
        let others = self.nodes.len().div_ceil(2);
        let children = self
            .nodes
            .iter()
            .filter(|node| matches!(node, Kind::Child { .. }))
            .count();
        (others.saturating_sub(1)) * INNER_BYTES
            + children * CHILD_BYTES
            + (others - children) * LEAF_BYTES
            + self.keys.len()
    }

    /// True if the encoding has `limit` bytes at most, as is clear of most pages without a look at their nodes.
    pub(super) fn fits(&self, limit: usize) -> bool {
        let others = self.nodes.len().div_ceil(2);
        let most = others * (INNER_BYTES + CHILD_BYTES) + self.keys.len();
        most <= limit || self.bytes() <= limit
    }

    /// Bytes of memory, as counted against limits.
    pub(super) fn memory(&self) -> usize {
        self.nodes.capacity() * size_of::<Kind>()
            + self.digests.capacity() * size_of::<Digest>()
            + self.keys.capacity()
            + OVERHEAD_BYTES
    }

    /// Moves a part of a page of more than `page_bytes` to a new page, which the caller stores as `id`.
    pub(super) fn carve(&mut self, page_bytes: usize, id: PageId) -> Option<Self> {
        if self.fits(page_bytes) {
            return None;
        }
        let at = self.cut()?;
        let end = self.end(at);
        self.touch(at, 1, end - at);
        let child = Kind::Child { id, stale: true };
        let mut part = Self {
            nodes: self.nodes.splice(at..end, [child]).collect(),
            digests: self.digests.splice(at..end, [Digest::ZERO]).collect(),
            keys: core::mem::take(&mut self.keys),
            dirty: true,
            stored: false,
            leaves: false,
            used: self.used,
        };
        self.keys = compact(&mut self.nodes, &part.keys);
        part.keys = compact(&mut part.nodes, &part.keys);
        Some(part)
    }

    /// The best subtree to move away: a leaf with a long key, or else the one nearest to half of the bytes.
    fn cut(&self) -> Option<usize> {
        let is_long =
            |kind| matches!(kind, Kind::Leaf { len, .. } if usize::from(len) > LONG_KEY_BYTES);
        if let Some(at) = (1..self.nodes.len()).find(|at| is_long(self.nodes[*at])) {
            return Some(at);
        }
        let half = self.bytes() / 2;
        let mut sizes = alloc::vec![0; self.nodes.len()];
        let mut best: Option<(usize, usize)> = None;
        for (at, node) in self.nodes.iter().enumerate().rev() {
            sizes[at] = match *node {
                Kind::Inner { skip, .. } => {
                    INNER_BYTES + sizes[at + 1] + sizes[at + usize::from(skip)]
                }
                Kind::Leaf { len, .. } => LEAF_BYTES + usize::from(len),
                Kind::Child { .. } => CHILD_BYTES,
            };
            let far = sizes[at].abs_diff(half);
            if at > 0 && sizes[at] > CHILD_BYTES && best.is_none_or(|(least, _)| far < least) {
                best = Some((far, at));
            }
        }
        best.map(|(_, at)| at)
    }

    /// Calls `each` for all nodes whose hash is out of date, parents first. Goes nowhere else: most of a page is cold.
    /// `open` is scratch space, empty before and after.
    pub(super) fn for_each_stale(&self, open: &mut Vec<usize>, mut each: impl FnMut(usize, Kind)) {
        open.push(0);
        while let Some(at) = open.pop() {
            let kind = self.nodes[at];
            match kind {
                Kind::Inner {
                    skip, stale: true, ..
                } => {
                    each(at, kind);
                    open.extend([at + usize::from(skip), at + 1]);
                }
                Kind::Child { stale: true, .. } => each(at, kind),
                Kind::Inner { .. } | Kind::Leaf { .. } | Kind::Child { .. } => {}
            }
        }
    }

    /// All references: their place and their page.
    pub(super) fn children(&self) -> impl Iterator<Item = (usize, PageId)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(at, node)| match node {
            Kind::Child { id, .. } => Some((at, *id)),
            Kind::Inner { .. } | Kind::Leaf { .. } => None,
        })
    }

    /// Gives the page that the reference `at` leads to its new id.
    pub(super) fn refer(&mut self, at: usize, new: PageId) {
        if let Kind::Child { id, .. } = &mut self.nodes[at] {
            *id = new;
        }
    }

    /// Notes the hash of the page that the reference `at` leads to.
    pub(super) fn set_child_hash(&mut self, at: usize, hash: Digest) {
        self.digests[at] = hash;
        if let Kind::Child { stale, .. } = &mut self.nodes[at] {
            *stale = false;
        }
    }

    /// Computes the hash of the inner node `at`, whose subtrees have theirs.
    pub(super) fn rehash(&mut self, at: usize) {
        if let Kind::Inner { bit, skip, .. } = self.nodes[at] {
            let (left, right) = (self.hash(at + 1), self.hash(at + usize::from(skip)));
            self.digests[at] = hash::inner(bit, &left, &right);
            self.nodes[at] = Kind::Inner {
                bit,
                skip,
                stale: false,
            };
        }
    }

    /// Gives back memory that was reserved ahead.
    pub(super) fn trim(&mut self) {
        self.nodes.shrink_to_fit();
        self.digests.shrink_to_fit();
        self.keys.shrink_to_fit();
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes());
        for (at, node) in self.nodes.iter().enumerate() {
            match *node {
                Kind::Inner { bit, .. } => {
                    out.push(0);
                    out.extend_from_slice(&bit.to_be_bytes());
                    continue;
                }
                Kind::Leaf { len, .. } => {
                    out.push(1);
                    out.extend_from_slice(&len.to_be_bytes());
                    out.extend_from_slice(self.key(at));
                }
                Kind::Child { id, .. } => {
                    out.push(2);
                    out.extend_from_slice(&id.0);
                }
            }
            out.extend_from_slice(self.digests[at].as_bytes());
        }
        out
    }

    /// Reads a page and computes its hashes. Checks that it is one, not what it says: its hash is held against the
    /// reference to it.
    pub(super) fn decode(mut bytes: &[u8]) -> Result<Self, Damaged> {
        let mut page = Self::default();
        while let Ok([tag]) = take(&mut bytes) {
            let node = match tag {
                0 => Kind::stale_inner(u16::from_be_bytes(take(&mut bytes)?), 0),
                1 => {
                    let len = usize::from(u16::from_be_bytes(take(&mut bytes)?));
                    let (key, rest) = bytes.split_at_checked(len).ok_or(Damaged)?;
                    bytes = rest;
                    let too_long = u16::try_from(page.keys.len() + len).is_err();
                    if len > MAX_KEY_BYTES || too_long {
                        return Err(Damaged);
                    }
                    page.new_leaf(key)
                }
                2 => Kind::Child {
                    id: PageId(take(&mut bytes)?),
                    stale: false,
                },
                _ => return Err(Damaged),
            };
            page.nodes.push(node);
            page.digests.push(match node {
                Kind::Inner { .. } => Digest::ZERO,
                Kind::Leaf { .. } | Kind::Child { .. } => Digest::from_bytes(take(&mut bytes)?),
            });
        }
        page.link()?;
        page.trim();
        for at in (0..page.nodes.len()).rev() {
            page.rehash(at);
        }
        Ok(page)
    }

    /// Computes the `skip` of each inner node of a list in preorder, which must form one tree whose root is here.
    fn link(&mut self) -> Result<(), Damaged> {
        let mut sizes: Vec<usize> = Vec::new();
        for node in self.nodes.iter_mut().rev() {
            let size = match node {
                Kind::Inner { skip, .. } => {
                    let (left, right) = (sizes.pop().ok_or(Damaged)?, sizes.pop().ok_or(Damaged)?);
                    *skip = u16::try_from(1 + left).map_err(|_| Damaged)?;
                    1 + left + right
                }
                Kind::Leaf { .. } | Kind::Child { .. } => 1,
            };
            sizes.push(size);
        }
        let root_is_here = !matches!(self.nodes.first().ok_or(Damaged)?, Kind::Child { .. });
        (sizes.len() == 1 && root_is_here)
            .then_some(())
            .ok_or(Damaged)
    }
}

/// Moves the keys of `nodes` from `old` to a buffer of their own.
fn compact(nodes: &mut [Kind], old: &[u8]) -> Vec<u8> {
    let mut keys = Vec::new();
    for node in nodes {
        if let Kind::Leaf { at, len } = node {
            let start = usize::from(*at);
            *at = narrow(keys.len());
            keys.extend_from_slice(&old[start..start + usize::from(*len)]);
        }
    }
    keys
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Damaged> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or(Damaged)?;
    *bytes = rest;
    Ok(*head)
}
