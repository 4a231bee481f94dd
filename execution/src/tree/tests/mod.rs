//! Tests of the tree: against a naive model, across restarts, with keys that clients chose to hurt.

mod diffs;
mod keys;
mod model;
mod paging;
mod proofs;
mod ranges;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use quorate_crypto::Digest;

use super::*;

/// Key and value digest of every key.
type Set = BTreeMap<Vec<u8>, Digest>;

/// SplitMix64: all chance in these tests comes from a seed.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    fn digest(&mut self) -> Digest {
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes());
        }
        Digest::from_bytes(bytes)
    }

    /// Keys of few letters and few lengths: many are prefixes of others, many are hit twice.
    fn key(&mut self) -> Vec<u8> {
        let len = self.below(6);
        let long = if self.below(20) == 0 { 300 } else { 0 };
        let letters = [0, 1, b'a', 0x80, 0xFE, 0xFF];
        let mut key = alloc::vec![b'k'; long];
        key.extend((0..len).map(|_| letters[self.below(letters.len())]));
        key
    }

    fn changes(&mut self, count: usize, deletions: usize) -> Vec<Change> {
        let changes: BTreeMap<Vec<u8>, Option<Digest>> = (0..count)
            .map(|_| {
                let value = (self.below(100) >= deletions).then(|| self.digest());
                (self.key(), value)
            })
            .collect();
        changes.into_iter().collect()
    }
}

/// Pages as a store would keep them; counts what is read.
#[derive(Default)]
struct Disk {
    pages: RefCell<BTreeMap<Vec<u8>, Vec<u8>>>,
    reads: Cell<usize>,
    fails: Cell<bool>,
}

#[derive(Debug, PartialEq, Eq)]
struct Broken;

impl PageSource for Disk {
    type Error = Broken;

    fn page(&self, id: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        self.reads.set(self.reads.get() + 1);
        if self.fails.get() {
            return Err(Broken);
        }
        Ok(self.pages.borrow().get(id).cloned())
    }
}

impl Disk {
    fn write(&self, flush: Flush) -> Anchor {
        let mut pages = self.pages.borrow_mut();
        for (id, bytes) in flush.pages {
            match bytes {
                // Whoever starts from the anchor before must find its pages as they were.
                Some(bytes) => assert_eq!(pages.insert(id, bytes), None),
                None => assert!(pages.remove(&id).is_some()),
            }
        }
        flush.anchor
    }
}

fn small_pages() -> TreeLimits {
    TreeLimits {
        cache_bytes: 0,
        page_bytes: 256,
    }
}

fn put(set: &mut Set, changes: &[Change]) {
    for (key, value) in changes {
        match value {
            Some(value) => set.insert(key.clone(), *value),
            None => set.remove(key),
        };
    }
}

fn tree_of(set: &Set) -> Tree {
    let changes: Vec<Change> = set.iter().map(|(k, v)| (k.clone(), Some(*v))).collect();
    let mut tree = Tree::new(TreeLimits::default());
    tree.apply(&NoPages, &changes).unwrap();
    tree
}

/// The root by its definition, without pages, from sorted keys.
fn naive_root(sorted: &[(&Vec<u8>, &Digest)]) -> Digest {
    match sorted {
        [] => hash::empty(),
        [(key, value)] => hash::leaf(key, value),
        [(first, _), .., (last, _)] => {
            // The ends of a sorted list differ first where any two of its keys do.
            let bit = bits::crit(first, last).unwrap();
            let split = sorted.partition_point(|(key, _)| !bits::bit(key, bit));
            let (left, right) = sorted.split_at(split);
            hash::inner(bit, &naive_root(left), &naive_root(right))
        }
    }
}

fn root_of(set: &Set) -> Digest {
    naive_root(&set.iter().collect::<Vec<_>>())
}

/// Keys that differ from one base in one bit each: the deepest path that so many keys can make.
fn spine(len: usize, bits: usize) -> Set {
    let mut rng = Rng(77);
    let base = alloc::vec![0xA5; len];
    let mut set = Set::from([(base.clone(), rng.digest())]);
    for bit in 0..bits {
        let mut key = base.clone();
        key[bit / 8] ^= 0x80 >> (bit % 8);
        set.insert(key, rng.digest());
    }
    set
}

/// Sets that have hurt other trees.
fn adversarial_sets() -> Vec<Set> {
    let mut rng = Rng(5);
    let mut of =
        |keys: Vec<Vec<u8>>| -> Set { keys.into_iter().map(|key| (key, rng.digest())).collect() };
    alloc::vec![
        of(alloc::vec![]),
        of(alloc::vec![alloc::vec![]]),
        of(alloc::vec![
            alloc::vec![],
            alloc::vec![0],
            alloc::vec![0, 0],
            alloc::vec![0xFF]
        ]),
        of((0..200).map(|len| alloc::vec![0xFF; len]).collect()),
        of((0..200).map(|len| alloc::vec![0; len]).collect()),
        of((0..=255).map(|byte| alloc::vec![byte]).collect()),
        of((0..60)
            .map(|last| {
                let mut key = alloc::vec![7; 1024];
                key.push(last);
                key
            })
            .collect()),
        of((1000..=MAX_KEY_BYTES)
            .map(|len| alloc::vec![b'x'; len])
            .collect()),
        spine(40, 320),
    ]
}
