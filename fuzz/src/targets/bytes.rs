//! Everything that is decoded: messages, formats on disk, proofs, the genesis.

use std::fmt::Debug;

use quorate_execution::kv::{Command, KvResult, LeafRecord};
use quorate_execution::proof::ClientProof;
use quorate_execution::snapshot::Chunk;
use quorate_replica::Setup;
use quorate_replica::proofs::receipt_proof;
use quorate_replica::snapshot::{Certified, SnapshotError, certified, cut};
use quorate_storage::{MemStore, Tip, ledger};
use quorate_types::accumulator::Accumulator;
use quorate_types::merkle::Path;
use quorate_types::message::{
    BatchRequest, BatchResponse, BlockRequest, BlockResponse, ChunkRequest, ChunkResponse,
    LedgerRequest, SnapshotRequest,
};
use quorate_types::{
    Batch, Blob, Block, Cc, CommitVote, Digest, Entry, Evidence, Finality, Genesis, Header, Height,
    Manifest, Message, Proposal, Qc, Receipt, Roots, SafetyRecord, Tc, Timeout, Transaction, Vote,
    codec,
};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::canonical;
use crate::chain;

/// A message between validators, as it arrives in a frame: decoded, and verified as at the door.
pub fn message(bytes: &[u8]) {
    if let Some(message) = canonical::<Message>(bytes) {
        let setup = chain::setup(None);
        let _ = message.verify(&setup.validators, &setup.parameters);
    }
}

pub(super) fn message_seeds() -> Vec<(String, Vec<u8>)> {
    let chain = chain::lived();
    let asked = questions_and_answers(chain.store(0));
    let sent = chain.sent.iter().chain(&asked).enumerate();
    sent.map(|(place, message)| {
        let name = format!("{message:?}");
        let kind = name.split(['(', ' ']).next().unwrap_or("message");
        let name = format!("{}-{place:02}", kind.to_lowercase());
        (name, codec::encode(message))
    })
    .collect()
}

/// What nobody had to ask in so short a life.
fn questions_and_answers(store: &MemStore) -> Vec<Message> {
    let tip = ledger::tip(store).expect("a sound disk");
    let block = ledger::block_by_id(store, tip.block);
    let blocks = block.ok().flatten().into_iter().collect();
    let stretch = ledger::stretch(store, Height(1), 1 << 12).expect("a sound disk");
    let batches: Vec<Batch> = stretch
        .blocks
        .iter()
        .flat_map(|b| b.batches.clone())
        .collect();
    let missing = batches.iter().map(Batch::id).collect::<Vec<_>>();
    vec![
        Message::BlockRequest(BlockRequest {
            block: tip.block,
            count: 4,
            above: Height(1),
        }),
        Message::BlockResponse(BlockResponse { blocks }),
        Message::BatchRequest(BatchRequest {
            batches: missing.clone(),
        }),
        Message::BatchResponse(BatchResponse { batches, missing }),
        Message::LedgerRequest(LedgerRequest {
            from: Height(1),
            max_bytes: 1 << 12,
        }),
        Message::LedgerResponse(Box::new(stretch)),
        Message::SnapshotRequest(SnapshotRequest { above: Height(1) }),
        Message::ChunkRequest(ChunkRequest {
            height: Height(1),
            content: Digest::default(),
            index: 1,
        }),
        Message::ChunkResponse(Box::new(ChunkResponse {
            content: Digest::default(),
            index: 1,
            chunk: Some(Blob(vec![1; 40])),
        })),
    ]
}

/// Reads a value of one format, and asks of it what is asked where it is read.
type Reader = fn(&[u8]);

fn decoded<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) {
    let _ = canonical::<T>(bytes);
}

