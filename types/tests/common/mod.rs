//! Four validators, a client, and one of everything that they sign. All of it is fixed: the golden vectors are made of it.
#![allow(dead_code, unreachable_pub)] // each test binary uses its own part

pub mod formats;

use quorate_crypto::SecretKey;
use quorate_types::accumulator::Accumulator;
use quorate_types::evidence::{EvidenceKind, Statement};
use quorate_types::fence::{Signed, SignedBy};
use quorate_types::genesis::{FORKED_VERSION, Origin};
use quorate_types::message::{
    BatchRequest, BatchResponse, BlockRequest, BlockResponse, ChunkRequest, ChunkResponse,
    LedgerBlock, LedgerRequest, LedgerResponse, SnapshotRequest, SnapshotResponse,
};
use quorate_types::snapshot::{MANIFEST_VERSION, Manifest, Piece};
use quorate_types::vote::Signable;
use quorate_types::{
    Batch, Blob, Block, BlockId, BlockTime, Cc, ChainId, Claim, Client, CommitVote, Digest, Entry,
    Epoch, Evidence, FORMAT_VERSION, FenceReply, FenceRequest, Finality, Genesis, Header, Height,
    Justify, Message, Parameters, Proposal, Qc, Role, Roots, Round, SafetyRecord, Signature,
    Signers, Tc, Timeout, Transaction, TransactionBody, Unverified, ValidatorIndex, ValidatorInfo,
    Validators, Verified, Vote,
};

pub const N: u8 = 4;
/// Of four, at most one is faulty: three make a quorum.
pub const QUORUM: [u16; 3] = [0, 1, 2];

pub fn key(index: u16) -> SecretKey {
    SecretKey::from_seed(&[u8::try_from(index).expect("a seed") + 1; 32])
}

pub fn network_key(index: u16) -> SecretKey {
    SecretKey::from_seed(&[u8::try_from(index).expect("a seed") + 101; 32])
}

pub fn client_key() -> SecretKey {
    SecretKey::from_seed(&[77; 32])
}

pub fn parameters() -> Parameters {
    Parameters::default()
}

pub fn genesis() -> Genesis {
    let validators = (0..u16::from(N)).map(|index| {
        let (consensus_key, network_key) = (key(index).public(), network_key(index).public());
        ValidatorInfo {
            name: format!("v{index}"),
            consensus_key,
            network_key,
            address: format!("127.0.0.1:765{index}"),
            proof: ValidatorInfo::prove(&key(index), consensus_key, network_key),
        }
    });
    Genesis {
        version: FORMAT_VERSION,
        name: "golden".into(),
        time: BlockTime(1_700_000_000_000_000_000),
        parameters: parameters(),
        validators: validators.collect(),
        clients: vec![Client {
            name: "alice".into(),
            key: client_key().public(),
            role: Role::Writer,
        }],
        machine: "kv".into(),
        origin: None,
    }
}

/// A genesis that takes another chain's state over.
pub fn forked() -> Genesis {
    Genesis {
        version: FORKED_VERSION,
        origin: Some(Origin {
            chain: chain(),
            height: Height(77),
            state: Digest::from_bytes([7; 32]),
            root: Digest::from_bytes([8; 32]),
        }),
        ..genesis()
    }
}

pub fn chain() -> ChainId {
    genesis().chain_id()
}

pub fn genesis_header() -> Header {
    Header::genesis(chain(), genesis().time, Roots::default())
}

pub fn validators() -> Validators {
    let anchor = (genesis_header().id(), Height(0));
    Validators::new(chain(), Epoch(0), genesis().consensus_keys(), anchor).expect("a valid set")
}

pub fn round(number: u64) -> Round {
    Round::new(Epoch(0), number)
}

pub fn some_block(seed: u8) -> BlockId {
    BlockId(Digest::from_bytes([seed; 32]))
}

