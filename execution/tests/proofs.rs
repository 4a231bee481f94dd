//! Proofs: what is true is accepted, and nothing that differs from it in any byte.

mod common;

use common::*;
use quorate_crypto::Signature;
use quorate_execution::kv::{LeafRecord, state_key};
use quorate_execution::proof::{ClientProof, Facts, InclusionProof, KeyProof, MAX_HEADERS};
use quorate_execution::proof::{ProofError, ReceiptProof};
use quorate_execution::{Reader, Space, genesis_validators, persist, tree};
use quorate_types::vote::Signable;
use quorate_types::{Block, BlockId, Cc, Claim, CommitVote, Digest, Epoch, Header};
use quorate_types::{Height, Justify, Outcome, Receipt, Reject, Round, Transaction};
use quorate_types::{Validators, accumulator, batch, merkle};

/// Three blocks with transactions, two empty ones; claims two heights behind, as consensus makes them.
struct World {
    chain: Chain,
    validators: Validators,
    headers: Vec<Header>,
    receipts: Vec<Vec<Receipt>>,
    transactions: Vec<Transaction>,
}

const KEYS: [&str; 3] = ["a", "b", "c"];

fn world() -> World {
    let mut chain = Chain::new();
    let (genesis, validators) = genesis_validators(&chain.genesis).unwrap();
    let mut world = World {
        headers: vec![genesis],
        receipts: vec![Vec::new()],
        transactions: Vec::new(),
        validators,
        chain: Chain::new(),
    };
    let mut roots = vec![chain.executor.roots()];
    for height in 1..=5u64 {
        let some: Vec<_> = match height {
            1..=3 => KEYS
                .iter()
                .map(|key| chain.next(WRITER, &[put(key, "v")]))
                .collect(),
            _ => Vec::new(),
        };
        let batches = if some.is_empty() {
            vec![]
        } else {
            vec![some.clone()]
        };
        let ids: Vec<_> = batches.iter().map(|b| pack(b.clone()).id()).collect();
        let executed = chain.batches(batches);
        world.transactions.extend(some);
        roots.push(executed.roots);
        world.receipts.push(executed.receipts);
        let claimed = height.saturating_sub(2);
        let parent = world.headers.last().unwrap();
        let header = Header {
            round: Round::new(Epoch(0), height),
            height: Height(height),
            parent: parent.id(),
            justify: Justify {
                round: parent.round,
                block: parent.id(),
                ..Justify::default()
            },
            payload: Block::payload_root(&ids),
            claim: Claim {
                height: Height(claimed),
                roots: roots[usize::try_from(claimed).unwrap()],
            },
            time: chain.time,
            ..parent.clone()
        };
        world.headers.push(header);
    }
    world.chain = chain;
    world
}

impl World {
    fn cc(&self, header: &Header) -> Cc {
        self.signed(header.round, header.id(), header.height)
    }

    fn signed(&self, round: Round, block: BlockId, height: Height) -> Cc {
        let votes: Vec<_> = self
            .validators
            .indices()
            .take(self.validators.quorum())
            .map(|voter| {
                let vote = CommitVote {
                    round,
                    block,
                    height,
                    voter,
                    signature: Signature::from_bytes([0; 64]),
                    held: Vec::new(),
                };
                let key = secret(u8::try_from(voter.0).unwrap() + 1);
                vote.sign(self.validators.chain(), &key)
            })
            .collect();
        Cc::assemble(&votes, &self.validators).into_inner()
    }

    /// Of the second receipt of height 2, which headers[4] claims first.
    fn receipt(&self) -> ReceiptProof {
        let leaves: Vec<Digest> = self.receipts[2].iter().map(Receipt::leaf).collect();
        let block_path = accumulator::path(1, 2, |id| {
            let key = (Space::Accumulator, persist::node_key(id));
            let node = self.chain.memory.0[&key].clone();
            Ok::<_, ()>(Digest::from_bytes(node.try_into().unwrap()))
        });
        ReceiptProof::new(
            self.receipts[2][1].clone(),
            merkle::path(&leaves, 1),
            block_path.unwrap().unwrap(),
            self.headers[4..=5].to_vec(),
            self.cc(&self.headers[5]),
        )
    }

    /// Under headers[5], which claims height 3; the blocks above changed nothing.
    fn key(&mut self, key: &[u8]) -> KeyProof {
        let memory = &self.chain.memory;
        let (record, proof) = self.chain.executor.prove_key(memory, key).unwrap();
        let headers = vec![self.headers[5].clone()];
        let cc = self.cc(&self.headers[5]);
        KeyProof::new(key.to_vec(), record, proof, headers, cc)
    }

    /// Of the second transaction of height 1.
    fn inclusion(&self) -> InclusionProof {
        let batch = pack(self.transactions[..3].to_vec());
        InclusionProof {
            transaction: self.transactions[1].clone(),
            transaction_path: batch.path(1),
            batch: batch.header(),
            payload_path: merkle::path(&[Block::payload_leaf(&batch.id())], 0),
            headers: self.headers[1..=3].to_vec(),
            cc: self.cc(&self.headers[3]),
        }
    }

