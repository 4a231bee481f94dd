//! Flushing, opening again, eviction, damage, and the bounds of all of them.

use super::*;

#[test]
fn opening_again_continues_where_the_flush_was() {
    for seed in 0..10 {
        let mut rng = Rng(100 + seed);
        let (mut tree, mut set, disk) = (Tree::new(small_pages()), Set::new(), Disk::default());
        for block in 0..40 {
            let changes = rng.changes(50, 25);
            tree.apply(&disk, &changes).unwrap();
            put(&mut set, &changes);
            if block % 3 == 0 {
                let anchor = disk.write(tree.flush());
                assert_eq!(tree.dirty_bytes(), 0);
                assert_eq!(anchor.root(), root_of(&set));
                // The tree at hand and the one opened must go on alike: use one, check the other.
                let mut other = Tree::open(small_pages(), &anchor);
                assert_eq!(other.root(), tree.root());
                let more = rng.changes(30, 25);
                assert_eq!(other.apply(&disk, &more), tree.apply(&disk, &more));
                put(&mut set, &more);
            }
        }
        assert_eq!(tree.root(), root_of(&set));
    }
}

#[test]
fn blocks_after_the_flush_are_applied_again() {
    let mut rng = Rng(3);
    let (mut tree, disk) = (Tree::new(small_pages()), Disk::default());
    tree.apply(&disk, &rng.changes(300, 0)).unwrap();
    let anchor = disk.write(tree.flush());
    let blocks: Vec<Vec<Change>> = (0..20).map(|_| rng.changes(50, 30)).collect();
    let roots: Vec<Digest> = blocks
        .iter()
        .map(|block| tree.apply(&disk, block).unwrap())
        .collect();
    // The process dies here: pages of the blocks were never written.
    let mut again = Tree::open(small_pages(), &anchor);
    for (block, root) in blocks.iter().zip(&roots) {
        assert_eq!(again.apply(&disk, block).unwrap(), *root);
    }
}

/// A flush may be written in pieces over many blocks: until its anchor is, the one before is whole.
#[test]
fn a_flush_cut_short_leaves_the_anchor_before_whole() {
    let mut rng = Rng(14);
    let (mut tree, disk) = (Tree::new(small_pages()), Disk::default());
    tree.apply(&disk, &rng.changes(300, 0)).unwrap();
    let anchor = disk.write(tree.flush());
    let changes = rng.changes(300, 40);
    let root = tree.apply(&disk, &changes).unwrap();
    for (id, bytes) in tree.flush().pages {
        if let Some(bytes) = bytes {
            assert_eq!(disk.pages.borrow_mut().insert(id, bytes), None);
        }
        let mut again = Tree::open(small_pages(), &anchor);
        assert_eq!(again.apply(&disk, &changes), Ok(root));
    }
}

/// Pages that change, split, join and go while a flush waits for them to be taken are stored as they were when it began.
#[test]
fn a_flush_taken_over_many_blocks_is_the_tree_as_it_was() {
    for seed in 0..20 {
        let mut rng = Rng(200 + seed);
        let (mut tree, disk) = (Tree::new(small_pages()), Disk::default());
        for _ in 0..8 {
            let deletions = rng.below(90);
            tree.apply(&disk, &rng.changes(300, deletions)).unwrap();
            let (root, begun) = (tree.root(), tree.begin_flush());
            assert_eq!((begun.anchor.root(), tree.dirty_bytes()), (root, 0));
            let (mut blocks, mut roots) = (Vec::new(), Vec::new());
            while tree.pages_to_take() > 0 {
                for _ in 0..rng.below(30) {
                    let Some((id, page)) = tree.take_page() else {
                        break;
                    };
                    assert_eq!(disk.pages.borrow_mut().insert(id, page), None);
                }
                blocks.push(rng.changes(40, deletions));
                roots.push(tree.apply(&disk, &blocks[blocks.len() - 1]).unwrap());
                assert_counted(&mut tree);
            }
            let mut again = Tree::open(small_pages(), &begun.anchor);
            for (block, root) in blocks.iter().zip(roots) {
                assert_eq!(again.apply(&disk, block), Ok(root));
            }
            for id in begun.unused {
                assert!(disk.pages.borrow_mut().remove(&id).is_some());
            }
            let mut whole = Tree::open(small_pages(), &begun.anchor);
            whole.prove_range(&disk, b"", None, usize::MAX).unwrap();
        }
        let anchor = disk.write(tree.flush());
        assert_only_used(&disk, &anchor);
    }
}

