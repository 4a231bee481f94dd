//! Proofs of ranges: the list is all there is.

use quorate_types::codec;

use super::*;

/// Ranges around the keys of a set.
fn ranges(set: &Set, rng: &mut Rng) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut bounds: Vec<Vec<u8>> = set.keys().step_by(1 + set.len() / 12).cloned().collect();
    let after: Vec<Vec<u8>> = bounds.iter().map(|key| [key, &[0][..]].concat()).collect();
    bounds.extend(after);
    bounds.extend((0..6).map(|_| rng.key()));
    bounds.extend([alloc::vec![], alloc::vec![0xFF; 4]]);
    let mut ranges: Vec<_> = bounds.iter().map(|start| (start.clone(), None)).collect();
    for start in &bounds {
        let ends = bounds.iter().filter(|end| *end > start);
        ranges.extend(ends.map(|end| (start.clone(), Some(end.clone()))));
    }
    ranges
}

fn inside(set: &Set, start: &[u8], end: Option<&[u8]>) -> Vec<(Vec<u8>, Digest)> {
    set.iter()
        .filter(|(key, _)| key.as_slice() >= start && end.is_none_or(|end| key.as_slice() < end))
        .map(|(key, value)| (key.clone(), *value))
        .collect()
}

fn sets() -> Vec<Set> {
    let mut rng = Rng(31);
    let mut sets = adversarial_sets();
    sets.push((0..200).map(|_| (rng.key(), rng.digest())).collect());
    sets
}

#[test]
fn ranges_are_complete_and_proved() {
    let mut rng = Rng(32);
    for set in sets() {
        let mut tree = tree_of(&set);
        for (start, end) in ranges(&set, &mut rng) {
            let end = end.as_deref();
            let reply = tree.prove_range(&NoPages, &start, end, usize::MAX).unwrap();
            assert_eq!(reply.entries, inside(&set, &start, end));
            assert_eq!(reply.end.as_deref(), end);
            let proved = reply
                .proof
                .verify(&tree.root(), &start, end, &reply.entries);
            assert_eq!(proved, Ok(()), "{start:?} {end:?}");
            let other = reply
                .proof
                .verify(&Digest::ZERO, &start, end, &reply.entries);
            assert_eq!(other, Err(ProofError::WrongRoot));
        }
    }
}

#[test]
fn a_limited_range_goes_on_where_it_ended() {
    for set in sets() {
        let mut tree = tree_of(&set);
        let (mut start, mut read) = (alloc::vec![], alloc::vec![]);
        loop {
            let reply = tree.prove_range(&NoPages, &start, None, 7).unwrap();
            let end = reply.end.as_deref();
            reply
                .proof
                .verify(&tree.root(), &start, end, &reply.entries)
                .unwrap();
            assert!(reply.entries.len() <= 7);
            read.extend(reply.entries);
            match reply.end {
                Some(end) => start = end,
                None => break,
            }
        }
        assert_eq!(read, inside(&set, &[], None));
    }
}

#[test]
fn a_list_with_a_gap_or_an_extra_is_refused() {
    let mut rng = Rng(33);
    for set in sets() {
        let mut tree = tree_of(&set);
        let root = tree.root();
        for (start, end) in ranges(&set, &mut rng).into_iter().step_by(5) {
            let end = end.as_deref();
            let reply = tree.prove_range(&NoPages, &start, end, usize::MAX).unwrap();
            let entries = reply.entries;
            let refused = |entries: &[_]| {
                assert!(reply.proof.verify(&root, &start, end, entries).is_err());
            };
            for at in (0..entries.len()).step_by(1 + entries.len() / 5) {
                let mut wrong = entries.clone();
                wrong.remove(at);
                refused(&wrong);
                let mut wrong = entries.clone();
                wrong[at].1 = rng.digest();
                refused(&wrong);
                let mut wrong = entries.clone();
                wrong[at].0.push(0);
                refused(&wrong);
                let mut wrong = entries.clone();
                wrong.insert(at, entries[at].clone());
                refused(&wrong);
            }
            let mut wrong = entries.clone();
            wrong.push((alloc::vec![0xFF; 9], Digest::ZERO));
            refused(&wrong);
        }
    }
}

/// A prover that leaves keys of the range out in any way that keeps the root is found out.
#[test]
fn hiding_keys_is_refused() {
    let mut rng = Rng(34);
    for set in sets().into_iter().filter(|set| set.len() > 3) {
        let mut tree = tree_of(&set);
        let root = tree.root();
        for _ in 0..60 {
            // An honest proof for another range has the right root, but says nothing about this one.
            let mut keys: Vec<&Vec<u8>> = (0..4)
                .map(|_| set.keys().nth(rng.below(set.len())).unwrap())
                .collect();
            keys.sort();
            keys.dedup();
            let [a, .., d] = keys.as_slice() else {
                continue;
            };
            let (inner, outer) = ((keys[keys.len() / 2], *d), (*a, *d));
            if inner.0 >= inner.1 || inner == outer {
                continue;
            }
            let reply = tree
                .prove_range(&NoPages, inner.0, Some(inner.1), usize::MAX)
                .unwrap();
            let verify = |start: &[u8], end: Option<&[u8]>| {
                reply.proof.verify(&root, start, end, &reply.entries)
            };
            assert_eq!(verify(inner.0, Some(inner.1)), Ok(()));
            assert!(verify(outer.0, Some(outer.1)).is_err());
            assert!(verify(inner.0, None).is_err());
            // An entry shown as a leaf outside, and taken off the list.
            let mut hidden = reply.clone();
            let (key, value) = hidden.entries.remove(0);
            let first = hidden
                .proof
                .nodes
                .iter()
                .position(|node| *node == RangeNode::Entry);
            hidden.proof.nodes[first.unwrap()] = RangeNode::Outside(key.clone(), value);
            let shown = hidden
                .proof
                .verify(&root, inner.0, Some(inner.1), &hidden.entries);
            assert_eq!(shown, Err(ProofError::BadEntries));
            // The same entry cut off.
            hidden.proof.nodes[first.unwrap()] = RangeNode::Cut(hash::leaf(&key, &value));
            let cut = hidden
                .proof
                .verify(&root, inner.0, Some(inner.1), &hidden.entries);
            assert_eq!(cut, Err(ProofError::Gap));
        }
    }
}

