//! Which keys there are: absence by what is in memory, and the keys of a range.

use super::*;

/// Small pages, none of which is dropped.
const KEPT: TreeLimits = TreeLimits {
    cache_bytes: 1 << 20,
    page_bytes: 256,
};

#[test]
fn what_the_tree_lacks_is_not_there() {
    let mut rng = Rng(16);
    let (mut tree, mut set, disk) = (Tree::new(KEPT), Set::new(), Disk::default());
    assert!(tree.lacks(b"any"));
    for _ in 0..40 {
        let changes = rng.changes(60, 40);
        tree.apply(&disk, &changes).unwrap();
        put(&mut set, &changes);
        let anchor = disk.write(tree.flush());
        let mut cold = Tree::open(KEPT, &anchor);
        assert!(set.is_empty() || !cold.lacks(b"any"));
        for _ in 0..60 {
            let key = rng.key();
            let there = set.contains_key(&key);
            // Nothing was dropped from this one's memory.
            assert_eq!(tree.lacks(&key), !there);
            cold.prove(&disk, &key).unwrap();
            assert_eq!(cold.lacks(&key), !there, "its way is in memory now");
        }
        assert!(set.keys().all(|key| !cold.lacks(key)));
    }
}

/// Ids are no part of any hash: a damaged reference may lead to a page that is sound, and another one.
#[test]
fn a_reference_to_another_page_proves_no_absence() {
    let mut rng = Rng(17);
    let (mut tree, disk) = (Tree::new(KEPT), Disk::default());
    let changes = rng.changes(60, 0);
    tree.apply(&disk, &changes).unwrap();
    let anchor = disk.write(tree.flush());
    let whole = disk.pages.borrow().clone();
    let mut led_astray = 0;
    for (right, wrong) in whole.keys().flat_map(|a| whole.keys().map(move |b| (a, b))) {
        let refers = |page: &Vec<u8>| page.windows(6).position(|id| id == right);
        let (parent, at) = whole
            .iter()
            .find_map(|(id, page)| Some((id, refers(page)?)))
            .unwrap_or((right, 0));
        let mut damaged = whole[parent].clone();
        damaged[at..at + 6].copy_from_slice(wrong);
        disk.pages.borrow_mut().insert(parent.clone(), damaged);
        for (near, _) in &changes {
            let mut other = Tree::open(KEPT, &anchor);
            if other.prove(&disk, near).is_ok() {
                led_astray += usize::from(right != wrong);
                assert!(changes.iter().all(|(key, _)| !other.lacks(key)));
            }
        }
        let sound = whole[parent].clone();
        disk.pages.borrow_mut().insert(parent.clone(), sound);
    }
    assert!(led_astray > 0);
}

/// Against the set, for bounds that are keys, lie between them, or behind the longest.
#[test]
fn the_keys_of_a_range_are_those_of_the_set() {
    for seed in 0..20 {
        let mut rng = Rng(400 + seed);
        let (mut tree, mut set, disk) = (Tree::new(small_pages()), Set::new(), Disk::default());
        assert_eq!(tree.keys(&disk, (b"", b"\xff"), 5), Ok(Vec::new()));
        for _ in 0..10 {
            let deletions = rng.below(90);
            let changes = rng.changes(80, deletions);
            tree.apply(&disk, &changes).unwrap();
            put(&mut set, &changes);
            let anchor = disk.write(tree.flush());
            for _ in 0..60 {
                let (from, to, limit) = (rng.key(), rng.key(), rng.below(12));
                let expected = set.keys().filter(|key| **key >= from && **key < to);
                let expected: Vec<_> = expected.take(limit).cloned().collect();
                let found = tree.keys(&disk, (&from, &to), limit);
                assert_eq!(found, Ok(expected.clone()), "{from:?} {to:?} {limit}");
                let mut cold = Tree::open(small_pages(), &anchor);
                assert_eq!(cold.keys(&disk, (&from, &to), limit), Ok(expected));
            }
        }
        let longest = [0xFF; MAX_KEY_BYTES + 1];
        assert_eq!(tree.keys(&disk, (&longest, &longest), 1), Ok(Vec::new()));
        let longer = [0; MAX_KEY_BYTES + 2];
        let refused = Err(TreeError::KeyTooLong(longer.len()));
        assert_eq!(tree.keys(&disk, (&longer, &longest), 1), refused);
    }
}

/// The way along a range reads no more than the way to it and what it holds.
#[test]
fn removed_keys_are_not_passed() {
    let (mut tree, disk) = (Tree::new(KEPT), Disk::default());
    let key = |n: u32| n.to_be_bytes().to_vec();
    let mut rng = Rng(18);
    let all: Vec<Change> = (0..5_000).map(|n| (key(n), Some(rng.digest()))).collect();
    tree.apply(&disk, &all).unwrap();
    let holes: Vec<Change> = (1..4_999).map(|n| (key(n), None)).collect();
    tree.apply(&disk, &holes).unwrap();
    let anchor = disk.write(tree.flush());
    let mut cold = Tree::open(KEPT, &anchor);
    disk.reads.set(0);
    let found = cold.keys(&disk, (&key(1), &key(5_000)), 1);
    assert_eq!(found, Ok(Vec::from([key(4_999)])));
    assert!(disk.reads.get() <= 2, "{}", disk.reads.get());
}
