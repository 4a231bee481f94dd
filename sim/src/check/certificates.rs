//! I3, for every certificate that a correct validator stores or sends: a quorum of distinct members, each with a valid signature,
//! and in a TC the certificate that its signers reported. Written anew.

use std::collections::BTreeMap;

use quorate_crypto::{Domain, PublicKey, verify};
use quorate_storage::MemStore;
use quorate_storage::ledger;
use quorate_types::memory::{self, Memory};
use quorate_types::vote::{commit_vote_bytes, timeout_bytes, vote_bytes};
use quorate_types::{Block, BlockId, Finality, Height, Message, Qc, Round, Signature, Signers, Tc};

use super::{Checker, Violation};

/// Finality proofs whose signatures are verified again: one in so many heights.
pub(super) const VERIFIED_PROOFS: u64 = 4;

impl Checker {
    /// Verifies what a message carries, each certificate once.
    pub(super) fn certificates(&mut self, message: &Message) -> Result<(), Violation> {
        match message {
            Message::Proposal(proposal) => {
                self.qc(&proposal.qc)?;
                proposal.tc.iter().try_for_each(|tc| self.tc(tc))?;
                proposal.finality.iter().try_for_each(|f| self.finality(f))
            }
            Message::Timeout(timeout) => {
                self.qc(&timeout.high_qc)?;
                timeout.entry_tc.iter().try_for_each(|tc| self.tc(tc))
            }
            Message::Qc(qc) => self.qc(qc),
            Message::Tc(tc) => self.tc(tc),
            Message::Finality(finality) => self.finality(finality),
            _ => Ok(()),
        }
    }

    fn qc(&mut self, qc: &Qc) -> Result<(), Violation> {
        let (round, chain) = (qc.round, self.validators.chain());
        if *qc == self.validators.anchor_qc() || !first(&mut self.qcs, (round, qc.block), qc) {
            return Ok(());
        }
        let message = vote_bytes(chain, round, qc.block);
        let exact = 3 * qc.signatures.len() <= 2 * self.validators.count() + 3;
        let valid = self.quorum(true, qc.signers, &qc.signatures, Domain::Vote, &message);
        verdict(round, exact && valid)
    }

    fn finality(&mut self, finality: &Finality) -> Result<(), Violation> {
        let Finality { cc, qc } = finality;
        self.qc(qc)?;
        if !first(&mut self.ccs, (cc.round, cc.block), finality) {
            return Ok(());
        }
        let message = commit_vote_bytes(self.validators.chain(), cc.round, cc.block, cc.height);
        let valid = self.quorum(
            true,
            cc.signers,
            &cc.signatures,
            Domain::CommitVote,
            &message,
        );
        verdict(
            cc.round,
            valid && (cc.round, cc.block) == (qc.round, qc.block),
        )
    }

    fn tc(&mut self, tc: &Tc) -> Result<(), Violation> {
        self.qc(&tc.high_qc)?;
        if !first(&mut self.tcs, tc.round, tc) {
            return Ok(());
        }
        let mut voters: Vec<_> = tc.votes.iter().map(|vote| vote.voter).collect();
        voters.sort_unstable();
        voters.dedup();
        let quorum = 3 * voters.len() > 2 * self.validators.count();
        let reported = tc.votes.iter().map(|vote| vote.hqc_round).max();
        let signed = tc.votes.iter().all(|vote| {
            let message = timeout_bytes(self.validators.chain(), tc.round, vote.hqc_round);
            let key = self.validators.key(vote.voter);
            key.is_some_and(|key| self.signed_by(key, Domain::Timeout, &message, &vote.signature))
        });
        let distinct = voters.len() == tc.votes.len();
        let highest = reported == Some(tc.high_qc.round);
        verdict(tc.round, quorum && distinct && signed && highest)
    }

    /// I3: the finality proof of this height, if it has one of its own.
    pub(super) fn proof(
        &mut self,
        store: &MemStore,
        at: Height,
        id: BlockId,
        block: &Block,
    ) -> Result<(), Violation> {
        let Some(finality) = ledger::finality(store, at)? else {
            return Ok(());
        };
        if !first(&mut self.stored, at, &finality) {
            return Ok(());
        }
        let round = block.header.round;
        let Finality { cc, qc } = &finality;
        let named = (cc.block, cc.height, cc.round) == (id, at, round)
            && (qc.block, qc.round) == (id, round);
        let chain = self.validators.chain();
        let deep = at.0.is_multiple_of(VERIFIED_PROOFS);
        let commit = commit_vote_bytes(chain, round, id, at);
        let vote = vote_bytes(chain, round, id);
        let valid = self.quorum(
            deep,
            cc.signers,
            &cc.signatures,
            Domain::CommitVote,
            &commit,
        ) && self.quorum(deep, qc.signers, &qc.signatures, Domain::Vote, &vote);
        match named && valid {
            true => Ok(()),
            false => Err(Violation::BadCertificate(at)),
        }
    }

    fn signed_by(
        &self,
        key: &PublicKey,
        domain: Domain,
        message: &[u8],
        signature: &Signature,
    ) -> bool {
        match &self.notary {
            Some(notary) => notary.knows(&memory::name(domain, key, signature, message)),
            None => verify(key, domain, message, signature).is_ok(),
        }
    }

    fn quorum(
        &self,
        deep: bool,
        signers: Signers,
        signatures: &[Signature],
        domain: Domain,
        message: &[u8],
    ) -> bool {
        let (n, distinct) = (self.validators.count(), signers.iter().count());
        // Counted anew: more than two thirds, whatever the product calls a quorum.
        let quorum = 3 * distinct > 2 * n && distinct == signatures.len() && signers.within(n);
        quorum
            && (!deep
                || signers.iter().zip(signatures).all(|(signer, signature)| {
                    let key = self.validators.key(signer);
                    key.is_some_and(|key| self.signed_by(key, domain, message, signature))
                }))
    }
}

/// Whether this certificate is met for the first time, bit by bit as it is; notes it.
pub(super) fn first<K: Ord, T: Clone + PartialEq>(
    seen: &mut BTreeMap<K, Vec<T>>,
    at: K,
    certificate: &T,
) -> bool {
    let known = seen.entry(at).or_default();
    let first = !known.contains(certificate);
    if first {
        known.push(certificate.clone());
    }
    first
}

fn verdict(round: Round, valid: bool) -> Result<(), Violation> {
    match valid {
        true => Ok(()),
        false => Err(Violation::SentBadCertificate(round)),
    }
}