pub fn vote(voter: u16, round: Round, block: BlockId) -> Verified<Vote> {
    let vote = Vote {
        round,
        block,
        voter: ValidatorIndex(voter),
        signature: Signature::default(),
        held: vec![3, 0, 7, 1],
    };
    vote.sign(chain(), &key(voter))
}

pub fn commit_vote(voter: u16, round: Round, block: BlockId, height: u64) -> Verified<CommitVote> {
    let vote = CommitVote {
        round,
        block,
        height: Height(height),
        voter: ValidatorIndex(voter),
        signature: Signature::default(),
        held: vec![7; 4],
    };
    vote.sign(chain(), &key(voter))
}

pub fn qc(number: u64, block: BlockId) -> Qc {
    let votes: Vec<_> = QUORUM.map(|voter| vote(voter, round(number), block)).into();
    Qc::assemble(&votes, &validators()).into_inner()
}

pub fn cc(number: u64, block: BlockId, height: u64) -> Cc {
    let votes: Vec<_> = QUORUM
        .map(|voter| commit_vote(voter, round(number), block, height))
        .into();
    Cc::assemble(&votes, &validators()).into_inner()
}

pub fn finality(number: u64, block: BlockId, height: u64) -> Finality {
    Finality {
        cc: cc(number, block, height),
        qc: qc(number, block),
    }
}

/// A Timeout of `number` that carries `high_qc`, and `entry_tc` where it must.
pub fn timeout(voter: u16, number: u64, high_qc: Qc, entry_tc: Option<Tc>) -> Verified<Timeout> {
    let timeout = Timeout {
        round: round(number),
        voter: ValidatorIndex(voter),
        signature: Signature::default(),
        high_qc,
        entry_tc: entry_tc.map(Box::new),
    };
    timeout.sign(chain(), &key(voter))
}

/// Gives up round 5. One signer reports the QC of round 4, the others that of round 3 (behind the TC of round 4).
pub fn tc() -> Tc {
    let old = || qc(3, some_block(3));
    let timeouts = [
        timeout(2, 5, old(), Some(older_tc())),
        timeout(0, 5, qc(4, some_block(4)), None),
        timeout(1, 5, old(), Some(older_tc())),
    ];
    Tc::assemble(&timeouts, &validators()).into_inner()
}

/// Gives up round 4.
pub fn older_tc() -> Tc {
    let timeouts: Vec<_> = QUORUM
        .map(|v| timeout(v, 4, qc(3, some_block(3)), None))
        .into();
    Tc::assemble(&timeouts, &validators()).into_inner()
}

pub fn body() -> TransactionBody {
    TransactionBody {
        version: FORMAT_VERSION,
        chain: chain(),
        client: client_key().public(),
        sequence: 9,
        valid_until: BlockTime(1_700_000_060_000_000_000),
        commands: vec![Blob(b"put a".to_vec()), Blob(Vec::new())],
    }
}

pub fn transaction() -> Transaction {
    body().sign(&client_key())
}

pub fn batch_of(transactions: Vec<Transaction>) -> Batch {
    Batch {
        version: FORMAT_VERSION,
        epoch: Epoch(0),
        origin: ValidatorIndex(2),
        sequence: 5,
        expiry: BlockTime(1_700_000_600_000_000_000),
        transactions,
    }
}

pub fn batch() -> Batch {
    let mut second = body();
    second.sequence = 10;
    batch_of(vec![transaction(), second.sign(&client_key())])
}

/// A block at the end of `parent`, whose certificate is `justify`.
pub fn child(parent: &Header, justify: &Qc, number: u64, batches: &[Batch]) -> Block {
    let batches: Vec<_> = batches.iter().map(Batch::id).collect();
    let header = Header {
        version: FORMAT_VERSION,
        round: round(number),
        height: parent.height.next(),
        parent: parent.id(),
        justify: Justify {
            round: justify.round,
            block: justify.block,
            signers: justify.signers,
        },
        tc: None,
        failed: None,
        proposer: ValidatorIndex(1),
        payload: Block::payload_root(&batches),
        claim: Claim::default(),
        time: parent.time.plus_nanos(1_000),
        next_validators: None,
    };
    Block { header, batches }
}