/// Every format but [`Message`], by name.
pub const FORMATS: [(&str, Reader); 24] = [
    ("transaction", |bytes| {
        if let Some(transaction) = canonical::<Transaction>(bytes) {
            let _ = transaction.id();
        }
    }),
    ("batch", |bytes| {
        if let Some(batch) = canonical::<Batch>(bytes) {
            let _ = (batch.id(), batch.encoded_len());
        }
    }),
    ("block", |bytes| {
        if let Some(block) = canonical::<Block>(bytes) {
            let _ = (block.id(), block.check_payload());
        }
    }),
    ("header", |bytes| {
        if let Some(header) = canonical::<Header>(bytes) {
            let _ = (header.id(), header.is_empty());
        }
    }),
    ("proposal", decoded::<Proposal>),
    ("vote", decoded::<Vote>),
    ("commit_vote", decoded::<CommitVote>),
    ("timeout", |bytes| {
        if let Some(timeout) = canonical::<Timeout>(bytes) {
            let _ = timeout.check_form();
        }
    }),
    ("qc", decoded::<Qc>),
    ("cc", decoded::<Cc>),
    ("tc", |bytes| {
        if let Some(tc) = canonical::<Tc>(bytes) {
            let _ = tc.digest();
        }
    }),
    ("finality", decoded::<Finality>),
    ("evidence", decoded::<Evidence>),
    ("entry", |bytes| {
        if let Some(entry) = canonical::<Entry>(bytes) {
            let _ = entry.enters();
        }
    }),
    ("record", |bytes| {
        if let Some(record) = canonical::<SafetyRecord>(bytes) {
            let _ = record.check(&chain::setup(None).validators);
        }
    }),
    ("receipt", |bytes| {
        if let Some(receipt) = canonical::<Receipt>(bytes) {
            let _ = receipt.leaf();
        }
    }),
    ("path", decoded::<Path>),
    ("accumulator", |bytes| {
        if let Some(accumulator) = canonical::<Accumulator>(bytes) {
            let _ = accumulator.root();
        }
    }),
    ("manifest", |bytes| {
        if let Some(manifest) = canonical::<Manifest>(bytes) {
            let _ = (manifest.content(), manifest.bytes());
            let _ = manifest.check(&chain::setup(None).validators);
        }
    }),
    ("chunk", |bytes| {
        if let Ok(chunk) = Chunk::decode(bytes) {
            assert_eq!(chunk.encode(), bytes, "a chunk has two encodings");
            let _ = chunk.verify(&Default::default(), b"", None);
        }
    }),
    ("roots", |bytes| {
        let _ = (canonical::<Roots>(bytes), canonical::<Tip>(bytes));
    }),
    ("command", |bytes| {
        if let Ok(command) = Command::decode(bytes) {
            assert_eq!(command.encode().0, bytes, "a command has two encodings");
            let _ = command.reads_only();
        }
    }),
    ("result", |bytes| drop(KvResult::decode(bytes))),
    ("genesis", |bytes| {
        if let Some(genesis) = canonical::<Genesis>(bytes) {
            let _ = (genesis.chain_id(), genesis.check());
        }
    }),
];

/// The first byte chooses the format.
pub fn formats(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else {
        return;
    };
    let (_, read) = FORMATS[usize::from(*choice) % FORMATS.len()];
    read(bytes);
    let _ = LeafRecord::decode(bytes);
}

pub(super) fn format_seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (name, bytes) in values() {
        let place = FORMATS.iter().position(|(format, _)| *format == name);
        let choice = u8::try_from(place.expect("a format")).expect("few formats");
        let mut seed = vec![choice];
        seed.extend(bytes);
        seeds.push((format!("{name}-{:02}", seeds.len()), seed));
    }
    seeds
}

