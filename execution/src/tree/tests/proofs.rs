//! Proofs of one key: they prove what is so, and nothing else.

use quorate_types::codec;

use super::*;

fn sets() -> Vec<Set> {
    let mut sets = adversarial_sets();
    let mut rng = Rng(21);
    sets.push((0..400).map(|_| (rng.key(), rng.digest())).collect());
    sets
}

/// Keys of the set, their neighbours, and some that are far from it.
fn probes(set: &Set) -> Vec<Vec<u8>> {
    let mut rng = Rng(22);
    let mut probes: Vec<Vec<u8>> = (0..20).map(|_| rng.key()).collect();
    for key in set.keys().step_by(1 + set.len() / 40) {
        let mut next = key.clone();
        next.push(0);
        let mut before = key.clone();
        before.pop();
        let mut flipped = key.clone();
        if let Some(last) = flipped.last_mut() {
            *last ^= 0x10;
        }
        probes.extend([key.clone(), next, before, flipped]);
    }
    probes.retain(|key| key.len() <= MAX_KEY_BYTES);
    probes
}

#[test]
fn presence_and_absence_are_proved_and_nothing_else() {
    for set in sets() {
        let mut tree = tree_of(&set);
        let root = tree.root();
        for key in probes(&set) {
            let proof = tree.prove(&NoPages, &key).unwrap();
            let value = set.get(&key);
            assert_eq!(proof.verify(&root, &key, value), Ok(()));
            let wrong = match value {
                Some(_) => None,
                None => Some(&Digest::ZERO),
            };
            assert!(proof.verify(&root, &key, wrong).is_err());
            assert_eq!(
                proof.verify(&Digest::ZERO, &key, value),
                Err(ProofError::WrongRoot)
            );
            if value.is_some() {
                assert_eq!(
                    proof.verify(&root, &key, Some(&Digest::ZERO)),
                    Err(ProofError::WrongRoot)
                );
            }
        }
    }
}

#[test]
fn a_proof_of_absence_serves_no_key_that_is_present() {
    let set = spine(3, 24);
    let mut tree = tree_of(&set);
    let root = tree.root();
    let proofs: Vec<Proof> = probes(&set)
        .iter()
        .map(|key| tree.prove(&NoPages, key).unwrap())
        .collect();
    for key in set.keys() {
        for proof in &proofs {
            assert!(proof.verify(&root, key, None).is_err());
            // Also not with the leaf of another key put in as witness.
            for (other, value) in &set {
                let forged = Proof {
                    witness: Some((other.clone(), *value)),
                    ..proof.clone()
                };
                assert!(forged.verify(&root, key, None).is_err());
            }
        }
    }
}

#[test]
fn any_changed_field_is_refused() {
    for set in sets() {
        let mut tree = tree_of(&set);
        let root = tree.root();
        let mut rng = Rng(23);
        for key in probes(&set).into_iter().take(30) {
            let proof = tree.prove(&NoPages, &key).unwrap();
            let value = set.get(&key);
            let refused = |proof: &Proof| assert!(proof.verify(&root, &key, value).is_err());
            for at in (0..proof.steps.len()).step_by(1 + proof.steps.len() / 30) {
                let mut wrong = proof.clone();
                wrong.steps[at].bit ^= 1 << rng.below(16);
                refused(&wrong);
                let mut wrong = proof.clone();
                wrong.steps[at].sibling = rng.digest();
                refused(&wrong);
                let mut wrong = proof.clone();
                wrong.steps.remove(at);
                refused(&wrong);
                let mut wrong = proof.clone();
                wrong.steps.insert(at, proof.steps[at]);
                refused(&wrong);
            }
            if let Some((witness, _)) = &proof.witness {
                for at in 0..witness.len() {
                    let mut wrong = proof.clone();
                    wrong.witness.as_mut().unwrap().0[at] ^= 1 << rng.below(8);
                    refused(&wrong);
                }
                let mut wrong = proof.clone();
                wrong.witness.as_mut().unwrap().1 = rng.digest();
                refused(&wrong);
            }
        }
    }
}

/// Whatever bytes arrive, decoding and verification refuse them or find the very proof that was sent.
#[test]
fn any_changed_byte_of_an_encoded_proof_is_refused() {
    let set = spine(3, 24);
    let mut tree = tree_of(&set);
    let root = tree.root();
    for key in [alloc::vec![0xA5; 3], b"absent".to_vec()] {
        let proof = tree.prove(&NoPages, &key).unwrap();
        let value = set.get(&key);
        let bytes = codec::encode(&proof);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1 << bit;
                if let Ok(decoded) = codec::decode::<Proof>(&wrong, wrong.len()) {
                    assert!(decoded.verify(&root, &key, value).is_err(), "byte {at}");
                }
            }
            assert!(codec::decode::<Proof>(&bytes[..at], bytes.len()).is_err());
        }
        assert_eq!(codec::decode::<Proof>(&bytes, bytes.len()), Ok(proof));
    }
}

/// Each reason to refuse, provoked.
#[test]
fn refusals() {
    let set = spine(2, 16);
    let mut tree = tree_of(&set);
    let root = tree.root();
    let key = alloc::vec![0xA5; 2];
    let value = set[&key];
    let good = tree.prove(&NoPages, &key).unwrap();
    let steps = |steps: Vec<Step>| {
        Proof {
            steps,
            witness: None,
        }
        .verify(&root, &key, Some(&value))
    };

    let mut swapped = good.steps.clone();
    swapped.swap(0, 1);
    assert_eq!(steps(swapped), Err(ProofError::BadPath));
    let mut far = good.steps.clone();
    far.last_mut().unwrap().bit = 19;
    assert_eq!(steps(far), Err(ProofError::BadPath));
    let endless = alloc::vec![good.steps[0]; MAX_DEPTH + 1];
    assert_eq!(steps(endless), Err(ProofError::BadPath));
    assert_eq!(steps(alloc::vec![]), Err(ProofError::WrongRoot));

    let nothing = Proof {
        steps: alloc::vec![],
        witness: None,
    };
    assert_eq!(
        nothing.verify(&root, b"x", None),
        Err(ProofError::WrongRoot)
    );
    assert_eq!(nothing.verify(&hash::empty(), b"x", None), Ok(()));
    assert_eq!(good.verify(&root, &key, None), Err(ProofError::BadWitness));

    let absent = tree.prove(&NoPages, b"x").unwrap();
    let (witness, _) = absent.witness.clone().unwrap();
    assert_eq!(absent.verify(&root, b"x", None), Ok(()));
    assert_eq!(
        absent.verify(&root, &witness, None),
        Err(ProofError::BadWitness)
    );
    assert_eq!(
        absent.verify(&root, &key, None),
        Err(ProofError::BadWitness),
        "another path"
    );
    let long = [0; MAX_KEY_BYTES + 1];
    assert_eq!(
        absent.verify(&root, &long, None),
        Err(ProofError::KeyTooLong)
    );
    let mut wide = absent;
    wide.witness.as_mut().unwrap().0 = long.to_vec();
    assert_eq!(wide.verify(&root, b"x", None), Err(ProofError::KeyTooLong));
}