/// Round 1, on the genesis.
pub fn first() -> Block {
    child(&genesis_header(), &validators().anchor_qc(), 1, &[])
}

/// Round 2, on the first, with a batch.
pub fn second() -> Block {
    let parent = first().header;
    child(&parent, &qc(1, parent.id()), 2, &[batch()])
}

pub fn sign(proposal: Proposal) -> Proposal {
    let signer = key(proposal.block.header.proposer.0);
    proposal.sign(chain(), &signer).into_inner()
}

/// Of the second block, with its batch and the finality of the first.
pub fn proposal() -> Proposal {
    let parent = first().id();
    sign(Proposal {
        block: second(),
        inline: vec![batch()],
        qc: qc(1, parent),
        tc: None,
        finality: Some(finality(1, parent, 1)),
        signature: Signature::default(),
    })
}

/// Of round 6, entered by the TC of round 5, on a block of round 4.
pub fn proposal_after_timeout() -> Proposal {
    let parent = child(&first().header, &qc(1, first().id()), 4, &[]);
    let high_qc = qc(4, parent.id());
    let timeouts: Vec<_> = QUORUM.map(|v| timeout(v, 5, high_qc.clone(), None)).into();
    let tc = Tc::assemble(&timeouts, &validators()).into_inner();
    let mut block = child(&parent.header, &high_qc, 6, &[]);
    block.header.tc = Some(tc.digest());
    block.header.failed = Some(ValidatorIndex(3));
    sign(Proposal {
        block,
        inline: vec![],
        qc: high_qc,
        tc: Some(tc),
        finality: None,
        signature: Signature::default(),
    })
}

pub fn evidence(kind: EvidenceKind) -> Evidence {
    let statement = |seed, height| {
        let (round, block) = (round(7), some_block(seed));
        let signature = match kind {
            EvidenceKind::Vote => vote(3, round, block).signature,
            EvidenceKind::CommitVote => commit_vote(3, round, block, height).signature,
            EvidenceKind::Proposal => {
                let message = quorate_types::vote::vote_bytes(chain(), round, block);
                key(3).sign(quorate_crypto::Domain::Proposal, &message)
            }
        };
        Statement {
            block,
            height: Height(height),
            signature,
        }
    };
    let height = if kind == EvidenceKind::CommitVote {
        4
    } else {
        0
    };
    Evidence {
        kind,
        signer: ValidatorIndex(3),
        round: round(7),
        first: statement(1, height),
        second: statement(2, height),
    }
}

pub fn ledger_response() -> LedgerResponse {
    LedgerResponse {
        from: Height(1),
        head: Height(8),
        blocks: vec![
            LedgerBlock {
                block: first(),
                batches: vec![],
            },
            LedgerBlock {
                block: second(),
                batches: vec![batch()],
            },
        ],
        finality: Some(finality(2, second().id(), 2)),
    }
}

/// Of the state after the second block, which the third claims.
pub fn manifest() -> Manifest {
    let mut accumulator = Accumulator::default();
    for height in 0..2 {
        accumulator.append(Digest::from_bytes([height; 32]));
    }
    let roots = Roots {
        state: Digest::from_bytes([7; 32]),
        receipts: accumulator.root(),
    };
    let mut third = child(&second().header, &qc(2, second().id()), 3, &[]).header;
    third.claim = Claim {
        height: Height(2),
        roots,
    };
    let genesis = Block {
        header: genesis_header(),
        batches: vec![],
    };
    let piece = |start: &[u8], seed| Piece {
        start: Blob(start.to_vec()),
        records: 10,
        bytes: 1_000,
        digest: Digest::from_bytes([seed; 32]),
    };
    Manifest {
        version: MANIFEST_VERSION,
        chain: chain(),
        height: Height(2),
        roots,
        accumulator,
        blocks: vec![genesis, first(), second()],
        finality: finality(2, second().id(), 2),
        claim: finality(3, third.id(), 3),
        above: vec![third],
        pieces: vec![piece(b"", 1), piece(b"kv/m", 2)],
    }
}

