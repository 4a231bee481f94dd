//! I3, for every certificate that leaves a correct validator: a quorum of distinct members, each with a valid signature,
//! and in a TC the certificate that its signers reported. Written anew.

use std::collections::BTreeMap;

use quorate_crypto::Domain;
use quorate_types::vote::{commit_vote_bytes, timeout_bytes, vote_bytes};
use quorate_types::{Finality, Message, Qc, Round, Tc};

use super::{Checker, Violation};

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