    fn all(&mut self) -> Vec<ClientProof> {
        vec![
            ClientProof::Receipt(self.receipt()),
            ClientProof::Key(self.key(&state_key(b"a"))),
            ClientProof::Key(self.key(&state_key(b"absent"))),
            ClientProof::Inclusion(self.inclusion()),
        ]
    }
}

#[test]
fn true_proofs_tell_what_is_true() {
    let mut world = world();
    let facts = world.receipt().verify(&world.validators).unwrap();
    assert_eq!(facts.receipt, world.receipts[2][1]);
    assert!(matches!(facts.receipt.outcome, Outcome::Executed { .. }));
    assert_eq!(facts.claimed_by.id, world.headers[4].id());
    let facts = world
        .key(&state_key(b"a"))
        .verify(&world.validators)
        .unwrap();
    let record = LeafRecord::decode(&facts.record.unwrap()).unwrap();
    assert_eq!((record.value, record.version), (blob("v"), 3));
    assert_eq!(facts.height, Height(3));
    let absent = world
        .key(&state_key(b"x"))
        .verify(&world.validators)
        .unwrap();
    assert_eq!(absent.record, None);
    let facts = world.inclusion().verify(&world.validators).unwrap();
    assert_eq!(facts.transaction, world.transactions[1].id());
    assert_eq!(facts.batch, pack(world.transactions[..3].to_vec()).id());
    assert_eq!(facts.ordered_by.height, Height(1));
}

/// No root says how many leaves it has: the third of three is as well the second of two. Its place was told as a fact.
#[test]
fn a_path_from_another_place_changes_no_fact() {
    let world = world();
    let mut third = world.inclusion();
    let batch = pack(world.transactions[..3].to_vec());
    third.transaction = world.transactions[2].clone();
    third.transaction_path = batch.path(2);
    let facts = third.verify(&world.validators).unwrap();
    let mut forged = third.clone();
    (forged.transaction_path.index, forged.transaction_path.count) = (1, 2);
    assert_ne!(forged, third);
    assert_eq!(forged.verify(&world.validators), Ok(facts));
}

#[test]
fn the_state_of_the_genesis_is_proved_by_its_anchor() {
    let mut chain = Chain::new();
    let (header, validators) = genesis_validators(&chain.genesis).unwrap();
    let key = quorate_execution::keys::client(&public(WRITER));
    let (record, proof) = chain.executor.prove_key(&chain.memory, &key).unwrap();
    let cc = validators.anchor_cc();
    let proof = KeyProof::new(key, record, proof, vec![header], cc);
    assert!(proof.verify(&validators).unwrap().record.is_some());
}

#[test]
fn encodings_are_canonical_and_versioned() {
    for proof in world().all() {
        let bytes = proof.encode();
        assert_eq!(ClientProof::decode(&bytes), Ok(proof));
        let mut other = bytes.clone();
        other[0] = 2;
        assert_eq!(ClientProof::decode(&other), Err(ProofError::Version(2)));
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(matches!(
            ClientProof::decode(&longer),
            Err(ProofError::Encoding(_))
        ));
        for length in 0..bytes.len() {
            assert!(ClientProof::decode(&bytes[..length]).is_err());
        }
    }
}

/// Every byte of every proof: it must not decode, not verify, or not say anything that is false.
#[test]
fn no_byte_of_a_proof_is_without_effect() {
    let mut world = world();
    for proof in world.all() {
        let truth = proof.verify(&world.validators).unwrap();
        let bytes = proof.encode();
        for at in 0..bytes.len() {
            let mut mutated = bytes.clone();
            mutated[at] ^= 1 << (at % 8);
            let Ok(mutated) = ClientProof::decode(&mutated) else {
                continue;
            };
            match mutated.verify(&world.validators) {
                Err(_) => {}
                // The absence of a neighbouring key is shown by the same path.
                Ok(Facts::Key(facts))
                    if facts.record.is_none() && truth != Facts::Key(facts.clone()) =>
                {
                    let stored = world.chain.memory.get(Space::State, &facts.key);
                    assert_eq!(stored, Ok(None), "true");
                }
                Ok(facts) => panic!("byte {at} of {truth:?} changed to {facts:?}"),
            }
        }
    }
}