pub fn record() -> SafetyRecord {
    SafetyRecord {
        round: round(6),
        entry: Entry::Tc(tc()),
        high_qc: qc(4, some_block(4)),
        highest_timeout: round(5),
    }
}

/// One of every message between validators, in the order of their tags.
pub fn messages() -> Vec<(&'static str, Message)> {
    let id = batch().id();
    vec![
        ("proposal", Message::Proposal(Box::new(proposal()))),
        (
            "vote",
            Message::Vote(vote(1, round(2), second().id()).into_inner()),
        ),
        (
            "commit_vote",
            Message::CommitVote(commit_vote(1, round(2), second().id(), 2).into_inner()),
        ),
        (
            "timeout",
            Message::Timeout(Box::new(
                timeout(1, 5, qc(3, some_block(3)), Some(older_tc())).into_inner(),
            )),
        ),
        ("qc", Message::Qc(Box::new(qc(2, second().id())))),
        ("tc", Message::Tc(Box::new(tc()))),
        (
            "finality",
            Message::Finality(Box::new(finality(2, second().id(), 2))),
        ),
        (
            "evidence",
            Message::Evidence(Box::new(evidence(EvidenceKind::Vote))),
        ),
        ("batch", Message::Batch(Box::new(batch()))),
        (
            "block_request",
            Message::BlockRequest(BlockRequest {
                block: second().id(),
                count: 16,
                above: Height(3),
            }),
        ),
        (
            "block_response",
            Message::BlockResponse(BlockResponse {
                blocks: vec![second(), first()],
            }),
        ),
        (
            "batch_request",
            Message::BatchRequest(BatchRequest { batches: vec![id] }),
        ),
        (
            "batch_response",
            Message::BatchResponse(BatchResponse {
                batches: vec![batch()],
                missing: vec![id],
            }),
        ),
        (
            "ledger_request",
            Message::LedgerRequest(LedgerRequest {
                from: Height(1),
                max_bytes: 1 << 20,
            }),
        ),
        (
            "ledger_response",
            Message::LedgerResponse(Box::new(ledger_response())),
        ),
        (
            "snapshot_request",
            Message::SnapshotRequest(SnapshotRequest { above: Height(7) }),
        ),
        (
            "snapshot_response",
            Message::SnapshotResponse(Box::new(SnapshotResponse {
                first: Height(3),
                manifest: Some(manifest()),
            })),
        ),
        (
            "chunk_request",
            Message::ChunkRequest(ChunkRequest {
                height: Height(2),
                content: manifest().content(),
                index: 5,
            }),
        ),
        (
            "chunk_response",
            Message::ChunkResponse(Box::new(ChunkResponse {
                content: manifest().content(),
                index: 5,
                chunk: Some(Blob(b"chunk".to_vec())),
            })),
        ),
        (
            "fence_request",
            Message::FenceRequest(FenceRequest { nonce: 12 }),
        ),
        ("fence_reply", Message::FenceReply(Box::new(fence_reply()))),
    ]
}

/// From somebody in round 5, to the validator that commit-voted in round 2.
pub fn fence_reply() -> FenceReply {
    let vote = commit_vote(1, round(2), second().id(), 2);
    FenceReply {
        nonce: 12,
        entry: Entry::Tc(tc()),
        high_qc: qc(2, second().id()),
        signed: Some(SignedBy {
            signer: vote.voter,
            round: vote.round,
            what: Signed::CommitVote(vote.block, vote.height),
            signature: vote.signature,
        }),
    }
}

/// Everybody of the set, and one more.
pub fn everybody() -> Signers {
    validators().indices().collect()
}

pub fn unverified<T>(value: T) -> Unverified<T> {
    Unverified::new(value)
}