/// What changes nothing while pages leave, and a top page that goes because all below it is in one other page.
#[test]
fn pages_that_leave_may_stand_where_nothing_changes() {
    let mut rng = Rng(15);
    let (mut tree, disk) = (Tree::new(small_pages()), Disk::default());
    let mut set = Set::new();
    for letter in [b'a', b'b'] {
        for _ in 0..200 {
            let key = [&[letter][..], &rng.next().to_be_bytes()].concat();
            set.insert(key, rng.digest());
        }
    }
    let all: Vec<Change> = set.iter().map(|(k, v)| (k.clone(), Some(*v))).collect();
    let root = tree.apply(&disk, &all).unwrap();
    let begun = tree.begin_flush();
    assert_eq!(tree.apply(&disk, &all[..1]), Ok(root));
    assert_eq!(tree.apply(&disk, &[(b"absent".to_vec(), None)]), Ok(root));
    // One side goes, key by key, until the top page is nothing but a reference to the other.
    for (key, _) in all.iter().take(200) {
        tree.apply(&disk, &[(key.clone(), None)]).unwrap();
        assert_counted(&mut tree);
        set.remove(key);
    }
    assert_eq!(tree.root(), root_of(&set));
    while let Some((id, page)) = tree.take_page() {
        disk.pages.borrow_mut().insert(id, page);
    }
    let mut again = Tree::open(small_pages(), &begun.anchor);
    again.prove_range(&disk, b"", None, usize::MAX).unwrap();
    assert_eq!(again.root(), root);
}

#[test]
#[should_panic(expected = "I6: one flush ends before the next")]
fn one_flush_ends_before_the_next() {
    let mut tree = tree_of(&spine(3, 24));
    let _first = tree.begin_flush();
    let _second = tree.begin_flush();
}

#[test]
fn storage_holds_what_is_used_and_nothing_else() {
    let mut rng = Rng(4);
    let (mut tree, disk) = (Tree::new(small_pages()), Disk::default());
    let mut anchor = disk.write(tree.flush());
    for _ in 0..50 {
        tree.apply(&disk, &rng.changes(60, 45)).unwrap();
        anchor = disk.write(tree.flush());
    }
    assert_only_used(&disk, &anchor);
}

fn assert_only_used(disk: &Disk, anchor: &Anchor) {
    let mut walker = Tree::open(TreeLimits::default(), anchor);
    disk.reads.set(0);
    walker.prove_range(disk, b"", None, usize::MAX).unwrap();
    assert_eq!(disk.reads.get(), disk.pages.borrow().len());
}

#[test]
fn memory_stays_within_the_limit_once_pages_are_clean() {
    let limits = TreeLimits {
        cache_bytes: 64 * 1024,
        page_bytes: 1024,
    };
    let mut rng = Rng(6);
    let (mut tree, disk) = (Tree::new(limits), Disk::default());
    for _ in 0..60 {
        let mut changes: Vec<Change> = (0..200)
            .map(|_| (rng.next().to_be_bytes().to_vec(), Some(rng.digest())))
            .collect();
        changes.sort();
        tree.apply(&disk, &changes).unwrap();
        disk.write(tree.flush());
        assert!(tree.memory_bytes() <= limits.cache_bytes);
    }
    let counted: usize = tree.pages.iter_mut().map(|(_, page)| page.memory()).sum();
    assert_eq!(counted, tree.memory_bytes());
}

#[test]
fn memory_is_counted_right() {
    let mut rng = Rng(8);
    let (mut tree, disk) = (Tree::new(small_pages()), Disk::default());
    for _ in 0..50 {
        tree.apply(&disk, &rng.changes(40, 40)).unwrap();
        assert_counted(&mut tree);
        if rng.below(3) == 0 {
            disk.write(tree.flush());
        }
    }
}

fn assert_counted(tree: &mut Tree) {
    let (mut memory, mut dirty, mut leaving) = (0, 0, 0);
    for (_, page) in tree.pages.iter_mut() {
        memory += page.memory();
        dirty += if page.dirty { page.memory() } else { 0 };
        leaving += if page.leaves { page.memory() } else { 0 };
    }
    assert_eq!((memory, dirty), (tree.memory_bytes(), tree.dirty_bytes()));
    assert_eq!(leaving, tree.leaving.memory);
}

#[test]
fn pages_stay_within_their_size() {
    let mut rng = Rng(7);
    for (set, page_bytes) in adversarial_sets()
        .into_iter()
        .flat_map(|set| [(set.clone(), 256), (set, 4096)])
    {
        let limits = TreeLimits {
            cache_bytes: 0,
            page_bytes,
        };
        let (mut tree, disk) = (Tree::new(limits), Disk::default());
        let mut order: Vec<Change> = set.iter().map(|(k, v)| (k.clone(), Some(*v))).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, rng.below(at + 1));
        }
        for change in order {
            tree.apply(&disk, &[change]).unwrap();
        }
        for (_, page) in tree.pages.iter_mut() {
            let bytes = page.encode().len();
            assert_eq!(page.bytes(), bytes);
            assert!(page.fits(bytes) && !page.fits(bytes - 1));
        }
        disk.write(tree.flush());
        for bytes in disk.pages.borrow().values() {
            // A single leaf cannot be split.
            assert!(
                bytes.len() <= page_bytes.max(MAX_KEY_BYTES + 35),
                "{}",
                bytes.len()
            );
        }
    }
}

