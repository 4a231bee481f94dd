//! A genesis whose validators' keys the tests have, and proofs under it.

use std::sync::LazyLock;

use quorate_crypto::{Domain, SecretKey, Signature, hash};
use quorate_execution::genesis_validators;
use quorate_execution::kv::state_key;
use quorate_execution::proof::{ClientProof, KeyProof, ReceiptProof};
use quorate_execution::tree;
use quorate_types::genesis::{Client, Genesis, Parameters, Role, ValidatorInfo};
use quorate_types::vote::Signable as _;
use quorate_types::{
    BlockTime, Cc, Claim, CommitVote, Digest, Epoch, FORMAT_VERSION, Header, Height, Receipt,
    Roots, Round, merkle, receipt,
};

use crate::mock;

fn secret(index: u8) -> SecretKey {
    SecretKey::from_seed(&[1 + index; 32])
}

fn validator(index: u8) -> ValidatorInfo {
    let (consensus, network) = (secret(index), secret(100 + index));
    ValidatorInfo {
        name: format!("validator-{index}"),
        consensus_key: consensus.public(),
        network_key: network.public(),
        address: format!("127.0.0.1:{}", 7_650 + 10 * u16::from(index)),
        proof: ValidatorInfo::prove(&consensus, consensus.public(), network.public()),
    }
}

/// What the chain of the mocks starts from.
pub(crate) static GENESIS: LazyLock<Genesis> = LazyLock::new(|| Genesis {
    version: FORMAT_VERSION,
    name: String::from("mock"),
    time: BlockTime(1),
    parameters: Parameters::default(),
    validators: (10..14).map(validator).collect(),
    clients: vec![Client {
        name: String::from("alice"),
        key: mock::key().public(),
        role: Role::Writer,
    }],
    machine: String::from("kv"),
    origin: None,
});

/// The genesis as its file has it.
pub(crate) fn genesis_text() -> String {
    GENESIS.check().expect("a genesis");
    serde_json::to_string(&*GENESIS).expect("a genesis is JSON")
}

/// The proof of a receipt that is alone in its block.
pub(crate) fn prove(proved: &Receipt) -> Vec<u8> {
    let alone = [proved.leaf()];
    let block = receipt::block_leaf_of_root(proved.height, &merkle::root(&alone));
    let below = usize::try_from(proved.height.0 - 1).expect("a small height");
    let mut blocks = vec![Digest::from_bytes([0; 32]); below];
    blocks.push(block);
    let roots = Roots {
        receipts: merkle::root(&blocks),
        ..Roots::default()
    };
    let (header, cc) = certify(proved.height, roots);
    let paths = (merkle::path(&alone, 0), merkle::path(&blocks, below));
    let proof = ReceiptProof::new(proved.clone(), paths.0, paths.1, vec![header], cc);
    ClientProof::Receipt(proof).encode()
}

/// The proof that a state without keys does not have this one.
pub(crate) fn prove_absent(key: &[u8], height: Height) -> Vec<u8> {
    let roots = Roots {
        state: hash(Domain::TreeEmpty, &[]),
        ..Roots::default()
    };
    let (header, cc) = certify(height, roots);
    let nothing = tree::Proof {
        steps: Vec::new(),
        witness: None,
    };
    let proof = KeyProof::new(state_key(key), None, nothing, vec![header], cc);
    ClientProof::Key(proof).encode()
}

/// A header that claims these roots of a height, and a quorum's votes for it.
fn certify(height: Height, roots: Roots) -> (Header, Cc) {
    let (genesis, validators) = genesis_validators(&GENESIS).expect("four validators");
    let header = Header {
        round: Round::new(Epoch(0), height.0 + 1),
        height: height.next(),
        parent: genesis.id(),
        claim: Claim { height, roots },
        ..genesis
    };
    let votes: Vec<_> = validators
        .indices()
        .take(validators.quorum())
        .map(|voter| {
            let vote = CommitVote {
                round: header.round,
                block: header.id(),
                height: header.height,
                voter,
                signature: Signature::from_bytes([0; 64]),
                held: Vec::new(),
            };
            let index = u8::try_from(voter.0).expect("four validators");
            vote.sign(validators.chain(), &secret(10 + index))
        })
        .collect();
    let cc = Cc::assemble(&votes, &validators).into_inner();
    (header, cc)
}
