//! The tree of a height that is past, and where two replicas' trees differ.

mod common;

use common::*;
use quorate_execution::flush::FlushPolicy;
use quorate_execution::kv::state_key;
use quorate_execution::persist::StateTree;
use quorate_execution::tree::Held;
use quorate_execution::{OpenError, Space};
use quorate_types::Height;

fn differences(a: &Memory, b: &Memory, height: Height) -> Vec<(Vec<u8>, Held)> {
    let open = |memory| StateTree::open(memory, height).expect("it opens");
    let mut left = open(a).expect("the height is there");
    let mut right = open(b).expect("the height is there");
    let mut diff = left.diff(&mut right);
    let mut found = Vec::new();
    while let Some(difference) = diff.next().expect("memory does not fail") {
        found.push(difference);
    }
    found
}

/// One of two replicas executes on a record that rotted: the block at which it leaves the other, and the keys of that block
/// and of no later one, are told.
#[test]
fn the_tree_of_the_first_height_that_differs_names_the_keys_of_that_block() {
    let mut good = Chain::new();
    for number in 0..50 {
        good.kv(put(format!("k{number}"), "v")).unwrap();
    }
    let mut bad = good.restarted(good.memory.clone(), good.executor.height());
    // Behind the executor's back: only a command that reads it shows the difference.
    let key = state_key(b"k7");
    let other = bad.memory.0[&(Space::State, state_key(b"k8"))].clone();
    bad.memory.0.insert((Space::State, key.clone()), other);
    let mut both = |commands: &[_]| {
        let transaction = good.next(WRITER, commands);
        let roots = [&mut good, &mut bad].map(|chain| {
            chain.block(vec![transaction.clone()]);
            chain.executor.roots()
        });
        (good.executor.height(), roots[0] == roots[1])
    };
    assert!(both(&[put("k1", "w")]).1);
    let (first, same) = both(&[put("k7", "w")]);
    assert!(!same, "its version follows from what was read");
    assert!(!both(&[put("k2", "w")]).1);
    let (last, healed) = both(&[delete("k7")]);
    assert!(healed);
    let found = differences(&good.memory, &bad.memory, first);
    assert_eq!(found, [(key, Held::Differently)]);
    assert_eq!(
        differences(&good.memory, &bad.memory, Height(first.0 - 1)),
        []
    );
    // What differed was removed again: only the roots of the heights between tell.
    assert_eq!(differences(&good.memory, &bad.memory, last), []);
    assert_eq!(good.executor.roots(), bad.executor.roots());
}

#[test]
fn a_tree_is_there_from_the_last_flush_to_the_tip() {
    let mut chain = Chain::new();
    chain.executor.set_flush_policy(FlushPolicy {
        changes: 20,
        ..FlushPolicy::default()
    });
    for number in 0..40 {
        chain.kv(put(format!("k{number}"), "v")).unwrap();
    }
    let there: Vec<u64> = (0..=41)
        .filter(|height| {
            let tree = StateTree::open(&chain.memory, Height(*height));
            tree.expect("not damaged").is_some()
        })
        .collect();
    assert!(there.len() < 20, "{there:?}");
    assert_eq!(there.last(), Some(&40));
    // A journal that rotted is noticed: the root is none of those that were stored.
    let journal = [b"execution/journal/".as_slice(), &40u64.to_be_bytes()].concat();
    let bytes = chain.memory.0.get_mut(&(Space::Meta, journal));
    *bytes.expect("of the tip").last_mut().expect("not empty") ^= 1;
    let damaged = StateTree::open(&chain.memory, Height(40));
    assert!(matches!(
        damaged,
        Err(OpenError::RootMismatch { .. } | OpenError::Damaged)
    ));
}