/// The deepest path that keys of 1,024 bytes can make costs 8,192 transactions, and reaches no more pages than this.
#[test]
fn the_pages_that_a_key_can_touch_are_bounded() {
    let set = spine(1024, 8192);
    let (mut tree, disk) = (Tree::new(TreeLimits::default()), Disk::default());
    let changes: Vec<Change> = set.iter().map(|(k, v)| (k.clone(), Some(*v))).collect();
    for block in changes.chunks(1000) {
        tree.apply(&disk, block).unwrap();
    }
    let anchor = disk.write(tree.flush());
    let base = alloc::vec![0xA5; 1024];
    let mut cold = Tree::open(TreeLimits::default(), &anchor);
    disk.reads.set(0);
    let proof = cold.prove(&disk, &base).unwrap();
    assert_eq!(proof.steps.len(), 8192);
    assert!(disk.reads.get() <= 300, "{} pages", disk.reads.get());
    proof
        .verify(&tree.root(), &base, Some(&set[&base]))
        .unwrap();

    // Random keys beside it are not slowed down by it.
    cold.apply(&disk, &[(b"kv/other".to_vec(), Some(Digest::ZERO))])
        .unwrap();
    assert!(cold.prove(&disk, b"kv/other").unwrap().steps.len() < 5);
}

#[test]
fn random_keys_touch_few_pages() {
    let mut rng = Rng(11);
    let mut changes: Vec<Change> = (0..50_000)
        .map(|_| (rng.next().to_be_bytes().to_vec(), Some(rng.digest())))
        .collect();
    changes.sort();
    let (mut tree, disk) = (Tree::new(TreeLimits::default()), Disk::default());
    tree.apply(&disk, &changes).unwrap();
    let anchor = disk.write(tree.flush());
    let (mut most, mut total) = (0, 0);
    for (key, _) in changes.iter().step_by(1000) {
        let mut cold = Tree::open(TreeLimits::default(), &anchor);
        disk.reads.set(0);
        cold.prove(&disk, key).unwrap();
        most = most.max(disk.reads.get());
        total += disk.reads.get();
    }
    assert!(
        most <= 9 && total <= 50 * 6,
        "{total} pages, {most} at most"
    );
}

#[test]
fn changes_must_be_in_order_and_short() {
    let mut tree = tree_of(&spine(2, 16));
    let root = tree.root();
    let change = |key: &[u8]| (key.to_vec(), Some(Digest::ZERO));
    for wrong in [[change(b"b"), change(b"a")], [change(b"a"), change(b"a")]] {
        assert_eq!(tree.apply(&NoPages, &wrong), Err(TreeError::Unordered(1)));
    }
    let long = [0; MAX_KEY_BYTES + 1];
    let too_long = Err(TreeError::KeyTooLong(long.len()));
    assert_eq!(
        tree.apply(&NoPages, &[change(b""), change(&long)]),
        too_long
    );
    assert_eq!(
        tree.prove(&NoPages, &long),
        Err(TreeError::KeyTooLong(long.len()))
    );
    assert_eq!(tree.root(), root);
    assert_ne!(tree.apply(&NoPages, &[change(&long[1..])]), Ok(root));
}

#[test]
fn a_failing_store_makes_the_tree_unusable() {
    let mut rng = Rng(12);
    let (mut tree, disk) = (Tree::new(small_pages()), Disk::default());
    tree.apply(&disk, &rng.changes(200, 0)).unwrap();
    disk.write(tree.flush());
    disk.fails.set(true);
    let change = [(b"kv/x".to_vec(), Some(Digest::ZERO))];
    assert_eq!(tree.apply(&disk, &change), Err(TreeError::Source(Broken)));
    disk.fails.set(false);
    assert_eq!(tree.apply(&disk, &change), Err(TreeError::Unusable));
    assert_eq!(tree.prove(&disk, b"kv/x"), Err(TreeError::Unusable));
}

#[test]
fn a_damaged_page_is_an_error_never_another_root() {
    let mut rng = Rng(13);
    let (mut tree, disk) = (Tree::new(small_pages()), Disk::default());
    tree.apply(&disk, &rng.changes(40, 0)).unwrap();
    let anchor = disk.write(tree.flush());
    let whole = disk.pages.borrow().clone();
    let read = || Tree::open(small_pages(), &anchor).prove_range(&disk, b"", None, usize::MAX);
    let good = read().unwrap();
    for (id, bytes) in &whole {
        disk.pages.borrow_mut().remove(id);
        assert_eq!(read(), Err(TreeError::Damaged));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << rng.below(8);
            disk.pages.borrow_mut().insert(id.clone(), damaged);
            assert_eq!(read(), Err(TreeError::Damaged), "page {id:?} byte {at}");
            disk.pages
                .borrow_mut()
                .insert(id.clone(), bytes[..at].to_vec());
            assert_eq!(read(), Err(TreeError::Damaged), "page {id:?} cut at {at}");
        }
        disk.pages.borrow_mut().insert(id.clone(), bytes.clone());
    }
    assert_eq!(read().unwrap(), good);
}
