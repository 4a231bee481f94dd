//! Walking two trees at once: against the difference of two sorted maps, and what is read for it.

use super::*;

/// What the walk finds, in the order of keys.
fn walked<A, B>(left: (&mut Tree, &A), right: (&mut Tree, &B)) -> Vec<(Vec<u8>, Held)>
where
    A: PageSource,
    B: PageSource<Error = A::Error>,
    A::Error: core::fmt::Debug,
{
    let mut diff = Diff::new(left, right);
    let mut found = Vec::new();
    while let Some(difference) = diff.next().unwrap() {
        found.push(difference);
    }
    found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    found
}

/// What it should find.
fn naive(left: &Set, right: &Set) -> Vec<(Vec<u8>, Held)> {
    let keys: BTreeMap<&Vec<u8>, ()> = left.keys().chain(right.keys()).map(|k| (k, ())).collect();
    let held = |key: &Vec<u8>| match (left.get(key), right.get(key)) {
        (Some(l), Some(r)) => (l != r).then_some(Held::Differently),
        (Some(_), None) => Some(Held::Left),
        _ => Some(Held::Right),
    };
    keys.into_keys()
        .filter_map(|key| Some((key.clone(), held(key)?)))
        .collect()
}

/// A tree in storage, none of it in memory.
fn stored(set: &Set, limits: TreeLimits) -> (Tree, Disk) {
    let disk = Disk::default();
    let mut tree = Tree::new(limits);
    let changes: Vec<Change> = set.iter().map(|(k, v)| (k.clone(), Some(*v))).collect();
    tree.apply(&disk, &changes).unwrap();
    let anchor = disk.write(tree.flush());
    (Tree::open(limits, &anchor), disk)
}

#[test]
fn the_walk_finds_what_two_sorted_maps_differ_in() {
    for seed in 0..200 {
        let mut rng = Rng(700 + seed);
        let (mut left, mut right) = (Set::new(), Set::new());
        let sizes = [0, 1, 2, 30, 200];
        let common = sizes[rng.below(sizes.len())];
        let changes = rng.changes(common, 0);
        put(&mut left, &changes);
        put(&mut right, &changes);
        for set in [&mut left, &mut right] {
            let size = sizes[rng.below(sizes.len())];
            put(set, &rng.changes(size, 30));
        }
        // Pages are no part of it: one has small ones and no memory, the other large ones.
        let (mut a, on_a) = stored(&left, small_pages());
        let (mut b, on_b) = stored(&right, TreeLimits::default());
        let expected = naive(&left, &right);
        assert_eq!(walked((&mut a, &on_a), (&mut b, &on_b)), expected, "{seed}");
        // Nor does it matter what waits to be flushed.
        let more = rng.changes(20, 30);
        b.apply(&on_b, &more).unwrap();
        put(&mut right, &more);
        let expected = naive(&left, &right);
        assert_eq!(walked((&mut a, &on_a), (&mut b, &on_b)), expected, "{seed}");
    }
}

#[test]
fn what_is_read_grows_with_the_difference_and_not_with_the_trees() {
    let mut rng = Rng(9);
    let mut left = Set::new();
    for number in 0..50_000u32 {
        left.insert(number.to_be_bytes().to_vec(), rng.digest());
    }
    let limits = TreeLimits {
        cache_bytes: 64 << 10,
        page_bytes: 1 << 10,
    };
    let pages = stored(&left, limits).1.pages.borrow().len();
    assert!(pages > 3_000, "{pages}");
    for count in [0usize, 1, 10, 100] {
        let mut right = left.clone();
        for _ in 0..count {
            let key = u32::try_from(rng.below(50_000)).unwrap();
            right.insert(key.to_be_bytes().to_vec(), rng.digest());
        }
        let (mut a, on_a) = stored(&left, limits);
        let (mut b, on_b) = stored(&right, limits);
        let found = walked((&mut a, &on_a), (&mut b, &on_b));
        assert_eq!(found, naive(&left, &right));
        let reads = on_a.reads.get() + on_b.reads.get();
        // Two trees, and a way of six to eight pages to each key.
        assert!(reads <= 16 * count, "{reads} pages for {count} keys");
        assert!(count == 0 || reads >= 2, "it was not read from storage");
    }
}

#[test]
fn a_part_that_only_one_has_is_told_key_by_key() {
    let mut rng = Rng(31);
    let mut left = Set::new();
    for number in 0..2_000u32 {
        let key = alloc::format!("common/{number}").into_bytes();
        left.insert(key, rng.digest());
    }
    let mut right = left.clone();
    for number in 0..300u32 {
        let key = alloc::format!("more/{number}").into_bytes();
        right.insert(key, rng.digest());
    }
    let (mut a, on_a) = stored(&left, small_pages());
    let (mut b, on_b) = stored(&right, small_pages());
    let found = walked((&mut a, &on_a), (&mut b, &on_b));
    assert_eq!(found.len(), 300);
    assert!(found.iter().all(|(_, held)| *held == Held::Right));
    let found = walked((&mut b, &on_b), (&mut a, &on_a));
    assert!(found.iter().all(|(_, held)| *held == Held::Left));
}

/// A path as deep as a client can make it.
#[test]
fn depth_costs_no_stack() {
    let mut rng = Rng(5);
    let mut left = Set::new();
    for length in 1..MAX_KEY_BYTES {
        left.insert(alloc::vec![0xFF; length], rng.digest());
    }
    let mut right = left.clone();
    right.insert(alloc::vec![0xFF; MAX_KEY_BYTES - 1], rng.digest());
    right.remove(&alloc::vec![0xFF; 1]);
    let (mut a, on_a) = stored(&left, small_pages());
    let (mut b, on_b) = stored(&right, small_pages());
    let expected = naive(&left, &right);
    assert_eq!(walked((&mut a, &on_a), (&mut b, &on_b)), expected);
}

#[test]
fn a_page_that_is_damaged_or_cannot_be_read_is_an_error() {
    let mut rng = Rng(8);
    let mut left = Set::new();
    put(&mut left, &rng.changes(400, 0));
    let mut right = left.clone();
    for value in right.values_mut() {
        *value = rng.digest();
    }
    let (mut a, on_a) = stored(&left, small_pages());
    let (mut b, on_b) = stored(&right, small_pages());
    on_b.fails.set(true);
    let failed = Diff::new((&mut a, &on_a), (&mut b, &on_b)).next();
    assert_eq!(failed, Err(TreeError::Source(Broken)));
    let (mut b, on_b) = stored(&right, small_pages());
    for bytes in on_b.pages.borrow_mut().values_mut() {
        *bytes.last_mut().unwrap() ^= 1;
    }
    let failed = Diff::new((&mut a, &on_a), (&mut b, &on_b)).next();
    assert_eq!(failed, Err(TreeError::Damaged));
}