/// Any change of a node of a proof is refused, or leaves a proof of the same statement.
#[test]
fn changed_proofs_prove_nothing_new() {
    let mut rng = Rng(35);
    for set in sets() {
        let mut tree = tree_of(&set);
        let root = tree.root();
        for (start, end) in ranges(&set, &mut rng).into_iter().step_by(17) {
            let end = end.as_deref();
            let reply = tree.prove_range(&NoPages, &start, end, usize::MAX).unwrap();
            let count = reply.proof.nodes.len();
            for at in (0..count).step_by(1 + count / 20) {
                let refused = |nodes: Vec<RangeNode>| {
                    let proof = RangeProof { nodes };
                    assert!(proof.verify(&root, &start, end, &reply.entries).is_err());
                };
                let nodes = || reply.proof.nodes.clone();
                let mut wrong = nodes();
                wrong.remove(at);
                refused(wrong);
                let mut wrong = nodes();
                wrong.truncate(at);
                refused(wrong);
                for other in [
                    RangeNode::Entry,
                    RangeNode::Cut(Digest::ZERO),
                    RangeNode::Inner(u16::MAX),
                    RangeNode::Outside(alloc::vec![0xFF; 30], Digest::ZERO),
                ] {
                    if nodes()[at] != other {
                        let mut wrong = nodes();
                        wrong[at] = other.clone();
                        refused(wrong);
                    }
                    let mut wrong = nodes();
                    wrong.insert(at, other);
                    refused(wrong);
                }
            }
        }
    }
}

/// Whatever bytes arrive, decoding and verification refuse them or find the very proof that was sent.
#[test]
fn any_changed_byte_of_an_encoded_proof_is_refused() {
    let mut tree = tree_of(&spine(3, 24));
    let root = tree.root();
    let (start, end) = (b"\xA5\xA0".as_slice(), Some(b"\xA5\xB0".as_slice()));
    let reply = tree.prove_range(&NoPages, start, end, 100).unwrap();
    assert!(reply.entries.len() > 3);
    let bytes = codec::encode(&reply.proof);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1 << bit;
            if let Ok(decoded) = codec::decode::<RangeProof>(&wrong, wrong.len()) {
                let verdict = decoded.verify(&root, start, end, &reply.entries);
                assert!(verdict.is_err(), "byte {at}");
            }
        }
        assert!(codec::decode::<RangeProof>(&bytes[..at], bytes.len()).is_err());
    }
}

#[test]
fn refusals() {
    let mut tree = tree_of(&spine(2, 16));
    let root = tree.root();
    let none = RangeProof {
        nodes: alloc::vec![],
    };
    assert_eq!(
        none.verify(&root, b"", None, &[]),
        Err(ProofError::WrongRoot)
    );
    assert_eq!(none.verify(&hash::empty(), b"", None, &[]), Ok(()));
    assert_eq!(
        none.verify(&root, b"b", Some(b"a"), &[]),
        Err(ProofError::EmptyRange)
    );
    assert_eq!(
        none.verify(&root, b"b", Some(b"b"), &[]),
        Err(ProofError::EmptyRange)
    );
    let long = [0; MAX_KEY_BYTES + 2];
    assert_eq!(
        none.verify(&root, &long, None, &[]),
        Err(ProofError::KeyTooLong)
    );
    let cut = RangeProof {
        nodes: alloc::vec![RangeNode::Cut(root)],
    };
    assert_eq!(cut.verify(&root, b"", None, &[]), Err(ProofError::Gap));
    let outside = RangeProof {
        nodes: alloc::vec![RangeNode::Outside(long[1..].to_vec(), root)],
    };
    assert_eq!(
        outside.verify(&root, b"a", None, &[]),
        Err(ProofError::KeyTooLong)
    );
    let two = RangeProof {
        nodes: alloc::vec![RangeNode::Cut(root), RangeNode::Cut(root)],
    };
    assert_eq!(two.verify(&root, b"", None, &[]), Err(ProofError::BadPath));

    let empty = Err(TreeError::EmptyRange);
    assert_eq!(tree.prove_range(&NoPages, b"b", Some(b"a"), 1), empty);
    assert_eq!(tree.prove_range(&NoPages, b"a", Some(b"b"), 0), empty);
    let too_long = Err(TreeError::KeyTooLong(long.len()));
    assert_eq!(tree.prove_range(&NoPages, &long, None, 1), too_long);
}
