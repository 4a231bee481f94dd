//! What a validator that starts asks the others: it may be a restored backup and not know it (P5).
//!
//! An answer is nobody's word: the certificates prove how far its sender is, and what the asker signed carries the asker's
//! own signature. So an answer can hold too little, never too much. Answers are not signed: the connection says whose they
//! are, and the nonce which start they are for.

use quorate_crypto::{Domain, Signature};
use serde::{Deserialize, Serialize};

use crate::vote::{commit_vote_bytes, timeout_bytes, vote_bytes};
use crate::{
    BlockId, Entry, Height, Qc, Reject, Round, Tc, Unverified, ValidatorIndex, Validators, Verified,
};

/// Asks what the receiver knows of the chain and of the sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceRequest {
    /// Of this start: answers to an earlier one say too little.
    pub nonce: u64,
}

/// Answers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceReply {
    /// Repeated from the request.
    pub nonce: u64,
    /// What entered the answerer's round.
    pub entry: Entry,
    /// The highest QC that the answerer has.
    pub high_qc: Qc,
    /// The message of the highest round that the answerer has from the asker since its own start.
    pub signed: Option<SignedBy>,
}

/// That a validator signed something in a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedBy {
    /// Who.
    pub signer: ValidatorIndex,
    /// In which round.
    pub round: Round,
    /// What.
    pub what: Signed,
    /// The signer's.
    pub signature: Signature,
}

/// What a [`SignedBy`]'s signature covers besides its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signed {
    /// A proposal of this block.
    Proposal(BlockId),
    /// A vote for it.
    Vote(BlockId),
    /// A commit vote for it.
    CommitVote(BlockId, Height),
    /// A Timeout that reported a QC of this round.
    Timeout(Round),
}

impl FenceReply {
    /// The highest round that this validator signed in according to the certificates.
    #[must_use]
    pub fn certified(&self, signer: ValidatorIndex) -> Option<Round> {
        let qc = |qc: &Qc| qc.signers.contains(signer).then_some(qc.round);
        let entered = match &self.entry {
            Entry::Qc(entry) => qc(entry),
            Entry::Tc(tc) => {
                let gave_up = tc.votes.iter().any(|vote| vote.voter == signer);
                gave_up.then_some(tc.round).max(qc(&tc.high_qc))
            }
        };
        entered.max(qc(&self.high_qc))
    }
}

impl Unverified<SignedBy> {
    /// Checks the signature.
    ///
    /// # Errors
    /// [`Reject::WrongEpoch`], [`Reject::UnknownSigner`], [`Reject::BadSignature`].
    pub fn verify(self, validators: &Validators) -> Result<Verified<SignedBy>, Reject> {
        let signed = self.into_checked();
        validators.check_round(signed.round)?;
        let (chain, round) = (validators.chain(), signed.round);
        let (domain, message) = match signed.what {
            Signed::Proposal(block) => (Domain::Proposal, vote_bytes(chain, round, block)),
            Signed::Vote(block) => (Domain::Vote, vote_bytes(chain, round, block)),
            Signed::CommitVote(block, height) => (
                Domain::CommitVote,
                commit_vote_bytes(chain, round, block, height),
            ),
            Signed::Timeout(hqc) => (Domain::Timeout, timeout_bytes(chain, round, hqc)),
        };
        validators.check_signature(signed.signer, domain, &message, &signed.signature)?;
        Ok(Verified::trust(signed))
    }
}

impl Unverified<FenceReply> {
    /// Checks the certificates and the asker's signature. That the signer is the asker is for the asker to see.
    ///
    /// # Errors
    /// [`Reject::CertificateMismatch`] if the QC is not below the round entered; those of the certificates and of
    /// [`SignedBy`].
    pub fn verify(self, validators: &Validators) -> Result<Verified<FenceReply>, Reject> {
        let reply = self.into_checked();
        if reply.high_qc.round >= reply.entry.enters() {
            return Err(Reject::CertificateMismatch);
        }
        validators.check_qc(&reply.high_qc)?;
        match &reply.entry {
            Entry::Qc(qc) => validators.check_qc(qc)?,
            Entry::Tc(tc) => validators.check_tc(tc)?,
        }
        if let Some(signed) = &reply.signed {
            Unverified::new(signed.clone()).verify(validators)?;
        }
        Ok(Verified::trust(reply))
    }
}

impl Verified<FenceReply> {
    /// The highest QC, verified with it.
    #[must_use]
    pub fn high_qc(&self) -> Verified<Qc> {
        Verified::trust(self.high_qc.clone())
    }

    /// The QC that entered the round, if one did.
    #[must_use]
    pub fn entry_qc(&self) -> Option<Verified<Qc>> {
        match &self.entry {
            Entry::Qc(qc) => Some(Verified::trust(qc.clone())),
            Entry::Tc(_) => None,
        }
    }

    /// The TC that entered the round, if one did.
    #[must_use]
    pub fn entry_tc(&self) -> Option<Verified<Tc>> {
        match &self.entry {
            Entry::Qc(_) => None,
            Entry::Tc(tc) => Some(Verified::trust(tc.clone())),
        }
    }
}
