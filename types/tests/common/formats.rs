//! One instance of every format, encoded, with a way to decode it and encode it again.

use quorate_types::accumulator::Accumulator;
use quorate_types::codec::{self, DecodeError, MAX_ENCODED_BYTES};
use quorate_types::evidence::EvidenceKind;
use quorate_types::merkle::Path;
use quorate_types::{
    Batch, Blob, BlockTime, Digest, Entry, Evidence, Genesis, Header, Height, Manifest, Outcome,
    Proposal, Receipt, Rejection, Roots, SafetyRecord, Timeout, Transaction,
};
use serde::{Serialize, de::DeserializeOwned};

use super::*;

pub struct Format {
    pub name: String,
    pub bytes: Vec<u8>,
    /// Its identity, where it has one.
    pub id: Option<Digest>,
    again: fn(&[u8]) -> Result<Vec<u8>, DecodeError>,
}

impl Format {
    /// Decodes, and encodes what was decoded.
    pub fn again(&self, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
        (self.again)(bytes)
    }
}

fn format<T: Serialize + DeserializeOwned>(name: &str, value: &T, id: Option<Digest>) -> Format {
    Format {
        name: name.into(),
        bytes: codec::encode(value),
        id,
        again: |bytes| {
            Ok(codec::encode(&codec::decode::<T>(
                bytes,
                MAX_ENCODED_BYTES,
            )?))
        },
    }
}

fn receipt(outcome: Outcome) -> Receipt {
    Receipt {
        transaction: transaction().id(),
        client: client_key().public(),
        sequence: 9,
        height: Height(2),
        index: 0,
        time: BlockTime(1_700_000_000_000_002_000),
        outcome,
    }
}

fn accumulator() -> Accumulator {
    let mut accumulator = Accumulator::default();
    for leaf in 0..5 {
        accumulator.append(Digest::from_bytes([leaf; 32]));
    }
    accumulator
}

pub fn formats() -> Vec<Format> {
    let executed = Outcome::Executed {
        revision: 12,
        results: vec![Blob(b"ok".to_vec()), Blob(vec![])],
    };
    let duplicate = Outcome::Duplicate {
        height: Height(1),
        index: 4,
    };
    let mut closing: Header = second().header;
    closing.next_validators = Some(Digest::from_bytes([9; 32]));
    let mut all = vec![
        format::<Genesis>("genesis", &genesis(), Some(chain().0)),
        format::<Genesis>("genesis_forked", &forked(), Some(forked().chain_id().0)),
        format::<Transaction>("transaction", &transaction(), Some(transaction().id().0)),
        format::<Batch>("batch", &batch(), Some(batch().id().0)),
        format(
            "batch_header",
            &batch().header(),
            Some(batch().header().id().0),
        ),
        format(
            "header_genesis",
            &genesis_header(),
            Some(genesis_header().id().0),
        ),
        format("header_closing", &closing, Some(closing.id().0)),
        format("block", &second(), Some(second().id().0)),
        format::<Proposal>("proposal_after_timeout", &proposal_after_timeout(), None),
        format::<Timeout>(
            "timeout_without_tc",
            &timeout(1, 5, qc(4, some_block(4)), None).into_inner(),
            None,
        ),
        format("tc", &tc(), Some(tc().digest())),
        format::<Evidence>("evidence_proposal", &evidence(EvidenceKind::Proposal), None),
        format::<Evidence>(
            "evidence_commit_vote",
            &evidence(EvidenceKind::CommitVote),
            None,
        ),
        format::<Entry>("entry_qc", &Entry::Qc(qc(1, some_block(1))), None),
        format::<SafetyRecord>("record", &record(), None),
        format::<Receipt>("receipt_executed", &receipt(executed), None),
        format::<Receipt>("receipt_duplicate", &receipt(duplicate), None),
        format::<Path>("path", &batch().path(1), None),
        format("accumulator", &accumulator(), Some(accumulator().root())),
        format::<Manifest>("manifest", &manifest(), Some(manifest().content())),
        format::<Roots>("roots", &Roots::default(), None),
    ];
    let rejections = [
        ("unknown_client", Rejection::UnknownClient),
        ("bad_command", Rejection::BadCommand(3)),
        ("unknown_checkpoint", Rejection::UnknownCheckpoint(0)),
        ("checkpoint_exists", Rejection::CheckpointExists(1)),
        ("too_many_checkpoints", Rejection::TooManyCheckpoints(2)),
    ];
    for (name, rejection) in rejections {
        let receipt = receipt(Outcome::Rejected(rejection));
        all.push(format(
            &format!("receipt_{name}"),
            &receipt,
            Some(receipt.leaf()),
        ));
    }
    for (name, message) in messages() {
        all.push(format(&format!("message_{name}"), &message, None));
    }
    all
}
