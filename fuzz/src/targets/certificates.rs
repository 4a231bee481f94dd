//! Certificates, and a second opinion on those that verify.

use std::collections::BTreeSet;

use quorate_crypto::{Domain, verify};
use quorate_storage::ledger;
use quorate_types::vote::{commit_vote_bytes, timeout_bytes, vote_bytes};
use quorate_types::{
    Cc, Entry, Finality, Message, Proposal, Qc, Signature, Tc, Timeout, Unverified, ValidatorIndex,
    Validators, codec, codec::MAX_ENCODED_BYTES,
};
use serde::de::DeserializeOwned;

use crate::chain;

/// The first byte chooses the kind. What verifies is counted again here, signature by signature (I3).
pub fn certificates(bytes: &[u8]) {
    let _ = verifies(bytes);
}

/// Whether it is a certificate, or a message that carries one, and verifies.
#[must_use]
pub fn verifies(bytes: &[u8]) -> bool {
    let Some((choice, bytes)) = bytes.split_first() else {
        return false;
    };
    let setup = chain::setup(None);
    let set = &setup.validators;
    let verified = match choice % 6 {
        0 => read::<Qc>(bytes)
            .and_then(|qc| qc.verify(set).ok())
            .map(|qc| check_qc(set, &qc)),
        1 => read::<Cc>(bytes)
            .and_then(|cc| cc.verify(set).ok())
            .map(|cc| check_cc(set, &cc)),
        2 => read::<Tc>(bytes)
            .and_then(|tc| tc.verify(set).ok())
            .map(|tc| check_tc(set, &tc)),
        3 => read::<Finality>(bytes)
            .and_then(|finality| finality.verify(set).ok())
            .map(|finality| {
                check_qc(set, &finality.qc);
                check_cc(set, &finality.cc);
                assert_eq!(finality.qc.block, finality.cc.block, "one block");
            }),
        4 => read::<Timeout>(bytes)
            .and_then(|timeout| timeout.verify(set).ok())
            .map(|timeout| {
                check_qc(set, &timeout.high_qc);
                assert!(timeout.high_qc.round < timeout.round);
                if let Some(tc) = timeout.entry_tc() {
                    check_tc(set, &tc);
                }
            }),
        _ => read::<Proposal>(bytes)
            .and_then(|proposal| proposal.verify(set, &setup.parameters).ok())
            .map(|(proposal, _)| {
                check_qc(set, &proposal.qc);
                if let Some(tc) = &proposal.tc {
                    check_tc(set, tc);
                }
            }),
    };
    verified.is_some()
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<Unverified<T>> {
    let value = codec::decode(bytes, MAX_ENCODED_BYTES).ok()?;
    Some(Unverified::new(value))
}

/// Exactly 2f + 1 of 3f + 1, all different, each with a signature of its own over the message.
fn check_quorum(
    set: &Validators,
    domain: Domain,
    votes: impl Iterator<Item = (ValidatorIndex, Signature, Vec<u8>)>,
) {
    let mut signers = BTreeSet::new();
    for (signer, signature, message) in votes {
        assert!(signers.insert(signer), "I3: {signer} twice");
        let key = set.key(signer).expect("I3: of the set");
        let valid = verify(key, domain, &message, &signature);
        assert!(valid.is_ok(), "I3: a signature of {signer}");
    }
    assert_eq!(signers.len(), 3, "I3: a quorum of four");
}

fn check_qc(set: &Validators, qc: &Qc) {
    if *qc == set.anchor_qc() {
        return;
    }
    assert_eq!(qc.signers.count(), qc.signatures.len());
    let message = vote_bytes(set.chain(), qc.round, qc.block);
    let votes = qc.signers.iter().zip(&qc.signatures);
    let votes = votes.map(|(signer, signature)| (signer, *signature, message.clone()));
    check_quorum(set, Domain::Vote, votes);
}

fn check_cc(set: &Validators, cc: &Cc) {
    if *cc == set.anchor_cc() {
        return;
    }
    assert_eq!(cc.signers.count(), cc.signatures.len());
    let message = commit_vote_bytes(set.chain(), cc.round, cc.block, cc.height);
    let votes = cc.signers.iter().zip(&cc.signatures);
    let votes = votes.map(|(signer, signature)| (signer, *signature, message.clone()));
    check_quorum(set, Domain::CommitVote, votes);
}

fn check_tc(set: &Validators, tc: &Tc) {
    let message = |hqc_round| timeout_bytes(set.chain(), tc.round, hqc_round);
    let votes = tc.votes.iter();
    let votes = votes.map(|vote| (vote.voter, vote.signature, message(vote.hqc_round)));
    check_quorum(set, Domain::Timeout, votes);
    let highest = tc.votes.iter().map(|vote| vote.hqc_round).max();
    assert_eq!(highest, Some(tc.high_qc.round), "the highest that is told");
    check_qc(set, &tc.high_qc);
}

pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let chain = chain::lived();
    let mut seeds = Vec::new();
    let mut add = |name: &str, choice: u8, bytes: Vec<u8>| {
        let number = seeds.len();
        seeds.push((
            format!("{name}-{number:02}"),
            [vec![choice], bytes].concat(),
        ));
    };
    for message in &chain.sent {
        match message {
            Message::Timeout(timeout) => {
                add("timeout", 4, codec::encode(timeout));
                add("qc", 0, codec::encode(&timeout.high_qc));
            }
            Message::Proposal(proposal) => add("proposal", 5, codec::encode(proposal)),
            Message::Tc(tc) => add("tc", 2, codec::encode(tc)),
            _ => {}
        }
    }
    let tip = ledger::tip(chain.store(0)).expect("a sound disk").height;
    let finality = ledger::finality(chain.store(0), tip).expect("a sound disk");
    if let Some(finality) = finality {
        add("cc", 1, codec::encode(&finality.cc));
        add("finality", 3, codec::encode(&finality));
    }
    if let Ok(Some(record)) = ledger::record(chain.store(0))
        && let Entry::Tc(tc) = record.entry
    {
        add("entry", 2, codec::encode(&tc));
    }
    seeds
}
