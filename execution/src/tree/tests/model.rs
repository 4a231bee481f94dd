//! The root is what its definition says, whatever the history.

use super::*;

#[test]
fn bits_sort_as_keys_do() {
    let mut rng = Rng(1);
    for _ in 0..20_000 {
        let (a, b) = (rng.key(), rng.key());
        let by_bits = bits::crit(&a, &b).map_or(core::cmp::Ordering::Equal, |crit| {
            assert_ne!(bits::bit(&a, crit), bits::bit(&b, crit));
            assert!((0..crit).all(|bit| bits::bit(&a, bit) == bits::bit(&b, bit)));
            bits::bit(&a, crit).cmp(&bits::bit(&b, crit))
        });
        assert_eq!(by_bits, a.cmp(&b), "{a:?} {b:?}");
    }
}

#[test]
fn roots_match_the_naive_model() {
    for seed in 0..30 {
        let mut rng = Rng(seed);
        let (mut tree, mut set, disk) = (Tree::new(small_pages()), Set::new(), Disk::default());
        for block in 0..60 {
            // Grow first, then shrink to nothing, to cross every way of splitting and joining pages.
            let changes = if block < 40 {
                rng.changes(40, 20)
            } else {
                rng.changes(200, 90)
            };
            let root = tree.apply(&disk, &changes).unwrap();
            put(&mut set, &changes);
            assert_eq!(root, root_of(&set), "seed {seed} block {block}");
            assert_eq!(root, tree.root());
            if rng.below(4) == 0 {
                disk.write(tree.flush());
            }
        }
        let last: Vec<Change> = set.keys().map(|key| (key.clone(), None)).collect();
        assert_eq!(tree.apply(&disk, &last).unwrap(), hash::empty());
        disk.write(tree.flush());
        assert!(
            disk.pages.borrow().is_empty(),
            "an empty tree leaves no pages behind"
        );
    }
}

#[test]
fn roots_of_adversarial_sets_match_the_naive_model() {
    for set in adversarial_sets() {
        assert_eq!(tree_of(&set).root(), root_of(&set));
    }
}

#[test]
fn the_root_does_not_depend_on_history() {
    let mut rng = Rng(9);
    let set: Set = (0..500).map(|_| (rng.key(), rng.digest())).collect();
    let mut order: Vec<Change> = set.iter().map(|(k, v)| (k.clone(), Some(*v))).collect();
    for _ in 0..10 {
        for at in (1..order.len()).rev() {
            order.swap(at, rng.below(at + 1));
        }
        let mut tree = Tree::new(small_pages());
        let disk = Disk::default();
        for change in &order {
            // A detour: another value, another key, and back.
            let detour = (change.0.clone(), Some(rng.digest()));
            let other = alloc::vec![9; 1 + rng.below(40)];
            tree.apply(&disk, &[detour]).unwrap();
            tree.apply(&disk, &[(other.clone(), Some(rng.digest()))])
                .unwrap();
            tree.apply(&disk, &[(other, None)]).unwrap();
            tree.apply(&disk, core::slice::from_ref(change)).unwrap();
        }
        assert_eq!(tree.root(), root_of(&set));
    }
}

#[test]
fn a_change_of_any_key_or_value_changes_the_root() {
    let set = spine(3, 24);
    let root = root_of(&set);
    for key in set.keys() {
        let mut tree = tree_of(&set);
        let other = [(key.clone(), Some(Digest::ZERO))];
        assert_ne!(tree.apply(&NoPages, &other).unwrap(), root);
        let gone = [(key.clone(), None)];
        assert_ne!(tree.apply(&NoPages, &gone).unwrap(), root);
        let back = [(key.clone(), Some(set[key]))];
        assert_eq!(tree.apply(&NoPages, &back).unwrap(), root);
    }
}

/// The hash rule is frozen: these roots are part of the format.
#[test]
fn golden_roots() {
    let value = |byte| Digest::from_bytes([byte; 32]);
    let set = |keys: &[&[u8]]| -> Set {
        keys.iter()
            .zip(1..)
            .map(|(key, byte)| (key.to_vec(), value(byte)))
            .collect()
    };
    let long = [b'z'; MAX_KEY_BYTES];
    let golden: [(&[&[u8]], &str); 5] = [
        (
            &[],
            "bbae2a4c1ab84ed6469c13e09f3eff166585ce94da5159b67764009f0915c5cb",
        ),
        (
            &[b""],
            "fbc469f43ca2b40721f5498a87fef24d8239b54722a30785fe25c32bcecaccf8",
        ),
        (
            &[b"a", b"b"],
            "3850645e822aa2ac7c67c2d7a53a0a07190d062382fc2c78a246aab45c339d23",
        ),
        (
            &[b"", b"a", b"ab", b"b", b"\xFF\xFF"],
            "11a8087184df4cc8c4390cf9674df313f58fdf7662e9ecb6ea59ba13668a08e8",
        ),
        (
            &[b"kv/a", &long, &long[1..]],
            "ca1ecd52eda7fc31c8e2ab3bd6c9d8e0da8287aa71b9886f86da6aa26cbe4f22",
        ),
    ];
    for (keys, root) in golden {
        let set = set(keys);
        let tree = tree_of(&set);
        assert_eq!(alloc::string::ToString::to_string(&tree.root()), root);
        assert_eq!(tree.root(), root_of(&set));
    }
}