#[test]
fn each_refusal_of_a_chain_of_headers() {
    let world = world();
    let good = world.receipt();
    let refuse = |change: &dyn Fn(&mut ReceiptProof)| {
        let mut proof = good.clone();
        change(&mut proof);
        proof.verify(&world.validators).unwrap_err()
    };
    assert_eq!(refuse(&|p| p.headers.clear()), ProofError::Headers(0));
    let many = |p: &mut ReceiptProof| p.headers = vec![p.headers[0].clone(); MAX_HEADERS + 1];
    assert_eq!(refuse(&many), ProofError::Headers(MAX_HEADERS + 1));
    assert_eq!(refuse(&|p| p.headers[0].time.0 += 1), ProofError::Link(0));
    assert_eq!(
        refuse(&|p| p.headers[1].time.0 += 1),
        ProofError::CertificateMismatch
    );
    assert_eq!(
        refuse(&|p| p.headers.truncate(1)),
        ProofError::CertificateMismatch
    );
    assert_eq!(
        refuse(&|p| p.cc.height.0 += 1),
        ProofError::CertificateMismatch
    );
    assert_eq!(
        refuse(&|p| p.cc.round.number += 1),
        ProofError::CertificateMismatch
    );
    let bad = |reject| ProofError::Certificate(reject);
    let signature = Signature::from_bytes([7; 64]);
    assert_eq!(
        refuse(&|p| p.cc.signatures[0] = signature),
        bad(Reject::BadSignature)
    );
    assert_eq!(
        refuse(&|p| p.cc.signatures.truncate(2)),
        bad(Reject::NoQuorum)
    );
    let anchor = |p: &mut ReceiptProof| {
        p.cc.signatures.clear();
        p.cc.signers = quorate_types::Signers::NONE;
    };
    assert_eq!(refuse(&anchor), bad(Reject::NoQuorum));
    // A header that a quorum signed, of another chain.
    let genesis = genesis(|parameters| parameters.max_commands = 7);
    let (_, strangers) = genesis_validators(&genesis).unwrap();
    assert_eq!(good.verify(&strangers), Err(bad(Reject::BadSignature)));
}

#[test]
fn a_receipt_must_be_where_it_says_and_covered() {
    let world = world();
    let good = world.receipt();
    let refuse = |change: &dyn Fn(&mut ReceiptProof)| {
        let mut proof = good.clone();
        change(&mut proof);
        proof.verify(&world.validators).unwrap_err()
    };
    assert_eq!(refuse(&|p| p.receipt.index = 0), ProofError::Path);
    assert_eq!(refuse(&|p| p.receipt.height = Height(0)), ProofError::Path);
    assert_eq!(refuse(&|p| p.receipt.height = Height(1)), ProofError::Path);
    assert_eq!(
        refuse(&|p| p.receipt.height = Height(3)),
        ProofError::NotCovered
    );
    assert_eq!(
        refuse(&|p| p.receipt = world.receipts[2][0].clone()),
        ProofError::Path
    );
    assert_eq!(refuse(&|p| p.block_path.count = 3), ProofError::Path);
    assert_eq!(
        refuse(&|p| p.receipt_path.siblings.clear()),
        ProofError::Path
    );
    assert_eq!(refuse(&|p| p.block_path.siblings.clear()), ProofError::Path);
    // Final headers, but they claim a state before the receipt.
    let early = |p: &mut ReceiptProof| {
        p.headers = world.headers[3..=5].to_vec();
    };
    assert_eq!(refuse(&early), ProofError::NotCovered);
}

#[test]
fn a_key_must_hold_what_is_said() {
    let mut world = world();
    let good = world.key(&state_key(b"a"));
    let absent = world.key(&state_key(b"x"));
    let refuse = |proof: &KeyProof, change: &dyn Fn(&mut KeyProof)| {
        let mut proof = proof.clone();
        change(&mut proof);
        proof.verify(&world.validators).unwrap_err()
    };
    let tree = ProofError::Tree;
    let wrong = tree(tree::ProofError::WrongRoot);
    let witness = tree(tree::ProofError::BadWitness);
    assert_eq!(refuse(&good, &|p| p.record = Some(blob("x"))), wrong);
    assert_eq!(refuse(&good, &|p| p.record = None), witness);
    assert_eq!(refuse(&good, &|p| p.key = blob(state_key(b"b"))), wrong);
    assert_eq!(refuse(&absent, &|p| p.record = Some(blob("x"))), witness);
    assert_eq!(refuse(&absent, &|p| p.key = blob(state_key(b"a"))), witness);
    // The root before these keys were last set.
    let header = world.headers[4].clone();
    let cc = world.cc(&header);
    let old = |p: &mut KeyProof| (p.headers, p.cc) = (vec![header.clone()], cc.clone());
    assert_eq!(refuse(&good, &old), wrong);
    // A server's answer for a key that cannot be.
    let long = world.key(&[b'k'; tree::MAX_KEY_BYTES + 1]);
    assert!(matches!(
        long.verify(&world.validators),
        Err(ProofError::Tree(_))
    ));
}

#[test]
fn a_transaction_must_be_in_the_batch_and_the_batch_in_the_block() {
    let world = world();
    let good = world.inclusion();
    let refuse = |change: &dyn Fn(&mut InclusionProof)| {
        let mut proof = good.clone();
        change(&mut proof);
        proof.verify(&world.validators).unwrap_err()
    };
    assert_eq!(
        refuse(&|p| p.transaction = world.transactions[0].clone()),
        ProofError::Path
    );
    assert_eq!(refuse(&|p| p.batch.sequence += 1), ProofError::Path);
    assert_eq!(
        refuse(&|p| p.payload_path.siblings.push(Digest::ZERO)),
        ProofError::Path
    );
    assert_eq!(refuse(&|p| p.transaction_path.index = 0), ProofError::Path);
    // The transaction's leaf is no batch, though the tree above has the same nodes.
    let leaf = batch::leaf(&good.transaction.id(), &good.transaction.signature);
    assert_ne!(leaf, good.batch.id().0);
}