/// One of each that a chain brings about.
fn values() -> Vec<(&'static str, Vec<u8>)> {
    let chain = chain::lived();
    let store = chain.store(0);
    let mut values = vec![
        ("genesis", codec::encode(&chain::genesis())),
        ("transaction", codec::encode(&chain::put(1))),
        ("command", chain::put(1).body.commands[0].0.clone()),
    ];
    for message in &chain.sent {
        values.push(match message {
            Message::Proposal(proposal) => ("proposal", codec::encode(proposal)),
            Message::Vote(vote) => ("vote", codec::encode(vote)),
            Message::CommitVote(vote) => ("commit_vote", codec::encode(vote)),
            Message::Timeout(timeout) => ("timeout", codec::encode(timeout)),
            Message::Tc(tc) => ("tc", codec::encode(tc)),
            Message::Qc(qc) => ("qc", codec::encode(qc)),
            Message::Batch(batch) => ("batch", codec::encode(batch)),
            _ => continue,
        });
    }
    let tip = ledger::tip(store).expect("a sound disk");
    values.push(("roots", codec::encode(&tip)));
    if let Ok(Some(record)) = ledger::record(store) {
        values.push(("entry", codec::encode(&record.entry)));
        values.push(("record", codec::encode(&record)));
    }
    if let Ok(Some(block)) = ledger::block_by_height(store, tip.height) {
        values.push(("header", codec::encode(&block.header)));
        values.push(("block", codec::encode(&block)));
    }
    if let Ok(Some(finality)) = ledger::finality(store, tip.height) {
        values.push(("cc", codec::encode(&finality.cc)));
        values.push(("finality", codec::encode(&finality)));
    }
    values.extend(snapshot());
    values
}

/// A manifest and its first chunk.
fn snapshot() -> Vec<(&'static str, Vec<u8>)> {
    let mut chain = chain::lived();
    let validators = chain::setup(None).validators;
    let frozen = chain.store(0).clone();
    for _ in 0..50 {
        if let Ok(Certified::Yes(manifest)) = certified(&frozen, chain.store(0), &validators) {
            let mut chunks = Vec::new();
            let whole = cut::<SnapshotError>(&frozen, *manifest, |_, chunk| {
                chunks.push(("chunk", chunk));
                Ok(())
            });
            chunks.truncate(1);
            chunks.extend(whole.map(|whole| ("manifest", codec::encode(&whole))));
            return chunks;
        }
        chain.wait(50);
        chain.settle();
    }
    Vec::new()
}

/// The text of a genesis: what passes its check can be started from, and the chain runs.
pub fn genesis(bytes: &[u8]) {
    let Ok(genesis) = serde_json::from_slice::<Genesis>(bytes) else {
        return;
    };
    if genesis.check().is_ok() {
        assert!(Setup::new(&genesis, None).is_ok(), "checked");
        let text = serde_json::to_vec(&genesis).expect("a genesis is JSON");
        let again: Genesis = serde_json::from_slice(&text).expect("its own text");
        assert_eq!(again, genesis);
        chain::run_alone(&genesis);
    }
}

pub(super) fn genesis_seeds() -> Vec<(String, Vec<u8>)> {
    let text = serde_json::to_vec_pretty(&chain::genesis()).expect("a genesis is JSON");
    let mut lone = chain::genesis();
    lone.validators.truncate(1);
    let lone = serde_json::to_vec(&lone).expect("a genesis is JSON");
    vec![
        ("four.json".to_owned(), text),
        ("one.json".to_owned(), lone),
    ]
}

/// What a client is given to verify.
pub fn proof(bytes: &[u8]) {
    if let Ok(proof) = ClientProof::decode(bytes) {
        assert_eq!(proof.encode(), bytes, "a proof has two encodings");
        let _ = proof.verify(&chain::setup(None).validators);
    }
}

pub(super) fn proof_seeds() -> Vec<(String, Vec<u8>)> {
    let chain = chain::lived();
    let mut seeds = Vec::new();
    for sequence in 1..=3 {
        let proof = receipt_proof(chain.store(0), chain::put(sequence).id());
        if let Ok(Some(proof)) = proof {
            let bytes = ClientProof::Receipt(proof).encode();
            seeds.push((format!("receipt-{sequence}"), bytes));
        }
    }
    seeds
}
