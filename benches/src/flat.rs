//! The shapes that the state tree was chosen over: sorted pages, hashed whole, under pages of their hashes.
//!
//! Only what the comparison needs: built once, then values change; no insertion, no deletion, no storage. That favours
//! these shapes, since what is missing costs time.

use quorate_crypto::{Digest, Domain, hash};

/// What ends a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// The hash of a key, one in [`PER_PAGE`]: no history in the root, and page sizes that whoever picks keys picks.
    Content,
    /// [`PER_PAGE`] entries. As a stand-in for a B+tree, whose root depends on its history.
    Count,
}

/// Entries of a page, on average: about 1 KB with keys of 27 bytes.
pub const PER_PAGE: usize = 17;

#[derive(Debug, Default)]
struct FlatPage {
    keys: Vec<Vec<u8>>,
    /// Where each entry's digest is in `bytes`.
    digests: Vec<usize>,
    bytes: Vec<u8>,
    /// Place of this page's hash in the level above.
    parent: (usize, usize),
}

/// Levels of pages, leaves first; the last has one page.
#[derive(Debug)]
pub struct FlatTree {
    levels: Vec<Vec<FlatPage>>,
}

fn ends_page(key: &[u8], level: usize) -> bool {
    let digest = hash(Domain::TreeLeaf, &[key]);
    usize::from(digest.as_bytes()[level]) % PER_PAGE == 0
}

impl FlatTree {
    /// Builds the tree of `entries`, in any order.
    #[must_use]
    pub fn new(mut entries: Vec<(Vec<u8>, Digest)>, boundary: Boundary) -> Self {
        entries.sort();
        let mut levels: Vec<Vec<FlatPage>> = Vec::new();
        loop {
            let level = levels.len();
            let mut pages = vec![FlatPage::default()];
            for (key, digest) in entries {
                let ends = match boundary {
                    Boundary::Content => ends_page(&key, level),
                    Boundary::Count => pages
                        .last()
                        .is_some_and(|page| page.keys.len() + 1 >= PER_PAGE),
                };
                let page = pages.last_mut().expect("never empty");
                page.bytes.extend_from_slice(&key);
                page.digests.push(page.bytes.len());
                page.bytes.extend_from_slice(digest.as_bytes());
                page.keys.push(key);
                if ends {
                    pages.push(FlatPage::default());
                }
            }
            if pages.last().is_some_and(|page| page.keys.is_empty()) {
                pages.pop();
            }
            entries = pages
                .iter()
                .map(|page| (page.keys[0].clone(), page.hash()))
                .collect();
            levels.push(pages);
            if entries.len() == 1 {
                break;
            }
        }
        for level in 1..levels.len() {
            let (below, above) = levels.split_at_mut(level);
            let places = above[0]
                .iter()
                .enumerate()
                .flat_map(|(at, page)| (0..page.keys.len()).map(move |slot| (at, slot)));
            for (page, place) in below[level - 1].iter_mut().zip(places) {
                page.parent = place;
            }
        }
        Self { levels }
    }

    /// Changes values of keys that are there, in order of keys; returns the new root.
    pub fn update(&mut self, changes: &[(Vec<u8>, Option<Digest>)]) -> Digest {
        let leaves = &mut self.levels[0];
        let mut changed: Vec<usize> = Vec::new();
        for (key, value) in changes {
            let at = leaves.partition_point(|page| page.keys[0] <= *key) - 1;
            let slot = leaves[at]
                .keys
                .binary_search(key)
                .expect("the key is there");
            leaves[at].set(slot, &value.expect("values only"));
            changed.push(at);
        }
        for level in 0..self.levels.len() - 1 {
            changed.dedup();
            let (below, above) = self.levels.split_at_mut(level + 1);
            for at in &mut changed {
                let page = &below[level][*at];
                let (parent, slot) = page.parent;
                above[0][parent].set(slot, &page.hash());
                *at = parent;
            }
        }
        self.levels[self.levels.len() - 1][0].hash()
    }

    /// Bytes of the pages from a leaf to the root, on average over keys.
    #[must_use]
    pub fn mean_proof_bytes(&self) -> usize {
        let of_level = |pages: &Vec<FlatPage>| {
            let keys: usize = pages.iter().map(|page| page.keys.len()).sum();
            let read: usize = pages
                .iter()
                .map(|page| page.keys.len() * page.bytes.len())
                .sum();
            read / keys
        };
        self.levels.iter().map(of_level).sum()
    }

    /// Keys of `len` bytes none of which ends a page: what a client needs a second to find.
    #[must_use]
    pub fn ground_keys(count: usize, len: usize) -> Vec<Vec<u8>> {
        (0_u64..)
            .map(|number| {
                let mut key = number.to_be_bytes().to_vec();
                key.resize(len, 0);
                key
            })
            .filter(|key| !ends_page(key, 0))
            .take(count)
            .collect()
    }
}

impl FlatPage {
    fn set(&mut self, slot: usize, digest: &Digest) {
        let at = self.digests[slot];
        self.bytes[at..at + 32].copy_from_slice(digest.as_bytes());
    }

    fn hash(&self) -> Digest {
        hash(Domain::TreeNode, &[&self.bytes])
    }
}
